//! What a person says to the polls: hold, resume, retry, and going back.
//!
//! Going back takes the deploy's own path, flip, restart, health, and then holds the app: a poll
//! that undid it five minutes later would make it worthless.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::host::import_check;
use crate::host::{Lock, Locked};
use crate::layout;
use crate::state::ledger::{Ledger, Outcome, Pause, Release};
use crate::state::stamp;

use super::switch::{self, ActivationResult};
use super::{Poll, PollOutcome, deployment, keep_live};
use crate::text::short;

/// How long a person waits for a poll that is at work: one that only asks or fetches gives way by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// The lock and what is remembered, for a change of it.
fn begin(poll: &Poll<'_>) -> Result<(Lock, Ledger)> {
    let name = &poll.app.name;
    // Who asks or fetches sees this lock. It goes with this process: nobody gives way to one that is gone.
    let _waits = poll.server.lock_in_time(&layout::logs(name), PATIENCE);
    let Locked::Held(lock) = poll.server.lock_in_time(&layout::state(name), PATIENCE)? else {
        bail!(
            "a poll of {name} is at work\nhint: try again once it is done: pullpray status {name}"
        );
    };
    Ok((lock, Ledger::load(poll.server, name)?))
}

/// Polls look and do not deploy from now on.
///
/// # Errors
/// When a poll is at work, or the ledger cannot be written.
pub fn hold(poll: &Poll<'_>, by: &str, why: &str) -> Result<Pause> {
    let (_lock, mut ledger) = begin(poll)?;
    let hold = Pause {
        by: by.to_owned(),
        since: stamp(poll.clock.now()),
        why: why.to_owned(),
    };
    ledger.pause = Some(hold.clone());
    ledger.store(poll.server, &poll.app.name)?;
    Ok(hold)
}

/// Polls deploy again; gives the hold that ended.
///
/// # Errors
/// As [`hold`].
pub fn resume(poll: &Poll<'_>) -> Result<Option<Pause>> {
    let (_lock, mut ledger) = begin(poll)?;
    let ended = ledger.pause.take();
    ledger.store(poll.server, &poll.app.name)?;
    Ok(ended)
}

/// Commits that failed get all their tries again; gives how many there were.
///
/// # Errors
/// As [`hold`].
pub fn retry(poll: &Poll<'_>) -> Result<usize> {
    let (_lock, mut ledger) = begin(poll)?;
    let count = ledger.failures.len();
    ledger.failures.clear();
    ledger.store(poll.server, &poll.app.name)?;
    Ok(count)
}

/// Deploys the live commit once more, in a release and, where the old one is of no use, an environment of its own.
///
/// # Errors
/// When nothing is live, a poll is at work, or the commit can be had from nowhere.
pub fn redeploy(poll: &Poll<'_>) -> Result<PollOutcome> {
    let (_lock, mut ledger) = begin(poll)?;
    let Some(live) = ledger.live.clone() else {
        let name = &poll.app.name;
        bail!(
            "nothing of {name} is live yet, so there is nothing to deploy again\nhint: sudo pullpray poll {name} -v"
        );
    };
    ledger
        .failures
        .retain(|failure| failure.commit != live.commit);
    keep_live::deploy_again(poll, ledger, &live.commit)
}

/// How going back ended.
#[derive(Debug)]
pub enum RollbackOutcome {
    /// That release is live and well.
    To(Release),
    /// It was ill, and what was live before is live again, or not.
    Failed {
        /// Why.
        why: String,
        /// Set if what was live could not be brought back.
        not_brought_back: Option<String>,
    },
}

/// Goes back to the release before, or to one by its name or commit, and holds.
///
/// # Errors
/// When there is nothing to go back to, or a poll is at work.
pub fn rollback(poll: &Poll<'_>, wanted: Option<&str>, by: &str) -> Result<RollbackOutcome> {
    let (_lock, mut ledger) = begin(poll)?;
    let started = poll.clock.elapsed();
    let Some(live) = ledger.live.clone() else {
        bail!(
            "nothing of {} is live yet, so there is nothing to go back to",
            poll.app.name
        );
    };
    let target = target(poll, &ledger, &live, wanted)?;
    // First the hold: the poll after a rollback that was killed must not deploy what somebody wanted
    // to leave.
    let now = stamp(poll.clock.now());
    let hold = |going: &str, end: &str| {
        let (from, to) = (short(&live.commit), short(&target.commit));
        Some(Pause {
            by: by.to_owned(),
            since: now.clone(),
            why: format!("{going} from {from} to {to}{end}"),
        })
    };
    ledger.pause = hold("going back", "");
    ledger.store(poll.server, &poll.app.name)?;
    let app = poll.app;
    let venv = app.venvs().join(&target.venv);
    if import_check::broken(poll.server, app, &app.releases().join(&target.id), &venv)?.is_some() {
        // What it was served from is of no use any more: then it is built anew.
        let told = keep_live::deploy_again(poll, ledger, &target.commit)?;
        let mut ledger = Ledger::load(poll.server, &app.name)?;
        let (end, went) = match told {
            PollOutcome::Deployed { to, .. } => ("", RollbackOutcome::To(to)),
            PollOutcome::Failed(report) => (
                " failed",
                RollbackOutcome::Failed {
                    why: report.why,
                    not_brought_back: report.not_brought_back,
                },
            ),
            other => bail!("deploying {} again told {other:?}", short(&target.commit)),
        };
        ledger.pause = hold("going back", end);
        ledger.store(poll.server, &app.name)?;
        return Ok(went);
    }
    match switch::go_to(poll, &target, &live) {
        ActivationResult::Live => {}
        ActivationResult::Unhealthy {
            why,
            not_brought_back,
        } => {
            ledger.pause = hold("going back", " failed");
            // Why it failed is worth more than that this could not be written.
            if let Err(error) = ledger.store(poll.server, &poll.app.name) {
                poll.say(&format!("{error:#}"));
            }
            return Ok(RollbackOutcome::Failed {
                why,
                not_brought_back,
            });
        }
    }
    let took = poll.clock.elapsed() - started;
    ledger.pause = hold("rolled back", "");
    let target = Release {
        since: now.clone(),
        ..target
    };
    ledger.now_live(target.clone());
    ledger.remember(deployment(&target, now, took, Outcome::RolledBack));
    ledger.store(poll.server, &poll.app.name)?;
    Ok(RollbackOutcome::To(target))
}

fn target(
    poll: &Poll<'_>,
    ledger: &Ledger,
    live: &Release,
    wanted: Option<&str>,
) -> Result<Release> {
    let there = |release: &Release| -> Result<bool> {
        let dir = poll.app.releases().join(&release.id);
        Ok(release.id != live.id && poll.server.stat(&dir)?.is_some())
    };
    let mut known = Vec::new();
    for release in &ledger.releases {
        if there(release)? {
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
        Some(text) => bail!("there is no release {text:?} to go back to; {others}"),
        None => bail!("there is no release to go back to; {others}"),
    }
}
