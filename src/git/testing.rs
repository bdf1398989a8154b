//! A git host for tests: a repository on this machine, fetched without ssh.

use std::path::PathBuf;
use std::sync::Mutex;

use git2::Oid;

use super::{Mirror, MirrorError, Newest, Remote, RemoteError};
use crate::app::Track;

/// A repository beside the mirror.
#[derive(Debug)]
pub struct LocalRemote {
    /// The repository's path on this machine.
    pub path: PathBuf,
    /// The error of every request from now on.
    pub error: Mutex<Option<RemoteError>>,
    /// The error of the next request only.
    pub next: Mutex<Option<RemoteError>>,
}

impl LocalRemote {
    /// The repository at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            error: Mutex::default(),
            next: Mutex::default(),
        }
    }

    /// Lets every request fail, or succeed again.
    pub fn fail_with(&self, error: Option<RemoteError>) {
        *self.error.lock().expect("no holder panics") = error;
    }

    fn fails(&self) -> Result<(), RemoteError> {
        let next = self.next.lock().expect("no holder panics").take();
        let error = self.error.lock().expect("no holder panics").clone();
        next.or(error).map_or(Ok(()), Err)
    }

    fn peeled(&self, reference: &str) -> Result<Option<(Oid, Oid)>, git2::Error> {
        let repo = git2::Repository::open(&self.path)?;
        let Ok(found) = repo.find_reference(reference) else {
            return Ok(None);
        };
        let commit = found.peel_to_commit()?.id();
        Ok(Some((found.target().unwrap_or(commit), commit)))
    }
}

impl Remote for LocalRemote {
    fn newest(&self, track: &Track) -> Result<Option<Newest>, RemoteError> {
        self.fails()?;
        let failed = |error: git2::Error| RemoteError::Protocol(error.message().to_owned());
        let mut skipped = Vec::new();
        let (name, reference) = match track {
            Track::Branch(branch) => (branch.to_string(), format!("refs/heads/{branch}")),
            Track::Tag(pattern) => {
                let repo = git2::Repository::open(&self.path).map_err(failed)?;
                let tags = repo.tag_names(None).map_err(failed)?;
                let names: Vec<String> =
                    tags.iter().flatten().flatten().map(str::to_owned).collect();
                skipped = super::newest::skipped(pattern, names.iter().map(String::as_str));
                let Some(name) = pattern.highest(names.iter().map(String::as_str)) else {
                    return Ok(None);
                };
                (name.to_owned(), format!("refs/tags/{name}"))
            }
            Track::Commit(commit) => {
                let oid = Oid::from_str(commit.as_str()).map_err(failed)?;
                return Ok(Some(Newest {
                    name: commit.short().to_owned(),
                    reference: None,
                    object: oid,
                    commit: oid,
                    skipped,
                }));
            }
        };
        let found = self.peeled(&reference).map_err(failed)?;
        Ok(found.map(|(object, commit)| Newest {
            name,
            reference: Some(reference),
            object,
            commit,
            skipped,
        }))
    }

    fn fetch(&self, mirror: &Mirror, newest: &Newest, _most: u64) -> Result<Oid, MirrorError> {
        self.fails()?;
        mirror.fetch_local(&self.path, newest)
    }
}
