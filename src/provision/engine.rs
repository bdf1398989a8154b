//! Walks over the list.

use anyhow::{Context, Result, bail};

use super::{Changes, CheckContext, Finding, Step};

/// A step with what checking it said.
pub struct Planned<'s> {
    /// The step.
    pub step: &'s dyn Step,
    /// What is so; an error if it could not be told.
    pub finding: Result<Finding>,
}

/// Checks every step and changes nothing.
#[must_use]
pub fn plan<'s>(steps: &'s [Box<dyn Step + 's>], context: &CheckContext<'_>) -> Vec<Planned<'s>> {
    steps
        .iter()
        .map(|step| Planned {
            step: step.as_ref(),
            finding: step.check(context),
        })
        .collect()
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Converged {
    /// It was so already.
    Unchanged(Finding),
    /// It was made so, and looked at afterwards.
    Changed(Finding),
    /// A person has to do something on the git host first.
    AwaitsAccess(String),
}

/// Makes one step true: looks, applies if need be, looks again.
///
/// # Errors
/// When it could not be told, could not be made, or does not hold afterwards; with what to do.
pub fn converge(step: &dyn Step, changes: &mut Changes<'_>) -> Result<Converged> {
    changes.enter(step.id());
    match step.check(&changes.context())? {
        finding if finding.is_satisfied() => return Ok(Converged::Unchanged(finding)),
        Finding::AwaitsAccess(why) => return Ok(Converged::AwaitsAccess(why)),
        Finding::ManualFix(why, hint) => bail!("{why}\nhint: {hint}"),
        Finding::Blocked(on, why) => bail!("waits for {on}, which should have come first ({why})"),
        _ => {}
    }
    step.apply(changes)?;
    // A tick is printed for what was looked at afterwards, never for a command that returned 0.
    let after = step
        .check(&changes.context())
        .context("could not be checked after it was made")?;
    match after {
        finding if finding.is_satisfied() => Ok(Converged::Changed(finding)),
        Finding::ManualFix(why, hint) => bail!("{why}\nhint: {hint}"),
        Finding::Absent(what) => bail!("was made and is not there ({what})"),
        Finding::Differs(what, _) => bail!("was made and is still not as it should be: {what}"),
        other => bail!("was made and is not as it should be: {other:?}"),
    }
}
