//! Reads and checks the contents of commits in the mirror.
//!
//! Commits are identified by object id only: any other name is ambiguous if a branch or a file has the same one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{DiffOptions, ErrorCode, ObjectType, Oid};

use super::remote_error::sanitize;
use super::{Bounds, Mirror, MirrorError};
use crate::host::Size;

/// Mode of a submodule in a tree.
const SUBMODULE: i32 = 0o160_000;

/// Deepest nesting of directories. libgit2 recurses into them, and its stack must not overflow; real projects stay far
/// below.
const MAX_DEPTH: usize = 100;
/// Most entries in a commit's trees. A few kilobytes of trees can describe any number of entries.
const MAX_ENTRIES: usize = 200_000;
/// Longest path in bytes: half of PATH_MAX (limits.h), since it is below other directories.
const MAX_PATH: usize = 2048;
/// Longest name in bytes: NAME_MAX (limits.h).
const MAX_NAME: usize = 255;
/// Most bytes of all paths together. libgit2 keeps them in memory for a checkout.
const MAX_PATH_BYTES: usize = 32 << 20;
/// Bytes of a commit's message or author to read for its first line.
const MAX_LINE: usize = 1024;
/// Largest commit or tag object in bytes: it is read into memory to verify a signature.
const MAX_COMMIT: usize = 1 << 20;

/// Description of a commit, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Full id.
    pub oid: Oid,
    /// Shortest unambiguous abbreviation of the id, at least seven digits.
    pub short: String,
    /// First line of the message, without control characters.
    pub subject: String,
    /// Author, `Name <address>`, without control characters.
    pub author: String,
    /// Commit time, in seconds since 1970 (UTC).
    pub time: i64,
}

