//! Recovery after a killed poll, or a change by hand: `current` does not point to the live release of the ledger, or a
//! deployment was in progress. A deployment recovers from that by itself; a poll with nothing to deploy does it here.

use anyhow::Result;

use crate::layout;
use crate::state::history::Stage;
use crate::state::ledger::{Failure, Ledger};
use crate::state::stamp;

use super::session::Session;
use super::{Poll, bridge, hooks, prune, restore, trial};
use crate::report::Recovery;
use crate::text::short;

/// Restores the live release and restarts the service, which may run another one.
pub(super) fn recover(session: &mut Session<'_>) -> Result<Option<Recovery>> {
    let (server, app) = (session.server, session.app);
    let Some(live) = session.live() else {
        return Ok(None);
    };
    if server.stat(&app.releases().join(&live.id))?.is_none() {
        return Ok(None);
    }
    // The staged links of a killed rollback.
    for link in [app.current(), app.next()] {
        server.remove_leftover(&link)?;
    }
    let current = app.current();
    let target = server.read_link(&current)?;
    let drift = match &target {
        Some(right) if *right == layout::release_link(&live.id) => None,
        None => Some(format!("{} was missing", current.display())),
        Some(other) => Some(format!(
            "{} pointed to {}",
            current.display(),
            other.display()
        )),
    };
    let killed = session.ledger().in_progress().cloned();
    let found = match (&drift, &killed) {
        (Some(drift), _) => drift.clone(),
        (None, Some(killed)) => format!(
            "the poll that deployed {} was killed",
            short(&killed.commit)
        ),
        (None, None) => {
            // A rollback that was killed during its trial: the link exists as long as the trial may run.
            if server.stat(&app.next())?.is_some() {
                trial::stop(session)?;
            }
            bridge::stop(session)?;
            // A poll that was killed after its success left what it was about to remove.
            if prune::is_due(session, session.ledger())? {
                prune::prune(session, "")?;
            }
            return Ok(None);
        }
    };
    session.progress(&found);
    if let Some(killed) = &killed {
        let dir = app.releases().join(&killed.id);
        server.end_leftovers(&dir);
        if target.as_deref() != Some(&layout::release_link(&killed.id)) {
            server.remove_tree(&dir)?;
        }
        // It may have filled the disk: while the ledger cannot be written, each poll would restart the service again.
        if drift.is_none() {
            session.store()?;
        }
    }
    trial::stop(session)?;
    let unhealthy = restore::restore_previous(session, &live).err();
    // The killed poll may have come to the hook before its switch.
    if killed.is_some()
        && let Some(failed) = hooks::after_switch(session, &live.commit)
    {
        session.progress(&failed);
    }
    session.record(Ledger::recovered)?;
    // The next poll removes what cannot be removed now, and says why if it cannot either.
    prune::try_prune(session, "");
    Ok(Some(Recovery {
        found,
        live,
        unhealthy: unhealthy.map(|error| format!("{error:#}")),
    }))
}

/// Counts a killed poll as an attempt of its commit; returns whether there was one. The next attempt is due at once:
/// most often the power failed, or somebody rebooted. But a deploy script that kills its poll, or exhausts the memory,
/// must not run forever.
pub(super) fn count_killed_poll(
    poll: &Poll<'_>,
    ledger: &mut Ledger,
    commit: &str,
    inputs_digest: &str,
) -> bool {
    let in_progress = ledger.in_progress().filter(|r| r.commit == commit);
    // The first release is deployed by init, where an operator is present.
    let (Some(killed), Some(_)) = (in_progress, ledger.live()) else {
        return false;
    };
    let failure = Failure {
        commit: commit.to_owned(),
        tries: 1,
        last: stamp(poll.clock.now()),
        stage: Stage::Killed,
        why: "the poll that deployed it was killed".to_owned(),
        log: Some(layout::logs(&poll.app.name).join(format!("{}.log", killed.id))),
        inputs_digest: inputs_digest.to_owned(),
    };
    ledger.killed(failure);
    true
}
