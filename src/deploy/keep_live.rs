//! What is live is looked after when nothing is new: a service that stopped is started, and if that is no help, or the
//! release is lost, its commit is deployed once more, whatever rests, is held or cannot be asked for.

use std::path::Path;

use anyhow::{Result, anyhow};

use crate::app::Limits;
use crate::git::Newest;
use crate::layout;
use crate::state::ledger::{Ledger, Release};

use super::fetch::{self, FetchError};
use super::{Poll, PollOutcome, Recovery, conditions, health, switch};
use crate::decide::{self, Decision, Signature, Tip};
use crate::text::short;

/// Deploys a commit that was let through before, in a release of its own, from what was fetched for it: the git host
/// is asked only if that is lost.
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
    poll.say(&format!("deploying {} again", newest.name));
    let code = fetch::fetch(server, app, &newest, None)
        .and_then(|code| code.whole(server, app, &newest, None))
        .map_err(|error| match error {
            FetchError::Remote(why) | FetchError::Unfit(why) => anyhow!(why),
            FetchError::Here(error) => error,
            FetchError::GaveWay => anyhow!("somebody else was let go first"),
        })
        .map_err(|error| error.context(format!("{} could not be deployed again", newest.name)))?;
    poll.deploy(code, ledger, conditions(server, app)?, started, None)
}

/// Whether the live commit, deployed again and failed, is not due, or given up. Nothing else keeps it.
fn rests(poll: &Poll<'_>, ledger: &Ledger, live: &Release) -> Result<bool> {
    let tip = Tip {
        commit: &live.commit,
        descends: None,
        signature: Signature::NotAsked,
    };
    let mut alone = Ledger::default();
    alone.failures.clone_from(&ledger.failures);
    let limits = Limits {
        deploy_window: None,
        ..poll.app.limits.clone()
    };
    let now = poll.clock.local().fixed_offset();
    let decision = decide::decide(
        &tip,
        &alone,
        &limits,
        &conditions(poll.server, poll.app)?,
        now,
    );
    Ok(decision != Decision::Deploy)
}

/// Looks after what is live, and gives what came of it together with what the poll told.
pub(super) fn keep_live(poll: &Poll<'_>, told: PollOutcome) -> Result<PollOutcome> {
    let (server, app) = (poll.server, poll.app);
    let mut ledger = Ledger::load(server, &app.name)?;
    let Some(live) = ledger.live.clone() else {
        return Ok(told);
    };
    let (dir, unit) = (
        app.releases().join(&live.id),
        layout::service_unit(&app.name),
    );
    let there = server.stat(&dir)?.is_some();
    // systemd has it there exactly while the unit runs: the price of one lstat, where asking it has that of a process.
    let mark = Path::new("/run/systemd/units").join(format!("invocation:{unit}"));
    let runs = server.stat(&mark)?.is_some();
    let failed = ledger.failure(&live.commit).is_some();
    let down = matches!(&told, PollOutcome::Failed(report) if report.not_brought_back.is_some());
    if there && runs && !failed && !down && !poll.now {
        return Ok(told);
    }
    if there && runs && health::answers(poll).is_ok() {
        if failed {
            ledger
                .failures
                .retain(|failure| failure.commit != live.commit);
            ledger.store(server, &app.name)?;
        }
        return Ok(told);
    }
    if !poll.now && (rests(poll, &ledger, &live)? || there && left_alone(poll, &ledger, &unit)?) {
        return Ok(told);
    }
    let mut found = if !there {
        format!("{} was gone", dir.display())
    } else if runs {
        format!("{unit} did not answer well")
    } else {
        format!("{unit} had stopped")
    };
    poll.say(&found);
    if there {
        match switch::bring_back(poll, &live) {
            Ok(()) => {
                let straightened = Recovery {
                    found,
                    live,
                    unhealthy: None,
                };
                return Ok(PollOutcome::Recovered(straightened, Box::new(told)));
            }
            Err(error) => found = format!("{found}, and started anew it was {error:#}"),
        }
    }
    let again =
        deploy_again(poll, ledger, &live.commit).map_err(|error| error.context(found.clone()))?;
    Ok(PollOutcome::Redeployed(
        found,
        Box::new(told),
        Box::new(again),
    ))
}

/// Whether somebody stopped the service on purpose: took it out of the boot, masked it, or stopped it while the app is
/// held.
fn left_alone(poll: &Poll<'_>, ledger: &Ledger, unit: &str) -> Result<bool> {
    let state = poll.server.unit(unit)?;
    let stopped = state.active == "inactive" && state.result == "success";
    Ok(!state.is_enabled() || ledger.pause.is_some() && stopped)
}
