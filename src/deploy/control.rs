//! Commands of operators: pause, resume, retry, redeploy, roll back.
//!
//! A rollback takes the same path as a deployment (switch, restart, health) and pauses deployments: otherwise the next
//! poll would undo it.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::error::WithHint;
use crate::host::Locked;
use crate::host::import_check;
use crate::layout;
use crate::state::history::{Deployment, Outcome};
use crate::state::ledger::{Ledger, Pause, Release};
use crate::state::stamp;

use super::recover::recover;
use super::restore::{self, Unhealthy};
use super::session::Session;
use super::{Poll, PollOutcome, bridge, keep_live};
use crate::text::short;

/// How long an operator waits for a running poll; one that only checks or fetches yields sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// A session, as soon as no poll is running.
fn begin<'a>(poll: &'a Poll<'a>) -> Result<Session<'a>> {
    let name = &poll.app.name;
    // Polls that check or fetch see this lock and yield. It ends with this process, so none yields to a dead one.
    let _waits = poll.server.lock_in_time(&layout::logs(name), PATIENCE);
    let Locked::Held(lock) = poll.server.lock_in_time(&layout::state(name), PATIENCE)? else {
        return Err(anyhow!("a poll of {name} is running")
            .hint(format!("try again once it is done: pullpray status {name}")));
    };
    Session::open(poll, lock)
}

/// Pauses deployments: polls check and do not deploy.
///
/// # Errors
/// When a poll is running, or the ledger cannot be written.
pub fn pause(poll: &Poll<'_>, by: &str, why: &str) -> Result<()> {
    let pause = Pause {
        by: by.to_owned(),
        since: stamp(poll.clock.now()),
        why: why.to_owned(),
    };
    begin(poll)?.record(|ledger| ledger.pause_for(pause))
}

/// Resumes deployments; returns the pause that ended, and the commit that somebody rolled back from last: it is not
/// deployed again.
///
/// # Errors
/// As [`pause`].
pub fn resume(poll: &Poll<'_>) -> Result<Option<(Pause, Option<String>)>> {
    let mut session = begin(poll)?;
    let pause = session.record(Ledger::resume)?;
    let mut failures = session.ledger().failures().iter().rev();
    let left = failures.find(|it| it.is_rollback());
    Ok(pause.map(|pause| (pause, left.map(|it| it.commit.clone()))))
}

/// Lets failed commits be retried; returns how many there were.
///
/// # Errors
/// As [`pause`].
pub fn retry(poll: &Poll<'_>) -> Result<usize> {
    begin(poll)?.record(Ledger::retry)
}

/// Deploys the live commit again, in a new release, and in a new environment if the old one is broken.
///
/// # Errors
/// When nothing is live, a poll is running, or the commit cannot be fetched any more.
pub fn redeploy(poll: &Poll<'_>) -> Result<PollOutcome> {
    let mut session = begin(poll)?;
    let Some(live) = session.live() else {
        let name = &poll.app.name;
        return Err(
            anyhow!("nothing of {name} is live yet, so there is nothing to redeploy")
                .hint(format!("sudo pullpray poll {name} -v")),
        );
    };
    session.record(|ledger| ledger.forgive(&live.commit))?;
    keep_live::deploy_again(&mut session, &live.commit)
}

