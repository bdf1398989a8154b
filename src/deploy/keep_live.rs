//! Keeps the live release up when there is nothing to deploy: a stopped service is started; if that does not help, or
//! the release is lost, its commit is deployed again, even while deployments are paused or the git host is unreachable.

use anyhow::{Context, Result};

use crate::decide;
use crate::git::Newest;
use crate::host::Running;
use crate::layout;
use crate::report::{PollOutcome, Recovery};
use crate::text::short;

use super::candidate::Accepted;
use super::session::Session;
use super::{deploy, fetch, health, restore, service};

/// Deploys a commit again that was accepted before, from the local mirror; fetched again only if the mirror lost it.
pub(super) fn deploy_again(session: &mut Session<'_>, commit: &str) -> Result<PollOutcome> {
    service::prove_sudo(session.server, session.app)?;
    let started = session.clock.elapsed();
    let oid = commit.parse()?;
    let newest = Newest {
        name: short(commit).to_owned(),
        reference: None,
        object: oid,
        commit: oid,
        skipped: Vec::new(),
    };
    session.progress(&format!("deploying {} again", newest.name));
    let code = fetch::fetch_complete(session, &newest)
        .map_err(|error| error.into_error(session.app))
        .with_context(|| format!("{} could not be deployed again", newest.name))?;
    let digest = session.inputs_digest()?;
    let accepted = Accepted::new(session, code, digest, started)?;
    deploy(session, accepted)
}

/// Keeps the live release up; returns what was done together with the poll's own outcome.
pub(super) fn keep_live(session: &mut Session<'_>, outcome: PollOutcome) -> Result<PollOutcome> {
    let (server, app) = (session.server, session.app);
    let Some(live) = session.live() else {
        return Ok(outcome);
    };
    let (dir, unit) = (
        app.releases().join(&live.id),
        layout::service_unit(&app.name),
    );
    let exists = server.stat(&dir)?.is_some();
    let running = server.running(&unit)?;
    let failed = session.ledger().failure(&live.commit).is_some();
    let down = matches!(&outcome, PollOutcome::Failed(report) if report.restore_error.is_some());
    if exists && running == Running::Yes && !failed && !down && !session.now {
        return Ok(outcome);
    }
    if exists && running != Running::No && health::check_once(session).is_ok() {
        session.record(|ledger| ledger.forgive(&live.commit))?;
        return Ok(outcome);
    }
    if !session.now && exists && stopped_on_purpose(session, &unit)? {
        return Ok(outcome);
    }
    if !session.now && is_backing_off(session, &live.commit)? {
        return Ok(PollOutcome::StillDown(Box::new(outcome)));
    }
    let mut found = match running {
        _ if !exists => format!("{} was gone", dir.display()),
        Running::Yes => format!("{unit} was unhealthy"),
        Running::Crashed => format!("{unit} crashed and is unhealthy"),
        Running::No => format!("{unit} had stopped"),
    };
    session.progress(&found);
    if exists {
        match restore::restore_previous(session, &live) {
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
    let again = deploy_again(session, &live.commit).with_context(|| found.clone())?;
    Ok(PollOutcome::Redeployed(
        found,
        Box::new(outcome),
        Box::new(again),
    ))
}

/// Whether somebody stopped the service on purpose: disabled or masked it, or stopped it while deployments are paused.
fn stopped_on_purpose(session: &Session<'_>, unit: &str) -> Result<bool> {
    let state = session.server.unit(unit)?;
    let stopped = state.active == "inactive" && state.result == "success";
    Ok(!state.is_enabled() || session.ledger().pause().is_some() && stopped)
}

/// Whether the live commit failed when it was deployed again, and its next attempt is not due. Nothing else delays it.
fn is_backing_off(session: &Session<'_>, commit: &str) -> Result<bool> {
    let (ledger, limits) = (session.ledger(), &session.app.limits);
    let (digest, now) = (session.inputs_digest()?, session.clock.now());
    Ok(decide::is_backing_off(commit, ledger, limits, &digest, now))
}
