//! Commands of operators: pause, resume, retry, redeploy, roll back.
//!
//! A rollback takes the same path as a deployment (switch, restart, health) and pauses deployments: otherwise the next
//! poll would undo it.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::error::WithHint;
use crate::host::import_check;
use crate::host::{Lock, Locked};
use crate::layout;
use crate::state::ledger::{Ledger, Outcome, Pause, Release};
use crate::state::stamp;

use super::restore::{self, ActivationResult};
use super::session::deployment;
use super::{Poll, PollOutcome, keep_live};
use crate::text::short;

/// How long an operator waits for a running poll; one that only checks or fetches yields sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// The lock and the ledger, to change it.
fn begin(poll: &Poll<'_>) -> Result<(Lock, Ledger)> {
    let name = &poll.app.name;
    // Polls that check or fetch see this lock and yield. It ends with this process, so none yields to a dead one.
    let _waits = poll.server.lock_in_time(&layout::logs(name), PATIENCE);
    let Locked::Held(lock) = poll.server.lock_in_time(&layout::state(name), PATIENCE)? else {
        return Err(anyhow!("a poll of {name} is running")
            .hint(format!("try again once it is done: pullpray status {name}")));
    };
    Ok((lock, Ledger::load(poll.server, name)?))
}

/// Pauses deployments: polls check and do not deploy.
///
/// # Errors
/// When a poll is running, or the ledger cannot be written.
pub fn pause(poll: &Poll<'_>, by: &str, why: &str) -> Result<Pause> {
    let (_lock, mut ledger) = begin(poll)?;
    let pause = Pause {
        by: by.to_owned(),
        since: stamp(poll.clock.now()),
        why: why.to_owned(),
    };
    ledger.pause = Some(pause.clone());
    ledger.store(poll.server, &poll.app.name)?;
    Ok(pause)
}

/// Resumes deployments; returns the pause that ended.
///
/// # Errors
/// As [`pause`].
pub fn resume(poll: &Poll<'_>) -> Result<Option<Pause>> {
    let (_lock, mut ledger) = begin(poll)?;
    let ended = ledger.pause.take();
    ledger.store(poll.server, &poll.app.name)?;
    Ok(ended)
}

/// Lets failed commits be retried; returns how many there were.
///
/// # Errors
/// As [`pause`].
pub fn retry(poll: &Poll<'_>) -> Result<usize> {
    let (_lock, mut ledger) = begin(poll)?;
    let count = ledger.failures.len();
    ledger.failures.clear();
    ledger.store(poll.server, &poll.app.name)?;
    Ok(count)
}

/// Deploys the live commit again, in a new release, and in a new environment if the old one is broken.
///
/// # Errors
/// When nothing is live, a poll is running, or the commit cannot be fetched any more.
pub fn redeploy(poll: &Poll<'_>) -> Result<PollOutcome> {
    let (_lock, mut ledger) = begin(poll)?;
    let Some(live) = ledger.live.clone() else {
        let name = &poll.app.name;
        return Err(
            anyhow!("nothing of {name} is live yet, so there is nothing to redeploy")
                .hint(format!("sudo pullpray poll {name} -v")),
        );
    };
    ledger
        .failures
        .retain(|failure| failure.commit != live.commit);
    keep_live::deploy_again(poll, ledger, &live.commit)
}

/// How a rollback ended.
#[derive(Debug)]
pub enum RollbackOutcome {
    /// That release is live and healthy.
    To(Release),
    /// It was unhealthy; the release that was live is restored, unless `restore_error` is set.
    Failed {
        /// Why.
        why: String,
        /// Why the release that was live could not be restored, if it could not.
        restore_error: Option<String>,
    },
}

