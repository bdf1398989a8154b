//! What a check found.

use std::path::Path;

use anyhow::anyhow;

use crate::error::WithHint;
use crate::host::{Stat, View};

use super::StepId;

/// Something that is wrong, and the command with which the administrator fixes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub why: String,
    /// The command.
    pub remedy: String,
}

impl Problem {
    pub(super) fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (why, remedy) = (why.into(), remedy.into());
        Self { why, remedy }
    }

    /// The unit's file is a link to /dev/null, so that nothing starts it (systemctl(1), `mask`).
    pub(super) fn masked(unit: &str) -> Self {
        Self::new(
            format!("{unit} is masked"),
            format!("sudo systemctl unmask {unit}"),
        )
    }

    /// Something else is where a file or directory belongs.
    pub(super) fn not_a(kind: &str, path: &Path) -> Self {
        let path = path.display();
        Self::new(
            format!("{path} exists and is not a {kind}"),
            format!("sudo mv -T {path} {path}.was"),
        )
    }
}

/// Result of a check. A check that could not run returns an error instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// As it should be: the current state.
    Ok(String),
    /// The administrator modified the file; it is left as is.
    LocallyModified {
        /// Summary.
        what: String,
        /// The modification.
        diff: String,
    },
    /// Missing: what apply would create.
    Absent(String),
    /// Present but different.
    Differs {
        /// What differs.
        what: String,
        /// The difference, for text.
        diff: Option<String>,
    },
    /// Cannot be checked until another step is satisfied.
    Blocked {
        /// That step.
        on: StepId,
        /// Why, or what would follow.
        why: String,
    },
    /// Somebody has to add the deploy key on the git host first: the host's answer.
    AwaitsAccess(String),
    /// Could not be verified, and nothing on this server can change that.
    Unproven(String),
    /// Cannot be determined on this server; no sign of a problem.
    Unknown(String),
    /// Satisfied, but needs attention.
    Warning(Problem),
    /// Wrong, and apply cannot fix it.
    ManualFix(Problem),
}

impl Finding {
    pub(super) fn ok(what: impl Into<String>) -> Self {
        Self::Ok(what.into())
    }
    pub(super) fn absent(what: impl Into<String>) -> Self {
        Self::Absent(what.into())
    }
    pub(super) fn differs(what: impl Into<String>) -> Self {
        let (what, diff) = (what.into(), None);
        Self::Differs { what, diff }
    }
    pub(super) fn blocked(on: StepId, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::Blocked { on, why }
    }
    pub(super) fn warning(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Warning(Problem::new(why, remedy))
    }
    pub(super) fn manual(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::ManualFix(Problem::new(why, remedy))
    }

    /// Whether the step needs no apply.
    #[must_use]
    pub fn is_satisfied(&self) -> bool {
        match self {
            Self::Ok(_) | Self::LocallyModified { .. } => true,
            Self::Unproven(_) | Self::Unknown(_) | Self::Warning(_) => true,
            Self::Absent(_) | Self::Differs { .. } | Self::Blocked { .. } => false,
            Self::AwaitsAccess(_) | Self::ManualFix(_) => false,
        }
    }

    /// What it says in one sentence, without a command or a diff.
    #[must_use]
    pub fn summary(&self) -> &str {
        match self {
            Self::Ok(text) | Self::Absent(text) | Self::AwaitsAccess(text) => text,
            Self::Unproven(text) | Self::Unknown(text) => text,
            Self::LocallyModified { what, .. } | Self::Differs { what, .. } => what,
            Self::Blocked { why, .. } => why,
            Self::Warning(problem) | Self::ManualFix(problem) => &problem.why,
        }
    }
}

impl From<Problem> for anyhow::Error {
    fn from(problem: Problem) -> Self {
        anyhow!(problem.why).hint(problem.remedy)
    }
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        Self::ManualFix(problem)
    }
}

/// A file of a group that does not exist yet.
pub(super) fn absent_group(group: impl std::fmt::Display) -> Finding {
    let why = format!("its group {group} does not exist yet");
    Finding::blocked(StepId::AccountGroup, why)
}

/// What is wrong with the owner and mode of a file of root's; `None` if nothing is.
pub(super) fn wrong_owner(view: &View, stat: &Stat, gid: u32, mode: u32) -> Option<String> {
    let (user, group) = (view.user_name(stat.uid), view.group_name(stat.gid));
    let group_is = (gid != 0).then(|| format!(":{}", view.group_name(gid)));
    ((stat.uid, stat.gid, stat.mode) != (0, gid, mode)).then(|| {
        let (is, group_is) = (stat.mode, group_is.unwrap_or_default());
        format!("is {is:04o} {user}:{group}, should be {mode:04o} root{group_is}")
    })
}
