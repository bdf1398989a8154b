//! Inspects and reads files.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::{Identity, View};

/// Directory for the files that fsck recovers, in the top directory of ext2 to ext4; it belongs to root.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

/// Type of a file; links are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A socket.
    Socket,
    /// Anything else.
    Other,
}

/// Metadata of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Type.
    pub kind: Kind,
    /// Owner (user id).
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Number of hard links.
    pub links: u64,
    /// Size in bytes.
    pub size: u64,
    /// What it takes on disk, in bytes.
    pub allocated: u64,
    /// Last modification, in seconds since 1970.
    pub modified: i64,
}

impl From<Metadata> for Stat {
    fn from(meta: Metadata) -> Self {
        use std::os::unix::fs::FileTypeExt;
        let kind = match meta.file_type() {
            t if t.is_file() => Kind::File,
            t if t.is_dir() => Kind::Directory,
            t if t.is_symlink() => Kind::Link,
            t if t.is_socket() => Kind::Socket,
            _ => Kind::Other,
        };
        Self {
            kind,
            uid: meta.uid(),
            gid: meta.gid(),
            mode: meta.mode() & 0o7777,
            links: meta.nlink(),
            size: meta.size(),
            allocated: meta.blocks() * 512,
            modified: meta.mtime(),
        }
    }
}

/// Whether reading failed because the path holds something that pullpray never writes: not a regular file, a link, too
/// large, or not UTF-8.
pub fn is_foreign(error: &anyhow::Error) -> bool {
    match (
        error.downcast_ref::<std::io::Error>(),
        error.downcast_ref::<Errno>(),
    ) {
        (Some(io), _) => io.kind() == ErrorKind::InvalidData,
        (_, Some(errno)) => *errno == Errno::ELOOP,
        _ => true,
    }
}

/// Whether the kernel refused to let this user read or write something.
#[must_use]
pub fn is_permission(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref() == Some(&Errno::EACCES)
            || (cause.downcast_ref::<std::io::Error>())
                .is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
    })
}

