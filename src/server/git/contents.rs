//! What is in a commit of the mirror.
//!
//! Commits are named by object id only: a branch or a file that is called like a commit
//! makes every other way of naming one ambiguous.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid, Tree};

use super::ask_error::plain;
use super::{Mirror, MirrorError};

/// Mode of a submodule in a tree.
const SUBMODULE: i32 = 0o160_000;

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

/// What a checkout will need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Files and links.
    pub files: u64,
    /// Their bytes, before filters (line ends) and without the file system's rounding.
    pub bytes: u64,
}

impl Mirror {
    /// Subject, author and time of a commit.
    ///
    /// # Errors
    /// The commit is unknown or unreadable.
    pub fn commit(&self, oid: Oid) -> Result<CommitInfo, MirrorError> {
        let commit = self.find_commit(oid)?;
        let line = |bytes: &[u8]| {
            plain(bytes)
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

    /// Is everything that a checkout of this commit needs really there and readable: the
    /// commit, its trees and all files, each with the content that its id promises? This is
    /// how a mirror that lost data with the power is noticed. Reads everything once.
    #[must_use]
    pub fn has_whole(&self, oid: Oid) -> bool {
        let check = || -> Result<(), MirrorError> {
            let odb = self.repo.odb()?;
            let mut seen = HashSet::new();
            // Reading compares the content with the id (libgit2's strict hash verification).
            self.find_commit(oid)?;
            self.walk(oid, &mut |_, entry| {
                if entry.mode != SUBMODULE && seen.insert(entry.oid) {
                    odb.read(entry.oid)?;
                }
                Ok(())
            })
        };
        check().is_ok()
    }

    /// The paths of all files and links, relative, byte for byte (names need not be UTF-8),
    /// in the tree's order. Submodules are not among them.
    ///
    /// # Errors
    /// The commit is unknown or unreadable.
    pub fn tree_files(&self, oid: Oid) -> Result<Vec<PathBuf>, MirrorError> {
        let mut files = Vec::new();
        self.walk(oid, &mut |path, entry| {
            if entry.is_file() {
                files.push(path.to_owned());
            }
            Ok(())
        })?;
        Ok(files)
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
        self.walk_tree(&tree, Path::new(""), visit)
    }

    fn walk_tree(
        &self,
        tree: &Tree<'_>,
        at: &Path,
        visit: &mut Visit<'_>,
    ) -> Result<(), MirrorError> {
        for entry in tree {
            let path = at.join(OsStr::from_bytes(entry.name_bytes()));
            let item = Item {
                oid: entry.id(),
                mode: entry.filemode(),
                kind: entry.kind(),
            };
            visit(&path, &item)?;
            if item.kind == Some(ObjectType::Tree) {
                let below = self
                    .repo
                    .find_tree(item.oid)
                    .map_err(|error| lost(item.oid, error))?;
                self.walk_tree(&below, &path, visit)?;
            }
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
