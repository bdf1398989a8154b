//! Limits the number of concurrent laboratories, and records how long each test used one.

use std::fs::{File, OpenOptions, create_dir_all};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use super::tool::home;

/// Default without tests/run, which computes it from cores and memory.
const AT_ONCE: usize = 4;

/// One of the places on this machine, shared by all test processes. A laboratory takes its place before it
/// boots a server, so two laboratories cannot deadlock, each with one server. The kernel frees
/// the place when the process ends, for whatever reason.
pub struct Place {
    _lock: Flock<File>,
    since: Instant,
    test: String,
}

impl Place {
    /// Waits for a free place.
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
                        // libtest names each thread after its test.
                        test: thread::current().name().unwrap_or("?").to_owned(),
                    });
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Appends seconds and test for the list of slowest tests in tests/run.
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