impl Mirror {
    /// Returns subject, author and time of a commit.
    ///
    /// # Errors
    /// When the commit is unknown or unreadable.
    pub fn commit(&self, oid: Oid) -> Result<CommitInfo, MirrorError> {
        let commit = self.find_commit(oid)?;
        let line = |bytes: &[u8]| {
            sanitize(&bytes[..bytes.len().min(MAX_LINE)])
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

    /// Returns the commit whose id starts with these digits; `None` if there is none, or more than one.
    #[must_use]
    pub fn by_digits(&self, digits: &str) -> Option<CommitInfo> {
        let kind = Some(git2::ObjectType::Commit);
        let found = self.repo.find_object_by_prefix(digits, kind).ok()?;
        self.commit(found.id()).ok()
    }

    /// Checks that the commit's trees are readable and match their ids, and that its files exist and are within the
    /// bounds. Files are not read: whatever reads one, the checkout too, finds it damaged then (libgit2's strict hash
    /// verification).
    ///
    /// # Errors
    /// [`MirrorError::LimitExceeded`] if it exceeds a bound; [`MirrorError::Damaged`] if an object is missing or damaged.
    pub fn check_limits(&self, oid: Oid, bounds: Bounds) -> Result<(), MirrorError> {
        let odb = self.repo.odb()?;
        let mut whole = 0;
        self.walk(oid, &mut |path, entry| {
            if entry.is_file() {
                let header = odb.read_header(entry.oid);
                let bytes = header.map_err(|error| lost(entry.oid, error))?.0 as u64;
                whole += bytes;
                if bytes > bounds.file {
                    let path = sanitize(path.as_os_str().as_bytes());
                    let (has, most) = (bytes >> 20, bounds.file >> 20);
                    return Err(MirrorError::LimitExceeded(format!(
                        "{path:?} has {has} MiB, more than max_file = {most}"
                    )));
                }
                if whole > bounds.whole {
                    let most = bounds.whole >> 20;
                    let text = format!("its files take more than max_size = {most} MiB");
                    return Err(MirrorError::LimitExceeded(text));
                }
            }
            Ok(())
        })
    }

    /// Whether everything that a checkout needs is there and matches its id.
    #[cfg(test)]
    pub(super) fn has_whole(&self, oid: Oid) -> bool {
        let Ok(odb) = self.repo.odb() else {
            return false;
        };
        let mut files = true;
        let walked = self.walk(oid, &mut |_, entry| {
            files &= !entry.is_file() || odb.read(entry.oid).is_ok();
            Ok(())
        });
        walked.is_ok() && files
    }

    /// Refuses a commit or tag object that is too large to be read into memory.
    ///
    /// # Errors
    /// [`MirrorError::LimitExceeded`] if it is.
    pub(super) fn check_header(&self, oid: Oid) -> Result<(), MirrorError> {
        let header = self.repo.odb()?.read_header(oid);
        let bytes = header.map_err(|error| lost(oid, error))?.0;
        if bytes > MAX_COMMIT {
            let text = format!("the commit or tag object {oid} has {bytes} bytes");
            return Err(MirrorError::LimitExceeded(text));
        }
        Ok(())
    }

    /// Returns the paths of submodules. They are not fetched: a checkout has empty directories there.
    ///
    /// # Errors
    /// When the commit is unknown or unreadable.
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

    /// Returns how many files and bytes a checkout of this commit has.
    ///
    /// # Errors
    /// When the commit is unknown or unreadable.
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

    /// Returns the ids of the files whose paths are wanted. If the ids in two commits are equal, so are the contents.
    ///
    /// # Errors
    /// When the commit is unknown or unreadable.
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

    /// Whether two commits have the same below these paths: files, their modes, links and submodules.
    ///
    /// # Errors
    /// When a commit is unknown or unreadable.
    pub fn same_below(&self, one: Oid, other: Oid, paths: &[&str]) -> Result<bool, MirrorError> {
        let mut options = DiffOptions::new();
        options.disable_pathspec_match(true);
        for path in paths {
            options.pathspec(*path);
        }
        let (one, other) = (
            self.find_commit(one)?.tree()?,
            self.find_commit(other)?.tree()?,
        );
        let diff = (self.repo).diff_tree_to_tree(Some(&one), Some(&other), Some(&mut options))?;
        Ok(diff.deltas().len() == 0)
    }

    /// Returns the content of a file as stored (without line-end conversion), or the target of a link; `None` if the
    /// commit has no file with that path.
    ///
    /// # Errors
    /// When the commit is unknown, or the file cannot be read.
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

    /// Visits every entry of a commit's trees. (`Tree::walk` gives the directory's name only if it is UTF-8.)
    pub(super) fn walk(&self, oid: Oid, visit: &mut Visit<'_>) -> Result<(), MirrorError> {
        let commit = self.find_commit(oid)?;
        let tree = commit
            .tree()
            .map_err(|error| lost(commit.tree_id(), error))?;
        let limit_exceeded = |text: String| Err(MirrorError::LimitExceeded(text));
        let (mut entries, mut path_bytes) = (0, 0);
        let mut path = Vec::new();
        // Open trees, each with the index of its next entry and the length of its path.
        let mut stack = vec![(tree, 0, 0)];
        while let Some((tree, next, own)) = stack.last_mut() {
            let Some(entry) = tree.get(*next) else {
                stack.pop();
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
            if name > MAX_NAME || path.len() > MAX_PATH {
                return limit_exceeded(format!(
                    "it has a path that is too long: a name may have {MAX_NAME} bytes, a path {MAX_PATH}"
                ));
            }
            entries += 1;
            path_bytes += path.len();
            if entries > MAX_ENTRIES || path_bytes > MAX_PATH_BYTES {
                return limit_exceeded(format!(
                    "it has too many files: the limits are {MAX_ENTRIES} files and {} MiB of paths",
                    MAX_PATH_BYTES >> 20
                ));
            }
            visit(Path::new(OsStr::from_bytes(&path)), &item)?;
            if item.kind != Some(ObjectType::Tree) {
                continue;
            }
            if stack.len() >= MAX_DEPTH {
                let text = format!("its directories are nested more than {MAX_DEPTH} levels deep");
                return limit_exceeded(text);
            }
            let below = self.repo.find_tree(item.oid);
            stack.push((below.map_err(|error| lost(item.oid, error))?, 0, path.len()));
        }
        Ok(())
    }
}

pub(super) type Visit<'a> = dyn FnMut(&Path, &Item) -> Result<(), MirrorError> + 'a;

/// An entry of a tree.
pub(super) struct Item {
    pub(super) oid: Oid,
    pub(super) mode: i32,
    kind: Option<ObjectType>,
}

impl Item {
    fn is_file(&self) -> bool {
        self.kind == Some(ObjectType::Blob)
    }
}

/// The error for a missing object of an existing commit: that is damage.
fn lost(oid: Oid, error: git2::Error) -> MirrorError {
    match error.code() {
        ErrorCode::NotFound => MirrorError::Damaged(format!("object {oid} is missing")),
        _ => error.into(),
    }
}
