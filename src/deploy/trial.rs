//! The trial: a new release is started beside the live one and asked for its health before anybody
//! is sent to it.
//!
//! A unit of its own has the sandbox, the account and the environment of the app's service, and
//! listens on a socket that only that account reaches. So an ill release is never served, and the
//! live one never stops. What it cannot show is what only shows when a release is alone: two at once
//! need memory for both, and the database is the same, migrated already.
//!
//! A unit that the administrator changed with drop-ins is another one than the trial; what that
//! would say of the release is worth nothing, so it is left out then, and what follows the flip has
//! to do: health, and the way back.

use anyhow::{Result, anyhow};

use crate::app::Bind;
use crate::host::Server;
use crate::layout;
use crate::render::SudoCommand;
use crate::state::ledger::Release;

use super::build::Built;
use super::health::healthy;
use super::service::{last_words, sudo};
use super::{Failed, Poll};

/// A release that answered well before anybody was sent to it, as far as that could be tried.
#[must_use]
pub(super) struct Verified {
    release: Release,
}

impl Verified {
    pub(super) fn into_release(self) -> Release {
        self.release
    }
}

/// Tries a release that was built.
pub(super) fn try_out(poll: &Poll<'_>, built: Built) -> Result<Verified, Failed> {
    match answers_well(poll, &built.release.id) {
        Ok(()) => Ok(Verified {
            release: built.release,
        }),
        Err(error) => Err(Failed {
            why: format!("tried beside the live release, it is {error:#}"),
            last_lines: last_words(poll, &layout::trial_unit(&poll.app.name)),
            not_brought_back: None,
        }),
    }
}

/// Starts a release beside the live one, asks it, and ends it again.
pub(super) fn answers_well(poll: &Poll<'_>, id: &str) -> Result<()> {
    let (server, app) = (poll.server, poll.app);
    let unit = layout::trial_unit(&app.name);
    let live = server
        .unit(&layout::service_unit(&app.name))?
        .drop_ins
        .len();
    if live != server.unit(&unit)?.drop_ins.len() {
        poll.say(
            "not tried beside the live release: the service has drop-ins that the trial has not",
        );
        return Ok(());
    }
    poll.say(&format!("trying {id} beside the live release"));
    server.switch_link(&app.next(), &layout::release_link(id))?;
    let socket: Bind = format!("unix:{}", layout::trial_socket(&app.name).display())
        .parse()
        .map_err(|error| anyhow!("{error}"))?;
    let well =
        sudo(server, app, SudoCommand::RestartTrial).and_then(|()| healthy(poll, &unit, &socket));
    let ended = end(poll);
    well.and(ended)
}

/// Ends a trial, also one that a killed poll left.
pub(super) fn end(poll: &Poll<'_>) -> Result<()> {
    let (server, app) = (poll.server, poll.app);
    if is_running(server, &layout::trial_unit(&app.name))? {
        sudo(server, app, SudoCommand::StopTrial)?;
    }
    server.remove_file(&app.next())
}

fn is_running(server: &Server, unit: &str) -> Result<bool> {
    let state = server.unit(unit)?;
    Ok(!matches!(state.active.as_str(), "inactive" | "failed"))
}
