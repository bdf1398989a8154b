//! Activation: `current` points to the new release, the service restarts on it, and its health is checked.

use anyhow::{Context, Result};

use crate::layout;
use crate::render::SudoCommand;
use crate::state::history::Stage;
use crate::state::ledger::Release;

use super::Poll;
use super::bridge;
use super::build::STATIC;
use super::ended::{At, StageError};
use super::health::{Answered, check_once, wait_until_healthy};
use super::hooks;
use super::processes;
use super::restore;
use super::service::{restart, sudo};
use super::session::Session;
use super::static_files::publish;
use super::trial::Verified;

/// A release that `current` points to and whose health was not checked yet.
#[must_use]
pub(super) struct Activated {
    release: Release,
    previous: Option<Release>,
}

/// A release that is live and healthy.
#[must_use]
pub(super) struct Live {
    release: Release,
    /// What failed beside it.
    pub(super) note: Option<String>,
}

impl Live {
    pub(super) fn into_release(self) -> Release {
        self.release
    }
}

/// Points `current` to the verified release, in one rename.
pub(super) fn activate(session: &Session<'_>, verified: Verified) -> Result<Activated, StageError> {
    let release = verified.into_release();
    hooks::before_switch(session, &release.commit).at(Stage::Activate)?;
    session.progress(&format!("switching to {}", release.id));
    point_current(session, &release.id).at(Stage::Activate)?;
    Ok(Activated {
        release,
        previous: session.live(),
    })
}

impl Activated {
    /// Restarts the service and checks its health; restores the previous release if it is unhealthy.
    pub(super) fn restart_and_check(self, poll: &Poll<'_>) -> Result<Live, StageError> {
        let served = restore::serve_or_restore(poll, &self.release, self.previous.as_ref());
        let note = hooks::after_switch(poll, &self.release.commit);
        if let Err(error) = served {
            return Err(StageError {
                restore_error: error.restore_error,
                ..StageError::new(Stage::Health, with(error.why, note)).with_output(&error.output)
            });
        }
        let release = self.release;
        Ok(Live { release, note })
    }
}

/// An error, and what failed after it.
fn with(why: String, also: Option<String>) -> String {
    match also {
        Some(also) => format!("{why}; {also}"),
        None => why,
    }
}

pub(super) fn point_current(poll: &Poll<'_>, id: &str) -> Result<()> {
    let current = poll.app.current();
    poll.server.switch_link(&current, &layout::release_link(id))
}

/// Publishes static files, restarts the service while a second instance serves, and waits until it is healthy or
/// `health_timeout` is over.
///
/// # Errors
/// [`bridge::Unhealthy`] if the second instance was unhealthy: then the service runs as before.
pub(super) fn serve(poll: &Poll<'_>, release: &Release) -> Result<()> {
    publish_static(poll, release)?;
    let bridged = bridge::start(poll)?;
    restart_beside(poll)?;
    if bridged {
        bridge::stop(poll)?;
    }
    reach(poll)?;
    processes::restart(poll)
}

/// As [`serve`], for a release that was healthy before: without a second instance if that is unhealthy.
pub(super) fn serve_again(poll: &Poll<'_>, release: &Release) -> Result<()> {
    publish_static(poll, release)?;
    if let Err(error) = bridge::start(poll) {
        poll.progress(&format!("{error:#}"));
    }
    let served = restart_beside(poll);
    let stopped = bridge::stop(poll);
    served.and(stopped)?;
    reach(poll)?;
    processes::restart(poll)
}

/// Checks that visitors reach the healthy service, of which only its own socket was asked so far. systemd loses their
/// socket if its unit was missing or changed at a reload while it ran ("not functional until restarted"): then the
/// service that starts next is not given it.
fn reach(poll: &Poll<'_>) -> Result<()> {
    match check_once(poll) {
        Err(error) if !error.is::<Answered>() => {
            poll.progress("restarting the socket");
            sudo(poll.server, poll.app, SudoCommand::RestartSocket)?;
            restart_beside(poll)?;
            check_once(poll)
        }
        reached => reached,
    }
    .context("health check failed")
}

fn publish_static(poll: &Poll<'_>, release: &Release) -> Result<()> {
    let dir = poll.release_dir(&release.id).join(STATIC);
    publish(poll.server, &dir, poll.app.static_dir.as_path())
}

/// Restarts the service and waits for its own good answers: beside it, the second instance may answer visitors.
fn restart_beside(poll: &Poll<'_>) -> Result<()> {
    poll.progress("restarting");
    restart(poll.server, poll.app)?;
    poll.progress("checking health");
    let unit = layout::service_unit(&poll.app.name);
    wait_until_healthy(poll, &unit, &bridge::own_bind(poll)?).context("health check failed")
}
