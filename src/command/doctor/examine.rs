//! One examination of an app, undisturbed by the polls that cron starts meanwhile.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;

use super::{Check, Status, check, from_finding, receipt, steps};
use crate::app::{App, AppName};
use crate::cli;
use crate::error::{WithHint, usage};
use crate::host::{Locked, Server};
use crate::layout;
use crate::provision::CheckContext;
use crate::state::ledger::Ledger;
use crate::ui;

pub(super) fn has_failed(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.status == Status::Fail)
}

/// How long doctor waits for a poll before it examines again. A deployment may take longer.
pub(super) const POLL_PATIENCE: Duration = Duration::from_secs(60);

/// Examines an app: every check, or those that were asked for.
pub(super) fn examine(server: &Server, app: &App, arguments: &cli::Doctor) -> Result<Vec<Check>> {
    examine_between_polls(server, &app.name, || examine_once(server, app, arguments))
}

/// Examines again if a poll that ran meanwhile may be the reason for a failure: a service that it restarts is not
/// active for a moment. No poll deploys during the second examination.
pub(super) fn examine_between_polls(
    server: &Server,
    name: &AppName,
    examine: impl Fn() -> Result<Vec<Check>>,
) -> Result<Vec<Check>> {
    // The deploy user and root can read both, others neither.
    let state = layout::state(name);
    let polled = || {
        let ledger = Ledger::load(server.view(), name).ok()?;
        Some((
            ledger.last_check()?.to_owned(),
            ledger.live().map(ToOwned::to_owned),
        ))
    };
    let polling = || matches!(server.lock(&state), Ok(Locked::Elsewhere));
    let (at_work, before) = (polling(), polled());
    let checks = examine()?;
    if !has_failed(&checks) || !(at_work || polling() || polled() != before) {
        return Ok(checks);
    }
    if let Ok(Locked::Held(_lock)) = server.lock_in_time(&state, POLL_PATIENCE) {
        return examine();
    }
    writeln!(
        ui::stderr(),
        "A poll of {name} is still deploying; some failures may end with it: pullpray status {name}"
    )?;
    Ok(checks)
}

fn examine_once(server: &Server, app: &App, arguments: &cli::Doctor) -> Result<Vec<Check>> {
    let receipt = receipt(server, app)?;
    let look = CheckContext {
        view: server.view(),
        receipt: &receipt,
        overwrite: arguments.overwrite,
        offline: arguments.offline,
    };
    let steps = steps(app);
    for id in &arguments.only {
        if !steps.iter().any(|step| step.id().as_str() == id) {
            return Err(usage(format!("there is no check {id}")).hint("pullpray doctor --list"));
        }
    }
    Ok(steps
        .iter()
        .filter(|step| {
            arguments.only.is_empty() || arguments.only.iter().any(|id| id == step.id().as_str())
        })
        .map(|step| {
            if arguments.offline && step.needs_network() {
                return check(
                    app,
                    step,
                    Status::Skip,
                    "contacts the git host, and --offline was given".to_owned(),
                );
            }
            from_finding(app, step, step.check(&look))
        })
        .collect())
}
