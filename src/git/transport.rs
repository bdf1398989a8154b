//! libgit2 over the system's ssh.
//!
//! libgit2 knows only a URL, and the remote is more than that (who to be, how long to wait).
//! So a fetch takes a [`Lease`]: the remote is put on a list, and the URL is its number,
//! `pullpray://7`. A scheme of our own is touched by no `insteadOf` and by none of libgit2's
//! ideas about ssh. The lease also brings back the [`RemoteError`], which would otherwise
//! shrink to a string on its way through C.
//!
//! Only reading is offered: there is no way to push through this.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use git2::{ConfigLevel, Error, ErrorClass, ErrorCode};

use super::launch::Program;
use super::ssh::{Session, Way};
use super::{Remote, RemoteError, bounds, remote_error::plain};

const SCHEME: &str = "pullpray";

/// A fetch under way.
#[derive(Debug)]
struct Ask {
    remote: Remote,
    /// When all of it must be over.
    until: Instant,
    failure: Mutex<Option<RemoteError>>,
}

static ASKS: Mutex<BTreeMap<u64, Arc<Ask>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Prepares libgit2, once: makes our transport known, and makes it read no configuration
/// but the repository's own. What is deployed must not depend on whose `~/.gitconfig`
/// (`core.autocrlf`, `core.attributesFile`, `url.insteadOf`) cron happens to find.
///
/// [`super::Mirror`] calls this itself. Call it at the start of the program only if
/// something else uses git2 there.
///
/// # Errors
/// libgit2 refusing, the same each time.
pub fn register() -> Result<(), Error> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| prepare().map_err(|error| error.message().to_owned()));
    done.clone()
        .map_err(|message| Error::new(ErrorCode::GenericError, ErrorClass::Net, message))
}

fn prepare() -> Result<(), Error> {
    use ConfigLevel::{Global, ProgramData, System, XDG};
    bounds::prepare()?;
    // SAFETY: libgit2's global settings and its list of transports are changed here and
    // nowhere else, once (`register`), before the first repository of this module is opened.
    #[expect(unsafe_code, reason = "git2 has no safe call for either")]
    unsafe {
        for level in [System, Global, XDG, ProgramData] {
            git2::opts::set_search_path(level, "")?;
        }
        // false: not stateless; one connection for the listing and the pack.
        git2::transport::register(SCHEME, |remote| Transport::smart(remote, false, OverSsh))
    }
}

/// The right to fetch from a remote through libgit2, for as long as it lives.
#[derive(Debug)]
pub(super) struct Lease {
    number: u64,
    ask: Arc<Ask>,
}

impl Lease {
    /// Puts the remote on the list.
    pub(super) fn new(remote: &Remote) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let ask = Arc::new(Ask {
            remote: remote.clone(),
            until: Instant::now() + remote.whole,
            failure: Mutex::new(None),
        });
        asks().insert(number, Arc::clone(&ask));
        Self { number, ask }
    }

    /// What libgit2 is given.
    pub(super) fn url(&self) -> String {
        format!("{SCHEME}://{}", self.number)
    }

    /// Whom to give way to.
    pub(super) fn way(&self) -> Way {
        Way::of(&self.ask.remote)
    }

    /// Whether there is time left, and nobody to give way to; if not, that is what goes wrong.
    pub(super) fn goes_on(&self, way: &mut Way) -> bool {
        let whole = self.ask.remote.whole;
        let wrong = if Instant::now() >= self.ask.until {
            Some(RemoteError::TooSlow { whole })
        } else {
            way.is_wanted().then_some(RemoteError::GaveWay)
        };
        wrong.map(|error| self.ask.keep(error)).is_none()
    }

    /// What went wrong between us and the host, if it did.
    pub(super) fn failure(&self) -> Option<RemoteError> {
        self.ask
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        asks().remove(&self.number);
    }
}

fn asks() -> std::sync::MutexGuard<'static, BTreeMap<u64, Arc<Ask>>> {
    ASKS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ask {
    /// Keeps the first failure (the ones after it are its consequences) and gives the words
    /// for libgit2.
    fn keep(&self, error: RemoteError) -> String {
        // git2 panics on a NUL in an error; `plain` leaves none.
        let words = plain(error.to_string().as_bytes());
        let mut kept = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert(error);
        words
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
        let ask = number.and_then(|number: u64| asks().get(&number).cloned());
        let ask = ask.ok_or_else(|| error("this address is of no fetch under way"))?;
        // libgit2 speaks only v0.
        match Session::open(&ask.remote, Program::UploadPack { v2: false }) {
            Ok(session) => Ok(Box::new(Stream { session, ask })),
            Err(failure) => Err(error(&ask.keep(failure))),
        }
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

struct Stream {
    session: Session,
    ask: Arc<Ask>,
}

impl Stream {
    fn fail(&self, error: RemoteError) -> std::io::Error {
        std::io::Error::other(self.ask.keep(error))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.session.read(buffer) {
            // libgit2 reads on only while it expects more, and would call this "early EOF".
            // A host without side-bands ends its pack so: then ssh was content.
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
