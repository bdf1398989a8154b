//! Creates, repairs and removes directories by descriptor.
//!
//! Some are in directories that the deploy user can write to. There, paths are not safe: between the check and the use
//! the user could replace a directory by a link, and root would change the link's target. So each part of the path is
//! opened without following links, and owner and mode are set on the open directory. Links are followed only where
//! only root could have created them.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, fchown, fchownat};

use super::files::LOST_AND_FOUND;
use super::{Kind, Server};

const PLAIN: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_RDONLY);

impl Server {
    /// Creates a directory if it is missing, and sets owner, group and mode. Its parent must exist.
    ///
    /// # Errors
    /// When the path contains a link that another user could have created, or is not a directory.
    pub fn make_dir(&self, path: &Path, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let failed = || format!("failed to create the directory {}", path.display());
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{} has no parent", path.display());
        };
        let parent = self.open_dir(parent).with_context(failed)?;
        self.changing(path);
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o700)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error).with_context(failed),
        }
        let dir = step_into(parent, name.as_ref()).with_context(failed)?;
        set(&dir, uid, gid, mode).with_context(failed)?;
        self.sync_dir_of(path)
    }

    /// Removes a file, a link, or a directory recursively, by the descriptor of its parent directory. A missing path is
    /// not an error.
    ///
    /// # Errors
    /// When it cannot be removed, or the path contains a link that another user could have created.
    pub fn remove_any(&self, path: &Path) -> Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{} has no parent", path.display());
        };
        if self.stat(parent)?.is_none() {
            return Ok(());
        }
        let parent = self.open_dir(parent)?;
        self.changing(path);
        remove_in(&parent, name).with_context(|| format!("failed to remove {}", path.display()))
    }

    /// Removes everything in a directory but keeps the directory. A missing directory is not an error; anything else
    /// at this path, such as a link, is removed itself.
    ///
    /// # Errors
    /// When an entry cannot be removed.
    pub fn empty_tree(&self, path: &Path) -> Result<()> {
        match self.stat(path)?.map(|stat| stat.kind) {
            None => return Ok(()),
            Some(Kind::Directory) => {}
            Some(_) => return self.remove_any(path),
        }
        let dir = self.open_dir(path)?;
        self.changing(path);
        // Through the open directory: its path may point elsewhere by now.
        let opened = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
        let by_descriptor = Self::at(Path::new("/"));
        for name in by_descriptor.list(&opened)? {
            let entry = opened.join(&name);
            if name == LOST_AND_FOUND && by_descriptor.stat(&entry)?.is_some_and(|s| s.uid == 0) {
                continue;
            }
            remove_in(&dir, &name)?;
        }
        Ok(())
    }

    /// Restores owner, group and mode of a directory; `false` if it does not exist.
    ///
    /// # Errors
    /// When the path contains a link that another user could have created, or is not a directory.
    pub fn restore_dir(&self, path: &Path, uid: u32, gid: u32, mode: u32) -> Result<bool> {
        if self.stat(path)?.is_none() {
            return Ok(false);
        }
        self.changing(path);
        set(&self.open_dir(path)?, uid, gid, mode)
            .with_context(|| format!("failed to restore the owner of {}", path.display()))?;
        Ok(true)
    }

    /// Writes a file atomically in a directory that other users can write to, by the directory's descriptor.
    ///
    /// # Errors
    /// When the path contains a link that another user could have created, or the file cannot be written.
    pub fn write_in(
        &self,
        dir: &Path,
        name: &str,
        content: &[u8],
        mode: u32,
        owner: (u32, u32),
    ) -> Result<()> {
        let opened_dir = self.open_dir(dir)?;
        self.changing(&dir.join(name));
        let opened = Path::new("/proc/self/fd").join(opened_dir.as_raw_fd().to_string());
        Self::at(Path::new("/")).write(&opened.join(name), content, mode, Some(owner))
    }

    /// Opens a directory part by part; see the module.
    fn open_dir(&self, path: &Path) -> Result<OwnedFd> {
        let mut dir = open(&self.root, PLAIN, Mode::empty())?;
        for part in path.components() {
            if let Component::Normal(name) = part {
                dir = step_into(dir, name.as_ref())
                    .with_context(|| format!("failed to open {}", path.display()))?;
            }
        }
        Ok(dir)
    }

    /// Sets the owner and group of a whole tree, and setgid on its directories, by descriptor; without a group only the
    /// owner, who can use its directories. Files keep their mode; for links, the link itself is changed. Returns the
    /// number of changed entries.
    ///
    /// # Errors
    /// At the first entry that cannot be changed.
    pub fn own_tree(&self, path: &Path, uid: u32, gid: Option<u32>) -> Result<usize> {
        let dir = self.open_dir(path)?;
        self.changing(path);
        let guarded = self.read_text(Path::new("/proc/sys/fs/protected_hardlinks"))?;
        let guarded = guarded.is_some_and(|text| text.trim() == "1");
        own(dir, uid, gid, guarded)
            .with_context(|| format!("failed to set the owner below {}", path.display()))
    }
}

