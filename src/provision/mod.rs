//! Steps: each is one piece of server state that can be checked, and mostly applied and undone.
//!
//! `init`, `doctor`, `doctor --fix` and the dry run iterate over one list ([`list()`]), so each step is
//! described once. A [`Check`] takes a [`CheckContext`], which has no writing methods; a [`Fix`] is a check that can
//! also apply, through [`Changes`], every method of which writes the receipt before it changes the server. `remove`
//! reads the receipt backwards ([`Removal`]) and removes only what the receipt records as created.

mod account;
mod agent;
mod audit;
mod changes;
mod connections;
mod directories;
mod eligibility;
mod engine;
mod file;
mod finding;
mod host_key;
mod key;
mod key_pair;
mod list;
mod monitors;
mod notices;
mod processes;
mod reach;
mod readers;
mod receipt;
mod release;
mod remote_checks;
mod removal;
mod repo;
mod requirements;
mod rotation;
mod scheduler;
mod service;
mod settings_file;
mod step_id;
mod sudo_list;
#[cfg(test)]
mod tests;
mod undo;
mod unrecorded;

pub use changes::Changes;
pub use eligibility::ineligible;
pub use engine::{Converged, Planned, converge, plan};
pub use file::unified;
pub use finding::{Finding, Problem};
pub use host_key::first_host_key;
pub use key_pair::public_key;
pub use list::list;
pub use monitors::{monitors, overdue};
pub use notices::{lacks_program, nobody_hears, undelivered};
pub use processes::{environment_is_newer, process_states, settings_are_newer};
pub use receipt::receipt_problem;
pub use removal::{Removal, Removed, remove_empty_remains};
pub use repo::other_branches;
pub use rotation::{NextKeyAccess, Rotation, next_key, next_key_access, rotation, switch_key};
pub use service::installed_bind;
pub use step_id::StepId;
pub use undo::Undone;

use std::ops::Deref;
use std::path::PathBuf;

use anyhow::Result;

use crate::host::View;
use crate::state::receipt::Receipt;

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
    /// Its name or path.
    pub what: String,
}

impl About {
    fn new(id: StepId, what: impl ToString) -> Self {
        let what = what.to_string();
        let title = id.title().replace("{}", &what);
        Self { id, title, what }
    }

    /// Whether apply creates the item, as opposed to verifying it.
    #[must_use]
    pub fn creates(&self) -> bool {
        let created = ["file", "dirs", "key", "group", "user", "member"];
        created.contains(&self.id.kind())
    }
}

/// One piece of server state that can be checked.
pub trait Check {
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
}

/// A check whose desired state pullpray can bring about.
pub trait Fix: Check {
    /// Changes the server to the desired state.
    ///
    /// # Errors
    /// When a change fails; the receipt records every change made before that.
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()>;

    /// Path and text of the file that apply writes if it is missing; `None` if it writes no text.
    fn preview(&self) -> Option<(PathBuf, String)> {
        None
    }
}

/// An entry of the list.
pub enum Step<'a> {
    /// Only people can bring it about: the finding says how.
    Check(Box<dyn Check + 'a>),
    /// Apply brings it about.
    Fix(Box<dyn Fix + 'a>),
}

impl Step<'_> {
    /// The fix, if there is one.
    #[must_use]
    pub fn fix(&self) -> Option<&dyn Fix> {
        match self {
            Self::Check(_) => None,
            Self::Fix(fix) => Some(fix.as_ref()),
        }
    }
}

impl<'a> Deref for Step<'a> {
    type Target = dyn Check + 'a;
    fn deref(&self) -> &Self::Target {
        match self {
            Self::Check(check) => check.as_ref(),
            Self::Fix(fix) => fix.as_ref(),
        }
    }
}

fn check<'a>(check: impl Check + 'a) -> Step<'a> {
    Step::Check(Box::new(check))
}

fn fix<'a>(fix: impl Fix + 'a) -> Step<'a> {
    Step::Fix(Box::new(fix))
}
