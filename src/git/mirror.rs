//! The bare local repository that releases are made from.
//!
//! It is a cache: whatever is wrong with it, it can be deleted and fetched again, and nothing
//! live depends on it. So damage has an error of its own ([`MirrorError::Damaged`]), meaning
//! "rebuild me", apart from trouble with the remote, which a rebuild would only make worse.
//!
//! Only one process works in it at a time: the caller holds the app's lock. That is what
//! allows lock files and half-written packs of a killed predecessor to be removed on sight.
//!
//! The history is fetched whole: whether a commit descends from the live one (or the branch
//! was rewritten) cannot be answered from a shallow clone.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use git2::{
    AutotagOption, Direction, ErrorClass, ErrorCode, FetchOptions, ObjectType, Oid, Repository,
};
use git2::{RemoteCallbacks, RepositoryInitOptions};
use nix::unistd::geteuid;

use super::mirror_error::{damaged, trying};
use super::transport::{Lease, register};
use super::{MirrorError, Remote, RemoteError, leftovers};

/// What was fetched last. It keeps the commit and its history reachable.
pub(super) const TIP: &str = "refs/pullpray/tip";

/// The mirror. See the module for what it is.
pub struct Mirror {
    pub(super) repo: Repository,
    pub(super) path: PathBuf,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Mirror {
    /// Opens the mirror at `path` (absolute), or makes a new one if nothing, or an empty
    /// directory, is there. What a killed predecessor left (locks, half-written packs) is
    /// removed: the caller holds the lock that makes us the only user.
    ///
    /// # Errors
    /// [`MirrorError::Damaged`] when something is there that is no whole repository; the
    /// caller may delete it and call again. [`MirrorError::NotOurs`], [`MirrorError::Io`].
    pub fn open_or_init(path: &Path) -> Result<Self, MirrorError> {
        register()?;
        let there = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(trying("reading", path)(error)),
        };
        if !there {
            init(path)?;
        }
        // Ours alone: root must not tidy up, nor read configuration, where somebody else can
        // plant links. (libgit2 has this check, code −36, but not in `open_bare`.)
        let owner = fs::metadata(path).map_err(trying("reading", path))?.uid();
        if owner != geteuid().as_raw() {
            return Err(MirrorError::NotOurs(path.to_owned()));
        }
        let repo = Repository::open_bare(path)
            .map_err(|error| MirrorError::Damaged(error.message().to_owned()))?;
        leftovers::remove_leftovers(path)?;
        let mirror = Self {
            repo,
            path: path.to_owned(),
        };
        mirror.check_tip()?;
        Ok(mirror)
    }

