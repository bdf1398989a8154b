//! The engine: plans and applies steps.

use anyhow::{Context, Result, bail};

use super::{Changes, CheckContext, Finding, Step};

/// A step and the result of its check.
pub struct Planned<'s> {
    /// The step.
    pub step: &'s Step<'s>,
    /// Result of the check; an error if it could not run.
    pub finding: Result<Finding>,
}

/// Checks every step and changes nothing.
#[must_use]
pub fn plan<'s>(steps: &'s [Step<'s>], context: &CheckContext<'_>) -> Vec<Planned<'s>> {
    let planned = |step: &'s Step<'s>| Planned {
        step,
        finding: step.check(context),
    };
    steps.iter().map(planned).collect()
}

/// Outcome of [`converge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Converged {
    /// Was satisfied already.
    Unchanged(Finding),
    /// Applied, and verified by a second check.
    Changed(Finding),
    /// Somebody has to add the deploy key on the git host first.
    AwaitsAccess(String),
}

/// Checks a step, applies it if necessary, and checks it again.
///
/// # Errors
/// When the check or apply fails, or the second check is not satisfied; with a hint where there is one.
pub fn converge(step: &Step<'_>, changes: &mut Changes<'_>) -> Result<Converged> {
    changes.enter(step.id());
    match step.check(&changes.context())? {
        finding if finding.is_satisfied() => return Ok(Converged::Unchanged(finding)),
        Finding::AwaitsAccess(why) => return Ok(Converged::AwaitsAccess(why)),
        Finding::ManualFix(problem) => return Err(problem.into()),
        Finding::Blocked { on, why } => bail!("blocked by {on} ({why})"),
        _ => {}
    }
    let Some(fix) = step.fix() else {
        bail!("{} cannot be fixed automatically", step.title());
    };
    fix.apply(changes)?;
    // Success is what a second check finds, not a command's exit code 0.
    let after = step
        .check(&changes.context())
        .context("applied, but the check afterwards failed")?;
    match after {
        finding if finding.is_satisfied() => Ok(Converged::Changed(finding)),
        Finding::ManualFix(problem) => Err(problem.into()),
        Finding::Absent(what) => bail!("applied, but still missing ({what})"),
        other => bail!("applied, but still wrong: {}", other.summary()),
    }
}
