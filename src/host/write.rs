//! Atomic file writes.
//!
//! A new file is written next to the target, gets its owner and mode, is synced and renamed over the target; then
//! the directory is synced. Readers see the old file or the new one, even after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};

use super::{Server, effective_uid};
use crate::state::sha256;

const STAGING_SUFFIX: &str = ".pullpray-new";

/// Path of the file that will be renamed to `path`. It is always the same, so the next run overwrites what a killed
/// run left behind.
///
/// Programs that read whole directories ignore it: sudo and cron skip names with a leading dot, systemd and ssh
/// require a suffix of their own.
pub(super) fn staging_path(path: &Path) -> Result<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} has no directory", path.display());
    };
    let name = name.to_string_lossy();
    // A name may have 255 bytes (NAME_MAX); a longer one is replaced by its hash.
    let name = if name.len() + STAGING_SUFFIX.len() + 1 > 255 {
        sha256(name.as_bytes()).into()
    } else {
        name
    };
    Ok(dir.join(format!(".{name}{STAGING_SUFFIX}")))
}

impl Server {
    /// Writes a file atomically. `owner` is (uid, gid); `None` means this process's.
    ///
    /// # Errors
    /// When a step fails; the old file is then unchanged.
    pub fn write(
        &self,
        path: &Path,
        content: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<()> {
        self.write_with(path, content, mode, owner, RenameFlags::empty())
    }

    /// Sets a file's time of modification; creates it, empty, if it is missing. Nothing is synced: a power cut may lose
    /// it.
    ///
    /// # Errors
    /// When it is a link, or cannot be opened.
    pub fn touch(&self, path: &Path, time: DateTime<Utc>) -> Result<()> {
        let failed = || format!("failed to write {}", path.display());
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(self.changing(path))
            .with_context(failed)?;
        file.set_modified(time.into()).with_context(failed)
    }

    /// Writes a new file atomically. It never overwrites an existing file, not even in a race.
    ///
    /// # Errors
    /// When it exists, or a step fails.
    pub fn write_new(
        &self,
        path: &Path,
        content: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<()> {
        self.write_with(path, content, mode, owner, RenameFlags::RENAME_NOREPLACE)
    }

    fn write_with(
        &self,
        path: &Path,
        content: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
        rename: RenameFlags,
    ) -> Result<()> {
        let failed = || format!("failed to write {}", path.display());
        let staged = staging_path(path).with_context(failed)?;
        // O_EXCL would fail on a file that a killed run left.
        self.remove_file(&staged).with_context(failed)?;
        let written = (|| -> Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(OFlag::O_NOFOLLOW.bits())
                .open(self.real(&staged))?;
            file.write_all(content)?;
            if let Some((uid, gid)) = owner {
                // Owner first: chown clears setuid and setgid (chown(2)).
                fchown(&file, Some(uid), Some(gid))?;
            }
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.sync_all()?;
            let (from, to) = (self.real(&staged), self.changing(path));
            renameat2(AT_FDCWD, &from, AT_FDCWD, &to, rename)?;
            Ok(())
        })();
        if let Err(error) = written {
            // The first error is the one to report.
            drop(self.remove_file(&staged));
            return Err(error).with_context(failed);
        }
        self.sync_dir_of(path)
    }

    /// Removes the temporary file that a killed run left when it wrote `path`.
    ///
    /// # Errors
    /// When it exists and cannot be removed.
    pub fn remove_leftover(&self, path: &Path) -> Result<()> {
        let left = staging_path(path)?;
        // Checked first: on a read-only file system unlink(2) fails even if there is nothing to remove.
        match self.stat(&left)? {
            Some(_) => self.remove_file(&left),
            None => Ok(()),
        }
    }

    /// Restores owner and mode of a file in a directory of root's; does not follow links.
    ///
    /// # Errors
    /// When it is a link or cannot be changed.
    pub fn restore_mode(&self, path: &Path, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let failed = || format!("failed to set owner and mode of {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits())
            .open(self.changing(path))
            .with_context(failed)?;
        fchown(&file, Some(uid), Some(gid)).with_context(failed)?;
        file.set_permissions(fs::Permissions::from_mode(mode))
            .with_context(failed)
    }

    /// Appends a line to a file and syncs it; creates the file if it is missing.
    ///
    /// # Errors
    /// When it cannot be opened, written or synced.
    pub fn append(&self, path: &Path, line: &str, mode: u32) -> Result<()> {
        let failed = || format!("failed to append to {}", path.display());
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(mode)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(self.changing(path))
            .with_context(failed)?;
        file.write_all(line.as_bytes()).with_context(failed)?;
        file.write_all(b"\n").with_context(failed)?;
        file.sync_all().with_context(failed)?;
        self.sync_dir_of(path)
    }

    /// Points a symlink to another target, atomically: creates a new link next to it and renames it over it.
    ///
    /// # Errors
    /// When the link cannot be created or renamed; the old link is then unchanged.
    pub fn switch_link(&self, path: &Path, target: &Path) -> Result<()> {
        let failed = || format!("failed to point {} to {}", path.display(), target.display());
        let real = self.changing(path);
        let staged = staging_path(&real)?;
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(failed);
            }
            _ => {}
        }
        std::os::unix::fs::symlink(target, &staged).with_context(failed)?;
        fs::rename(&staged, self.changing(path)).with_context(failed)?;
        self.sync_dir_of(path)
    }

