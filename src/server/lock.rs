//! One poll at a time: the kernel's lock, never a file's existence.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

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
    /// Takes the lock of a file, which is made if it is missing, without waiting.
    ///
    /// # Errors
    /// When the file cannot be made or opened.
    pub fn lock(&self, path: &Path) -> Result<Locked> {
        let failed = || format!("failed to lock {}", path.display());
        // O_CLOEXEC comes with std; a link in the app's directory is not followed.
        #[expect(clippy::disallowed_methods, reason = "this is the module that writes")]
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o660)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(self.real(path))
            .with_context(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Locked::Held(Lock { _held: held })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(Locked::Elsewhere),
            Err((_, error)) => Err(error).with_context(failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_finds_it_elsewhere_until_the_first_lets_go() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        let first = server.lock(Path::new("/lock"))?;
        assert!(matches!(first, Locked::Held(_)));
        assert!(matches!(
            server.lock(Path::new("/lock"))?,
            Locked::Elsewhere
        ));
        drop(first);
        assert!(matches!(server.lock(Path::new("/lock"))?, Locked::Held(_)));
        Ok(())
    }
}
