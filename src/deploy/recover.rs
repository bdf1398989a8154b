//! What a poll that was killed, or somebody's hand, left otherwise than the ledger says: `current`
//! leads elsewhere, or a deployment was under way. A poll that deploys puts that right by itself;
//! one that has nothing to deploy does it here.

use anyhow::Result;

use crate::host::end_leftovers;
use crate::layout;
use crate::state::ledger::{Failure, Ledger};
use crate::state::stamp;

use super::{Poll, prune, switch, trial};
use crate::report::Recovery;
use crate::text::short;

/// Leads back to the live release, and starts the service anew: what it runs may be another one.
pub(super) fn recover(poll: &Poll<'_>) -> Result<Option<Recovery>> {
    let (server, app) = (poll.server, poll.app);
    let mut ledger = Ledger::load(server, &app.name)?;
    let Some(live) = ledger.live.clone() else {
        return Ok(None);
    };
    if server.stat(&app.releases().join(&live.id))?.is_none() {
        return Ok(None);
    }
    // What a rollback that was killed had beside the links, about to take their places.
    for link in [app.current(), app.next()] {
        server.remove_leftover(&link)?;
    }
    let leads = server.read_link(&app.current())?;
    let astray = match &leads {
        Some(right) if *right == layout::release_link(&live.id) => None,
        None => Some(format!("{} was gone", app.current().display())),
        Some(other) => Some(format!(
            "{} led to {}",
            app.current().display(),
            other.display()
        )),
    };
    let found = if let Some(astray) = &astray {
        astray.clone()
    } else if let Some(killed) = &ledger.under_way {
        format!(
            "the poll that deployed {} was killed",
            short(&killed.commit)
        )
    } else {
        // A rollback that was killed while it tried the other release: the link is there as long as
        // a trial may be.
        if server.stat(&app.next())?.is_some() {
            trial::end(poll)?;
        }
        // One that was killed once it had succeeded left what it was about to remove.
        if prune::is_due(poll, &ledger)? {
            prune::prune(poll, &mut ledger)?;
        }
        return Ok(None);
    };
    poll.say(&found);
    if let Some(killed) = &ledger.under_way {
        let dir = app.releases().join(&killed.id);
        end_leftovers(&dir);
        if leads.as_deref() != Some(&layout::release_link(&killed.id)) {
            server.remove_tree(&dir)?;
        }
        // It may have filled the disk; while the ledger cannot be written, each poll would find the same
        // and restart the service for it.
        if astray.is_none() {
            ledger.store(server, &app.name)?;
        }
    }
    trial::end(poll)?;
    let unhealthy = switch::bring_back(poll, &live).err();
    ledger.under_way = None;
    ledger.store(server, &app.name)?;
    prune::prune(poll, &mut ledger)?;
    Ok(Some(Recovery {
        found,
        live,
        unhealthy: unhealthy.map(|error| format!("{error:#}")),
    }))
}

/// Counts a poll that was killed as one of the tries of the commit that it deployed; tells whether
/// there was one. Nobody waits for the next try: most often the power went, or somebody rebooted. But
/// a deploy script that kills its poll, or uses up the memory, is not run for ever.
pub(super) fn count_killed_poll(
    poll: &Poll<'_>,
    ledger: &mut Ledger,
    commit: &str,
    conditions: &str,
) -> bool {
    let under_way = ledger.under_way.as_ref().filter(|r| r.commit == commit);
    // The first release is init's, and somebody sits before it.
    let (Some(killed), Some(_)) = (under_way, &ledger.live) else {
        return false;
    };
    let failure = Failure {
        commit: commit.to_owned(),
        tries: 0,
        last: stamp(poll.clock.now()),
        why: "the poll that deployed it was killed".to_owned(),
        log: Some(layout::logs(&poll.app.name).join(format!("{}.log", killed.id))),
        conditions: conditions.to_owned(),
    };
    ledger.failed(failure);
    true
}
