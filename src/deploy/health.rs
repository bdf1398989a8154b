//! Health: two good HTTP answers in a row from the same main process.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::app::Bind;

use super::Poll;

/// Good answers in a row, and the pause after one.
const ANSWERS: u32 = 2;
const APART: Duration = Duration::from_millis(100);
/// The pause after a bad one; it grows up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// An unhealthy answer: visitors get such ones, too.
#[derive(Debug)]
pub(super) struct Answered(String);

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Answered {}

/// Requests the health path where a unit listens, until the app is healthy.
///
/// # Errors
/// Why it is not, once `health_timeout` is over or the unit has failed.
pub(super) fn wait_until_healthy(poll: &Poll<'_>, unit: &str, bind: &Bind) -> Result<()> {
    let until = poll.clock.monotonic() + Duration::from_secs(poll.app.limits.health_timeout);
    let (mut good, mut process, mut pause) = (0, 0, APART);
    loop {
        let left = until.saturating_sub(poll.clock.monotonic());
        let state = poll.server.unit(unit)?;
        if state.main_pid != process || !state.is_active() {
            good = 0;
        }
        process = state.main_pid;
        let answer = if state.is_active() {
            ask(poll, bind, left.max(Duration::from_millis(100)))
        } else {
            Err(anyhow!("{unit} is {} ({})", state.active, state.result))
        };
        good = if answer.is_ok() { good + 1 } else { 0 };
        if good >= ANSWERS {
            return Ok(());
        }
        if state.active == "failed" || poll.clock.monotonic() >= until {
            return answer.and(Err(anyhow!("{unit} did not stay up")));
        }
        pause = match good {
            0 => (pause * 2).min(LONGEST_PAUSE),
            _ => APART,
        };
        poll.clock.sleep(pause);
    }
}

/// Requests the health path once, where visitors are served.
///
/// # Errors
/// Why the app is unhealthy.
pub(super) fn check_once(poll: &Poll<'_>) -> Result<()> {
    let patience = Duration::from_secs(poll.app.limits.health_timeout);
    ask(poll, &poll.app.bind, patience)
}

/// Whether the instance that listens there gives a good answer at once: nobody waits for one that hangs.
pub(super) fn is_healthy(poll: &Poll<'_>, bind: &Bind) -> bool {
    let patience = Duration::from_secs(poll.app.limits.health_timeout.min(5));
    ask(poll, bind, patience).is_ok()
}

fn ask(poll: &Poll<'_>, bind: &Bind, patience: Duration) -> Result<()> {
    let app = poll.app;
    let (path, host) = (&app.health_path, &app.health_host);
    match poll.server.health(app, bind, patience) {
        Err(error) => bail!("GET {path} on {bind}: {error}"),
        Ok(answer) if answer.is_healthy => Ok(()),
        Ok(answer) => bail!(Answered(match answer.status {
            400 => format!(
                "GET {path} on {bind} (Host: {host}) → 400; is {host} in the project's ALLOWED_HOSTS? health_host in the settings is the hostname that is sent"
            ),
            404 => format!(
                "GET {path} on {bind} (Host: {host}) → {answer}; to request another path: sudo pullpray init {} --health-path /PATH",
                app.name
            ),
            _ => format!("GET {path} on {bind} (Host: {host}) → {answer}"),
        })),
    }
}
