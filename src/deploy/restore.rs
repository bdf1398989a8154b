//! Restores the previous release when a new one is unhealthy. A rollback, too, switches to an earlier release here, and
//! restores the live one if that is unhealthy.

use anyhow::Result;

use crate::error::in_one_line;
use crate::layout;
use crate::render::SudoCommand;
use crate::state::ledger::Release;
use crate::text::short;

use super::activate::{point_current, serve, serve_again};
use super::health::{Answered, check_once};
use super::hooks;
use super::service::{PATIENCE, output_of, output_of_processes};
use super::{Poll, bridge, processes, trial};

/// A release was unhealthy, and the previous one was restored.
pub(super) struct Unhealthy {
    pub(super) why: String,
    /// What the service wrote.
    pub(super) output: String,
    /// Why the previous release could not be restored, if it could not.
    pub(super) restore_error: Option<String>,
}

/// Points `current` to a release that was healthy before, and restarts the service.
pub(super) fn restore_previous(poll: &Poll<'_>, release: &Release) -> Result<()> {
    poll.progress(&format!("restoring {}", short(&release.commit)));
    point_current(poll, &release.id)?;
    serve_again(poll, release)
}

/// Restores the live release unless it is healthy; returns the error if it stays unhealthy.
pub(super) fn ensure_live(poll: &Poll<'_>, live: &Release) -> Option<String> {
    let current = poll.server.read_link(&poll.app.current()).ok().flatten();
    if current == Some(layout::release_link(&live.id)) {
        let unhealthy = check_once(poll).err()?;
        poll.progress(&format!("the live release is unhealthy: {unhealthy:#}"));
    }
    let restored = restore_previous(poll, live);
    restored.err().map(|error| in_one_line(&error))
}

/// Switches to an earlier release, tried beside the live one first.
pub(super) fn switch_to(
    poll: &Poll<'_>,
    release: &Release,
    live: &Release,
) -> Result<(), Unhealthy> {
    let switched = trial::run(poll, &release.id).and_then(|()| {
        hooks::before_switch(poll, &release.commit)?;
        poll.progress(&format!("switching to {}", release.id));
        point_current(poll, &release.id)
    });
    match switched {
        Ok(()) => {
            let served = serve_or_restore(poll, release, Some(live));
            if let Some(failed) = hooks::after_switch(poll, &release.commit) {
                poll.progress(&failed);
            }
            served
        }
        Err(error) => Err(Unhealthy {
            why: in_one_line(&error),
            output: String::new(),
            restore_error: ensure_live(poll, live),
        }),
    }
}

/// Serves the release that `current` points to; restores the previous one if it is unhealthy.
pub(super) fn serve_or_restore(
    poll: &Poll<'_>,
    release: &Release,
    previous: Option<&Release>,
) -> Result<(), Unhealthy> {
    serve_or_explain(poll, release).map_err(|unhealthy| {
        let restored = match previous {
            Some(previous) => restore_previous(poll, previous),
            // Nothing was live: an unhealthy first release must not count as live.
            None => processes::stop(poll).and(poll.server.remove_file(&poll.app.current())),
        };
        Unhealthy {
            restore_error: restored.err().map(|error| in_one_line(&error)),
            ..unhealthy
        }
    })
}

/// Serves the release that `current` points to; if it is unhealthy, with what it wrote.
pub(super) fn serve_or_explain(poll: &Poll<'_>, release: &Release) -> Result<(), Unhealthy> {
    serve(poll, release).map_err(|error| {
        // While visitors get bad answers, their end comes first; while they wait, there is time to ask for the cause.
        let patience = if error.is::<Answered>() { 1 } else { PATIENCE };
        let beside = error.is::<bridge::Unhealthy>();
        let of = if beside {
            SudoCommand::ShowBridge
        } else {
            SudoCommand::ShowService
        };
        let output = match error.downcast_ref::<processes::Down>() {
            Some(down) => output_of_processes(poll, down.since, None),
            None => output_of(poll, of, patience),
        };
        let stopped = if beside { bridge::stop(poll) } else { Ok(()) };
        Unhealthy {
            why: in_one_line(&error),
            output,
            restore_error: stopped.err().map(|error| in_one_line(&error)),
        }
    })
}
