//! What a poll that was killed, or somebody's hand, left otherwise than the ledger says: `current`
//! leads elsewhere, or a deployment was under way. A poll that deploys puts that right by itself;
//! one that has nothing to deploy does it here.

use anyhow::Result;

use crate::app::paths;
use crate::record::ledger::{Ledger, Release};

use super::{Poll, short, switch, tidy, trial};

/// What was put right.
#[derive(Debug)]
pub struct Straightened {
    /// What had happened.
    pub found: String,
    /// The release that is live again.
    pub live: Release,
    /// Why it does not answer well, if it does not.
    pub ill: Option<String>,
}

/// Leads back to the live release, and starts the service anew: what it runs may be another one.
pub(super) fn straighten(poll: &Poll<'_>) -> Result<Option<Straightened>> {
    let (server, app) = (poll.server, poll.app);
    let mut ledger = Ledger::load(server, &app.name)?;
    let Some(live) = ledger.live.clone() else {
        return Ok(None);
    };
    if server.stat(&app.releases().join(&live.id))?.is_none() {
        return Ok(None);
    }
    let leads = server.read_link(&app.current())?;
    let found = if leads.as_deref() != Some(&paths::release_link(&live.id)) {
        match leads {
            None => format!("{} was gone", app.current().display()),
            Some(other) => format!("{} led to {}", app.current().display(), other.display()),
        }
    } else if let Some(killed) = &ledger.under_way {
        format!(
            "the poll that deployed {} was killed",
            short(&killed.commit)
        )
    } else {
        // One that was killed once it had succeeded left what it was about to remove.
        if tidy::is_due(poll, &ledger)? {
            tidy::prune(poll, &mut ledger)?;
        }
        return Ok(None);
    };
    poll.say(&found);
    trial::end(poll)?;
    let ill = switch::bring_back(poll, &live).err();
    ledger.under_way = None;
    ledger.store(server, &app.name)?;
    tidy::prune(poll, &mut ledger)?;
    Ok(Some(Straightened {
        found,
        live,
        ill: ill.map(|error| format!("{error:#}")),
    }))
}
