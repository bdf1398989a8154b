//! The trial: a new release is started beside the live one and its health checked before any visitor reaches it.
//!
//! A unit of its own has the sandbox, account and environment of the app's service, and listens on a socket that only
//! that account can connect to. So an unhealthy release is never served, and the live one never stops. The trial does
//! not show what differs once a release is alone: two at once need memory for both, and share the database, which is
//! migrated already.
//!
//! If the administrator changed the service with drop-ins, the trial would be a different unit and prove nothing. It is
//! skipped then, and the health check after activation decides.

use anyhow::Result;

use crate::app::Bind;
use crate::layout;
use crate::render::SudoCommand;
use crate::state::history::Stage;
use crate::state::ledger::Release;

use super::build::Built;
use super::health::wait_until_healthy;
use super::service::{output_of, sudo};
use super::{Poll, StageError, service};

/// A release that was healthy in its trial, as far as one could be run.
#[must_use]
pub(super) struct Verified {
    release: Release,
}

impl Verified {
    pub(super) fn into_release(self) -> Release {
        self.release
    }
}

/// Runs the trial of a release that was built.
pub(super) fn verify(poll: &Poll<'_>, built: Built) -> Result<Verified, StageError> {
    match run(poll, &built.release.id) {
        Ok(()) => Ok(Verified {
            release: built.release,
        }),
        Err(error) => {
            let why = format!("health check failed before switching: {error:#}");
            let output = output_of(poll, SudoCommand::ShowTrial, 1);
            Err(StageError::new(Stage::Trial, why).with_output(&output))
        }
    }
}

/// Starts a release beside the live one, waits until it is healthy, and stops it.
pub(super) fn run(poll: &Poll<'_>, id: &str) -> Result<()> {
    let (server, app) = (poll.server, poll.app);
    let unit = layout::trial_unit(&app.name);
    if service::has_own_drop_ins(server, app, &unit)? {
        poll.progress("no trial: the service has drop-ins of its own");
        return Ok(());
    }
    poll.progress(&format!("trying {id} beside the live release"));
    server.switch_link(&app.next(), &layout::release_link(id))?;
    let socket: Bind = format!("unix:{}", layout::trial_socket(&app.name).display()).parse()?;
    let healthy = sudo(server, app, SudoCommand::RestartTrial)
        .and_then(|()| wait_until_healthy(poll, &unit, &socket));
    let stopped = stop(poll);
    healthy.and(stopped)
}

/// Stops a trial, also one that a killed poll left.
pub(super) fn stop(poll: &Poll<'_>) -> Result<()> {
    let (server, app) = (poll.server, poll.app);
    let state = server.unit(&layout::trial_unit(&app.name))?;
    if !matches!(state.active.as_str(), "inactive" | "failed") {
        sudo(server, app, SudoCommand::StopTrial)?;
    }
    server.remove_file(&app.next())
}
