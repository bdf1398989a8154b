//! Fetches the commit into the mirror, whose trees and files are read only after the policy accepted it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::app::{App, SharedPath};
use crate::git::{self, Bounds, CommitInfo, Mirror, MirrorError, Newest, RemoteError};
use crate::layout;
use crate::report;
use crate::state::ledger::{Ledger, Release};
use crate::state::remote::{RemoteErrorKind, RemoteFailure};

use super::{Poll, no_reference};
use crate::signing::SignedObject;
use crate::text::for_terminal;

const MIB: u64 = 1024 * 1024;
/// The minimum that a fetch may use however little is free: the check of disk space gives a better error.
const ROOM: u64 = 16 * MIB;

/// A fetched commit.
pub(super) struct Code {
    /// The mirror that holds it.
    pub(super) mirror: Mirror,
    /// Its subject, author and time.
    pub(super) info: CommitInfo,
    /// The commit, in full.
    pub(super) commit: String,
    /// The fetched object: the commit, or an annotated tag that points to it.
    pub(super) object: git::Oid,
    /// Whether the live commit is its ancestor; `None` if nothing is live, or if the settings name the commit.
    pub(super) descends: Option<bool>,
    newest: Newest,
}

/// Why a commit could not be fetched.
pub(super) enum FetchError {
    /// An error of the git host; the next poll retries.
    Remote(RemoteFailure),
    /// It exceeds the limits; why, as the rest of a sentence.
    Unfit(String),
    /// It yielded to an operator's command.
    Preempted,
    /// An error on this server.
    Local(anyhow::Error),
}

impl Code {
    /// The commit and its tag, with their signatures.
    pub(super) fn signed_object(&self) -> anyhow::Result<SignedObject> {
        SignedObject::read(&self.mirror, self.info.oid, self.object, &self.newest.name)
            .with_context(|| format!("failed to read the signature of {}", self.info.short))
    }

    /// Checks that the commit's trees are readable and its files exist and are within the limits; neither is read before
    /// this.
    pub(super) fn check_limits(&mut self, poll: &Poll<'_>) -> Result<(), FetchError> {
        let app = poll.app;
        let bounds = Bounds {
            file: app.limits.max_file.saturating_mul(MIB),
            whole: app.limits.max_size.saturating_mul(MIB),
        };
        self.read(poll, |code| {
            Ok(code.mirror.check_limits(code.info.oid, bounds)?)
        })
    }

    /// Reads something of the commit. libgit2 compares each object with its id as it reads it: this is where a mirror
    /// shows damage, of a power cut for example. It is fetched again then, and read once more.
    pub(super) fn read<T>(
        &mut self,
        poll: &Poll<'_>,
        read: impl Fn(&Self) -> anyhow::Result<T>,
    ) -> Result<T, FetchError> {
        let app = poll.app;
        match read(self) {
            Err(error) if damage(&error).is_some() => {}
            other => return other.map_err(|error| refine_any(app, error)),
        }
        let mirror = layout::mirror(&app.name);
        (poll.server.remove_tree(&mirror)).map_err(FetchError::Local)?;
        let again = fetch(poll, &self.newest, None)?;
        if again.object != self.object {
            // The policy accepted another commit.
            let name = self.newest.name.as_str();
            let failure = RemoteFailure::new(RemoteErrorKind::Moved, name);
            return Err(FetchError::Remote(failure));
        }
        self.mirror = again.mirror;
        read(self).map_err(|error| match damage(&error) {
            Some(why) => FetchError::Unfit(format!("it is incomplete or damaged: {why}")),
            None => refine_any(app, error),
        })
    }
}

/// What is damaged or missing in the mirror, if that is the error.
fn damage(error: &anyhow::Error) -> Option<&str> {
    match error.downcast_ref() {
        Some(MirrorError::Damaged(why) | MirrorError::Missing(why)) => Some(why),
        _ => None,
    }
}

fn refine_any(app: &App, error: anyhow::Error) -> FetchError {
    // Others are about this server, and say what was tried.
    let of_the_commit = |error: &MirrorError| {
        !matches!(
            error,
            MirrorError::Git(_) | MirrorError::Io(..) | MirrorError::NotOurs(_)
        )
    };
    if !error.downcast_ref().is_some_and(of_the_commit) {
        return FetchError::Local(error);
    }
    match error.downcast() {
        Ok(error) => refine(app, error),
        Err(error) => FetchError::Local(error),
    }
}

