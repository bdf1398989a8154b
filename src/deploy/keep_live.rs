//! Keeps the live release up when there is nothing to deploy: a stopped service is started; if that does not help, or
//! the release is lost, its commit is deployed again, even while deployments are paused or the git host is unreachable.

use std::path::Path;

use anyhow::{Result, anyhow};

use crate::app::Limits;
use crate::git::Newest;
use crate::layout;
use crate::state::ledger::{Ledger, Release};

use super::fetch::{self, FetchError};
use super::{Poll, PollOutcome, health, inputs_digest, restore};
use crate::decide::{self, Decision, Signature, Tip};
use crate::report::Recovery;
use crate::text::short;

/// Deploys a commit again that was accepted before, from the local mirror; fetched again only if the mirror lost it.
pub(super) fn deploy_again(poll: &Poll<'_>, ledger: Ledger, commit: &str) -> Result<PollOutcome> {
    let (server, app) = (poll.server, poll.app);
    let started = poll.clock.elapsed();
    let oid = commit.parse()?;
    let newest = Newest {
        name: short(commit).to_owned(),
        reference: None,
        object: oid,
        commit: oid,
    };
    poll.progress(&format!("deploying {} again", newest.name));
    let code = fetch::fetch(server, poll.remote, app, &newest, None)
        .and_then(|code| code.check_complete(server, poll.remote, app, &newest, None))
        .map_err(|error| match error {
            FetchError::Remote(why) | FetchError::Unfit(why) => anyhow!(why),
            FetchError::Local(error) => error,
            FetchError::Preempted => anyhow!("another command is running"),
        })
        .map_err(|error| error.context(format!("{} could not be deployed again", newest.name)))?;
    poll.deploy(code, ledger, inputs_digest(server, app)?, started, None)
}

/// Whether the live commit failed when it was deployed again, and its next attempt is not due. Nothing else delays it.
fn is_backing_off(poll: &Poll<'_>, ledger: &Ledger, live: &Release) -> Result<bool> {
    let tip = Tip {
        commit: &live.commit,
        descends: None,
        signature: Signature::NotChecked,
    };
    let mut failures_only = Ledger::default();
    failures_only.failures.clone_from(&ledger.failures);
    let limits = Limits {
        deploy_window: None,
        ..poll.app.limits.clone()
    };
    let now = poll.clock.local().fixed_offset();
    let decision = decide::decide(
        &tip,
        &failures_only,
        &limits,
        &inputs_digest(poll.server, poll.app)?,
        now,
    );
    Ok(decision != Decision::Deploy)
}

/// Keeps the live release up; returns what was done together with the poll's own outcome.
pub(super) fn keep_live(poll: &Poll<'_>, outcome: PollOutcome) -> Result<PollOutcome> {
    let (server, app) = (poll.server, poll.app);
    let mut ledger = Ledger::load(server, &app.name)?;
    let Some(live) = ledger.live.clone() else {
        return Ok(outcome);
    };
    let (dir, unit) = (
        app.releases().join(&live.id),
        layout::service_unit(&app.name),
    );
    let exists = server.stat(&dir)?.is_some();
    // systemd keeps this link exactly while the unit runs: one lstat, where systemctl costs a process.
    let mark = Path::new("/run/systemd/units").join(format!("invocation:{unit}"));
    let runs = server.stat(&mark)?.is_some();
    let failed = ledger.failure(&live.commit).is_some();
    let down = matches!(&outcome, PollOutcome::Failed(report) if report.restore_error.is_some());
    if exists && runs && !failed && !down && !poll.now {
        return Ok(outcome);
    }
    if exists && runs && health::check_once(poll).is_ok() {
        if failed {
            ledger
                .failures
                .retain(|failure| failure.commit != live.commit);
            ledger.store(server, &app.name)?;
        }
        return Ok(outcome);
    }
    if !poll.now
        && (is_backing_off(poll, &ledger, &live)?
            || exists && stopped_on_purpose(poll, &ledger, &unit)?)
    {
        return Ok(outcome);
    }
    let mut found = if !exists {
        format!("{} was gone", dir.display())
    } else if runs {
        format!("{unit} was unhealthy")
    } else {
        format!("{unit} had stopped")
    };
    poll.progress(&found);
    if exists {
        match restore::restore_previous(poll, &live) {
            Ok(()) => {
                let recovery = Recovery {
                    found,
                    live,
                    unhealthy: None,
                };
                return Ok(PollOutcome::Recovered(recovery, Box::new(outcome)));
            }
            Err(error) => found = format!("{found}, and after a restart: {error:#}"),
        }
    }
    let again =
        deploy_again(poll, ledger, &live.commit).map_err(|error| error.context(found.clone()))?;
    Ok(PollOutcome::Redeployed(
        found,
        Box::new(outcome),
        Box::new(again),
    ))
}

/// Whether somebody stopped the service on purpose: disabled or masked it, or stopped it while deployments are paused.
fn stopped_on_purpose(poll: &Poll<'_>, ledger: &Ledger, unit: &str) -> Result<bool> {
    let state = poll.server.unit(unit)?;
    let stopped = state.active == "inactive" && state.result == "success";
    Ok(!state.is_enabled() || ledger.pause.is_some() && stopped)
}
