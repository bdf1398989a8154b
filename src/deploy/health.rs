//! Health: two good HTTP answers in a row from the same main process.

use std::time::Duration;

use anyhow::Result;

use crate::app::{App, Bind};

use super::Poll;

/// Good answers in a row, and the pause between them.
const ANSWERS: u32 = 2;
const APART: Duration = Duration::from_millis(250);

/// Requests the health path where a unit listens, until the app is healthy.
///
/// # Errors
/// Why it is not, once `health_timeout` is over or the unit has failed.
pub(super) fn wait_until_healthy(poll: &Poll<'_>, unit: &str, bind: &Bind) -> Result<()> {
    let (server, app) = (poll.server, poll.app);
    let until = poll.clock.monotonic() + Duration::from_secs(app.limits.health_timeout);
    let mut good = 0;
    let mut process = 0;
    let why = loop {
        let left = until.saturating_sub(poll.clock.monotonic());
        let state = server.unit(unit)?;
        let why = if state.is_active() {
            if state.main_pid != process {
                process = state.main_pid;
                good = 0;
            }
            let patience = left.max(Duration::from_millis(100));
            match server.http_get(bind, &app.health_path, &app.health_host, patience) {
                Ok(answer) if (200..400).contains(&answer.status) => {
                    good += 1;
                    if good >= ANSWERS {
                        return Ok(());
                    }
                    format!("{unit} did not stay up")
                }
                Ok(answer) => {
                    good = 0;
                    describe(app, bind, answer.status)
                }
                Err(error) => {
                    good = 0;
                    format!("GET {} on {bind}: {error}", app.health_path)
                }
            }
        } else {
            good = 0;
            format!("{unit} is {} ({})", state.active, state.result)
        };
        if state.active == "failed" || poll.clock.monotonic() >= until {
            break why;
        }
        poll.clock.sleep(APART);
    };
    anyhow::bail!("{why}")
}

/// Requests the health path once, where visitors are served.
///
/// # Errors
/// Why the app is unhealthy.
pub(super) fn check_once(poll: &Poll<'_>) -> Result<()> {
    let app = poll.app;
    let patience = Duration::from_secs(app.limits.health_timeout);
    match (poll.server).http_get(&app.bind, &app.health_path, &app.health_host, patience) {
        Ok(answer) if (200..400).contains(&answer.status) => Ok(()),
        Ok(answer) => anyhow::bail!("{}", describe(app, &app.bind, answer.status)),
        Err(error) => anyhow::bail!("GET {} on {}: {error}", app.health_path, app.bind),
    }
}

fn describe(app: &App, bind: &Bind, status: u16) -> String {
    let request = format!(
        "GET {} on {bind} (Host: {})",
        app.health_path, app.health_host
    );
    match status {
        400 => format!(
            "{request} → 400; is {} in the project's ALLOWED_HOSTS? health_host in the settings is the hostname that is sent",
            app.health_host
        ),
        _ => format!("{request} → {status}"),
    }
}