impl FetchError {
    /// The error of a command that needs the commit.
    pub(super) fn into_error(self, app: &App) -> anyhow::Error {
        match self {
            Self::Remote(failure) => report::remote::error(app, &failure),
            Self::Unfit(why) => anyhow!(why),
            Self::Preempted => anyhow!("another command is running for {}", app.name),
            Self::Local(error) => error,
        }
    }
}

/// Fetches what the git host listed, and finds out whether it descends from the live commit. A damaged mirror is only a
/// copy: it is removed and fetched again.
pub(super) fn fetch(
    poll: &Poll<'_>,
    newest: &Newest,
    live: Option<&str>,
) -> Result<Code, FetchError> {
    let path = layout::mirror(&poll.app.name);
    match try_fetch(poll, newest, live, &path) {
        Err(MirrorError::Damaged(_) | MirrorError::Missing(_)) => {
            poll.server.remove_tree(&path).map_err(FetchError::Local)?;
            try_fetch(poll, newest, live, &path)
        }
        other => other,
    }
    .map_err(|error| refine(poll.app, error))
}

/// Fetches a commit that was accepted before, or is only inspected, and checks it.
pub(super) fn fetch_complete(poll: &Poll<'_>, newest: &Newest) -> Result<Code, FetchError> {
    let mut code = fetch(poll, newest, None)?;
    code.check_limits(poll)?;
    Ok(code)
}

fn refine(app: &App, error: MirrorError) -> FetchError {
    let failed = |kind, words: String| FetchError::Remote(RemoteFailure::new(kind, words));
    match error {
        MirrorError::Remote(error @ RemoteError::TooMuch { most })
            if most >= app.limits.max_size.saturating_mul(MIB) =>
        {
            FetchError::Unfit(format!("{error}, which is max_size"))
        }
        MirrorError::Remote(RemoteError::Preempted) => FetchError::Preempted,
        MirrorError::LimitExceeded(why) => FetchError::Unfit(why),
        // There may be more space at the next poll.
        MirrorError::Remote(error @ RemoteError::TooMuch { .. }) => {
            failed(RemoteErrorKind::NoSpace, error.to_string())
        }
        MirrorError::Remote(error) => FetchError::Remote(error.failure()),
        MirrorError::NoReference(_) => FetchError::Remote(no_reference()),
        MirrorError::NotACommit(name) => failed(RemoteErrorKind::NotACommit, name),
        // Damaged again right after a new fetch: the host sends it that way.
        MirrorError::Damaged(why) | MirrorError::Missing(why) => {
            failed(RemoteErrorKind::Unreadable, why)
        }
        other => FetchError::Local(anyhow!(other).context(format!("failed to fetch {}", app.repo))),
    }
}

fn try_fetch(
    poll: &Poll<'_>,
    newest: &Newest,
    live: Option<&str>,
    path: &Path,
) -> Result<Code, MirrorError> {
    let (server, app) = (poll.server, poll.app);
    git::allow_files_of(app.limits.max_file.saturating_mul(MIB));
    // A disk filled by a fetch would also stop the database.
    let free = server.free_space(&layout::state(&app.name));
    let room = free.map_or(u64::MAX, |(bytes, _)| (bytes / 2).max(ROOM));
    let most = app.limits.max_size.saturating_mul(MIB).min(room);
    let mirror = Mirror::on(server, path)?;
    let oid = poll.remote.fetch(&mirror, newest, most)?;
    // A pinned commit need not descend from the live one.
    let live = live.filter(|_| newest.reference.is_some());
    let info = mirror.commit(oid)?;
    // Histories are complete: a commit that the mirror lacks is no ancestor.
    let descends = match live.and_then(|live| live.parse().ok()) {
        Some(live) => Some(mirror.is_descendant(oid, live)?.unwrap_or(false)),
        None => None,
    };
    Ok(Code {
        commit: oid.to_string(),
        object: mirror.fetched()?,
        newest: newest.clone(),
        info,
        mirror,
        descends,
    })
}

