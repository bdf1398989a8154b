//! Errors of the mirror. Errors of the remote, damage that a rebuild repairs, and others are separate variants.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use git2::{ErrorClass, ErrorCode};

use super::{RemoteError, bounds};

/// Why an operation on the mirror failed.
#[derive(Debug)]
pub enum MirrorError {
    /// The request to the git host failed. The mirror is intact.
    Remote(RemoteError),
    /// The remote has no reference with this name, or no commit with this id.
    NoReference(String),
    /// The reference does not point to a commit: a tag may point to a file.
    NotACommit(String),
    /// The mirror is incomplete or corrupt: delete it and fetch again. The text describes the damage.
    Damaged(String),
    /// The mirror belongs to another user. Rebuilding would not help: this process runs as the wrong user.
    NotOurs(PathBuf),
    /// This commit, tree or file is not in the mirror, or has the wrong type.
    Missing(String),
    /// A commit exceeds a limit; the text names the limit and follows the commit's name. Fetching it again would not
    /// help.
    LimitExceeded(String),
    /// A file operation failed: what was tried, and the system's error.
    Io(String, io::Error),
    /// Any other error of libgit2.
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
            Self::LimitExceeded(what) => f.write_str(what),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Git(error) => f.write_str(error.message()),
        }
    }
}

// Without a source: the text has it, and a chain would print it twice.
impl std::error::Error for MirrorError {}

impl From<git2::Error> for MirrorError {
    fn from(error: git2::Error) -> Self {
        if let Some(limit_exceeded) = limit_exceeded() {
            return limit_exceeded;
        }
        // libgit2's errors for objects that exist and cannot be read.
        match error.class() {
            ErrorClass::Zlib | ErrorClass::Sha1 | ErrorClass::Indexer => {
                Self::Damaged(error.message().to_owned())
            }
            ErrorClass::Odb | ErrorClass::Object | ErrorClass::Tree
                if error.code() != ErrorCode::NotFound =>
            {
                Self::Damaged(error.message().to_owned())
            }
            ErrorClass::Odb => Self::Missing(error.message().to_owned()),
            _ => Self::Git(error),
        }
    }
}

impl From<RemoteError> for MirrorError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

/// Adds what was tried to an error of the file system.
pub(super) fn trying(what: &str, path: &Path) -> impl FnOnce(io::Error) -> MirrorError {
    let what = format!("{what} {}", path.display());
    move |error| MirrorError::Io(what, error)
}

/// The error, if libgit2 failed only because it reached the memory limit.
fn limit_exceeded() -> Option<MirrorError> {
    const MESSAGE: &str = "it needs more memory than one file of max_file MiB";
    bounds::reached().then(|| MirrorError::LimitExceeded(MESSAGE.to_owned()))
}

/// The error for a fetched object that cannot be read.
pub(super) fn damaged(what: &str, error: &git2::Error) -> MirrorError {
    limit_exceeded().unwrap_or_else(|| MirrorError::Damaged(format!("{what}{}", error.message())))
}
