//! The commit on this server: fetched into the mirror, whole.

use std::path::Path;

use anyhow::{Context, anyhow};

use crate::app::{App, paths};
use crate::record::ledger::Release;
use crate::server::Server;
use crate::server::git::{CommitInfo, Mirror, MirrorError, Newest};

use super::signature::Vouched;
use super::{remote, why_not_asked};

/// A commit that was fetched.
pub(super) struct Code {
    mirror: Mirror,
    info: CommitInfo,
    commit: String,
    object: git2::Oid,
    descends: Option<bool>,
    name: String,
}

/// Why there is none.
pub(super) enum FetchError {
    /// The remote's side: it is asked again later.
    Remote(String),
    /// This side.
    Here(anyhow::Error),
}

impl Code {
    /// The commit's full name.
    pub(super) fn commit(&self) -> &str {
        &self.commit
    }
    /// What was fetched: the commit, or an annotated tag that leads to it.
    pub(super) fn object(&self) -> git2::Oid {
        self.object
    }
    /// Whether the live commit is its ancestor; `None` if nothing is live, or if the settings name the
    /// commit.
    pub(super) fn descends(&self) -> Option<bool> {
        self.descends
    }
    /// Who may have signed it.
    pub(super) fn vouched(&self) -> anyhow::Result<Vouched> {
        Vouched::read(&self.mirror, self.info.oid, self.object, &self.name)
            .map_err(|error| anyhow!(error.to_string()))
            .with_context(|| format!("failed to read the signature of {}", self.info.short))
    }
    /// What it says of itself.
    pub(super) fn info(&self) -> &CommitInfo {
        &self.info
    }
    /// The repository it is in.
    pub(super) fn mirror(&self) -> &Mirror {
        &self.mirror
    }
}

/// Fetches what the remote showed, and asks whether it descends from the live commit. A mirror that
/// is damaged is made anew from the remote: it is a copy.
pub(super) fn fetch(
    server: &Server,
    app: &App,
    newest: &Newest,
    live: Option<&str>,
) -> Result<Code, FetchError> {
    let path = paths::mirror(&app.name);
    match try_fetch(app, newest, live, &path) {
        Err(MirrorError::Damaged(_) | MirrorError::Missing(_)) => {
            server.remove_tree(&path).map_err(FetchError::Here)?;
            try_fetch(app, newest, live, &path)
        }
        other => other,
    }
    .map_err(|error| match error {
        MirrorError::Remote(error) => FetchError::Remote(why_not_asked(app, &error)),
        MirrorError::NoReference(_) => {
            FetchError::Remote(format!("{} {}", app.repo, app.track.missing()))
        }
        MirrorError::NotACommit(name) => {
            FetchError::Remote(format!("{name} of {} is not a commit", app.repo))
        }
        other => FetchError::Here(
            anyhow!(other.to_string()).context(format!("failed to fetch {}", app.repo)),
        ),
    })
}

fn try_fetch(
    app: &App,
    newest: &Newest,
    live: Option<&str>,
    path: &Path,
) -> Result<Code, MirrorError> {
    let mirror = Mirror::open_or_init(path)?;
    let (oid, live) = if let Some(reference) = &newest.reference {
        (mirror.fetch(&remote(app), reference)?, live)
    } else {
        // Which commit the settings name is no matter of the remote's history.
        mirror.fetch_commit(&remote(app), newest.commit)?;
        (newest.commit, None)
    };
    if !mirror.has_whole(oid) {
        return Err(MirrorError::Damaged(format!("{oid} cannot be read whole")));
    }
    let info = mirror.commit(oid)?;
    // Histories come whole: a commit that the mirror does not know is nobody's ancestor in it.
    let descends = match live.and_then(|live| live.parse().ok()) {
        Some(live) => Some(mirror.is_descendant(oid, live)?.unwrap_or(false)),
        None => None,
    };
    Ok(Code {
        commit: oid.to_string(),
        object: mirror.fetched()?,
        name: newest.name.clone(),
        info,
        mirror,
        descends,
    })
}

impl Code {
    /// What is to be known of submodules that the live commit did not have: nobody fetches them.
    pub(super) fn new_submodules(&self, live: Option<&Release>) -> anyhow::Result<Option<String>> {
        let known = live
            .and_then(|live| live.commit.parse().ok())
            .and_then(|oid| self.mirror.submodules(oid).ok())
            .unwrap_or_default();
        let found = self
            .mirror
            .submodules(self.info.oid)
            .map_err(|error| anyhow!(error.to_string()))?;
        let new: Vec<String> = found
            .iter()
            .filter(|path| !known.contains(path))
            .map(|path| path.display().to_string())
            .collect();
        Ok(match new.as_slice() {
            [] => None,
            [one] => Some(format!(
                "submodules are not fetched; {one} is an empty directory"
            )),
            several => Some(format!(
                "submodules are not fetched; these are empty directories: {}",
                several.join(", ")
            )),
        })
    }

    /// Writes the tree into an empty directory.
    pub(super) fn checkout(&self, dir: &Path) -> anyhow::Result<()> {
        self.mirror
            .checkout(self.info.oid, dir)
            .map_err(|error| anyhow!(error.to_string()))
            .with_context(|| format!("failed to check {} out", self.info.short))
    }
}
