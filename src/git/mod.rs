//! Git over the system's ssh.
//!
//! There are two kinds of requests:
//!
//! * *List a reference*, every few minutes. [`tip()`] uses protocol v2 with one ref-prefix, so that the response
//!   stays small however many references the repository has. libgit2 supports only v0, whose response grows with them.
//! * *Fetch a commit*, rarely. [`Mirror::fetch`] uses libgit2 over a custom transport.
//!
//! Both run the system's `ssh`, because only that respects the administrator's aliases, known hosts, agents, jump
//! hosts and proxies. Errors include its stderr: a person needs to read "Permission denied (publickey)", not
//! "early EOF".
//!
//! | file | contents |
//! |---|---|
//! | `launch`, `ssh` | starts `ssh`, talks to it, times it out and reaps it |
//! | `pktline` | git's packet framing, without I/O |
//! | `remote_error` | errors of requests, and their category |
//! | `remote` | what polls need of a git host |
//! | `tip`, `newest` | references of a remote, and the newest tracked one |
//! | `write_access` | verifies that the key is read-only |
//! | `transport`, `bounds` | libgit2 over `ssh`, with limited memory |
//! | `mirror_error` | errors of the mirror |
//! | `mirror`, `leftovers`, `contents`, `filters`, `signed`, `checkout`, `compact` | the bare local repository |

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "like src/host, this module accesses the server"
)]

mod bounds;
mod checkout;
mod compact;
mod contents;
mod filters;
mod launch;
mod leftovers;
mod mirror;
mod mirror_error;
mod newest;
mod pktline;
mod remote;
mod remote_error;
mod signed;
mod ssh;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod tip;
mod transport;
mod write_access;

pub use bounds::{Bounds, allow_files_of};
pub use contents::CommitInfo;
pub use git2::Oid;
pub use mirror::Mirror;
pub use mirror_error::MirrorError;
use newest::newest;
pub use newest::{Newest, branches, describe_readable};
pub use remote::Remote;
pub use remote_error::{RemoteError, kind_of};
pub use signed::Signed;
pub use tip::{refs, tip};
pub use write_access::{WriteAccess, write_access};

use std::path::PathBuf;
use std::time::Duration;

use crate::app::Proxy;
use crate::host::Identity;

/// A repository on a git host, and how to reach it.
#[derive(Debug, Clone)]
pub struct SshRemote {
    /// Host to connect to: an alias in `ssh_config`.
    pub host: String,
    /// Path of the repository, exactly as passed to `git-upload-pack`
    /// (`owner/repo.git`, `/srv/git/repo.git`).
    pub path: String,
    /// User that root runs `ssh` as; `None` means this process's user.
    pub run_as: Option<Identity>,
    /// The ssh client, normally `/usr/bin/ssh`.
    pub ssh: PathBuf,
    /// Options (`-o`), which take precedence over ssh's configuration files.
    pub options: Vec<String>,
    /// The proxy of the options, for `pullpray tunnel`; without it, that reads the settings.
    pub proxy: Option<Proxy>,
    /// Longest time without a protocol byte in either direction; then ssh's process group is terminated.
    pub idle: Duration,
    /// Longest time for one session, even if data keeps arriving.
    pub whole: Duration,
    /// Most bytes that one session may receive; they are written to disk as they arrive.
    pub most: u64,
    /// A directory; as soon as another process holds its lock, the session is interrupted.
    pub preempted_by: Option<PathBuf>,
}

/// Time limit of a listing, which takes a few kilobytes.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit of a fetch.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Most bytes that a listing may receive.
pub const MAX_QUERY_BYTES: u64 = 64 << 20;

impl SshRemote {
    /// Rejects hosts and paths that `ssh` or the remote shell could misinterpret.
    ///
    /// The host name `-oProxyCommand=…` would run a program here, and a path that starts with `-` could run one
    /// there; a newline ends the command line on the remote side. ssh gets `--` as well.
    ///
    /// # Errors
    /// [`RemoteError::Invalid`], naming the part. Every function that contacts a remote calls this first; settings
    /// and wizard may call it to reject a value early.
    pub fn check(&self) -> Result<(), RemoteError> {
        for (what, text) in [("host", &self.host), ("repository path", &self.path)] {
            let why = if text.is_empty() {
                "is empty"
            } else if text.starts_with('-') {
                "starts with '-', which ssh and git would take for an option"
            } else if text.chars().any(char::is_control) {
                "contains a control character"
            } else {
                continue;
            };
            return Err(RemoteError::Invalid(format!("the {what} {text:?} {why}")));
        }
        if self.host.contains(char::is_whitespace) {
            let text = format!("the host {:?} contains a space", self.host);
            return Err(RemoteError::Invalid(text));
        }
        Ok(())
    }
}
