//! `pullpray doctor`: checks the same list as init and changes nothing; `--fix` applies exactly the steps that fail.

use std::io::Write;

use anyhow::Result;

use crate::app::{App, AppName};
use crate::cli;
use crate::error::{self, WithHint, usage};
use crate::exit::Exit;
use crate::host::{Server, effective_uid, is_permission};
use crate::layout;
use crate::provision::{self, Changes, Converged, Finding, Step, StepId};
use crate::state::ledger::Ledger;
use crate::state::receipt::Receipt;
use crate::store::marks;
use crate::text::for_terminal;
use crate::ui::{self, Mark};

use super::{load, named};
use examine::{examine, has_failed};
use report::{Check, Status, json, render};

mod examine;
mod report;

pub(super) fn run(server: &Server, arguments: &cli::Doctor) -> Result<Exit> {
    let names = named(server, &arguments.apps)?;
    if arguments.list {
        return list(server, &names);
    }
    if arguments.fix && effective_uid() != 0 {
        return Err(usage("only root can fix").hint("sudo pullpray doctor --fix"));
    }
    let mut checks = Vec::new();
    for name in &names {
        let app = match load(server, name) {
            Ok(app) => app,
            // Invalid settings of one app do not hide the others.
            Err(error) if server.stat(&layout::settings(name))?.is_some() => {
                let file = layout::settings(name);
                let edit = format!("sudoedit {}", file.display());
                let hidden = server.read(&file).is_err_and(|error| is_permission(&error));
                let mut check = unusable(name, &error, edit);
                if hidden {
                    (check.status, check.hidden) = (Status::Error, true);
                }
                checks.push(check);
                continue;
            }
            Err(error) if server.lost_apps()?.contains(name) => {
                checks.push(unusable(name, &error, format!("sudo pullpray init {name}")));
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut of = examine(server, &app, arguments)?;
        let failed = has_failed(&of);
        // Without its data nothing is fixed: that would happen below an empty mount point.
        if arguments.fix && failed && marks::missing(server, name)?.is_none() {
            let fixed = fix(server, &app, arguments, &of)?;
            of = examine(server, &app, arguments)?;
            if fixed {
                await_poll(server, &app, &mut of)?;
            }
        }
        if is_unfinished(server, &app)? {
            continue_set_up(&app, &mut of);
        }
        checks.extend(of);
    }
    let mut out = ui::stdout();
    if arguments.json {
        writeln!(out, "{}", ui::json_for_terminal(&json(&checks)?))?;
    } else {
        for name in &names {
            write!(out, "{}", render(name, &checks, names.len() > 1))?;
        }
    }
    let any = |status: Status| checks.iter().any(|check| check.status == status);
    Ok(
        if any(Status::Fail) || (arguments.strict && any(Status::Warn)) {
            Exit::Failed
        } else if any(Status::Error) {
            Exit::Unknown
        } else {
            Exit::Success
        },
    )
}

fn steps(app: &App) -> Vec<Step<'_>> {
    let mut steps = provision::list(app);
    steps.extend(provision::monitors(app));
    steps
}

fn list(server: &Server, names: &[AppName]) -> Result<Exit> {
    let mut out = ui::stdout();
    for name in names {
        let app = load(server, name)?;
        for step in steps(&app) {
            writeln!(out, "{:<22} {}", step.id(), step.title())?;
        }
    }
    Ok(Exit::Success)
}

/// Only root can read the receipt. Without it, locally modified files are reported as differing.
fn receipt(server: &Server, app: &App) -> Result<Receipt> {
    if effective_uid() == 0 {
        Receipt::load(server, &app.name)
    } else {
        Ok(Receipt::unreadable(&app.name))
    }
}

/// The settings of an app are not valid, so nothing else can be checked.
fn unusable(name: &AppName, error: &anyhow::Error, remedy: String) -> Check {
    Check {
        app: name.to_string(),
        id: StepId::AppSettings.as_str(),
        title: "settings file".to_owned(),
        status: Status::Fail,
        message: format!("{error:#}"),
        detail: None,
        remediation: vec![remedy],
        hidden: false,
    }
}

fn check(app: &App, step: &Step<'_>, status: Status, message: String) -> Check {
    Check {
        app: app.name.to_string(),
        id: step.id().as_str(),
        title: step.title(),
        status,
        message,
        detail: None,
        remediation: Vec::new(),
        hidden: false,
    }
}

fn from_finding(app: &App, step: &Step<'_>, finding: Result<Finding>) -> Check {
    let fix = format!(
        "sudo pullpray doctor {} --fix --only {}",
        app.name,
        step.id()
    );
    let say = |status, message: String| check(app, step, status, message);
    match finding {
        Ok(Finding::Ok(what)) => say(Status::Ok, what),
        Ok(Finding::LocallyModified { what, diff }) => Check {
            detail: Some(diff),
            ..say(Status::Ok, what)
        },
        Ok(Finding::Unproven(what)) => say(Status::Warn, what),
        Ok(Finding::Warning(problem)) => Check {
            remediation: vec![problem.remedy],
            ..say(Status::Warn, problem.why)
        },
        Ok(Finding::Absent(what)) => Check {
            remediation: vec![fix],
            ..say(Status::Fail, format!("is missing ({what})"))
        },
        Ok(Finding::Differs { what, diff }) => Check {
            detail: diff,
            remediation: vec![fix],
            ..say(Status::Fail, what)
        },
        Ok(Finding::Unknown(why)) => say(Status::Skip, why),
        Ok(Finding::Blocked { on, why }) => say(Status::Skip, format!("waits for {on} ({why})")),
        Ok(Finding::AwaitsAccess(why)) => Check {
            remediation: vec![format!("sudo pullpray init {}", app.name)],
            ..say(
                Status::Fail,
                format!("the git host does not accept the deploy key: {why}"),
            )
        },
        Ok(Finding::ManualFix(problem)) => Check {
            remediation: vec![problem.remedy],
            ..say(Status::Fail, problem.why)
        },
        Err(error) => Check {
            remediation: error::hints(&error),
            hidden: effective_uid() != 0 && is_permission(&error),
            ..say(Status::Error, format!("{error:#}"))
        },
    }
}

/// Whether init has not come to its end yet: nothing polls, and nothing was deployed.
fn is_unfinished(server: &Server, app: &App) -> Result<bool> {
    for scheduler in app.schedulers() {
        if server.stat(&scheduler)?.is_some() {
            return Ok(false);
        }
    }
    Ok(Ledger::load(server, &app.name).is_ok_and(|ledger| ledger.live().is_none()))
}

/// What is missing is not to be fixed check by check: init continues where it stopped.
fn continue_set_up(app: &App, checks: &mut [Check]) {
    for check in checks {
        let by_check = |remedy: &String| remedy.starts_with("sudo pullpray doctor ");
        if check.remediation.iter().any(by_check) {
            check.remediation = vec![format!(
                "sudo pullpray init {}  # the set-up is unfinished",
                app.name
            )];
        }
    }
}

/// After a fix, the outage that earlier polls recorded fails no longer: only the next poll shows whether it is over.
fn await_poll(server: &Server, app: &App, checks: &mut [Check]) -> Result<()> {
    let recorded = || anyhow::Ok(Ledger::load(server, &app.name)?.outage().is_some());
    let is_poll = |check: &&mut Check| {
        check.id == StepId::PollRecent.as_str() && check.status == Status::Fail
    };
    if let Some(check) = checks.iter_mut().find(is_poll)
        && recorded()?
    {
        check.status = Status::Skip;
        let past = std::mem::take(&mut check.message);
        check.message = format!("before the fix: {past}; the next poll shows whether it is over");
    }
    Ok(())
}

/// Applies what fails and can be applied, in the order of the list; whether anything was.
fn fix(server: &Server, app: &App, arguments: &cli::Doctor, checks: &[Check]) -> Result<bool> {
    let mut ui = ui::open(arguments.yes);
    let failing: Vec<&Check> = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .collect();
    for check in &failing {
        ui.say(&format!(
            "  {:<22} {}",
            check.id,
            for_terminal(&check.message)
        ));
        if let Some(diff) = &check.detail {
            ui.diff(check.id, diff);
        }
    }
    if !arguments.yes {
        if !ui::is_interactive() {
            return Err(usage("there is no terminal to ask on").hint("--yes fixes without asking"));
        }
        if !ui.confirm(&fix_question(failing.len(), &app.name), true)? {
            return Ok(false);
        }
    }
    let (mut fixed, mut failed) = (false, Vec::new());
    let mut receipt = Receipt::load(server, &app.name)?;
    let steps = steps(app);
    for step in &steps {
        let wanted =
            arguments.only.is_empty() || arguments.only.iter().any(|id| id == step.id().as_str());
        if !wanted || (arguments.offline && step.needs_network()) {
            continue;
        }
        let mut changes = Changes::begin(server, &mut receipt, &app.name, arguments.overwrite)?;
        if arguments.offline {
            changes.set_offline();
        }
        match provision::converge(step, &mut changes) {
            Ok(Converged::Changed(_)) => {
                fixed = true;
                ui.done(Mark::Ok, step.id().as_str(), "fixed");
            }
            Ok(Converged::Unchanged(_)) => {}
            Ok(Converged::AwaitsAccess(why)) => {
                ui.done(Mark::Waiting, step.id().as_str(), &why);
            }
            Err(error) => failed.push((step, error)),
        }
    }
    // A later step may have fixed it meanwhile. What is still wrong is reported again below, with what to do.
    for (step, error) in failed {
        let changes = Changes::begin(server, &mut receipt, &app.name, arguments.overwrite)?;
        let holds = step.check(&changes.context());
        if !holds.is_ok_and(|finding| finding.is_satisfied()) {
            let text = error.to_string();
            let first = for_terminal(text.lines().next().unwrap_or_default());
            ui.done(Mark::Failed, step.id().as_str(), &first);
        }
    }
    Ok(fixed)
}

/// `Fix 3 problems in todo?`
fn fix_question(count: usize, app: &AppName) -> String {
    let problems = if count == 1 { "problem" } else { "problems" };
    format!("Fix {count} {problems} in {app}?")
}

#[cfg(test)]
mod tests;