/// Rolls back to the previous release, or to one by its name or commit, and pauses deployments.
///
/// # Errors
/// When there is no such release, or a poll is running.
pub fn rollback(poll: &Poll<'_>, wanted: Option<&str>, by: &str) -> Result<RollbackOutcome> {
    let (_lock, mut ledger) = begin(poll)?;
    let started = poll.clock.elapsed();
    let Some(live) = ledger.live.clone() else {
        bail!(
            "nothing of {} is live yet, so there is nothing to roll back to",
            poll.app.name
        );
    };
    let target = target(poll, &ledger, &live, wanted)?;
    // Pause first: the poll after a killed rollback must not deploy what somebody wanted to leave.
    let now = stamp(poll.clock.now());
    let pause = |what: &str, end: &str| {
        let (from, to) = (short(&live.commit), short(&target.commit));
        Some(Pause {
            by: by.to_owned(),
            since: now.clone(),
            why: format!("{what} from {from} to {to}{end}"),
        })
    };
    ledger.pause = pause("rolling back", "");
    ledger.store(poll.server, &poll.app.name)?;
    let app = poll.app;
    let venv = app.venvs().join(&target.venv);
    if import_check::broken(poll.server, app, &app.releases().join(&target.id), &venv)?.is_some() {
        // Its environment is broken, so the release is built again.
        let outcome = keep_live::deploy_again(poll, ledger, &target.commit)?;
        let mut ledger = Ledger::load(poll.server, &app.name)?;
        let (end, result) = match outcome {
            PollOutcome::Deployed { to, .. } => ("", RollbackOutcome::To(to)),
            PollOutcome::Failed(report) => (
                " failed",
                RollbackOutcome::Failed {
                    why: report.why,
                    restore_error: report.restore_error,
                },
            ),
            other => bail!("redeploying {} ended as {other:?}", short(&target.commit)),
        };
        ledger.pause = pause("rolling back", end);
        ledger.store(poll.server, &app.name)?;
        return Ok(result);
    }
    match restore::switch_to(poll, &target, &live) {
        ActivationResult::Live => {}
        ActivationResult::Unhealthy { why, restore_error } => {
            ledger.pause = pause("rolling back", " failed");
            // The cause of the failure matters more than this error.
            if let Err(error) = ledger.store(poll.server, &poll.app.name) {
                poll.progress(&format!("{error:#}"));
            }
            return Ok(RollbackOutcome::Failed { why, restore_error });
        }
    }
    let took = poll.clock.elapsed() - started;
    ledger.pause = pause("rolled back", "");
    let target = Release {
        since: now.clone(),
        ..target
    };
    ledger.record_live(target.clone());
    ledger.record_deployment(deployment(&target, now, took, Outcome::RolledBack));
    ledger.store(poll.server, &poll.app.name)?;
    Ok(RollbackOutcome::To(target))
}

fn target(
    poll: &Poll<'_>,
    ledger: &Ledger,
    live: &Release,
    wanted: Option<&str>,
) -> Result<Release> {
    let exists = |release: &Release| -> Result<bool> {
        let dir = poll.app.releases().join(&release.id);
        Ok(release.id != live.id && poll.server.stat(&dir)?.is_some())
    };
    let mut known = Vec::new();
    for release in &ledger.releases {
        if exists(release)? {
            known.push(release.clone());
        }
    }
    let found = match wanted {
        None => ledger
            .previous
            .as_ref()
            .and_then(|previous| known.iter().find(|release| release.id == previous.id)),
        Some(text) => known.iter().rev().find(|release| {
            release.id == text || (text.len() >= 4 && release.commit.starts_with(text))
        }),
    };
    if let Some(release) = found {
        return Ok(release.clone());
    }
    let others: Vec<String> = known
        .iter()
        .map(|release| format!("{} ({})", short(&release.commit), release.id))
        .collect();
    let others = if others.is_empty() {
        "there is none on this server".to_owned()
    } else {
        format!("there are: {}", others.join(", "))
    };
    match wanted {
        Some(text) => bail!("there is no release {text:?} to roll back to; {others}"),
        None => bail!("there is no release to roll back to; {others}"),
    }
}
