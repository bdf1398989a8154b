//! The commit on this server: fetched into the mirror, and only after it was let through looked at as a whole.

use std::path::Path;

use anyhow::{Context, anyhow};

use crate::app::App;
use crate::git::{self, Bounds, CommitInfo, Mirror, MirrorError, Newest, Remote, RemoteError};
use crate::host::Server;
use crate::layout;
use crate::state::ledger::Release;

use super::{remote, why_not_asked};
use crate::signing::SignedObject;

const MIB: u64 = 1024 * 1024;
/// So much may be fetched whatever is free: that there is no room for it is told in better words.
const ROOM: u64 = 16 * MIB;

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
    /// It is beyond what is let in; why, to follow the commit's name.
    Unfit(String),
    /// Somebody else wants to work on the app.
    GaveWay,
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
    pub(super) fn vouched(&self) -> anyhow::Result<SignedObject> {
        SignedObject::read(&self.mirror, self.info.oid, self.object, &self.name)
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

impl Code {
    /// Makes sure that the commit can be checked out: that it is whole, and within the bounds. Its trees and files are
    /// not looked at before this. A mirror that is damaged is made anew.
    pub(super) fn whole(
        self,
        server: &Server,
        app: &App,
        newest: &Newest,
        live: Option<&str>,
    ) -> Result<Self, FetchError> {
        let bounds = Bounds {
            file: app.limits.max_file.saturating_mul(MIB),
            whole: app.limits.max_size.saturating_mul(MIB),
        };
        match self.mirror.check_whole(self.info.oid, bounds) {
            Ok(()) => return Ok(self),
            Err(MirrorError::Damaged(_) | MirrorError::Missing(_)) => {}
            Err(error) => return Err(refine(app, error)),
        }
        server
            .remove_tree(&layout::mirror(&app.name))
            .map_err(FetchError::Here)?;
        let again = fetch(server, app, newest, live)?;
        if again.object != self.object {
            // What was let through is another commit.
            let text = format!("{} of {} moved meanwhile", self.name, app.repo);
            return Err(FetchError::Remote(text));
        }
        match again.mirror.check_whole(again.info.oid, bounds) {
            Ok(()) => Ok(again),
            Err(MirrorError::Damaged(why) | MirrorError::Missing(why)) => {
                Err(FetchError::Unfit(format!("it cannot be read whole: {why}")))
            }
            Err(error) => Err(refine(app, error)),
        }
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
    let path = layout::mirror(&app.name);
    match try_fetch(server, app, newest, live, &path) {
        Err(MirrorError::Damaged(_) | MirrorError::Missing(_)) => {
            server.remove_tree(&path).map_err(FetchError::Here)?;
            try_fetch(server, app, newest, live, &path)
        }
        other => other,
    }
    .map_err(|error| refine(app, error))
}

fn refine(app: &App, error: MirrorError) -> FetchError {
    match error {
        MirrorError::Remote(error @ RemoteError::TooMuch { most })
            if most >= app.limits.max_size.saturating_mul(MIB) =>
        {
            FetchError::Unfit(format!("{error}, which is max_size"))
        }
        MirrorError::Remote(RemoteError::GaveWay) => FetchError::GaveWay,
        MirrorError::Beyond(why) => FetchError::Unfit(why),
        // There may be more room by the next poll.
        MirrorError::Remote(error @ RemoteError::TooMuch { .. }) => {
            FetchError::Remote(format!("{error}, half of what is free for its mirror"))
        }
        MirrorError::Remote(error) => FetchError::Remote(why_not_asked(app, &error)),
        MirrorError::NoReference(_) => {
            FetchError::Remote(format!("{} {}", app.repo, app.track.missing()))
        }
        MirrorError::NotACommit(name) => {
            FetchError::Remote(format!("{name} of {} is not a commit", app.repo))
        }
        // It was made anew, and is again: this is what comes.
        MirrorError::Damaged(why) | MirrorError::Missing(why) => FetchError::Remote(format!(
            "{} sends what git cannot read: {why}",
            app.repo.host()
        )),
        other => FetchError::Here(
            anyhow!(other.to_string()).context(format!("failed to fetch {}", app.repo)),
        ),
    }
}

fn try_fetch(
    server: &Server,
    app: &App,
    newest: &Newest,
    live: Option<&str>,
    path: &Path,
) -> Result<Code, MirrorError> {
    git::allow_files_of(app.limits.max_file.saturating_mul(MIB));
    // A disk that a git host fills up takes the database along.
    let free = server.free_space(&layout::state(&app.name));
    let room = free.map_or(u64::MAX, |(bytes, _)| (bytes / 2).max(ROOM));
    let remote = Remote {
        whole: git::FETCH,
        most: app.limits.max_size.saturating_mul(MIB).min(room),
        ..remote(app)
    };
    let mirror = Mirror::open_or_init(path)?;
    let (oid, live) = if let Some(reference) = &newest.reference {
        (mirror.fetch(&remote, reference)?, live)
    } else {
        // Which commit the settings name is no matter of the remote's history.
        mirror.fetch_commit(&remote, newest.commit)?;
        (newest.commit, None)
    };
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
