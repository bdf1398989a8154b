//! The server: the only module that accesses its files, commands, accounts, units and connections.
//!
//! Two handles give access. [`View`] is read-only; checks get nothing else, so a check cannot change the server
//! even by mistake. [`Server`] can also write. Only `main` creates one, for the real machine, and tests, for a
//! temporary directory.
//!
//! Every absolute path is resolved below one root, so a test can have its own `/etc`.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this module and src/git access the server"
)]

mod accounts;
mod agent;
mod clock;
mod command;
mod dirs;
mod environment;
mod exec;
mod files;
mod health;
mod http;
mod identity;
pub mod import_check;
mod lock;
mod mounts;
mod openpgp;
mod outgoing;
mod publish;
mod script;
pub mod spawn;
mod ssh;
mod ssh_keygen;
mod sudo;
mod survey;
#[cfg(test)]
pub mod testing;
mod trees;
mod tunnel;
mod units;
mod write;

use accounts::Accounts;
pub use accounts::{Account, AccountChange, GroupEntry};
pub use agent::{AgentKey, hand_over_key};
pub use clock::Clock;
use command::Command;
pub use command::{Outcome, end_as};
pub use exec::{Becomes, become_process, read_bounded};
pub use files::{Kind, Stat, is_foreign, is_permission};
use http::Http;
#[cfg(test)]
pub use http::{HttpError, Response};
pub use identity::{Identity, current_identity, effective_uid, is_member};
pub use lock::{Lock, Locked, is_held};
pub use outgoing::{SENDMAIL, keep_memory_private};
pub use publish::PUBLISHED_DIR;
pub use script::{Log, ScriptRunner};
pub use ssh::{GitHost, HostKey};
pub use ssh_keygen::SshSignature;
pub use trees::{Drift, Size};
pub use units::Running;
pub use units::UnitState;
use units::Units;
pub use write::sync_path;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Search path for the programs that pullpray starts, in the administrator's order.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Read-only access to the server.
#[derive(Debug, Clone)]
pub struct View {
    root: PathBuf,
    outside: Outside,
}

/// What is not a file or a program of the server: few and small traits, so that a test can stand in for each. Files and
/// programs are real, below the root.
#[derive(Debug, Clone)]
struct Outside {
    units: Arc<dyn Units>,
    http: Arc<dyn Http>,
    accounts: Arc<dyn Accounts>,
    clock: Clock,
    /// Announced before every change, so that a test can end it there as SIGKILL would.
    #[cfg(test)]
    instants: Arc<testing::Instants>,
}

/// Read and write access to the server.
#[derive(Debug, Clone)]
pub struct Server {
    view: View,
}

impl View {
    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.outside.clock
    }

    /// Resolves an absolute path of the server to a path of this process. Only this room and `git` need it.
    pub(crate) fn real(&self, path: &Path) -> PathBuf {
        if self.root == Path::new("/") {
            return path.to_owned();
        }
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A program of the server: by name, found in [`PATH`], or by absolute path.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        Command::new(self.program(program.as_ref()))
    }

    /// The path of a program below the root. For this machine a bare name stays, and execvp(3) finds it.
    fn program(&self, program: &Path) -> PathBuf {
        if self.root == Path::new("/") || program.starts_with("/proc/self") {
            return program.to_owned();
        }
        let found = program.to_str().and_then(|name| self.which(name));
        self.real(&found.unwrap_or_else(|| Path::new("/usr/bin").join(program)))
    }
}

impl Server {
    /// The machine that this process runs on.
    #[must_use]
    pub fn real() -> Self {
        Self::at(Path::new("/"))
    }

    /// A server whose file system starts at `root`; accounts and programs are those of this machine.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            view: View {
                root: root.to_owned(),
                outside: Outside {
                    units: Arc::new(units::Systemd),
                    http: Arc::new(http::Sockets),
                    accounts: Arc::new(accounts::Databases),
                    clock: Clock::system(),
                    #[cfg(test)]
                    instants: Arc::default(),
                },
            },
        }
    }

    /// Resolves a path that is about to be changed. Every change passes here first.
    pub(crate) fn changing(&self, path: &Path) -> PathBuf {
        #[cfg(test)]
        self.outside.instants.pass(&path.display().to_string());
        self.real(path)
    }

    /// The read-only handle.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }
}

impl Deref for Server {
    type Target = View;
    fn deref(&self) -> &View {
        &self.view
    }
}