/// Removes an entry through the open directory, whose path may point elsewhere by now.
fn remove_in(dir: &OwnedFd, name: &OsStr) -> Result<()> {
    let entry = Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(name);
    let server = Server::at(Path::new("/"));
    match server.stat(&entry)?.map(|stat| stat.kind) {
        Some(Kind::Directory) => server.remove_tree(&entry),
        _ => server.remove_file(&entry),
    }
}

fn set(dir: &OwnedFd, uid: u32, gid: u32, mode: u32) -> Result<()> {
    // Owner first: chown clears setgid (chown(2)).
    fchown(dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    fchmod(dir, Mode::from_bits_truncate(mode))?;
    Ok(nix::unistd::fsync(dir)?)
}

/// Mode bits that the directories of a tree need: with a group, for it; else for their owner.
pub(super) fn directory_bits(gid: Option<u32>) -> u32 {
    gid.map_or(0o700, |_| 0o2070)
}

fn own(dir: OwnedFd, uid: u32, gid: Option<u32>, guarded: bool) -> Result<usize> {
    let mut changed = 0;
    let (bits, group) = (directory_bits(gid), gid.map(Gid::from_raw));
    let is_wrong =
        |stat: &FileStat| stat.st_uid != uid || gid.is_some_and(|gid| stat.st_gid != gid);
    let stat = fstat(&dir)?;
    let mode = stat.st_mode & 0o7777;
    if is_wrong(&stat) || mode & bits != bits {
        fchown(&dir, Some(Uid::from_raw(uid)), group)?;
        fchmod(&dir, Mode::from_bits_truncate(mode | bits))?;
        changed += 1;
    }
    let mut names = Vec::new();
    for entry in Dir::from_fd(dir.try_clone()?)?.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    for name in names {
        let stat = match fstatat(&dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if name.to_bytes() == LOST_AND_FOUND.as_bytes() && stat.st_uid == 0 {
            continue;
        }
        if kind(&stat) == SFlag::S_IFDIR {
            let flags = PLAIN.union(OFlag::O_NOFOLLOW);
            match openat(&dir, name.as_c_str(), flags, Mode::empty()) {
                Ok(below) => changed += own(below, uid, gid, guarded)?,
                // It was removed or replaced meanwhile.
                Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        } else if is_wrong(&stat) {
            // The check and the change use the same open file, whatever its name is by now.
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let file = match openat(&dir, name.as_c_str(), flags, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::ENOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let stat = fstat(&file)?;
            // A hard link to another user's file would give that file away, if the kernel lets users create such
            // links (proc_sys_fs(5), protected_hardlinks).
            if !guarded && kind(&stat) == SFlag::S_IFREG && stat.st_nlink > 1 && stat.st_uid != uid
            {
                bail!(
                    "{} has another hard link and was not changed",
                    name.to_string_lossy()
                );
            }
            let owner = Some(Uid::from_raw(uid));
            fchownat(&file, c"", owner, group, AtFlags::AT_EMPTY_PATH)?;
            changed += 1;
        }
    }
    Ok(changed)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Opens a directory in another one; follows a link only where only root can write.
fn step_into(dir: OwnedFd, name: &Path) -> Result<OwnedFd> {
    match openat(
        dir.as_fd(),
        name,
        PLAIN.union(OFlag::O_NOFOLLOW),
        Mode::empty(),
    ) {
        Ok(next) => Ok(next),
        Err(Errno::ELOOP | Errno::ENOTDIR) => {
            let stat = fstat(&dir)?;
            let link = fstatat(dir.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if kind(&link) != SFlag::S_IFLNK {
                bail!("{} exists and is not a directory", name.display());
            }
            let trusted = stat.st_uid == 0 && stat.st_mode & 0o022 == 0 && link.st_uid == 0;
            if !trusted {
                bail!(
                    "{} is a link in a directory that other users can write to, and is not followed",
                    name.display()
                );
            }
            Ok(openat(dir.as_fd(), name, PLAIN, Mode::empty())?)
        }
        Err(error) => Err(error).with_context(|| format!("failed to open {}", name.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn make_dir_sets_the_mode_whatever_the_umask() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        let me = std::fs::metadata(root.path())?;
        server.make_dir(Path::new("/a"), me.uid(), me.gid(), 0o2775)?;
        server.make_dir(Path::new("/a/b"), me.uid(), me.gid(), 0o2770)?;
        assert_eq!(server.stat(Path::new("/a"))?.map(|s| s.mode), Some(0o2775));
        assert_eq!(
            server.stat(Path::new("/a/b"))?.map(|s| s.mode),
            Some(0o2770)
        );
        assert!(
            server
                .make_dir(Path::new("/none/b"), me.uid(), me.gid(), 0o755)
                .is_err()
        );
        Ok(())
    }

    #[test]
    fn empty_tree_does_not_follow_links() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        std::fs::create_dir_all(root.path().join("victim/inside"))?;
        std::fs::create_dir_all(root.path().join("tree/a/b"))?;
        std::fs::write(root.path().join("tree/a/file"), "x")?;
        symlink("../victim", root.path().join("tree/link"))?;
        server.empty_tree(Path::new("/tree"))?;
        assert!(server.list(Path::new("/tree"))?.is_empty());
        symlink("victim", root.path().join("planted"))?;
        server.empty_tree(Path::new("/planted"))?;
        assert_eq!(server.list(Path::new("/victim"))?, ["inside"]);
        server.empty_tree(Path::new("/gone"))
    }

    #[test]
    fn own_tree_restores_owner_and_setgid() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        let me = std::fs::metadata(root.path())?;
        std::fs::create_dir_all(root.path().join("tree/a"))?;
        std::fs::write(root.path().join("tree/a/file"), "x")?;
        let changed = server.own_tree(Path::new("/tree"), me.uid(), Some(me.gid()))?;
        assert_eq!(changed, 2, "the two directories lacked setgid");
        assert_eq!(
            server
                .view()
                .drift(Path::new("/tree"), me.uid(), Some(me.gid()))?
                .count,
            0
        );
        Ok(())
    }

    #[test]
    fn make_dir_refuses_links_of_other_users() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        let me = std::fs::metadata(root.path())?;
        server.make_dir(Path::new("/victim"), me.uid(), me.gid(), 0o700)?;
        server.make_dir(Path::new("/open"), me.uid(), me.gid(), 0o777)?;
        symlink("../victim", root.path().join("open/releases"))?;
        assert!(
            server
                .make_dir(Path::new("/open/releases"), me.uid(), me.gid(), 0o777)
                .is_err()
        );
        assert!(
            server
                .make_dir(Path::new("/open/releases/x"), me.uid(), me.gid(), 0o777)
                .is_err()
        );
        assert_eq!(
            server.stat(Path::new("/victim"))?.map(|s| s.mode),
            Some(0o700)
        );
        Ok(())
    }
}