    /// Removes a file; a missing file is not an error.
    ///
    /// # Errors
    /// When it exists and cannot be removed.
    pub fn remove_file(&self, path: &Path) -> Result<()> {
        match fs::remove_file(self.changing(path)) {
            Ok(()) => self.sync_dir_of(path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("failed to remove {}", path.display()))
            }
        }
    }

    /// Renames a file within its file system, replacing `to` if it exists.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(self.real(from), self.changing(to))
            .with_context(|| format!("failed to rename {} to {}", from.display(), to.display()))?;
        self.sync_dir_of(to)
    }

    /// Removes an empty directory; `false` if it is not empty.
    ///
    /// # Errors
    /// When it cannot be removed for another reason.
    pub fn remove_empty_dir(&self, path: &Path) -> Result<bool> {
        match fs::remove_dir(self.changing(path)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) => {
                Err(error).with_context(|| format!("failed to remove {}", path.display()))
            }
        }
    }

    /// Removes a directory recursively; does not follow links, and a missing directory is not an error. A user
    /// other than root first restores the owner's access to directories that lack it.
    ///
    /// # Errors
    /// When an entry cannot be removed.
    pub fn remove_tree(&self, path: &Path) -> Result<()> {
        let real = self.changing(path);
        let removed = match fs::remove_dir_all(&real) {
            // Permission bits never stop root, and root must not resolve a path twice.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && effective_uid() != 0 => {
                grant_owner_access(&real).and_then(|()| fs::remove_dir_all(&real))
            }
            removed => removed,
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Creates a new directory, owned by this process's user.
    ///
    /// # Errors
    /// When it exists or cannot be created.
    pub fn make_own_dir(&self, path: &Path) -> Result<()> {
        fs::create_dir(self.changing(path))
            .with_context(|| format!("failed to create {}", path.display()))
    }

    /// Creates a directory and its missing parents, owned by this process's user.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn make_own_dirs(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(self.changing(path))
            .with_context(|| format!("failed to create {}", path.display()))
    }

    /// Syncs the whole file system that contains a path (syncfs(2)).
    ///
    /// # Errors
    /// When the path cannot be opened or the disk reports an error.
    pub fn sync_file_system(&self, path: &Path) -> Result<()> {
        let failed = || format!("failed to sync the file system of {}", path.display());
        let file = File::open(self.real(path)).with_context(failed)?;
        nix::unistd::syncfs(file).with_context(failed)
    }

    /// Syncs the parent directory of `path`, so that its entries survive a power cut.
    ///
    /// # Errors
    /// When the directory cannot be opened or synced.
    pub fn sync_dir_of(&self, path: &Path) -> Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        sync_path(&self.real(dir)).with_context(|| format!("failed to sync {}", dir.display()))
    }
}

/// Syncs a file or a directory (fsync(2)).
///
/// # Errors
/// When it cannot be opened or synced.
pub fn sync_path(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

/// Gives the owner full access to every directory of a tree; does not follow links.
fn grant_owner_access(dir: &Path) -> std::io::Result<()> {
    let mode = fs::symlink_metadata(dir)?.mode() & 0o7777;
    if mode & 0o700 != 0o700 {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode | 0o700))?;
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            grant_owner_access(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Kind;

    #[test]
    fn write_replaces_content_and_mode() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        let path = Path::new("/a");
        server.write(path, b"one", 0o640, None)?;
        server.write(path, b"two", 0o440, None)?;
        assert_eq!(server.read(path)?.as_deref(), Some(&b"two"[..]));
        assert_eq!(server.stat(path)?.map(|s| s.mode), Some(0o440));
        assert_eq!(server.list(Path::new("/"))?, ["a"]);
        Ok(())
    }

    #[test]
    fn names_of_maximal_length_can_be_written() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        let long = Path::new("/").join("x".repeat(255));
        server.write(&long, b"one", 0o640, None)?;
        let other = Path::new("/").join("y".repeat(255));
        server.publish_file(&long, &other)?;
        server.switch_link(&long, Path::new("elsewhere"))?;
        assert_eq!(server.read(&other)?.as_deref(), Some(&b"one"[..]));
        assert_eq!(server.list(Path::new("/"))?.len(), 2);
        Ok(())
    }

    #[test]
    fn write_replaces_a_link_and_does_not_follow_it() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        server.write(Path::new("/secret"), b"secret", 0o600, None)?;
        server.switch_link(Path::new("/a"), Path::new("secret"))?;
        server.write(Path::new("/a"), b"new", 0o644, None)?;
        assert_eq!(
            server.read(Path::new("/secret"))?.as_deref(),
            Some(&b"secret"[..])
        );
        assert_eq!(
            server.stat(Path::new("/a"))?.map(|s| s.kind),
            Some(Kind::File)
        );
        server.switch_link(Path::new("/l"), Path::new("a"))?;
        server.switch_link(Path::new("/l"), Path::new("secret"))?;
        assert_eq!(
            server.read_link(Path::new("/l"))?,
            Some(PathBuf::from("secret"))
        );
        Ok(())
    }

    #[test]
    fn stat_fails_instead_of_reporting_unreadable_paths_as_missing() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        server.write(Path::new("/file"), b"", 0o644, None)?;
        assert!(server.stat(Path::new("/file/below")).is_err());
        assert_eq!(server.stat(Path::new("/none"))?, None);
        let meta = fs::metadata(root.path())?;
        assert!(meta.permissions().mode() > 0);
        Ok(())
    }
}
