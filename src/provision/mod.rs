//! Steps: each is one piece of server state that can be checked, applied and undone.
//!
//! `init`, `doctor`, `doctor --fix` and the dry run iterate over one list ([`list()`]), so each step is
//! described once. [`Step::check`] takes a [`CheckContext`], which has no writing methods; [`Step::apply`]
//! takes [`Changes`], every method of which writes the receipt before it changes the server. `remove`
//! reads the receipt backwards ([`undo()`]) and removes only what the receipt records as created.

mod account;
mod agent;
mod audit;
mod changes;
mod directories;
mod eligibility;
mod engine;
mod file;
mod files;
mod host_key;
mod key;
mod key_pair;
mod list;
mod monitors;
mod receipt;
mod release;
mod remote_checks;
mod repo;
mod requirements;
mod rotation;
mod service;
mod settings_file;
mod step_id;
mod sudo_list;
mod undo;

pub use changes::Changes;
pub use eligibility::ineligible;
pub use engine::{Converged, Planned, converge, plan};
pub use key_pair::public_key;
pub use list::list;
pub use monitors::{monitors, overdue};
pub use receipt::receipt_problem;
pub use rotation::{NextKeyAccess, Rotation, next_key, next_key_access, rotation, switch_key};
pub use step_id::StepId;
pub use undo::{
    Undone, close_receipt, end_account, in_order_of_removal, is_shared, remove_empty_remains, undo,
};

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::host::View;
use crate::state::receipt::Receipt;

/// Result of a check. A check that could not run returns an error instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// As it should be: the current state.
    Ok(String),
    /// The administrator modified the file; it is left as is. Summary and diff.
    LocallyModified(String, String),
    /// Missing: what apply would create.
    Absent(String),
    /// Present but different: what differs, and a diff for text.
    Differs(String, Option<String>),
    /// Cannot be checked until another step is satisfied: that step, and why or what would follow.
    Blocked(StepId, String),
    /// Somebody has to add the deploy key on the git host first: the host's answer.
    AwaitsAccess(String),
    /// Could not be verified, and nothing on this server can change that.
    Unproven(String),
    /// Cannot be determined on this server; no sign of a problem.
    Unknown(String),
    /// Satisfied, but needs attention: why, and a command.
    Warning(String, String),
    /// Wrong, and apply cannot fix it: why, and a command for the administrator.
    ManualFix(String, String),
}

impl Finding {
    /// Whether the step needs no apply.
    #[must_use]
    pub fn is_satisfied(&self) -> bool {
        matches!(
            self,
            Self::Ok(_)
                | Self::LocallyModified(..)
                | Self::Unproven(_)
                | Self::Unknown(_)
                | Self::Warning(..)
        )
    }
}

/// Input of a check: a read-only view of the server, the receipt and the options.
#[derive(Debug, Clone, Copy)]
pub struct CheckContext<'a> {
    /// Read-only view of the server.
    pub view: &'a View,
    /// Record of what init changed on this server.
    pub receipt: &'a Receipt,
    /// Whether to replace files that the administrator modified.
    pub overwrite: bool,
    /// Whether network requests are forbidden.
    pub offline: bool,
}

/// What a step is about: its id, its title and its line in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Stable id.
    pub id: StepId,
    /// Short title for people.
    pub title: String,
    /// `file`, `user`, `unit` …
    pub kind: &'static str,
    /// Its name or path.
    pub what: String,
}

impl About {
    fn new(
        id: StepId,
        title: impl Into<String>,
        kind: &'static str,
        what: impl Into<String>,
    ) -> Self {
        Self {
            id,
            title: title.into(),
            kind,
            what: what.into(),
        }
    }

    /// Whether apply creates the item, as opposed to verifying it.
    #[must_use]
    pub fn creates(&self) -> bool {
        matches!(
            self.kind,
            "file" | "dirs" | "key" | "group" | "user" | "member"
        )
    }
}

/// One piece of server state that pullpray manages.
pub trait Step {
    /// Its id, title and line in the plan.
    fn about(&self) -> About;

    /// Stable id, used by `--only` and scripts.
    fn id(&self) -> StepId {
        self.about().id
    }

    /// Short title for people.
    fn title(&self) -> String {
        self.about().title
    }

    /// Whether the check contacts the git host.
    fn needs_network(&self) -> bool {
        false
    }

    /// Compares the server with the desired state, without changing anything.
    ///
    /// # Errors
    /// When the state cannot be determined.
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding>;

    /// Path and diff of the text that apply would write; `None` if it writes no text.
    ///
    /// # Errors
    /// When the current file cannot be read.
    fn preview(&self, _context: &CheckContext<'_>) -> Result<Option<(PathBuf, String)>> {
        Ok(None)
    }

    /// Changes the server to the desired state. Without it, people have to: the check says what to do.
    ///
    /// # Errors
    /// When a change fails; the receipt records every change made before that.
    fn apply(&self, _changes: &mut Changes<'_>) -> Result<()> {
        bail!("{} cannot be fixed automatically", self.title())
    }
}