/// Restarts the service on the live release, for example after a change of its environment, while a second instance
/// serves.
///
/// # Errors
/// When nothing is live, a poll is running, or the app is unhealthy; with what it wrote. If that showed in the second
/// instance, the service was not restarted.
pub fn restart(poll: &Poll<'_>) -> Result<Release> {
    let mut session = begin(poll)?;
    recover(&mut session)?;
    let Some(live) = session.live() else {
        let name = &poll.app.name;
        return Err(
            anyhow!("nothing of {name} is live yet, so there is nothing to restart")
                .hint(format!("sudo pullpray poll {name} -v")),
        );
    };
    let served = restore::serve_or_explain(poll, &live);
    let stopped = bridge::stop(poll);
    served.map_err(|unhealthy| {
        let output = unhealthy.output.trim_end();
        anyhow!("{}\n{output}", unhealthy.why)
    })?;
    stopped.map(|()| live)
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

/// Rolls back to the previous release, or to one by its name or commit, and pauses deployments. The commit that was live
/// is not deployed again by itself.
///
/// # Errors
/// When there is no such release, or a poll is running.
pub fn rollback(poll: &Poll<'_>, wanted: Option<&str>, by: &str) -> Result<RollbackOutcome> {
    let mut session = begin(poll)?;
    let Some(live) = session.live() else {
        bail!(
            "nothing of {} is live yet, so there is nothing to roll back to",
            poll.app.name
        );
    };
    let target = target(poll, session.ledger(), &live, wanted)?;
    let since = stamp(poll.clock.now());
    let pause = |what: &str, end: &str| {
        let (from, to) = (short(&live.commit), short(&target.commit));
        Pause {
            by: by.to_owned(),
            since: since.clone(),
            why: format!("{what} from {from} to {to}{end}"),
        }
    };
    // Pause first: the poll after a killed rollback must not deploy what somebody wanted to leave.
    session.record(|ledger| ledger.pause_for(pause("rolling back", "")))?;
    let outcome = go_back(&mut session, &live, &target, pause("rolled back", ""));
    if !matches!(outcome, Ok(RollbackOutcome::To(_))) {
        // The cause of the failure matters more than this error.
        let failed = pause("rolling back", " failed");
        if let Err(error) = session.record(|ledger| ledger.pause_for(failed)) {
            poll.progress(&format!("{error:#}"));
        }
    }
    outcome
}

/// Switches to the target, or builds it again if its environment is broken.
fn go_back(
    session: &mut Session<'_>,
    live: &Release,
    target: &Release,
    pause: Pause,
) -> Result<RollbackOutcome> {
    let (app, started) = (session.app, session.clock.elapsed());
    // Somebody takes a rollback back: nothing is wrong with what was live.
    let returns = session.ledger().was_rolled_back(&target.commit);
    let leave = |ledger: &mut Ledger, pause| {
        if returns {
            ledger.pause_for(pause);
        } else {
            ledger.rolled_back(&live.commit, pause);
        }
    };
    let (dir, venv) = (
        app.releases().join(&target.id),
        app.venvs().join(&target.venv),
    );
    if import_check::broken(session.server, app, &dir, &venv)?.is_some() {
        return Ok(match keep_live::deploy_again(session, &target.commit)? {
            PollOutcome::Deployed { to, .. } => {
                session.record(|ledger| leave(ledger, pause))?;
                RollbackOutcome::To(to)
            }
            PollOutcome::Failed(report) => RollbackOutcome::Failed {
                why: report.why,
                restore_error: report.restore_error,
            },
            other => bail!("redeploying {} ended as {other:?}", short(&target.commit)),
        });
    }
    if let Err(Unhealthy {
        why, restore_error, ..
    }) = restore::switch_to(session, target, live)
    {
        return Ok(RollbackOutcome::Failed { why, restore_error });
    }
    let took = session.clock.elapsed() - started;
    let target = Release {
        since: pause.since.clone(),
        ..target.clone()
    };
    let ended = Deployment::of(&target, pause.since.clone(), took, Outcome::RolledBack);
    session.record(|ledger| {
        ledger.went_live(target.clone(), ended);
        leave(ledger, pause);
    })?;
    Ok(RollbackOutcome::To(target))
}

/// The release to roll back to, if its directory is still there.
fn target(
    poll: &Poll<'_>,
    ledger: &Ledger,
    live: &Release,
    wanted: Option<&str>,
) -> Result<Release> {
    let mut known = Vec::new();
    for release in ledger.releases().iter().filter(|it| it.id != live.id) {
        if poll.server.stat(&poll.release_dir(&release.id))?.is_some() {
            known.push(release);
        }
    }
    let is_wanted = |release: &Release| match wanted {
        None => ledger.previous().is_some_and(|it| it.id == release.id),
        Some(text) => release.id == text || text.len() >= 4 && release.commit.starts_with(text),
    };
    if let Some(release) = known.iter().rev().find(|release| is_wanted(release)) {
        return Ok((*release).clone());
    }
    let named = known.iter().map(|it| {
        let left = ledger.was_rolled_back(&it.commit);
        let left = if left { ", rolled back" } else { "" };
        format!("{} ({}{left})", short(&it.commit), it.id)
    });
    let others = match named.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "there is none on this server".to_owned(),
        others => format!("there are: {others}"),
    };
    let wanted = wanted.map_or_else(String::new, |text| format!("{text:?} "));
    let error = anyhow!("there is no release {wanted}to roll back to; {others}");
    Err(match known.last() {
        Some(it) => error.hint(format!(
            "sudo pullpray rollback {} {}",
            poll.app.name,
            short(&it.commit)
        )),
        None => error,
    })
}
