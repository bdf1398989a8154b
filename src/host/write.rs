//! Writing files whole.
//!
//! Beside the target, owner and mode set, synced, renamed over it, directory synced. Whoever reads
//! the path sees the old file or the new one, also after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};

use super::{Server, effective_uid};
use crate::state::sha256;

const BESIDE: &str = ".pullpray-new";

/// The mode of a directory of published files.
pub const PUBLISHED_DIR: u32 = 0o2775;
/// The mode of a published file.
const PUBLISHED_FILE: u32 = 0o644;

/// The name of a file that is about to become `path`: always the same, so that what a killed run
/// left behind is in the place that the next one writes to.
///
/// The leading dot keeps it from being read where directories are read whole: sudo and cron pass
/// over such names, systemd and ssh want their own suffix.
fn beside(path: &Path) -> Result<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} has no directory", path.display());
    };
    let name = name.to_string_lossy();
    // A file system gives a name 255 bytes; one that has them all is known by its hash.
    let name = if name.len() + BESIDE.len() + 1 > 255 {
        sha256(name.as_bytes()).into()
    } else {
        name
    };
    Ok(dir.join(format!(".{name}{BESIDE}")))
}

#[expect(clippy::disallowed_methods, reason = "this is the module that writes")]
impl Server {
    /// Writes a file whole. `owner` is (user, group) by number; `None` leaves it this process's.
    ///
    /// # Errors
    /// When a stage fails; the old file is then still there, whole.
    pub fn write(
        &self,
        path: &Path,
        content: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<()> {
        self.write_by(path, content, mode, owner, RenameFlags::empty())
    }

    /// Writes a file whole that must not be there yet: what is there is never overwritten, not
    /// even in a race.
    ///
    /// # Errors
    /// When it is there, or a stage fails.
    pub fn write_new(
        &self,
        path: &Path,
        content: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<()> {
        self.write_by(path, content, mode, owner, RenameFlags::RENAME_NOREPLACE)
    }

    fn write_by(
        &self,
        path: &Path,
        content: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
        rename: RenameFlags,
    ) -> Result<()> {
        let failed = || format!("failed to write {}", path.display());
        let staged = beside(path).with_context(failed)?;
        // A leftover of a killed run would be in the way of O_EXCL.
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
            let (from, to) = (self.real(&staged), self.real(path));
            renameat2(AT_FDCWD, &from, AT_FDCWD, &to, rename)?;
            Ok(())
        })();
        if let Err(error) = written {
            // The first error is the one to tell.
            drop(self.remove_file(&staged));
            return Err(error).with_context(failed);
        }
        self.sync_dir_of(path)
    }

