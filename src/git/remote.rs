//! What deployments need of a git host.

use std::fmt;

use git2::Oid;

use super::{FETCH_TIMEOUT, Mirror, MirrorError, Newest, RemoteError, SshRemote};
use crate::app::Track;

/// A repository on a git host, as polls use it; in tests a repository beside the mirror.
pub trait Remote: fmt::Debug {
    /// Queries the newest tracked commit; `None` if the remote has no such branch or tag.
    ///
    /// # Errors
    /// When the request fails.
    fn newest(&self, track: &Track) -> Result<Option<Newest>, RemoteError>;

    /// Fetches what was listed, with its history, in at most `most` bytes; returns the commit: the one to deploy and to
    /// record, even if the listing was older.
    ///
    /// # Errors
    /// As [`Mirror::fetch`] and [`Mirror::fetch_commit`].
    fn fetch(&self, mirror: &Mirror, newest: &Newest, most: u64) -> Result<Oid, MirrorError>;
}

impl Remote for SshRemote {
    fn newest(&self, track: &Track) -> Result<Option<Newest>, RemoteError> {
        super::newest(self, track)
    }

    fn fetch(&self, mirror: &Mirror, newest: &Newest, most: u64) -> Result<Oid, MirrorError> {
        let remote = Self {
            whole: FETCH_TIMEOUT,
            most,
            ..self.clone()
        };
        let Some(reference) = &newest.reference else {
            mirror.fetch_commit(&remote, newest.commit)?;
            return Ok(newest.commit);
        };
        mirror.fetch(&remote, reference)
    }
}
