//! Directories, made and mended by descriptor.
//!
//! Some of them lie where the deploy user can write. There a path is a trap: between looking at
//! it and acting on it somebody can put a link in its place, and root would change what the link
//! leads to. So each part of the path is opened without following links, and owner and mode are
//! set on the open directory. A link is followed only where nobody but root could have made it.

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
    /// Makes a directory if it is missing and gives it owner, group and mode. Its parent must be
    /// there.
    ///
    /// # Errors
    /// When the path leads through a link that somebody else could have made, or is no directory.
    pub fn make_dir(&self, path: &Path, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let failed = || format!("failed to make the directory {}", path.display());
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{} has no parent", path.display());
        };
        let parent = self.open_dir(parent).with_context(failed)?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o700)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error).with_context(failed),
        }
        let dir = step_into(parent, name.as_ref()).with_context(failed)?;
        set(&dir, uid, gid, mode).with_context(failed)?;
        self.sync_dir_of(path)
    }

    /// Removes whatever stands there, by the descriptor of the directory that it stands in: a file, a directory
    /// with everything in it, or a link itself. Gone already is fine.
    ///
    /// # Errors
    /// When it cannot be removed, or the way leads through a link that somebody else could have made.
    pub fn remove_any(&self, path: &Path) -> Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{} has no parent", path.display());
        };
        if self.stat(parent)?.is_none() {
            return Ok(());
        }
        let parent = self.open_dir(parent)?;
        remove_in(&parent, name).with_context(|| format!("failed to remove {}", path.display()))
    }

    /// Removes everything in a directory and keeps the directory. One that is gone is fine, and
    /// what was put in its place is removed itself, never followed.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn empty_tree(&self, path: &Path) -> Result<()> {
        match self.stat(path)?.map(|stat| stat.kind) {
            None => return Ok(()),
            Some(Kind::Directory) => {}
            Some(_) => return self.remove_any(path),
        }
        let dir = self.open_dir(path)?;
        // Through the open directory: its path may lead elsewhere by now.
        let held = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
        let by_descriptor = Self::at(Path::new("/"));
        for name in by_descriptor.list(&held)? {
            let entry = held.join(&name);
            if name == LOST_AND_FOUND && by_descriptor.stat(&entry)?.is_some_and(|s| s.uid == 0) {
                continue;
            }
            remove_in(&dir, &name)?;
        }
        Ok(())
    }

    /// Gives a directory its owner, group and mode back; `false` if it is gone.
    ///
    /// # Errors
    /// When the path leads through a link that somebody else could have made, or is no directory.
    pub fn restore_dir(&self, path: &Path, uid: u32, gid: u32, mode: u32) -> Result<bool> {
        if self.stat(path)?.is_none() {
            return Ok(false);
        }
        set(&self.open_dir(path)?, uid, gid, mode)
            .with_context(|| format!("failed to give {} its owner back", path.display()))?;
        Ok(true)
    }

    /// Writes a file whole in a directory where others may write, by the directory's descriptor.
    ///
    /// # Errors
    /// When the path leads through a link that somebody else could have made, or it cannot be written.
    pub fn write_in(
        &self,
        dir: &Path,
        name: &str,
        content: &[u8],
        mode: u32,
        owner: (u32, u32),
    ) -> Result<()> {
        let dir = self.open_dir(dir)?;
        let held = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
        Self::at(Path::new("/")).write(&held.join(name), content, mode, Some(owner))
    }

    /// Opens a directory part by part as the head of this module says.
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

    /// Sets owner, group and setgid on a whole tree that should belong to the app, by descriptor.
    /// Files keep their mode but for group access; links are changed themselves, never followed.
    /// Gives the number of entries that had to be changed.
    ///
    /// # Errors
    /// At the first entry that cannot be changed.
    pub fn own_tree(&self, path: &Path, uid: u32, gid: u32) -> Result<usize> {
        let dir = self.open_dir(path)?;
        let guarded = self.read_text(Path::new("/proc/sys/fs/protected_hardlinks"))?;
        let guarded = guarded.is_some_and(|text| text.trim() == "1");
        own(dir, uid, gid, guarded)
            .with_context(|| format!("failed to mend the owner below {}", path.display()))
    }
}

/// Through the open directory: its path may lead elsewhere by now.
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

fn own(dir: OwnedFd, uid: u32, gid: u32, guarded: bool) -> Result<usize> {
    let mut changed = 0;
    let stat = fstat(&dir)?;
    let mode = stat.st_mode & 0o7777;
    if stat.st_uid != uid || stat.st_gid != gid || mode & 0o2070 != 0o2070 {
        fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fchmod(&dir, Mode::from_bits_truncate(mode | 0o2070))?;
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
                // It went, or became something else, while we looked.
                Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        } else if stat.st_uid != uid || stat.st_gid != gid {
            // What is looked at and what is changed is one open file, whatever its name is by now.
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let file = match openat(&dir, name.as_c_str(), flags, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::ENOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let stat = fstat(&file)?;
            // A second name of somebody else's file would hand that file over, on a kernel that
            // lets people make such names (proc_sys_fs(5), protected_hardlinks).
            if !guarded && kind(&stat) == SFlag::S_IFREG && stat.st_nlink > 1 && stat.st_uid != uid
            {
                bail!(
                    "{} has another name elsewhere and is left alone",
                    name.to_string_lossy()
                );
            }
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(&file, c"", uid, gid, AtFlags::AT_EMPTY_PATH)?;
            changed += 1;
        }
    }
    Ok(changed)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Opens a directory inside another one; a link only where root alone can write.
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
                bail!("{} is there and is not a directory", name.display());
            }
            let roots = stat.st_uid == 0 && stat.st_mode & 0o022 == 0 && link.st_uid == 0;
            if !roots {
                bail!(
                    "{} is a link in a directory where others can write, and is not followed",
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
    fn directories_get_their_mode_whatever_the_umask() -> Result<()> {
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
    fn a_tree_is_emptied_and_what_links_lead_to_stays() -> Result<()> {
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
    fn a_tree_gets_its_owner_and_setgid_back() -> Result<()> {
        let root = tempfile::tempdir()?;
        let server = Server::at(root.path());
        let me = std::fs::metadata(root.path())?;
        std::fs::create_dir_all(root.path().join("tree/a"))?;
        std::fs::write(root.path().join("tree/a/file"), "x")?;
        let changed = server.own_tree(Path::new("/tree"), me.uid(), me.gid())?;
        assert_eq!(changed, 2, "the two directories lacked setgid");
        assert_eq!(
            server
                .view()
                .drift(Path::new("/tree"), me.uid(), me.gid())?
                .count,
            0
        );
        Ok(())
    }

    #[test]
    fn a_planted_link_is_refused() -> Result<()> {
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
