//! Activation: `current` points to the new release, the service restarts on it, and its health is checked.

use anyhow::{Context, Result};

use crate::layout;
use crate::state::history::Stage;
use crate::state::ledger::Release;

use super::Poll;
use super::build::STATIC;
use super::ended::{At, StageError};
use super::health::wait_until_healthy;
use super::restore;
use super::service::restart;
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
}

impl Live {
    pub(super) fn into_release(self) -> Release {
        self.release
    }
}

/// Points `current` to the verified release, in one rename.
pub(super) fn activate(session: &Session<'_>, verified: Verified) -> Result<Activated, StageError> {
    let release = verified.into_release();
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
        if let Err(error) = served {
            return Err(StageError {
                restore_error: error.restore_error,
                ..StageError::new(Stage::Health, error.why).with_output(&error.output)
            });
        }
        let release = self.release;
        Ok(Live { release })
    }
}

pub(super) fn point_current(poll: &Poll<'_>, id: &str) -> Result<()> {
    let current = poll.app.current();
    poll.server.switch_link(&current, &layout::release_link(id))
}

/// Publishes static files, restarts, and waits until the app is healthy or `health_timeout` is over.
pub(super) fn serve(poll: &Poll<'_>, release: &Release) -> Result<()> {
    let dir = poll.release_dir(&release.id);
    publish(
        poll.server,
        &dir.join(STATIC),
        poll.app.static_dir.as_path(),
    )?;
    poll.progress("restarting");
    restart(poll.server, poll.app)?;
    poll.progress("checking health");
    wait_until_healthy(poll, &layout::service_unit(&poll.app.name), &poll.app.bind)
        .context("health check failed")
}