impl Code {
    /// A remark on submodules that the live commit did not have; they are not fetched.
    pub(super) fn new_submodules(&self, live: Option<&Release>) -> anyhow::Result<Option<String>> {
        let known = live
            .and_then(|live| live.commit.parse().ok())
            .and_then(|oid| self.mirror.submodules(oid).ok())
            .unwrap_or_default();
        let found = self.mirror.submodules(self.info.oid)?;
        let new: Vec<String> = found
            .iter()
            .filter(|path| !known.contains(path))
            .map(|path| path.display().to_string())
            .collect();
        let words = match new.as_slice() {
            [] => return Ok(None),
            [one] => format!("{one} is an empty directory"),
            several => format!("these are empty directories: {}", several.join(", ")),
        };
        Ok(Some(format!(
            "submodules are not fetched; {words} (commit the files themselves, git subtree add, or list the package among the dependencies)"
        )))
    }

    /// Whether anything below the paths of the settings differs from the live commit, and from each that is not tried
    /// again: after a rollback, an unrelated commit does not bring back what was rolled back from.
    pub(super) fn changes_paths(&self, app: &App, ledger: &Ledger) -> anyhow::Result<bool> {
        let paths = &app.limits.paths;
        let Some(live) = ledger.live().filter(|_| !paths.is_empty()) else {
            return Ok(true);
        };
        let paths: Vec<&str> = paths.iter().map(SharedPath::path).collect();
        let failures = ledger.failures().iter();
        let over = failures.filter(|failure| failure.is_final(app.limits.attempts));
        let known = over
            .map(|failure| failure.commit.as_str())
            .chain([live.commit.as_str()]);
        for commit in known.filter_map(|commit| commit.parse().ok()) {
            // A mirror that was fetched again after a force-push lacks it.
            match self.mirror.same_below(commit, self.info.oid, &paths) {
                Ok(true) => return Ok(false),
                Ok(false) => {}
                Err(error @ MirrorError::Damaged(_)) => return Err(error.into()),
                Err(_) => {}
            }
        }
        Ok(true)
    }

    /// Translations (.po) without their compiled form (.mo).
    pub(super) fn uncompiled(&self, oid: git::Oid) -> anyhow::Result<Vec<PathBuf>> {
        let is = |path: &Path, kind: &str| path.extension().is_some_and(|it| it == kind);
        let files = (self.mirror).blobs(oid, &|path| is(path, "po") || is(path, "mo"))?;
        let paths: BTreeSet<&PathBuf> = files.iter().map(|(path, _)| path).collect();
        let sources = paths.iter().filter(|path| is(path, "po"));
        let missing = sources.filter(|path| !paths.contains(&path.with_extension("mo")));
        Ok(missing.map(|path| (*path).clone()).collect())
    }

    /// Refuses files that git would filter in a checkout, and that would go live as stored.
    pub(super) fn refuse_unfiltered(&mut self, poll: &Poll<'_>) -> Result<(), FetchError> {
        const SHOWN: usize = 5;
        let found = self.read(poll, |code| Ok(code.mirror.unfiltered(code.info.oid)?))?;
        for (filter, paths) in found {
            if poll.app.limits.accept_filters.contains(&filter) {
                continue;
            }
            let shown: Vec<String> = (paths.iter().take(SHOWN))
                .map(|path| for_terminal(&path.display().to_string()))
                .collect();
            let more = match paths.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let way = match filter.as_str() {
                "lfs" => "keep them in git itself: git lfs migrate export --include=PATTERN",
                _ => "commit them without it",
            };
            let filter = for_terminal(&filter);
            return Err(FetchError::Unfit(format!(
                ".gitattributes name the filter {filter:?}, which pullpray does not run, so these would go live as stored: {}{more}; {way}, or deploy them as stored: accept_filters = [{filter:?}] in the settings",
                shown.join(", ")
            )));
        }
        Ok(())
    }

    /// Writes the tree into an empty directory.
    pub(super) fn checkout(&self, dir: &Path) -> anyhow::Result<()> {
        self.mirror
            .checkout(self.info.oid, dir)
            .with_context(|| format!("failed to check {} out", self.info.short))
    }
}
