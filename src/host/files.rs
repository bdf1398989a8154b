//! Looking at files, and reading them.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::View;

/// Where a file system keeps what fsck found: root's, in the top directory of ext2 to ext4.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

/// What a path is, links not followed.
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

/// What is known about a path without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Hard links.
    pub links: u64,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970 of the last change of content.
    pub modified: i64,
}

/// What of a tree is not as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// How many entries were looked at.
    pub seen: usize,
    /// How many are not as they should be.
    pub count: usize,
    /// The first few of them.
    pub first: Vec<String>,
}

impl Drift {
    /// Adds what was found in another tree.
    pub fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.count += other.count;
        self.first.extend(other.first);
        self.first.truncate(3);
    }
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
            modified: meta.mtime(),
        }
    }
}

/// How much of a file system a tree of files takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Files and links.
    pub files: u64,
    /// Their bytes, before filters (line ends) and without the file system's rounding.
    pub bytes: u64,
}

impl View {
    /// What the path is; `None` if there is nothing.
    ///
    /// # Errors
    /// When it cannot be told: no access, or something on the way is no directory.
    pub fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        match fs::symlink_metadata(self.real(path)) {
            Ok(meta) => Ok(Some(meta.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("failed to look at {}", path.display()))
            }
        }
    }

    /// What the path leads to, links followed; `None` if there is nothing.
    ///
    /// # Errors
    /// As [`View::stat`].
    pub fn stat_target(&self, path: &Path) -> Result<Option<Stat>> {
        match fs::metadata(self.real(path)) {
            Ok(meta) => Ok(Some(meta.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("failed to look at {}", path.display()))
            }
        }
    }

    /// The content of a file; `None` if there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match fs::read(self.real(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    /// The content of a text file that lies where others can write; `None` if there is none.
    ///
    /// # Errors
    /// As [`View::read_untrusted_bytes`], and when it is not UTF-8.
    pub fn read_untrusted(&self, path: &Path) -> Result<Option<String>> {
        self.read_untrusted_bytes(path)?
            .map(String::from_utf8)
            .transpose()
            .with_context(|| format!("{} is not UTF-8 text", path.display()))
    }

    /// The content of a file that lies where others can write; `None` if there is none. A link
    /// is not followed, and what is no file is not waited for: a pipe in its place would hold root up
    /// for good.
    ///
    /// # Errors
    /// When it is anything but a file of at most 16 MiB, or cannot be read.
    pub fn read_untrusted_bytes(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        const MOST: u64 = 16 * 1024 * 1024;
        let failed = || format!("failed to read {}", path.display());
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match nix::fcntl::open(&self.real(path), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => bail!("{} is a link, which is not followed", path.display()),
            Err(error) => return Err(error).with_context(failed),
        };
        let stat: Stat = file.metadata().with_context(failed)?.into();
        if stat.kind != Kind::File || stat.size > MOST {
            bail!("{} is not a file of ordinary size", path.display());
        }
        let mut bytes = Vec::new();
        file.take(MOST)
            .read_to_end(&mut bytes)
            .with_context(failed)?;
        Ok(Some(bytes))
    }

    /// The content of a text file; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read or is not UTF-8.
    pub fn read_text(&self, path: &Path) -> Result<Option<String>> {
        self.read(path)?
            .map(String::from_utf8)
            .transpose()
            .with_context(|| format!("{} is not UTF-8 text", path.display()))
    }

    /// Where a link points; `None` if there is no such link.
    ///
    /// # Errors
    /// When it is something else or cannot be read.
    pub fn read_link(&self, path: &Path) -> Result<Option<PathBuf>> {
        match fs::read_link(self.real(path)) {
            Ok(target) => Ok(Some(target)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("failed to read the link {}", path.display()))
            }
        }
    }

    /// Whether a file begins with these bytes.
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

    /// Where a path ends once every link on it was followed; `None` if that is the path itself.
    ///
    /// # Errors
    /// When a link leads nowhere or cannot be read.
    pub fn link_target(&self, path: &Path) -> Result<Option<PathBuf>> {
        let real = fs::canonicalize(self.real(path))
            .with_context(|| format!("failed to follow {}", path.display()))?;
        Ok((real != self.real(path)).then_some(real))
    }

    /// Entries of a tree that do not belong to this user and group, and directories that do not
    /// pass the group on. Links are looked at themselves and never followed.
    ///
    /// # Errors
    /// When a part of the tree cannot be looked at.
    pub fn drift(&self, path: &Path, uid: u32, gid: u32) -> Result<Drift> {
        let mut drift = Drift::default();
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            // What went while we looked is not ours to judge.
            let Some(stat) = self.stat(&path)? else {
                continue;
            };
            if stat.uid == 0 && path.ends_with(LOST_AND_FOUND) {
                continue;
            }
            drift.seen += 1;
            let directory = stat.kind == Kind::Directory;
            if stat.uid != uid || stat.gid != gid || (directory && stat.mode & 0o2070 != 0o2070) {
                drift.count += 1;
                if drift.first.len() < 3 {
                    drift.first.push(path.display().to_string());
                }
            }
            if directory {
                waiting.extend(
                    self.list(&path)?
                        .into_iter()
                        .rev()
                        .map(|name| path.join(name)),
                );
            }
        }
        Ok(drift)
    }

    /// The names in a directory, sorted; empty if there is none.
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

    /// Whether nothing is in a directory but what a file system of its own begins with (mke2fs(8)).
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn is_empty_dir(&self, path: &Path) -> Result<bool> {
        Ok(self.list(path)?.iter().all(|name| name == LOST_AND_FOUND))
    }

    /// What a tree takes on the disk: its files and directories, and the blocks of all of them.
    ///
    /// # Errors
    /// When a part of it cannot be looked at.
    pub fn tree_size(&self, path: &Path) -> Result<Size> {
        let mut size = Size::default();
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            let meta = match fs::symlink_metadata(self.real(&path)) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                meta => meta.with_context(|| format!("failed to look at {}", path.display()))?,
            };
            size.files += 1;
            size.bytes += meta.blocks() * 512;
            if meta.is_dir() {
                waiting.extend(self.list(&path)?.into_iter().map(|name| path.join(name)));
            }
        }
        Ok(size)
    }

    /// A program by name in [`super::PATH`], or by absolute path; links followed.
    #[must_use]
    pub fn which(&self, program: &str) -> Option<PathBuf> {
        super::PATH
            .split(':')
            .map(|dir| Path::new(dir).join(program))
            .find(|path| {
                fs::metadata(self.real(path)).is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0)
            })
    }

    /// The path that this process was started from.
    ///
    /// # Errors
    /// When the kernel cannot tell.
    pub fn own_program(&self) -> Result<PathBuf> {
        std::env::current_exe().context("failed to find out which file this program is")
    }
}
