//! Recovery after a killed poll, or a change by hand: `current` does not point to the live release of the ledger, or a
//! deployment was in progress. A deployment recovers from that by itself; a poll with nothing to deploy does it here.

use anyhow::Result;

use crate::layout;
use crate::state::ledger::{Failure, Ledger};
use crate::state::stamp;

use super::{Poll, prune, restore, trial};
use crate::report::Recovery;
use crate::text::short;

/// Restores the live release and restarts the service, which may run another one.
pub(super) fn recover(poll: &Poll<'_>) -> Result<Option<Recovery>> {
    let (server, app) = (poll.server, poll.app);
    let mut ledger = Ledger::load(server, &app.name)?;
    let Some(live) = ledger.live.clone() else {
        return Ok(None);
    };
    if server.stat(&app.releases().join(&live.id))?.is_none() {
        return Ok(None);
    }
    // The staged links of a killed rollback.
    for link in [app.current(), app.next()] {
        server.remove_leftover(&link)?;
    }
    let target = server.read_link(&app.current())?;
    let drift = match &target {
        Some(right) if *right == layout::release_link(&live.id) => None,
        None => Some(format!("{} was missing", app.current().display())),
        Some(other) => Some(format!(
            "{} pointed to {}",
            app.current().display(),
            other.display()
        )),
    };
    let found = if let Some(drift) = &drift {
        drift.clone()
    } else if let Some(killed) = &ledger.in_progress {
        format!(
            "the poll that deployed {} was killed",
            short(&killed.commit)
        )
    } else {
        // A rollback that was killed during its trial: the link exists as long as the trial may run.
        if server.stat(&app.next())?.is_some() {
            trial::stop(poll)?;
        }
        // A poll that was killed after its success left what it was about to remove.
        if prune::is_due(poll, &ledger)? {
            prune::prune(poll, &mut ledger)?;
        }
        return Ok(None);
    };
    poll.progress(&found);
    if let Some(killed) = &ledger.in_progress {
        let dir = app.releases().join(&killed.id);
        server.end_leftovers(&dir);
        if target.as_deref() != Some(&layout::release_link(&killed.id)) {
            server.remove_tree(&dir)?;
        }
        // It may have filled the disk: while the ledger cannot be written, each poll would restart the service again.
        if drift.is_none() {
            ledger.store(server, &app.name)?;
        }
    }
    trial::stop(poll)?;
    let unhealthy = restore::restore_previous(poll, &live).err();
    ledger.in_progress = None;
    ledger.store(server, &app.name)?;
    prune::prune(poll, &mut ledger)?;
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
    let in_progress = ledger.in_progress.as_ref().filter(|r| r.commit == commit);
    // The first release is deployed by init, where an operator is present.
    let (Some(killed), Some(_)) = (in_progress, &ledger.live) else {
        return false;
    };
    let failure = Failure {
        commit: commit.to_owned(),
        tries: 0,
        last: stamp(poll.clock.now()),
        why: "the poll that deployed it was killed".to_owned(),
        log: Some(layout::logs(&poll.app.name).join(format!("{}.log", killed.id))),
        inputs_digest: inputs_digest.to_owned(),
    };
    ledger.record_failure(failure);
    true
}
