//! The plan: shown before anything changes, and refused where applying it would not help.

use anyhow::{Result, anyhow};

use crate::error::{self, WithHint};
use crate::provision::{self, Finding, Fix, Planned, StepId};
use crate::ui::{PlanRow, Ui};

pub(super) fn show(ui: &mut dyn Ui, plan: &[Planned<'_>]) {
    let rows: Vec<PlanRow> = plan
        .iter()
        .filter_map(|planned| {
            let row = planned.step.about();
            let finding = planned.finding.as_ref().ok()?;
            let (mark, detail) = match finding {
                Finding::Absent(_) | Finding::Blocked { .. } => ('+', finding.summary()),
                Finding::Differs { .. } => ('~', finding.summary()),
                Finding::AwaitsAccess(_) => ('+', "waits for the deploy key to be added"),
                Finding::LocallyModified { .. } => ('=', finding.summary()),
                Finding::Ok(_) | Finding::Unproven(_) | Finding::Unknown(_) => return None,
                Finding::Warning(_) | Finding::ManualFix(_) => return None,
            };
            Some(PlanRow {
                mark,
                kind: row.id.kind().to_owned(),
                what: row.what,
                detail: detail.to_owned(),
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
            Ok(Finding::ManualFix(problem)) => {
                hints.push(problem.remedy.clone());
                problem.why.clone()
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
pub(super) fn show_files(ui: &mut dyn Ui, plan: &[Planned<'_>]) -> Vec<(StepId, String)> {
    let mut unseen = Vec::new();
    for planned in plan {
        match &planned.finding {
            Ok(Finding::Absent(_)) => {
                if let Some((path, text)) = planned.step.fix().and_then(Fix::preview) {
                    let diff = provision::unified(&path, "", &text);
                    ui.diff(&path.display().to_string(), &diff);
                }
            }
            Ok(Finding::Differs { diff, .. }) => {
                if let Some(diff) = diff {
                    ui.diff(&planned.step.about().what, diff);
                }
            }
            Ok(_) => {}
            Err(error) => unseen.push((planned.step.id(), error::in_one_line(error))),
        }
    }
    unseen
}

/// Shows files that were modified locally and are left as they are; whether there are any.
pub(super) fn show_modified(ui: &mut dyn Ui, plan: &[Planned<'_>]) -> bool {
    let mut any = false;
    for planned in plan {
        if let Ok(Finding::LocallyModified { what, diff }) = &planned.finding {
            any = true;
            let path = planned.step.about().what;
            ui.note(&format!("{path}: {what}; --overwrite replaces it"));
            ui.diff(&path, diff);
        }
    }
    any
}
