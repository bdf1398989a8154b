//! One poll at a time: the kernel's lock, never a file's existence.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;

use super::Server;

/// A held lock; it goes with the process, however that ends, and no child inherits it.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

/// What asking for a lock gave.
#[derive(Debug)]
pub enum Locked {
    /// It is ours.
    Held(Lock),
    /// Another process has it.
    Elsewhere,
}

impl Server {
    /// Takes the lock of a directory, without waiting. The directory itself is locked (flock(2)), so
    /// there is no file that could be deleted under a poll at work, or be left over.
    ///
    /// # Errors
    /// When it is not there, or something else is in its place.
    pub fn lock(&self, dir: &Path) -> Result<Locked> {
        let failed = || format!("failed to lock {}", dir.display());
        // O_CLOEXEC comes with std; a link in its place is not followed.
        #[expect(
            clippy::disallowed_methods,
            reason = "opened to be locked, never written"
        )]
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

    /// Takes the lock of a directory as soon as who has it lets go, but gives up after `patience`.
    ///
    /// # Errors
    /// As for [`Server::lock`].
    pub fn lock_in_time(&self, dir: &Path, patience: Duration) -> Result<Locked> {
        let begun = Instant::now();
        loop {
            match self.lock(dir)? {
                Locked::Elsewhere if begun.elapsed() < patience => {
                    // Polls that follow each other leave it free for the start of a process only.
                    std::thread::sleep(Duration::from_millis(10));
                }
                locked => return Ok(locked),
            }
        }
    }
}

/// Whether somebody holds the lock of a directory.
pub fn is_held(dir: &Path) -> bool {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(dir, flags, Mode::empty()).is_ok_and(|dir| {
        // For this moment it is ours: who wants it tries again.
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
    fn the_second_finds_it_elsewhere_until_the_first_lets_go() -> Result<()> {
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
