//! The plan: shown before anything is changed, and refused where going on would not help.

use anyhow::{Result, bail};

use crate::provision::{CheckContext, Finding, Planned, StepId};
use crate::ui::{PlanRow, Ui};

pub(super) fn show(ui: &mut dyn Ui, plan: &[Planned<'_>]) {
    let rows: Vec<PlanRow> = plan
        .iter()
        .filter_map(|planned| {
            let row = planned.step.row();
            let (mark, detail) = match &planned.finding {
                Ok(Finding::Absent(what) | Finding::Blocked(_, what)) => ('+', what.clone()),
                Ok(Finding::Differs(what, _)) => ('~', what.clone()),
                Ok(Finding::AwaitsAccess(_)) => {
                    ('+', "waits until the git host knows the key".to_owned())
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

/// What cannot be mended by going on stops before anything is changed, all of it at once.
pub(super) fn stop_if_broken(plan: &[Planned<'_>]) -> Result<()> {
    let mut text = String::new();
    for planned in plan {
        let problem = match &planned.finding {
            Ok(Finding::ManualFix(why, hint)) => format!("{why}\nhint: {hint}"),
            Err(error) => format!("{error:#}"),
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
    bail!("{text}")
}

/// Shows every file that would be written as a diff; gives the steps that could not be looked at,
/// and why.
pub(super) fn show_files(
    ui: &mut dyn Ui,
    plan: &[Planned<'_>],
    look: &CheckContext<'_>,
) -> Vec<(StepId, String)> {
    let mut unseen = Vec::new();
    for planned in plan {
        let id = planned.step.id();
        match &planned.finding {
            Ok(finding) if finding.is_satisfied() => continue,
            Ok(_) => {}
            Err(error) => {
                unseen.push((id, format!("{error:#}")));
                continue;
            }
        }
        match planned.step.preview(look) {
            Ok(Some((path, diff))) => ui.diff(&path.display().to_string(), &diff),
            Ok(None) => {}
            Err(error) => unseen.push((id, format!("{error:#}"))),
        }
    }
    unseen
}

/// Shows what somebody changed and what is kept so; whether there is any.
pub(super) fn tell_kept(ui: &mut dyn Ui, plan: &[Planned<'_>]) -> bool {
    let mut any = false;
    for planned in plan {
        if let Ok(Finding::LocallyModified(what, diff)) = &planned.finding {
            any = true;
            let path = planned.step.row().what;
            ui.note(&format!("{path}: {what}; --overwrite replaces it"));
            ui.diff(&path, diff);
        }
    }
    any
}
