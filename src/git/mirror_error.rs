//! What can go wrong with the mirror: trouble with the remote, damage that a rebuild mends, and the
//! rest, each apart.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use git2::{ErrorClass, ErrorCode};

use super::{RemoteError, bounds};

/// What can go wrong with the mirror.
#[derive(Debug)]
pub enum MirrorError {
    /// The remote could not be asked, or hung up. The mirror is unharmed.
    Remote(RemoteError),
    /// The remote has no reference of this name (any more), or no commit of this id.
    NoReference(String),
    /// The reference leads to something else than a commit: a tag may be put on a file.
    NotACommit(String),
    /// The mirror is half-made or corrupt: delete it and fetch again. The text says what
    /// was noticed.
    Damaged(String),
    /// The mirror belongs to another user. Rebuilding would not help: somebody ran us as the
    /// wrong one.
    NotOurs(PathBuf),
    /// This commit, tree or file is not in the mirror, or not what it should be.
    Missing(String),
    /// It is larger, deeper or longer than is let in; what, to follow the commit's name. Fetching it again would not
    /// help.
    Beyond(String),
    /// The file system refused: what was tried, and its answer.
    Io(String, io::Error),
    /// Anything else that libgit2 says.
    Git(git2::Error),
}

impl fmt::Display for MirrorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(error) => error.fmt(f),
            Self::NoReference(name) => write!(f, "the remote has no {name}"),
            Self::NotACommit(name) => write!(f, "{name} is not a commit"),
            Self::Damaged(what) => write!(f, "the mirror is damaged: {what}"),
            Self::NotOurs(path) => {
                write!(f, "the mirror {} belongs to another user", path.display())
            }
            Self::Missing(what) => write!(f, "not in the mirror: {what}"),
            Self::Beyond(what) => f.write_str(what),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Git(error) => f.write_str(error.message()),
        }
    }
}

impl std::error::Error for MirrorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Remote(error) => Some(error),
            Self::Io(_, error) => Some(error),
            Self::Git(error) => Some(error),
            _ => None,
        }
    }
}

impl From<git2::Error> for MirrorError {
    fn from(error: git2::Error) -> Self {
        if let Some(beyond) = beyond() {
            return beyond;
        }
        // libgit2's words for objects that are there and cannot be read.
        match error.class() {
            ErrorClass::Zlib | ErrorClass::Sha1 | ErrorClass::Indexer => {
                Self::Damaged(error.message().to_owned())
            }
            ErrorClass::Odb | ErrorClass::Object | ErrorClass::Tree
                if error.code() != ErrorCode::NotFound =>
            {
                Self::Damaged(error.message().to_owned())
            }
            _ => Self::Git(error),
        }
    }
}

impl From<RemoteError> for MirrorError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

/// Says what was tried when the file system refuses.
pub(super) fn trying(what: &str, path: &Path) -> impl FnOnce(io::Error) -> MirrorError {
    let what = format!("{what} {}", path.display());
    move |error| MirrorError::Io(what, error)
}

/// If what libgit2 says of something that was fetched is no more than that it got no memory.
fn beyond() -> Option<MirrorError> {
    const WORDS: &str = "it needs more memory than one file of max_file MiB does";
    bounds::reached().then(|| MirrorError::Beyond(WORDS.to_owned()))
}

/// Something that was fetched cannot be read.
pub(super) fn damaged(what: &str, error: &git2::Error) -> MirrorError {
    beyond().unwrap_or_else(|| MirrorError::Damaged(format!("{what}{}", error.message())))
}
