//! What is in a commit of the mirror.
//!
//! Commits are named by object id only: a branch or a file that is called like a commit
//! makes every other way of naming one ambiguous.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid};

use super::remote_error::sanitize;
use super::{Bounds, Mirror, MirrorError};
use crate::host::Size;

/// Mode of a submodule in a tree.
const SUBMODULE: i32 = 0o160_000;

/// So many directories are in each other at most: libgit2 goes into them by recursion, and half of what its stack
/// holds is still some hundred times as much as people make.
const DEEPEST: usize = 100;
/// So many entries a commit's trees have at most. One tree in a few kilobytes can stand for as many as one likes.
const MOST_ENTRIES: usize = 200_000;
/// So long a path is at most: half of PATH_MAX (limits.h), since it stands below others.
const LONGEST_PATH: usize = 2048;
/// So long a name is at most: NAME_MAX (limits.h).
const LONGEST_NAME: usize = 255;
/// So many bytes all paths together have at most. libgit2 holds them in memory for a checkout.
const MOST_NAMES: usize = 32 << 20;
/// So much of a commit's message or author is looked at for one line of it.
const LINE: usize = 1024;
/// So large is a commit or a tag at most. A signature is read as a whole.
const LARGEST_COMMIT: usize = 1 << 20;

/// A commit, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its full id.
    pub oid: Oid,
    /// The shortest unambiguous beginning of it, seven digits or more.
    pub short: String,
    /// The first line of its message, without control characters.
    pub subject: String,
    /// Who wrote it: `Name <address>`, without control characters.
    pub author: String,
    /// When it was committed: seconds since 1970, UTC.
    pub time: i64,
}