    /// Removes what a run that was killed left of writing a file.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_leftover(&self, path: &Path) -> Result<()> {
        let left = beside(path)?;
        // Asked first: a file system that is read-only refuses to remove even what is not there.
        match self.stat(&left)? {
            Some(_) => self.remove_file(&left),
            None => Ok(()),
        }
    }

    /// Gives a file of root's directories its owner and mode back, links not followed.
    ///
    /// # Errors
    /// When it is a link or cannot be changed.
    pub fn restore_mode(&self, path: &Path, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let failed = || format!("failed to set owner and mode of {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits())
            .open(self.real(path))
            .with_context(failed)?;
        fchown(&file, Some(uid), Some(gid)).with_context(failed)?;
        file.set_permissions(fs::Permissions::from_mode(mode))
            .with_context(failed)
    }

    /// Adds a line to a file and syncs it; the file is made if it is missing.
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
            .open(self.real(path))
            .with_context(failed)?;
        file.write_all(line.as_bytes()).with_context(failed)?;
        file.write_all(b"\n").with_context(failed)?;
        file.sync_all().with_context(failed)?;
        self.sync_dir_of(path)
    }

    /// Makes a link point elsewhere in one step: a new link beside it, renamed over it.
    ///
    /// # Errors
    /// When the link cannot be made or renamed; the old one then still stands.
    pub fn switch_link(&self, path: &Path, target: &Path) -> Result<()> {
        let failed = || format!("failed to point {} to {}", path.display(), target.display());
        let real = self.real(path);
        let staged = beside(&real)?;
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(failed);
            }
            _ => {}
        }
        std::os::unix::fs::symlink(target, &staged).with_context(failed)?;
        fs::rename(&staged, &real).with_context(failed)?;
        self.sync_dir_of(path)
    }

    /// Removes a file; one that is gone already is fine.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_file(&self, path: &Path) -> Result<()> {
        match fs::remove_file(self.real(path)) {
            Ok(()) => self.sync_dir_of(path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("failed to remove {}", path.display()))
            }
        }
    }

    /// Gives a file another name in the same file system, replacing what had it.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(self.real(from), self.real(to))
            .with_context(|| format!("failed to rename {} to {}", from.display(), to.display()))?;
        self.sync_dir_of(to)
    }

    /// Removes an empty directory; `false` if something is still in it.
    ///
    /// # Errors
    /// When it cannot be removed for another reason.
    pub fn remove_empty_dir(&self, path: &Path) -> Result<bool> {
        match fs::remove_dir(self.real(path)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) => {
                Err(error).with_context(|| format!("failed to remove {}", path.display()))
            }
        }
    }

    /// Removes a directory with everything in it, following no link; gone already is fine.
    /// Directories that their owner, who we are, shut against himself are opened first.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove_tree(&self, path: &Path) -> Result<()> {
        let real = self.real(path);
        let removed = match fs::remove_dir_all(&real) {
            // Root is never refused for want of a bit, and must not follow a path twice.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && effective_uid() != 0 => {
                open_shut(&real).and_then(|()| fs::remove_dir_all(&real))
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

    /// Makes a file that must not be there yet, to write to.
    ///
    /// # Errors
    /// When it is there or cannot be made.
    pub fn create_new(&self, path: &Path, mode: u32) -> Result<File> {
        Ok(OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(self.real(path))?)
    }

    /// Makes a directory of this process's own, which must not be there yet.
    ///
    /// # Errors
    /// When it is there or cannot be made.
    pub fn make_own_dir(&self, path: &Path) -> Result<()> {
        fs::create_dir(self.real(path))
            .with_context(|| format!("failed to make {}", path.display()))
    }

    /// Makes a directory of this process's own with all that leads to it; there already is fine.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_own_dirs(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(self.real(path))
            .with_context(|| format!("failed to make {}", path.display()))
    }

    /// Makes a directory of published files, whatever the umask; one that is there already gets the mode only.
    ///
    /// # Errors
    /// When it cannot be made, or is not the caller's.
    pub fn publish_dir(&self, path: &Path) -> Result<()> {
        let failed = || format!("failed to make {}", path.display());
        self.make_own_dirs(path)?;
        open_to_others(&self.real(path), PUBLISHED_DIR).with_context(failed)
    }

    /// Puts a copy of a file elsewhere, in one rename; where both are in one file system the
    /// copy is a second name and costs no space. A file that is the same already stays. Everybody may
    /// read it, whatever its mode was (`FILE_UPLOAD_PERMISSIONS`, a storage's): that is what publishing means.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn publish_file(&self, from: &Path, to: &Path) -> Result<()> {
        let failed = || format!("failed to publish {}", to.display());
        let (real_from, real_to) = (self.real(from), self.real(to));
        // Also where nothing is to be done: a run that was killed here may have left it.
        let staged = beside(&real_to)?;
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(failed);
            }
            _ => {}
        }
        let source = fs::metadata(&real_from).with_context(failed)?;
        if let Ok(there) = fs::symlink_metadata(&real_to)
            && there.dev() == source.dev()
            && there.ino() == source.ino()
        {
            return open_to_others(&real_to, PUBLISHED_FILE).with_context(failed);
        }
        if fs::hard_link(&real_from, &staged).is_err() {
            fs::copy(&real_from, &staged).with_context(failed)?;
        }
        open_to_others(&staged, PUBLISHED_FILE).with_context(failed)?;
        fs::rename(&staged, &real_to).with_context(failed)
    }

    /// Has the kernel write everything of the file system that a path lies on to its disk.
    ///
    /// # Errors
    /// When the path cannot be opened or the disk reports an error.
    pub fn sync_file_system(&self, path: &Path) -> Result<()> {
        let failed = || format!("failed to sync the file system of {}", path.display());
        let file = File::open(self.real(path)).with_context(failed)?;
        nix::unistd::syncfs(file).with_context(failed)
    }

    /// Makes the names in the directory of `path` survive a power cut.
    ///
    /// # Errors
    /// When the directory cannot be opened or synced.
    pub fn sync_dir_of(&self, path: &Path) -> Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        File::open(self.real(dir))
            .and_then(|dir| dir.sync_all())
            .with_context(|| format!("failed to sync {}", dir.display()))
    }
}

/// Gives what is published its mode. Where it is somebody else's that cannot be done, and need not be if others
/// can read it.
#[expect(clippy::disallowed_methods, reason = "this is the module that writes")]
fn open_to_others(path: &Path, mode: u32) -> std::io::Result<()> {
    let is = fs::metadata(path)?.mode() & 0o7777;
    if is == mode {
        return Ok(());
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
        Err(_) if is & 0o007 == mode & 0o007 => Ok(()),
        done => done,
    }
}

/// Gives the owner of a tree's directories access to them, links not followed.
#[expect(clippy::disallowed_methods, reason = "this is the module that writes")]
fn open_shut(dir: &Path) -> std::io::Result<()> {
    let mode = fs::symlink_metadata(dir)?.mode() & 0o7777;
    if mode & 0o700 != 0o700 {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode | 0o700))?;
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_shut(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Kind;

    #[test]
    fn a_file_is_written_whole_with_its_mode() -> Result<()> {
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
    fn a_name_as_long_as_names_can_be_is_written_too() -> Result<()> {
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
    fn a_link_is_replaced_and_never_written_through() -> Result<()> {
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
    fn unreadable_is_not_absent() -> Result<()> {
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
