//! A libgit2 transport over the system's ssh.
//!
//! libgit2 takes only a URL, but a remote also has a user and time limits. So a fetch creates a [`Lease`], which
//! registers the remote under a number, and uses the URL `pullpray://7`. Neither `insteadOf` nor libgit2's own ssh
//! handling applies to this scheme. The lease also keeps the [`RemoteError`], which libgit2 would reduce to a string.
//!
//! The transport only reads; it cannot push.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use git2::{ConfigLevel, Error, ErrorClass, ErrorCode};

use super::launch::Program;
use super::ssh::{Preemption, Session};
use super::{RemoteError, SshRemote, bounds, remote_error::sanitize};

const SCHEME: &str = "pullpray";

/// A fetch in progress.
#[derive(Debug)]
struct Fetch {
    remote: SshRemote,
    /// When it must be finished.
    until: Instant,
    failure: Mutex<Option<RemoteError>>,
}

static FETCHES: Mutex<BTreeMap<u64, Arc<Fetch>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Prepares libgit2, once: registers this transport, and restricts configuration to that of the repository. A
/// deployment must not depend on a `~/.gitconfig` (`core.autocrlf`, `core.attributesFile`, `url.insteadOf`).
///
/// [`super::Mirror`] calls this itself. Call it at the start of the program only if other code uses git2.
///
/// # Errors
/// When libgit2 fails; every call then returns the same error.
pub fn register() -> Result<(), Error> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| prepare().map_err(|error| error.message().to_owned()));
    done.clone()
        .map_err(|message| Error::new(ErrorCode::GenericError, ErrorClass::Net, message))
}

fn prepare() -> Result<(), Error> {
    use ConfigLevel::{Global, ProgramData, System, XDG};
    bounds::prepare()?;
    // SAFETY: only this function changes libgit2's global settings and list of transports, once (`register`), before
    // this module opens a repository.
    #[expect(unsafe_code, reason = "git2 has no safe call for either")]
    unsafe {
        for level in [System, Global, XDG, ProgramData] {
            git2::opts::set_search_path(level, "")?;
        }
        // false: not stateless, one connection for the listing and the pack.
        git2::transport::register(SCHEME, |remote| Transport::smart(remote, false, OverSsh))
    }
}

/// Registers a remote for fetching through libgit2, until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    number: u64,
    fetch: Arc<Fetch>,
}

impl Lease {
    /// Registers the remote.
    pub(super) fn new(remote: &SshRemote) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let fetch = Arc::new(Fetch {
            remote: remote.clone(),
            until: Instant::now() + remote.whole,
            failure: Mutex::new(None),
        });
        fetches().insert(number, Arc::clone(&fetch));
        Self { number, fetch }
    }

    /// URL for libgit2.
    pub(super) fn url(&self) -> String {
        format!("{SCHEME}://{}", self.number)
    }

    /// Checks whether another process waits for the lock.
    pub(super) fn preemption(&self) -> Preemption {
        Preemption::new(&self.fetch.remote)
    }

    /// Whether to continue: time is left, and no other process waits for the lock. Records the failure otherwise.
    pub(super) fn should_continue(&self, preemption: &mut Preemption) -> bool {
        let whole = self.fetch.remote.whole;
        let error = if Instant::now() >= self.fetch.until {
            Some(RemoteError::TooSlow { whole })
        } else {
            preemption.is_wanted().then_some(RemoteError::Preempted)
        };
        error.map(|error| self.fetch.record(error)).is_none()
    }

    /// The error of the request, if it failed.
    pub(super) fn failure(&self) -> Option<RemoteError> {
        self.fetch
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        fetches().remove(&self.number);
    }
}

fn fetches() -> std::sync::MutexGuard<'static, BTreeMap<u64, Arc<Fetch>>> {
    FETCHES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fetch {
    /// Records the first error (later ones are its consequences) and returns the message for libgit2.
    fn record(&self, error: RemoteError) -> String {
        // git2 panics on a NUL in an error; `sanitize` removes it.
        let message = sanitize(error.to_string().as_bytes());
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        message
    }
}

struct OverSsh;

impl SmartSubtransport for OverSsh {
    fn action(
        &self,
        url: &str,
        action: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, Error> {
        let error = |text: &str| Error::new(ErrorCode::GenericError, ErrorClass::Net, text);
        if !matches!(action, Service::UploadPackLs | Service::UploadPack) {
            return Err(error("this transport only reads"));
        }
        let number = url
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.strip_prefix("://"));
        let number = number.and_then(|text| text.trim_end_matches('/').parse().ok());
        let fetch = number.and_then(|number: u64| fetches().get(&number).cloned());
        let fetch = fetch.ok_or_else(|| error("this URL belongs to no fetch in progress"))?;
        // libgit2 supports only v0.
        match Session::open(&fetch.remote, Program::UploadPack { v2: false }) {
            Ok(session) => Ok(Box::new(Stream { session, fetch })),
            Err(failure) => Err(error(&fetch.record(failure))),
        }
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

struct Stream {
    session: Session,
    fetch: Arc<Fetch>,
}

impl Stream {
    fn fail(&self, error: RemoteError) -> std::io::Error {
        std::io::Error::other(self.fetch.record(error))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.session.read(buffer) {
            // libgit2 reads only while it expects more data, and would report "early EOF". A host without side-bands
            // ends its pack like this, and ssh then exits with 0.
            Ok(0) if self.session.close() != Some(0) => {
                let error = self.session.failure();
                Err(self.fail(error))
            }
            Ok(count) => Ok(count),
            Err(error) => Err(self.fail(error)),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.session.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