impl Mirror {
    /// Subject, author and time of a commit.
    ///
    /// # Errors
    /// The commit is unknown or unreadable.
    pub fn commit(&self, oid: Oid) -> Result<CommitInfo, MirrorError> {
        let commit = self.find_commit(oid)?;
        let line = |bytes: &[u8]| {
            sanitize(&bytes[..bytes.len().min(LINE)])
                .lines()
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let author = commit.author();
        let short = commit.as_object().short_id()?;
        Ok(CommitInfo {
            oid,
            short: String::from_utf8_lossy(&short).into_owned(),
            subject: line(commit.message_bytes()),
            author: line(&[author.name_bytes(), b" <", author.email_bytes(), b">"].concat()),
            time: commit.time().seconds(),
        })
    }

    /// The commit whose name begins with these digits; `None` if there is none, or more than one.
    #[must_use]
    pub fn by_digits(&self, digits: &str) -> Option<CommitInfo> {
        let kind = Some(git2::ObjectType::Commit);
        let found = self.repo.find_object_by_prefix(digits, kind).ok()?;
        self.commit(found.id()).ok()
    }

    /// Makes sure that everything that a checkout of this commit needs is really there and readable: the
    /// commit, its trees and all files, each with the content that its id promises. This is
    /// how a mirror that lost data with the power is noticed. Reads everything once, as soon as it is known
    /// that it is within the bounds.
    ///
    /// # Errors
    /// [`MirrorError::Beyond`] if it is not; else what is missing or damaged.
    pub fn check_whole(&self, oid: Oid, bounds: Bounds) -> Result<(), MirrorError> {
        let odb = self.repo.odb()?;
        let mut seen = HashSet::new();
        let mut whole = 0;
        self.walk(oid, &mut |path, entry| {
            if entry.is_file() {
                let header = odb.read_header(entry.oid);
                let bytes = header.map_err(|error| lost(entry.oid, error))?.0 as u64;
                whole += bytes;
                if bytes > bounds.file {
                    let path = sanitize(path.as_os_str().as_bytes());
                    let (has, most) = (bytes >> 20, bounds.file >> 20);
                    return Err(MirrorError::Beyond(format!(
                        "{path:?} has {has} MiB, more than max_file = {most}"
                    )));
                }
                if whole > bounds.whole {
                    let most = bounds.whole >> 20;
                    let text = format!("its files have more than max_size = {most} MiB");
                    return Err(MirrorError::Beyond(text));
                }
                seen.insert(entry.oid);
            }
            Ok(())
        })?;
        // Reading compares the content with the id (libgit2's strict hash verification).
        let read = |oid: &Oid| odb.read(*oid).map(drop).map_err(|error| lost(*oid, error));
        seen.iter().try_for_each(read)
    }

    /// As [`Mirror::check_whole`], with bounds that nothing of a test's reaches.
    #[cfg(test)]
    pub(super) fn has_whole(&self, oid: Oid) -> bool {
        let (file, whole) = (u64::MAX, u64::MAX);
        self.check_whole(oid, Bounds { file, whole }).is_ok()
    }

    /// Refuses a commit or a tag that is too large to be read for what it says.
    pub(super) fn check_header(&self, oid: Oid) -> Result<(), MirrorError> {
        let header = self.repo.odb()?.read_header(oid);
        let bytes = header.map_err(|error| lost(oid, error))?.0;
        if bytes > LARGEST_COMMIT {
            let text = format!("{oid}, a commit or a tag, has {bytes} bytes");
            return Err(MirrorError::Beyond(text));
        }
        Ok(())
    }

    /// The paths of submodules. They are not fetched: a checkout has empty directories there.
    ///
    /// # Errors
    /// The commit is unknown or unreadable.
    pub fn submodules(&self, oid: Oid) -> Result<Vec<PathBuf>, MirrorError> {
        let mut found = Vec::new();
        self.walk(oid, &mut |path, entry| {
            if entry.mode == SUBMODULE {
                found.push(path.to_owned());
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// How many files and bytes a checkout of this commit has.
    ///
    /// # Errors
    /// The commit is unknown or unreadable.
    pub fn size(&self, oid: Oid) -> Result<Size, MirrorError> {
        let odb = self.repo.odb()?;
        let mut size = Size::default();
        self.walk(oid, &mut |_, entry| {
            if entry.is_file() {
                size.files += 1;
                size.bytes += odb.read_header(entry.oid)?.0 as u64;
            }
            Ok(())
        })?;
        Ok(size)
    }

    /// The ids of the files whose paths are wanted: where they are the same in two commits, so is what
    /// these files say.
    ///
    /// # Errors
    /// The commit is unknown or unreadable.
    pub fn blobs(
        &self,
        oid: Oid,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<(PathBuf, Oid)>, MirrorError> {
        let mut found = Vec::new();
        self.walk(oid, &mut |path, entry| {
            if entry.is_file() && wanted(path) {
                found.push((path.to_owned(), entry.oid));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The content of a file as it is stored (no line-end conversion); of a link, its target.
    /// `None` if the commit has no file of that path.
    ///
    /// # Errors
    /// The commit is unknown, or the file cannot be read.
    pub fn read_file(&self, oid: Oid, path: &Path) -> Result<Option<Vec<u8>>, MirrorError> {
        let tree = self.find_commit(oid)?.tree()?;
        let entry = match tree.get_path(path) {
            Ok(entry) => entry,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if entry.kind() != Some(ObjectType::Blob) {
            return Ok(None);
        }
        let blob = self
            .repo
            .find_blob(entry.id())
            .map_err(|error| lost(entry.id(), error))?;
        Ok(Some(blob.content().to_vec()))
    }

    /// Visits every entry of a commit's trees. (Not `Tree::walk`: it hands out the
    /// directory's name only if it is UTF-8.)
    fn walk(&self, oid: Oid, visit: &mut Visit<'_>) -> Result<(), MirrorError> {
        let commit = self.find_commit(oid)?;
        let tree = commit
            .tree()
            .map_err(|error| lost(commit.tree_id(), error))?;
        let beyond = |text: String| Err(MirrorError::Beyond(text));
        let (mut entries, mut names) = (0, 0);
        let mut path = Vec::new();
        // Trees on the way: each with the next of its entries, and how much of the path is its own.
        let mut way = vec![(tree, 0, 0)];
        while let Some((tree, next, own)) = way.last_mut() {
            let Some(entry) = tree.get(*next) else {
                way.pop();
                continue;
            };
            *next += 1;
            let item = Item {
                oid: entry.id(),
                mode: entry.filemode(),
                kind: entry.kind(),
            };
            path.truncate(*own);
            path.extend_from_slice(if *own > 0 { b"/" } else { b"" });
            path.extend_from_slice(entry.name_bytes());
            let name = entry.name_bytes().len();
            drop(entry);
            if name > LONGEST_NAME || path.len() > LONGEST_PATH {
                return beyond(format!(
                    "it has a path that is too long: a name may have {LONGEST_NAME} bytes, a path {LONGEST_PATH}"
                ));
            }
            entries += 1;
            names += path.len();
            if entries > MOST_ENTRIES || names > MOST_NAMES {
                return beyond(format!(
                    "it has too many files: {MOST_ENTRIES} are the most, and {} MiB of paths",
                    MOST_NAMES >> 20
                ));
            }
            visit(Path::new(OsStr::from_bytes(&path)), &item)?;
            if item.kind != Some(ObjectType::Tree) {
                continue;
            }
            if way.len() >= DEEPEST {
                let text = format!("its directories are more than {DEEPEST} deep in each other");
                return beyond(text);
            }
            let below = self.repo.find_tree(item.oid);
            way.push((below.map_err(|error| lost(item.oid, error))?, 0, path.len()));
        }
        Ok(())
    }
}

type Visit<'a> = dyn FnMut(&Path, &Item) -> Result<(), MirrorError> + 'a;

/// An entry of a tree.
struct Item {
    oid: Oid,
    mode: i32,
    kind: Option<ObjectType>,
}

impl Item {
    fn is_file(&self) -> bool {
        self.kind == Some(ObjectType::Blob)
    }
}

/// A commit that is there promises its trees and files: one that is not is damage.
fn lost(oid: Oid, error: git2::Error) -> MirrorError {
    match error.code() {
        ErrorCode::NotFound => MirrorError::Damaged(format!("object {oid} is missing")),
        _ => error.into(),
    }
}
