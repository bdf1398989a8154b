//! Locks: one poll at a time, by flock(2) and not by the existence of a file.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;

use super::Server;

/// A held lock. The kernel releases it when the process ends; children do not inherit it.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

/// Result of trying to take a lock.
#[derive(Debug)]
pub enum Locked {
    /// This process holds it.
    Held(Lock),
    /// Another process holds it.
    Elsewhere,
}

impl Server {
    /// Locks a directory without waiting. The lock is on the directory itself (flock(2)), so there is no lock file
    /// that could be deleted during a poll, or left behind.
    ///
    /// # Errors
    /// When the path does not exist or is not a directory.
    pub fn lock(&self, dir: &Path) -> Result<Locked> {
        let failed = || format!("failed to lock {}", dir.display());
        // std sets O_CLOEXEC.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY).bits())
            .open(self.real(dir))
            .with_context(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Locked::Held(Lock { _held: held })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(Locked::Elsewhere),
            Err((_, error)) => Err(error).with_context(failed),
        }
    }

    /// Locks a directory, waiting up to `patience` until another process releases it.
    ///
    /// # Errors
    /// As for [`Server::lock`].
    pub fn lock_in_time(&self, dir: &Path, patience: Duration) -> Result<Locked> {
        let until = self.clock().monotonic() + patience;
        loop {
            match self.lock(dir)? {
                Locked::Elsewhere if self.clock().monotonic() < until => {
                    // Consecutive polls release it only while the next process starts.
                    self.clock().sleep(Duration::from_millis(10));
                }
                locked => return Ok(locked),
            }
        }
    }
}

/// Whether another process holds the lock of a directory.
pub fn is_held(dir: &Path) -> bool {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(dir, flags, Mode::empty()).is_ok_and(|dir| {
        // This takes the lock for a moment; waiting processes retry.
        matches!(
            Flock::lock(File::from(dir), FlockArg::LockSharedNonblock),
            Err((_, Errno::EWOULDBLOCK))
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_can_be_taken_again_once_it_is_released() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        assert!(!is_held(root.path()));
        let first = server.lock(Path::new("/"))?;
        assert!(is_held(root.path()));
        assert!(matches!(first, Locked::Held(_)));
        assert!(matches!(server.lock(Path::new("/"))?, Locked::Elsewhere));
        let soon = Duration::from_millis(250);
        assert!(matches!(
            server.lock_in_time(Path::new("/"), soon)?,
            Locked::Elsewhere
        ));
        drop(first);
        assert!(matches!(
            server.lock_in_time(Path::new("/"), Duration::ZERO)?,
            Locked::Held(_)
        ));
        assert!(matches!(server.lock(Path::new("/"))?, Locked::Held(_)));
        Ok(())
    }
}
