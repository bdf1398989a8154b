//! A server for tests: real files and programs below a temporary root, and small fakes for what is neither.
//!
//! [`TestServer::kill_at`] ends the test's run before its n-th change, as SIGKILL would: by unwinding, so that nothing
//! after it runs except destructors, and locks are released.

mod accounts;
mod answers;
mod units;

pub use accounts::FakeAccounts;
pub use answers::FakeHttp;
pub use units::FakeUnits;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use chrono::{DateTime, Utc};

use crate::app::AppName;

use super::{Clock, Outside, Server, View};

/// Counts the changes of a server, and unwinds before one of them.
#[derive(Debug, Default)]
pub struct Instants {
    count: AtomicUsize,
    /// The number of the change that does not happen any more, from 1; 0: all happen.
    kill_at: AtomicUsize,
    log: Mutex<Vec<String>>,
}

/// The payload with which a killed run unwinds.
#[derive(Debug)]
struct Killed;

impl Instants {
    /// Called before every change.
    pub fn pass(&self, what: &str) {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let kill_at = self.kill_at.load(Ordering::Relaxed);
        if kill_at != 0 && number >= kill_at {
            resume_unwind(Box::new(Killed));
        }
        lock(&self.log).push(what.to_owned());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Destructors of a killed run may have panicked while they held it.
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A server below a temporary root, which is removed when this is dropped.
#[derive(Debug)]
pub struct TestServer {
    /// The handle for the code under test.
    pub server: Server,
    /// Its units.
    pub units: Arc<FakeUnits>,
    /// Its answers over HTTP.
    pub http: Arc<FakeHttp>,
    /// Its users and groups.
    pub accounts: Arc<FakeAccounts>,
    /// Its clock: it starts at [`START`] and advances only by sleeping.
    pub clock: Clock,
    dir: tempfile::TempDir,
    instants: Arc<Instants>,
}

/// The time at which a test server's clock starts.
pub const START: &str = "2026-11-23T10:00:00Z";

impl TestServer {
    /// An empty server.
    pub fn new() -> Result<Self> {
        // In memory: nothing is synced to a disk.
        let memory = Path::new("/dev/shm");
        let mut dir = tempfile::Builder::new();
        let dir = dir.prefix("pullpray-").tempdir_in(if memory.is_dir() {
            memory
        } else {
            Path::new("/tmp")
        })?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let instants: Arc<Instants> = Arc::default();
        let clock = Clock::fixed(START.parse::<DateTime<Utc>>()?);
        let units = Arc::new(FakeUnits::new(dir.path(), &instants));
        let http: Arc<FakeHttp> = Arc::default();
        let accounts = Arc::new(FakeAccounts::new(&instants));
        let server = Server {
            view: View {
                root: dir.path().to_owned(),
                outside: Outside {
                    units: Arc::<FakeUnits>::clone(&units),
                    http: Arc::<FakeHttp>::clone(&http),
                    accounts: Arc::<FakeAccounts>::clone(&accounts),
                    clock: clock.clone(),
                    instants: Arc::clone(&instants),
                },
            },
        };
        Ok(Self {
            server,
            units,
            http,
            accounts,
            clock,
            dir,
            instants,
        })
    }

    /// The temporary directory that is the server's `/`.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Where a path of the server really is.
    pub fn real(&self, path: impl AsRef<Path>) -> PathBuf {
        self.server.real(path.as_ref())
    }

    /// Puts a file there, with its parent directories, unannounced. A link there is replaced: it may lead out of the root.
    pub fn put(&self, path: impl AsRef<Path>, content: &str, mode: u32) -> Result<()> {
        let real = self.real(path);
        fs::create_dir_all(real.parent().unwrap_or(self.root()))?;
        if real.is_symlink() {
            fs::remove_file(&real)?;
        }
        fs::write(&real, content)?;
        Ok(fs::set_permissions(
            &real,
            fs::Permissions::from_mode(mode),
        )?)
    }

    /// The git host answered a poll at this time (RFC 3339); `None`: it never did.
    pub fn answered(&self, app: &AppName, by_cron: bool, at: Option<&str>) -> Result<()> {
        let path = self.real(crate::layout::answered(app, by_cron));
        let Some(at) = at else {
            drop(fs::remove_file(path));
            return Ok(());
        };
        fs::create_dir_all(path.parent().unwrap_or(self.root()))?;
        let time: DateTime<Utc> = at.parse()?;
        Ok(fs::File::create(path)?.set_modified(time.into())?)
    }

    /// Puts a program there: a shell script.
    pub fn put_program(&self, path: impl AsRef<Path>, script: &str) -> Result<()> {
        self.put(path, &format!("#!/bin/sh\n{script}\n"), 0o755)
    }

    /// The changes made since the last call of this or of [`Self::kill_at`].
    pub fn changes(&self) -> Vec<String> {
        self.instants.count.store(0, Ordering::Relaxed);
        std::mem::take(&mut lock(&self.instants.log))
    }

    /// Runs it, killed before its n-th change (from 1). Returns its result, or `None` if it was killed.
    pub fn kill_at<T>(&self, number: usize, run: impl FnOnce() -> T) -> Option<T> {
        self.changes();
        self.instants.kill_at.store(number, Ordering::Relaxed);
        let ended = catch_unwind(AssertUnwindSafe(run));
        self.instants.kill_at.store(0, Ordering::Relaxed);
        match ended {
            Ok(result) => Some(result),
            Err(payload) if payload.is::<Killed>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }
}
