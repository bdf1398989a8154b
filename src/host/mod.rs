//! The server: every file, command, account, unit and connection is touched here and nowhere else.
//!
//! Two handles give access. [`View`] reads and asks; checking a step gets nothing more, so a check
//! cannot change the server even by mistake. [`Server`] is a view that can also write, and it is
//! made in two places only: by `main` for the real machine and by tests for a temporary directory.
//!
//! Every absolute path goes through one root, so a test can have its own `/etc`.

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
pub use script::{ScriptRunner, end_leftovers};
pub use ssh::HostKey;
pub use write::PUBLISHED_DIR;

use std::ops::Deref;
use std::path::{Path, PathBuf};

/// The search path for programs that pullpray starts, in the administrator's order.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The server, to look at.
#[derive(Debug, Clone)]
pub struct View {
    root: PathBuf,
}

/// The server, to change.
#[derive(Debug, Clone)]
pub struct Server {
    view: View,
}

impl View {
    /// Where an absolute path of the server lies for this process.
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

    /// A server whose file system begins at `root`; accounts and programs are the machine's.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            view: View {
                root: root.to_owned(),
            },
        }
    }

    /// The half of it that cannot change anything.
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
