//! The bare local repository that releases are made from.
//!
//! It is a cache: it can always be deleted and fetched again, and nothing live depends on it. So damage has an error
//! of its own ([`MirrorError::Damaged`]), which means "rebuild", apart from errors of the remote, which a rebuild
//! would only make worse.
//!
//! Only one process uses it at a time: the caller holds the app's lock. So lock files and partial packs of a killed
//! process can be removed at once.
//!
//! It contains the full history: a shallow clone cannot show whether a commit descends from the live one.

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
use super::{MirrorError, RemoteError, SshRemote, leftovers};
use crate::host::Server;

/// Reference to the last fetched object. It keeps the commit and its history reachable.
pub(super) const TIP: &str = "refs/pullpray/tip";

/// The mirror; see the module.
pub struct Mirror {
    pub(super) repo: Repository,
    pub(super) path: PathBuf,
    pub(super) server: Server,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Mirror {
    /// Opens the mirror at `path` (absolute), or creates one if nothing, or an empty directory, is there. Removes what
    /// a killed process left (locks, partial packs): the caller holds the app's lock.
    ///
    /// # Errors
    /// [`MirrorError::Damaged`] if the repository is incomplete; the caller may delete it and call again.
    /// [`MirrorError::NotOurs`], [`MirrorError::Io`].
    pub fn open_or_init(path: &Path) -> Result<Self, MirrorError> {
        register()?;
        let exists = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(trying("reading", path)(error)),
        };
        if !exists {
            init(path)?;
        }
        // Root must not remove files, or read configuration, where another user can create links. (libgit2 has this
        // check, code −36, but not in `open_bare`.)
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
            server: Server::real(),
        };
        mirror.check_tip()?;
        Ok(mirror)
    }

    /// [`Mirror::open_or_init`] for a path of the server.
    ///
    /// # Errors
    /// As there.
    pub fn on(server: &Server, path: &Path) -> Result<Self, MirrorError> {
        let mirror = Self::open_or_init(&server.changing(path))?;
        Ok(Self {
            server: server.clone(),
            ..mirror
        })
    }

    /// A quick check for damage: HEAD is valid (only because a checkout fails without it), and the reference points to
    /// a readable commit. What reads more finds more.
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

    /// Fetches `reference` (`refs/heads/main`, `refs/tags/v1`) with its history and returns the fetched commit: the
    /// one to deploy and to record, even if an earlier listing differs. It syncs everything to disk before it moves
    /// the mirror's own reference.
    ///
    /// # Errors
    /// [`MirrorError::NoReference`] if the remote has no such reference (libgit2 alone would silently keep the old
    /// one), [`MirrorError::Remote`] if the request fails, [`MirrorError::Damaged`] if the fetched objects do not fit
    /// the existing ones.
    pub fn fetch(&self, remote: &SshRemote, reference: &str) -> Result<Oid, MirrorError> {
        if !git2::Reference::is_valid_name(reference) {
            let text = format!("{reference:?} is not a valid reference name");
            return Err(RemoteError::Invalid(text).into());
        }
        remote.check()?;
        let target = self.receive(remote, |lease| self.download(lease, reference))?;
        let lost = |error| damaged(&format!("{target} was fetched: "), &error);
        self.check_header(target)?;
        let object = self.repo.find_object(target, None).map_err(lost)?;
        let end = match object.kind() {
            // Tags may point to tags.
            Some(ObjectType::Tag) => object.peel(ObjectType::Any).map_err(lost)?,
            _ => object,
        };
        if end.kind() != Some(ObjectType::Commit) {
            return Err(MirrorError::NotACommit(reference.to_owned()));
        }
        self.check_header(end.id())?;
        let commit = end.peel_to_commit().map_err(lost)?;
        self.server.changing(Path::new(TIP));
        self.repo.reference(TIP, target, true, "fetch")?;
        Ok(commit.id())
    }

    /// Fetches a commit by id, with its history. If the mirror has it already, there is no request.
    ///
    /// Some hosts allow clients to fetch any commit (GitHub, GitLab). For others, or if the host refuses, it fetches
    /// all branches and tags, in case the commit is an ancestor of one.
    ///
    /// # Errors
    /// [`MirrorError::NoReference`] if the remote does not have or does not provide the commit; otherwise as
    /// [`Mirror::fetch`].
    pub fn fetch_commit(&self, remote: &SshRemote, commit: Oid) -> Result<(), MirrorError> {
        if self.find_commit(commit).is_err() {
            remote.check()?;
            let by_id = [format!("+{commit}:{TIP}")];
            let fetched = match self.receive(remote, |lease| self.download_all(lease, &by_id)) {
                Ok(()) => true,
                // The host does not serve commits by id: libgit2 fails before it sends the request.
                Err(MirrorError::Git(error)) if error.class() == ErrorClass::Invalid => false,
                // The host serves some, but not this one; git-upload-pack always uses these words.
                Err(MirrorError::Remote(RemoteError::Refused { message }))
                    if message.contains("not our ref") =>
                {
                    false
                }
                Err(error) => return Err(error),
            };
            if !fetched {
                let everything = ["heads", "tags"]
                    .map(|kind| format!("+refs/{kind}/*:refs/pullpray/all/{kind}/*"));
                self.receive(remote, |lease| self.download_all(lease, &everything))?;
            }
            self.find_commit(commit)
                .map_err(|_| MirrorError::NoReference(format!("commit {commit}")))?;
        }
        self.repo.reference(TIP, commit, true, "fetch")?;
        Ok(())
    }

    /// Fetches from a repository on this machine, without ssh.
    #[cfg(test)]
    pub(super) fn fetch_local(
        &self,
        from: &Path,
        newest: &super::Newest,
    ) -> Result<Oid, MirrorError> {
        let from = from.to_string_lossy().into_owned();
        let mut remote = self.repo.remote_anonymous(&from)?;
        let specs = ["heads", "tags"].map(|kind| format!("+refs/{kind}/*:refs/test/{kind}/*"));
        remote.download(&specs, None)?;
        let Some(name) = newest.reference.as_deref() else {
            self.find_commit(newest.commit)
                .map_err(|_| MirrorError::NoReference(format!("commit {}", newest.commit)))?;
            self.repo.reference(TIP, newest.commit, true, "fetch")?;
            return Ok(newest.commit);
        };
        let listed = remote
            .list()?
            .iter()
            .find(|head| head.name() == name)
            .map(git2::RemoteHead::oid);
        let target = listed.ok_or_else(|| MirrorError::NoReference(name.to_owned()))?;
        let commit = self.repo.find_object(target, None)?.peel_to_commit()?.id();
        self.server.changing(Path::new(TIP));
        self.repo.reference(TIP, target, true, "fetch")?;
        Ok(commit)
    }

    /// Returns the last fetched object: a commit, or an annotated tag.
    ///
    /// # Errors
    /// When nothing was fetched yet.
    pub fn fetched(&self) -> Result<Oid, MirrorError> {
        let target = self.repo.find_reference(TIP)?.target();
        target.ok_or_else(|| MirrorError::Damaged(format!("{TIP} has no target")))
    }

    /// Runs a download, then syncs the new packs to disk.
    fn receive<T>(
        &self,
        remote: &SshRemote,
        download: impl FnOnce(&Lease) -> Result<T, MirrorError>,
    ) -> Result<T, MirrorError> {
        let lease = Lease::new(remote);
        let packs = leftovers::pack_files(&self.path)?;
        let received = download(&lease).map_err(|error| match error {
            MirrorError::Git(error) => from_remote(&lease, error),
            error => error,
        })?;
        leftovers::sync_new_packs(&self.path, &packs)?;
        Ok(received)
    }

    /// Downloads the missing objects of these refspecs. Moves no reference.
    fn download_all(&self, lease: &Lease, specs: &[String]) -> Result<(), MirrorError> {
        let mut anonymous = self.repo.remote_anonymous(&lease.url())?;
        let mut connection = anonymous.connect_auth(Direction::Fetch, None, None)?;
        let mut options = options(lease);
        connection.remote().download(specs, Some(&mut options))?;
        Ok(())
    }

    /// Downloads the missing objects of a reference; returns the object that it points to.
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

    /// Whether `new` is `old` or descends from it; `None` if `old` is not in the mirror (rebuilt since, or history was
    /// rewritten).
    ///
    /// # Errors
    /// When `new` is not in the mirror, or the history cannot be read.
    pub fn is_descendant(&self, new: Oid, old: Oid) -> Result<Option<bool>, MirrorError> {
        self.find_commit(new)?;
        match self.find_commit(old) {
            Ok(_) => {}
            Err(MirrorError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
        // Both ends exist, so a missing object between them is damage.
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

/// Creates the repository next to `path` and renames it, so that a mirror is complete from the start.
fn init(path: &Path) -> Result<(), MirrorError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let staging = path.with_file_name(name);
    match fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(trying("removing", &staging)(error));
        }
        _ => {}
    }
    let mut options = RepositoryInitOptions::new();
    // No templates: no hooks of the distribution.
    options
        .bare(true)
        .mkpath(false)
        .mkdir(true)
        .external_template(false);
    let repo = Repository::init_opts(&staging, &options)?;
    let mut config = repo.config()?;
    // For references and loose objects. `leftovers` syncs packs, since git2 does not expose libgit2's option.
    config.set_bool("core.fsyncObjectFiles", true)?;
    config.set_bool("core.logAllRefUpdates", false)?;
    // Repacking with little memory (git-config(1)): large files are copied without delta compression.
    config.set_str("pack.windowMemory", "32m")?;
    config.set_str("core.bigFileThreshold", "16m")?;
    drop((config, repo));
    for name in ["HEAD", "config"] {
        leftovers::sync(&staging.join(name))?;
    }
    leftovers::sync(&staging)?;
    fs::rename(&staging, path).map_err(trying("creating", path))?;
    path.parent().map_or(Ok(()), leftovers::sync)
}

/// Options of a download. Indexing a small pack can take long after its last byte was received, so the time limit is
/// also checked then.
fn options(lease: &Lease) -> FetchOptions<'_> {
    let mut callbacks = RemoteCallbacks::new();
    let mut preemption = lease.preemption();
    callbacks.transfer_progress(move |_| lease.should_continue(&mut preemption));
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks)
        .download_tags(AutotagOption::None)
        .update_fetchhead(false);
    options
}

/// Converts an error of libgit2 during a request; the lease has the original error if ssh or the host failed.
fn from_remote(lease: &Lease, error: git2::Error) -> MirrorError {
    if let Some(failure) = lease.failure() {
        return MirrorError::Remote(failure);
    }
    if error.class() != ErrorClass::Net {
        return error.into();
    }
    let message = super::remote_error::sanitize(error.message().as_bytes());
    MirrorError::Remote(match message.strip_prefix("remote error: ") {
        Some(message) => RemoteError::Refused {
            message: message.to_owned(),
        },
        None => RemoteError::Protocol(message),
    })
}
