//! Whether an app that was started is well: asked over HTTP, and its main process watched.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::app::{App, Bind};

use super::Poll;

/// How often the app must answer well in a row, and how far apart.
const ANSWERS: u32 = 2;
const APART: Duration = Duration::from_millis(250);

/// Asks the app where a unit serves it, until it has answered well twice from the same main process,
/// or its time is up.
pub(super) fn healthy(poll: &Poll<'_>, unit: &str, bind: &Bind) -> Result<()> {
    let (server, app) = (poll.server, poll.app);
    let until = Instant::now() + Duration::from_secs(app.limits.health_timeout);
    let mut well = 0;
    let mut process = 0;
    let why = loop {
        let left = until.saturating_duration_since(Instant::now());
        let state = server.unit(unit)?;
        let why = if state.is_active() {
            if state.main_pid != process {
                process = state.main_pid;
                well = 0;
            }
            let patience = left.max(Duration::from_millis(100));
            match server.http_get(bind, &app.health_path, &app.health_host, patience) {
                Ok(answer) if (200..400).contains(&answer.status) => {
                    well += 1;
                    if well >= ANSWERS {
                        return Ok(());
                    }
                    format!("{unit} did not stay up")
                }
                Ok(answer) => {
                    well = 0;
                    ill(app, bind, answer.status)
                }
                Err(error) => {
                    well = 0;
                    format!("GET {} on {bind}: {error}", app.health_path)
                }
            }
        } else {
            well = 0;
            format!("{unit} is {} ({})", state.active, state.result)
        };
        if state.active == "failed" || Instant::now() >= until {
            break why;
        }
        std::thread::sleep(APART);
    };
    anyhow::bail!("not healthy: {why}")
}

/// Asks the app once where visitors are served.
pub(super) fn answers(poll: &Poll<'_>) -> Result<()> {
    let app = poll.app;
    let patience = Duration::from_secs(app.limits.health_timeout);
    match (poll.server).http_get(&app.bind, &app.health_path, &app.health_host, patience) {
        Ok(answer) if (200..400).contains(&answer.status) => Ok(()),
        Ok(answer) => anyhow::bail!("{}", ill(app, &app.bind, answer.status)),
        Err(error) => anyhow::bail!("GET {} on {}: {error}", app.health_path, app.bind),
    }
}

fn ill(app: &App, bind: &Bind, status: u16) -> String {
    let question = format!(
        "GET {} on {bind} (Host: {})",
        app.health_path, app.health_host
    );
    match status {
        400 => format!(
            "{question} → 400; is {} one of the project's ALLOWED_HOSTS? health_host in the settings says who is asked",
            app.health_host
        ),
        _ => format!("{question} → {status}"),
    }
}