impl View {
    /// Returns metadata of a path; `None` if it does not exist.
    ///
    /// # Errors
    /// When access is denied, or a parent is not a directory.
    pub fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        match fs::symlink_metadata(self.real(path)) {
            Ok(meta) => Ok(Some(meta.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("failed to inspect {}", path.display()))
            }
        }
    }

    /// Returns metadata of a path, following links; `None` if the target does not exist.
    ///
    /// # Errors
    /// As [`View::stat`].
    pub fn stat_target(&self, path: &Path) -> Result<Option<Stat>> {
        match fs::metadata(self.real(path)) {
            Ok(meta) => Ok(Some(meta.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("failed to inspect {}", path.display()))
            }
        }
    }

    /// Whether the mode bits `wanted` (inode(7): 4 read, 2 write, 1 execute or search) are granted to an account.
    #[must_use]
    pub fn grants(&self, account: &Identity, path: &Path, stat: &Stat, wanted: u32) -> bool {
        let class = match stat {
            stat if stat.uid == account.uid => stat.mode >> 6,
            stat if account.groups.contains(&stat.gid) => stat.mode >> 3,
            stat => stat.mode,
        };
        let asks = |option, bit| {
            wanted & bit == 0
                || (self
                    .command("test")
                    .arg(option)
                    .arg(path)
                    .run_as(Some(account)))
                .outcome()
                .is_ok_and(|outcome| outcome.success())
        };
        // The kernel knows what an ACL adds (acl(5)).
        class & wanted == wanted || (asks("-r", 0o4) && asks("-w", 0o2) && asks("-x", 0o1))
    }

    /// Returns the content of a file; `None` if it does not exist.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match fs::read(self.real(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    /// Returns the content of a text file in a directory that other users can write to; `None` if it does not exist.
    ///
    /// # Errors
    /// As [`View::read_untrusted_bytes`], and when it is not UTF-8.
    pub fn read_untrusted(&self, path: &Path) -> Result<Option<String>> {
        self.read_untrusted_bytes(path)?
            .map(String::from_utf8)
            .transpose()
            .with_context(|| format!("{} is not UTF-8 text", path.display()))
    }

    /// Returns the content of a file in a directory that other users can write to; `None` if it does not exist. Does not
    /// follow links and does not block: a named pipe would otherwise block root for ever.
    ///
    /// # Errors
    /// When it is not a regular file of at most 16 MiB, or cannot be read.
    pub fn read_untrusted_bytes(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        const MAX_BYTES: u64 = 16 * 1024 * 1024;
        let failed = || format!("failed to read {}", path.display());
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match nix::fcntl::open(&self.real(path), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => bail!("{} is a link, which is not followed", path.display()),
            Err(error) => return Err(error).with_context(failed),
        };
        let stat: Stat = file.metadata().with_context(failed)?.into();
        if stat.kind != Kind::File || stat.size > MAX_BYTES {
            bail!("{} is not a regular file of at most 16 MiB", path.display());
        }
        // In one read, and one for the end.
        let mut bytes = Vec::with_capacity(usize::try_from(stat.size).unwrap_or(0) + 1);
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .with_context(failed)?;
        Ok(Some(bytes))
    }

    /// Returns the content of a text file; `None` if it does not exist.
    ///
    /// # Errors
    /// When it cannot be read or is not UTF-8.
    pub fn read_text(&self, path: &Path) -> Result<Option<String>> {
        self.read(path)?
            .map(String::from_utf8)
            .transpose()
            .with_context(|| format!("{} is not UTF-8 text", path.display()))
    }

    /// Returns the target of a link; `None` if it does not exist.
    ///
    /// # Errors
    /// When it is not a link or cannot be read.
    pub fn read_link(&self, path: &Path) -> Result<Option<PathBuf>> {
        match fs::read_link(self.real(path)) {
            Ok(target) => Ok(Some(target)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("failed to read the link {}", path.display()))
            }
        }
    }

    /// Whether a file starts with these bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn begins_with(&self, path: &Path, bytes: &[u8]) -> Result<bool> {
        let mut head = Vec::new();
        File::open(self.real(path))
            .and_then(|file| file.take(bytes.len() as u64).read_to_end(&mut head))
            .with_context(|| format!("failed to read {}", path.display()))?;
        Ok(head == bytes)
    }

    /// Resolves all links in a path; `None` if it contains none.
    ///
    /// # Errors
    /// When a link is dangling or cannot be read.
    pub fn link_target(&self, path: &Path) -> Result<Option<PathBuf>> {
        let real = fs::canonicalize(self.real(path))
            .with_context(|| format!("failed to follow {}", path.display()))?;
        let on_server = real
            .strip_prefix(&self.root)
            .map(|rest| Path::new("/").join(rest));
        Ok((real != self.real(path)).then(|| on_server.unwrap_or(real)))
    }

    /// Lists the names in a directory, sorted; empty if it does not exist.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let failed = || format!("failed to list {}", path.display());
        let entries = match fs::read_dir(self.real(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(failed),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.with_context(failed)?.file_name());
        }
        names.sort();
        Ok(names)
    }

    /// Whether a directory is empty, except for the lost+found of a new file system (mke2fs(8)).
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn is_empty_dir(&self, path: &Path) -> Result<bool> {
        Ok(self.list(path)?.iter().all(|name| name == LOST_AND_FOUND))
    }

    /// Finds a program by name in [`super::PATH`], or by absolute path; follows links.
    #[must_use]
    pub fn which(&self, program: &str) -> Option<PathBuf> {
        super::PATH
            .split(':')
            .map(|dir| Path::new(dir).join(program))
            .find(|path| {
                fs::metadata(self.real(path)).is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0)
            })
    }

    /// Returns the path of this program's executable.
    ///
    /// # Errors
    /// When /proc/self/exe cannot be read.
    pub fn own_program(&self) -> Result<PathBuf> {
        std::env::current_exe().context("failed to find the path of this program")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_refusal_of_the_kernel_is_found_below_its_contexts() {
        let denied = std::io::Error::from(ErrorKind::PermissionDenied);
        for error in [anyhow::Error::from(denied), Errno::EACCES.into()] {
            assert!(is_permission(&error.context("failed to read it")));
        }
        for error in [
            anyhow!("Permission denied (publickey)"),
            Errno::ENOENT.into(),
        ] {
            assert!(!is_permission(&error));
        }
    }
}
