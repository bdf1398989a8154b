//! Steps: each is one fact about the server, which can be checked, made true and taken back.
//!
//! `init`, `doctor`, `doctor --fix`, the dry run and `remove` are walks over one list ([`list()`]),
//! so that no fact is described twice. Checking gets a [`CheckContext`], which has no writing methods;
//! making true gets [`Changes`], whose every method writes the receipt first. Taking back is the
//! receipt read backwards ([`undo()`]): what was not written there as created is never removed.

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
pub use rotation::{Opens, Rotation, next_key, next_opens, rotation, switch};
pub use step_id::StepId;
pub use undo::{
    Undone, close_receipt, end_account, in_order_of_removal, is_shared, remove_empty_remains, undo,
};

use std::path::PathBuf;

use anyhow::Result;

use crate::host::View;
use crate::state::receipt::Receipt;

/// What checking a step says. That it could not be told is an error beside it, never one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is so; what exactly is so.
    Ok(String),
    /// It is so in the administrator's own way, which is left alone: what differs, as a diff.
    LocallyModified(String, String),
    /// It is not there; what would be made.
    Absent(String),
    /// It is there and otherwise; what differs, and for text how.
    Differs(String, Option<String>),
    /// It cannot be looked at before another step holds.
    Blocked(StepId, String),
    /// The git host has to be told something by a person first.
    AwaitsAccess(String),
    /// It could not be proven, and nothing can be done about it here.
    Unproven(String),
    /// There is no way to find it out here; nothing speaks against it.
    Unknown(String),
    /// It holds, and somebody should look at it all the same: why, and what to do.
    Warning(String, String),
    /// It is not so, and applying the step would not help: why, and what to do.
    ManualFix(String, String),
}

impl Finding {
    /// Whether nothing has to be done.
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

/// What a check gets: the server to look at, and what is remembered of it.
#[derive(Debug, Clone, Copy)]
pub struct CheckContext<'a> {
    /// The server.
    pub view: &'a View,
    /// What init did here.
    pub receipt: &'a Receipt,
    /// Whether files that the administrator changed are to be replaced.
    pub overwrite: bool,
    /// Whether nothing may be asked over the network.
    pub offline: bool,
}

/// How a step shows in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanItem {
    /// `file`, `user`, `unit` …
    pub kind: &'static str,
    /// Its name or path.
    pub what: String,
}

impl PlanItem {
    /// Whether what it stands for is a thing that is made, rather than something that is proven.
    #[must_use]
    pub fn creates(&self) -> bool {
        matches!(
            self.kind,
            "file" | "dirs" | "key" | "group" | "user" | "member"
        )
    }
}

/// One fact about the server.
pub trait Step {
    /// Its name, for people and for scripts: `account.user`.
    fn id(&self) -> StepId;

    /// What it is, in a few words.
    fn title(&self) -> String;

    /// How it shows in a plan.
    fn plan_item(&self) -> PlanItem;

    /// Whether checking it asks the git host.
    fn needs_network(&self) -> bool {
        false
    }

    /// Whether it is so.
    ///
    /// # Errors
    /// When it cannot be told.
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding>;

    /// What it would write where, as a diff against what is there; `None` if it writes no text.
    ///
    /// # Errors
    /// When what is there cannot be read.
    fn preview(&self, _context: &CheckContext<'_>) -> Result<Option<(PathBuf, String)>> {
        Ok(None)
    }

    /// Makes it so.
    ///
    /// # Errors
    /// When that fails; whatever was done is in the receipt.
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()>;
}
