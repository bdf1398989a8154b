//! Git over the system's ssh.
//!
//! Two questions are asked of a git host, and they are asked in different ways:
//!
//! * *Where does the branch stand?* every few minutes, for years. [`tip()`] asks it in
//!   protocol v2 with one ref-prefix, so that the answer stays small however many
//!   references the repository has. libgit2 speaks only v0, whose answer grows with them.
//! * *Give me that commit*, rarely. [`Mirror::fetch`] lets libgit2 do it over a transport
//!   of ours.
//!
//! Both run the system's `ssh`, because only that honours the administrator's aliases,
//! known hosts, agents, jump hosts and proxies. What it says on stderr is kept and handed
//! up: "Permission denied (publickey)" is what a person needs to read, not "early EOF".
//!
//! | file | what it owns |
//! |---|---|
//! | `launch`, `ssh` | the one place that starts, feeds, times out and reaps `ssh` |
//! | `pktline` | git's framing, pure |
//! | `remote_error` | what can go wrong with a remote, and what kind of trouble it is |
//! | `tip`, `newest` | references of a remote, and the one that is followed |
//! | `write_access` | is the key really read-only? |
//! | `transport`, `bounds` | libgit2 over `ssh`, with so much memory and no more |
//! | `mirror_error` | what can go wrong with the mirror |
//! | `mirror`, `tidy`, `contents`, `signed`, `checkout`, `compact` | the bare local repository |

#![expect(
    clippy::disallowed_methods,
    reason = "a part of src/host, which touches the server"
)]

mod bounds;
mod checkout;
mod compact;
mod contents;
mod launch;
mod leftovers;
mod mirror;
mod mirror_error;
mod newest;
mod pktline;
mod remote_error;
mod signed;
mod ssh;
#[cfg(test)]
mod tests;
mod tip;
mod transport;
mod write_access;

pub use bounds::{Bounds, allow_files_of};
pub use contents::CommitInfo;
pub use mirror::Mirror;
pub use mirror_error::MirrorError;
pub use newest::{Newest, newest, reads};
pub use remote_error::{RemoteError, RemoteErrorKind};
pub use signed::Signed;
pub use tip::{refs, tip};
pub use write_access::{WriteAccess, write_access};

use std::path::PathBuf;
use std::time::Duration;

use crate::host::Identity;

/// A repository on a git host, and how to get there.
#[derive(Debug, Clone)]
pub struct Remote {
    /// What `ssh` is asked to connect to: an alias of `ssh_config`.
    pub host: String,
    /// The repository, exactly as `git-upload-pack` is to be given it
    /// (`owner/repo.git`, `/srv/git/repo.git`).
    pub path: String,
    /// When we are root, `ssh` becomes this user first. `None`: it runs as ourselves.
    pub run_as: Option<Identity>,
    /// The ssh client, normally `/usr/bin/ssh`.
    pub ssh: PathBuf,
    /// What ssh is told before its configuration files (`-o`): the first value wins.
    pub options: Vec<String>,
    /// How long the remote may stay silent (no protocol byte in either direction) before
    /// the whole process group is ended: TERM, then KILL.
    pub idle: Duration,
    /// How long one conversation may take as a whole, however steadily the remote drips.
    pub whole: Duration,
    /// How many bytes may come in one conversation. What comes is written to disk as it comes.
    pub most: u64,
    /// A directory: as soon as another process has its lock, the conversation is broken off.
    pub gives_way: Option<PathBuf>,
}

/// For a question, whose answer is a few kilobytes.
pub const QUESTION: Duration = Duration::from_secs(120);
/// For a fetch.
pub const FETCH: Duration = Duration::from_secs(30 * 60);
/// How much a question may answer.
pub const MOST: u64 = 64 << 20;

impl Remote {
    /// Refuses what `ssh` or the remote shell could take for something else.
    ///
    /// `-oProxyCommand=…` as a host name runs a program here, the same as a path runs one
    /// there; a newline ends the command line at the other side. `--` is passed to ssh as
    /// well, but nobody has a host that is called so.
    ///
    /// # Errors
    /// [`RemoteError::Invalid`] naming the part. Every function that asks a remote calls this
    /// first; settings and wizard may call it to refuse early.
    pub fn check(&self) -> Result<(), RemoteError> {
        for (what, text) in [("host", &self.host), ("repository path", &self.path)] {
            let why = if text.is_empty() {
                "is empty"
            } else if text.starts_with('-') {
                "begins with '-', which ssh and git take for an option"
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
