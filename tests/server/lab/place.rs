//! How many laboratories there are at once, and how long each test had one.

use std::fs::{File, OpenOptions, create_dir_all};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use super::tool::home;

/// Without tests/run, which counts cores and memory.
const AT_ONCE: usize = 4;

/// One of the places on this machine, over all test processes. A laboratory takes its place before its
/// first server, so two of them cannot each hold one server and wait for the other's. The kernel gives
/// the place back when the process ends, however it ends.
pub struct Place {
    _lock: Flock<File>,
    since: Instant,
    test: String,
}

impl Place {
    /// Waits until one is free.
    pub fn take() -> Result<Self> {
        let places = home().join("places");
        create_dir_all(&places).with_context(|| format!("failed to make {}", places.display()))?;
        let count = match std::env::var("LAB_AT_ONCE") {
            Ok(count) => count
                .parse()
                .with_context(|| format!("LAB_AT_ONCE={count}"))?,
            Err(_) => AT_ONCE,
        };
        loop {
            for number in 0..count {
                let path = places.join(number.to_string());
                let file = File::create(&path)
                    .with_context(|| format!("failed to open {}", path.display()))?;
                if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    return Ok(Self {
                        _lock: lock,
                        since: Instant::now(),
                        // libtest names its threads so.
                        test: thread::current().name().unwrap_or("?").to_owned(),
                    });
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A line for tests/run, which shows the slowest: seconds and test.
impl Drop for Place {
    fn drop(&mut self) {
        let Some(path) = std::env::var_os("LAB_TIMES") else {
            return;
        };
        let line = format!("{:.1} {}\n", self.since.elapsed().as_secs_f32(), self.test);
        let file = OpenOptions::new().append(true).create(true).open(path);
        drop(file.and_then(|mut file| file.write_all(line.as_bytes())));
    }
}