    /// The cheap part of looking for damage: HEAD is sound (nothing uses it, but a checkout
    /// fails without), and the reference leads to a readable commit. [`Mirror::check_whole`] is
    /// the thorough part.
    fn check_tip(&self) -> Result<(), MirrorError> {
        let damaged = |name: &str, error: &git2::Error| {
            MirrorError::Damaged(format!("{name}: {}", error.message()))
        };
        match self.repo.head() {
            Err(error) if error.code() != ErrorCode::UnbornBranch => {
                return Err(damaged("HEAD", &error));
            }
            _ => {}
        }
        match self.repo.find_reference(TIP) {
            Ok(tip) => tip.peel_to_commit().map(drop).map_err(|e| damaged(TIP, &e)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(()),
            Err(error) => Err(damaged(TIP, &error)),
        }
    }

    /// Fetches `reference` (`refs/heads/main`, `refs/tags/v1`) with its history, and returns
    /// the commit that came: the one to deploy and to record, whatever an earlier listing
    /// said. When this returns, everything is on the disk (fsync), and only then is the
    /// mirror's own reference moved.
    ///
    /// # Errors
    /// [`MirrorError::NoReference`] if the remote has none of that name (libgit2 alone would
    /// say nothing and leave the old one), [`MirrorError::Remote`] for trouble with ssh or
    /// the host, [`MirrorError::Damaged`] when what came does not fit what was there.
    pub fn fetch(&self, remote: &Remote, reference: &str) -> Result<Oid, MirrorError> {
        if !git2::Reference::is_valid_name(reference) {
            let text = format!("{reference:?} is not the name of a reference");
            return Err(RemoteError::Invalid(text).into());
        }
        remote.check()?;
        let target = self.take(remote, |lease| self.download(lease, reference))?;
        let lost = |error| damaged(&format!("{target} was fetched: "), &error);
        self.check_header(target)?;
        let object = self.repo.find_object(target, None).map_err(lost)?;
        let end = match object.kind() {
            // To the end of the chain, if tags were put on tags.
            Some(ObjectType::Tag) => object.peel(ObjectType::Any).map_err(lost)?,
            _ => object,
        };
        if end.kind() != Some(ObjectType::Commit) {
            return Err(MirrorError::NotACommit(reference.to_owned()));
        }
        self.check_header(end.id())?;
        let commit = end.peel_to_commit().map_err(lost)?;
        self.repo.reference(TIP, target, true, "fetch")?;
        Ok(commit.id())
    }

    /// Brings a commit of this id here with its history, from wherever the remote has it. What the
    /// mirror has already is not asked for.
    ///
    /// Hosts that let clients ask for any commit (GitHub, GitLab) are asked for this one. Of others,
    /// and of those that refuse it, all branches and tags are fetched, in case it is among their
    /// ancestors.
    ///
    /// # Errors
    /// [`MirrorError::NoReference`] if the remote has no such commit, or none that it hands out; else
    /// as [`Mirror::fetch`].
    pub fn fetch_commit(&self, remote: &Remote, commit: Oid) -> Result<(), MirrorError> {
        if self.find_commit(commit).is_err() {
            remote.check()?;
            let by_id = [format!("+{commit}:{TIP}")];
            let handed_out = match self.take(remote, |lease| self.download_all(lease, &by_id)) {
                Ok(()) => true,
                // The host hands out no commits by their ids: libgit2 says so before it asks.
                Err(MirrorError::Git(error)) if error.class() == ErrorClass::Invalid => false,
                // It hands out some, and not this one: the words are git-upload-pack's everywhere.
                Err(MirrorError::Remote(RemoteError::Refused { message }))
                    if message.contains("not our ref") =>
                {
                    false
                }
                Err(error) => return Err(error),
            };
            if !handed_out {
                let everything = ["heads", "tags"]
                    .map(|kind| format!("+refs/{kind}/*:refs/pullpray/all/{kind}/*"));
                self.take(remote, |lease| self.download_all(lease, &everything))?;
            }
            self.find_commit(commit)
                .map_err(|_| MirrorError::NoReference(format!("commit {commit}")))?;
        }
        self.repo.reference(TIP, commit, true, "fetch")?;
        Ok(())
    }

    /// What was fetched last: a commit, or an annotated tag that leads to it.
    ///
    /// # Errors
    /// Nothing was fetched yet.
    pub fn fetched(&self) -> Result<Oid, MirrorError> {
        let target = self.repo.find_reference(TIP)?.target();
        target.ok_or_else(|| MirrorError::Damaged(format!("{TIP} leads nowhere")))
    }

    /// Talks to the remote; when this returns, the packs that came are on the disk.
    fn take<T>(
        &self,
        remote: &Remote,
        talk: impl FnOnce(&Lease) -> Result<T, MirrorError>,
    ) -> Result<T, MirrorError> {
        let lease = Lease::new(remote);
        let packs = leftovers::pack_files(&self.path)?;
        let taken = talk(&lease).map_err(|error| match error {
            MirrorError::Git(error) => from_remote(&lease, error),
            error => error,
        })?;
        leftovers::sync_new_packs(&self.path, &packs)?;
        Ok(taken)
    }

    /// Downloads what these refspecs name and is missing. No reference is moved.
    fn download_all(&self, lease: &Lease, specs: &[String]) -> Result<(), MirrorError> {
        let mut anonymous = self.repo.remote_anonymous(&lease.url())?;
        let mut connection = anonymous.connect_auth(Direction::Fetch, None, None)?;
        let mut options = options(lease);
        connection.remote().download(specs, Some(&mut options))?;
        Ok(())
    }

    /// Downloads what is missing; what the reference points at.
    fn download(&self, lease: &Lease, reference: &str) -> Result<Oid, MirrorError> {
        let mut anonymous = self.repo.remote_anonymous(&lease.url())?;
        let mut connection = anonymous.connect_auth(Direction::Fetch, None, None)?;
        let head = connection
            .list()?
            .iter()
            .find(|head| head.name() == reference)
            .map(git2::RemoteHead::oid);
        let target = head.ok_or_else(|| MirrorError::NoReference(reference.to_owned()))?;
        let mut options = options(lease);
        let spec = format!("+{reference}:{TIP}");
        connection.remote().download(&[spec], Some(&mut options))?;
        Ok(target)
    }

    /// Does `new` descend from `old`, or is it the same? `None` when the mirror does not know
    /// `old` (rebuilt since, or rewritten away).
    ///
    /// # Errors
    /// `new` is unknown, or the history cannot be read.
    pub fn is_descendant(&self, new: Oid, old: Oid) -> Result<Option<bool>, MirrorError> {
        self.find_commit(new)?;
        match self.find_commit(old) {
            Ok(_) => {}
            Err(MirrorError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
        // Both ends are there, so whatever is not found is a hole between them.
        let hole = |error| damaged("", &error);
        let descends = || self.repo.graph_descendant_of(new, old).map_err(hole);
        Ok(Some(new == old || descends()?))
    }

    pub(super) fn find_commit(&self, oid: Oid) -> Result<git2::Commit<'_>, MirrorError> {
        self.repo
            .find_commit(oid)
            .map_err(|error| match error.code() {
                ErrorCode::NotFound => MirrorError::Missing(format!("commit {oid}")),
                _ => error.into(),
            })
    }
}

/// Makes the repository beside its place and renames it there, so that a mirror is whole
/// from its first moment.
fn init(path: &Path) -> Result<(), MirrorError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(trying("removing", &beside)(error));
        }
        _ => {}
    }
    let mut options = RepositoryInitOptions::new();
    // No templates: no hooks, nothing of the distribution's.
    options
        .bare(true)
        .mkpath(false)
        .mkdir(true)
        .external_template(false);
    let repo = Repository::init_opts(&beside, &options)?;
    let mut config = repo.config()?;
    // For references and loose objects; packs are synced by us (`tidy`), since libgit2 does
    // it only through an option that git2 does not offer.
    config.set_bool("core.fsyncObjectFiles", true)?;
    config.set_bool("core.logAllRefUpdates", false)?;
    // Old packs are made one with little memory (git-config(1)): what is large is copied as it is.
    config.set_str("pack.windowMemory", "32m")?;
    config.set_str("core.bigFileThreshold", "16m")?;
    drop((config, repo));
    for name in ["HEAD", "config"] {
        leftovers::sync(&beside.join(name))?;
    }
    leftovers::sync(&beside)?;
    fs::rename(&beside, path).map_err(trying("making", path))?;
    path.parent().map_or(Ok(()), leftovers::sync)
}

/// How it is downloaded. A pack of little may take long to be unpacked, after the last of it has come: so it is looked
/// then, too, whether there is time.
fn options(lease: &Lease) -> FetchOptions<'_> {
    let mut callbacks = RemoteCallbacks::new();
    let mut way = lease.way();
    callbacks.transfer_progress(move |_| lease.goes_on(&mut way));
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks)
        .download_tags(AutotagOption::None)
        .update_fetchhead(false);
    options
}

/// What libgit2 said while it talked to the remote: the lease knows better if ssh or the
/// host failed.
fn from_remote(lease: &Lease, error: git2::Error) -> MirrorError {
    if let Some(failure) = lease.failure() {
        return MirrorError::Remote(failure);
    }
    if error.class() != ErrorClass::Net {
        return error.into();
    }
    let message = super::remote_error::plain(error.message().as_bytes());
    MirrorError::Remote(match message.strip_prefix("remote error: ") {
        Some(words) => RemoteError::Refused {
            message: words.to_owned(),
        },
        None => RemoteError::Protocol(message),
    })
}
