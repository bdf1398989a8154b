//! The plan: shown before anything changes, and refused where applying it would not help.

use anyhow::{Result, anyhow};

use crate::error::{self, WithHint};
use crate::provision::{CheckContext, Finding, Planned, StepId};
use crate::ui::{PlanRow, Ui};

pub(super) fn show(ui: &mut dyn Ui, plan: &[Planned<'_>]) {
    let rows: Vec<PlanRow> = plan
        .iter()
        .filter_map(|planned| {
            let row = planned.step.about();
            let (mark, detail) = match &planned.finding {
                Ok(Finding::Absent(what) | Finding::Blocked(_, what)) => ('+', what.clone()),
                Ok(Finding::Differs(what, _)) => ('~', what.clone()),
                Ok(Finding::AwaitsAccess(_)) => {
                    ('+', "waits for the deploy key to be added".to_owned())
                }
                Ok(Finding::LocallyModified(what, _)) => ('=', what.clone()),
                Ok(
                    Finding::Ok(_)
                    | Finding::Unproven(_)
                    | Finding::Unknown(_)
                    | Finding::Warning(..),
                ) => return None,
                Ok(Finding::ManualFix(..)) | Err(_) => return None,
            };
            Some(PlanRow {
                mark,
                kind: row.kind.to_owned(),
                what: row.what,
                detail,
            })
        })
        .collect();
    if !rows.is_empty() {
        ui.say("");
        ui.heading(&format!("Plan: {} steps", rows.len()));
        ui.plan(&rows);
        ui.say("");
    }
}

/// Reports everything that applying the plan would not fix, before anything changes.
///
/// # Errors
/// All of it at once, if there is any.
pub(super) fn stop_if_broken(plan: &[Planned<'_>]) -> Result<()> {
    let mut text = String::new();
    let mut hints = Vec::new();
    for planned in plan {
        let problem = match &planned.finding {
            Ok(Finding::ManualFix(why, hint)) => {
                hints.push(hint.clone());
                why.clone()
            }
            Err(error) => {
                hints.extend(error::hints(error));
                format!("{error:#}")
            }
            _ => continue,
        };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!(
            "{} ({}): {problem}",
            planned.step.title(),
            planned.step.id()
        ));
    }
    if text.is_empty() {
        return Ok(());
    }
    Err(hints.into_iter().fold(anyhow!(text), WithHint::hint))
}

/// Shows every file that would be written as a diff; returns the steps that could not be checked, and why.
pub(super) fn show_files(
    ui: &mut dyn Ui,
    plan: &[Planned<'_>],
    context: &CheckContext<'_>,
) -> Vec<(StepId, String)> {
    let mut unseen = Vec::new();
    for planned in plan {
        let id = planned.step.id();
        match &planned.finding {
            Ok(finding) if finding.is_satisfied() => continue,
            Ok(_) => {}
            Err(error) => {
                unseen.push((id, error::in_one_line(error)));
                continue;
            }
        }
        match planned.step.preview(context) {
            Ok(Some((path, diff))) => ui.diff(&path.display().to_string(), &diff),
            Ok(None) => {}
            Err(error) => unseen.push((id, error::in_one_line(&error))),
        }
    }
    unseen
}

/// Shows files that were modified locally and are left as they are; whether there are any.
pub(super) fn show_modified(ui: &mut dyn Ui, plan: &[Planned<'_>]) -> bool {
    let mut any = false;
    for planned in plan {
        if let Ok(Finding::LocallyModified(what, diff)) = &planned.finding {
            any = true;
            let path = planned.step.about().what;
            ui.note(&format!("{path}: {what}; --overwrite replaces it"));
            ui.diff(&path, diff);
        }
    }
    any
}
