//! The server: the only module that accesses its files, commands, accounts, units and connections.
//!
//! Two handles give access. [`View`] is read-only; checks get nothing else, so a check cannot change the server
//! even by mistake. [`Server`] can also write. Only `main` creates one, for the real machine, and tests, for a
//! temporary directory.
//!
//! Every absolute path is resolved below one root, so a test can have its own `/etc`.

mod accounts;
mod agent;
mod clock;
mod command;
mod dirs;
mod files;
mod http;
mod identity;
pub mod import_check;
mod lock;
mod publish;
mod script;
pub mod spawn;
mod ssh;
mod sudo;
mod survey;
mod units;
mod write;

pub use accounts::{Account, COMMENT, GroupEntry};
pub use agent::{AgentKey, hand_over_key};
pub use clock::Clock;
pub use command::{Command, Outcome};
pub use files::{Drift, Kind, Size};
pub use identity::{Identity, current_identity, effective_uid};
pub use lock::{Lock, Locked, is_held};
pub use publish::PUBLISHED_DIR;
pub use script::{ScriptRunner, end_leftovers};
pub use ssh::HostKey;
pub use write::sync_path;

use std::ops::Deref;
use std::path::{Path, PathBuf};

/// Search path for the programs that pullpray starts, in the administrator's order.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Read-only access to the server.
#[derive(Debug, Clone)]
pub struct View {
    root: PathBuf,
}

/// Read and write access to the server.
#[derive(Debug, Clone)]
pub struct Server {
    view: View,
}

impl View {
    /// Resolves an absolute path of the server to a path of this process.
    fn real(&self, path: &Path) -> PathBuf {
        if self.root == Path::new("/") {
            return path.to_owned();
        }
        self.root.join(path.strip_prefix("/").unwrap_or(path))
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
            },
        }
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
