//! `pullpray rollback`, `redeploy`, `pause`, `resume`, `retry`.

use std::io::Write;

use anyhow::Result;

use crate::app::AppName;
use crate::deploy::Poll;
use crate::deploy::control::{self, RollbackOutcome};
use crate::exit::Exit;
use crate::host::Server;
use crate::report::poll::title;
use crate::store::marks;
use crate::text::{for_terminal, short};
use crate::ui;

use super::{as_app_account, by, load_installed};

/// Runs an operation as the app's own account, and prints its result.
fn as_app(
    server: &Server,
    name: &AppName,
    operation: impl FnOnce(&Poll<'_>, &str) -> Result<(Exit, String)>,
) -> Result<Exit> {
    let app = load_installed(server, name)?;
    if let Some(exit) = as_app_account(server, &app)? {
        return Ok(exit);
    }
    marks::ensure_present(server, name)?;
    let remote = crate::deploy::remote(server, &app);
    let poll = Poll::by_hand(server, &app, &remote);
    let (exit, text) = operation(&poll, &by(server))?;
    if !text.is_empty() {
        writeln!(ui::stdout(), "{name}: {text}")?;
    }
    Ok(exit)
}

pub(super) fn rollback(server: &Server, name: &AppName, release: Option<&str>) -> Result<Exit> {
    as_app(server, name, |poll, who| {
        Ok(match control::rollback(poll, release, who)? {
            RollbackOutcome::To(release) => (
                Exit::Success,
                format!(
                    "{} is live again\n  paused  polls do not deploy until: pullpray resume {name}\n  note    migrations are not reverted; what later releases did to the database stays",
                    title(&release)
                ),
            ),
            RollbackOutcome::Failed {
                why,
                restore_error: None,
            } => (
                Exit::Failed,
                format!(
                    "rollback failed: {}; the release that was live was restored, and deployments are paused until: pullpray resume {name}",
                    for_terminal(&why)
                ),
            ),
            RollbackOutcome::Failed {
                why,
                restore_error: Some(more),
            } => (
                Exit::RestoreFailed,
                format!(
                    "rollback failed: {}; AND WHAT WAS LIVE COULD NOT BE RESTORED: {}",
                    for_terminal(&why),
                    for_terminal(&more)
                ),
            ),
        })
    })
}

pub(super) fn redeploy(server: &Server, name: &AppName) -> Result<Exit> {
    as_app(server, name, |poll, _| {
        let exit = super::poll::print(poll.app, &control::redeploy(poll)?, false)?;
        Ok((exit, String::new()))
    })
}

pub(super) fn restart(server: &Server, name: &AppName) -> Result<Exit> {
    as_app(server, name, |poll, _| {
        let live = control::restart(poll)?;
        Ok((Exit::Success, format!("{} is restarted", title(&live))))
    })
}

pub(super) fn pause(server: &Server, name: &AppName, message: &str) -> Result<Exit> {
    as_app(server, name, |poll, who| {
        control::pause(poll, who, message)?;
        Ok((
            Exit::Success,
            format!("paused; polls check and do not deploy until: pullpray resume {name}"),
        ))
    })
}

pub(super) fn resume(server: &Server, name: &AppName) -> Result<Exit> {
    as_app(server, name, |poll, _| {
        Ok((
            Exit::Success,
            match control::resume(poll)? {
                Some((pause, left)) => format!(
                    "resumed (paused by {} since {}); the next poll deploys new commits{}",
                    for_terminal(&pause.by),
                    pause.since,
                    left.map_or_else(String::new, |commit| format!(
                        "\n  waits   {}, which was rolled back, until: sudo pullpray retry {name}",
                        short(&commit)
                    ))
                ),
                None => "was not paused".to_owned(),
            },
        ))
    })
}

pub(super) fn retry(server: &Server, name: &AppName) -> Result<Exit> {
    as_app(server, name, |poll, _| {
        Ok((
            Exit::Success,
            match control::retry(poll)? {
                0 => "no commit has failed".to_owned(),
                1 => format!(
                    "1 failed commit will be retried at the next poll; now: pullpray poll {name} -v"
                ),
                count => format!(
                    "{count} failed commits will be retried at the next poll; now: pullpray poll {name} -v"
                ),
            },
        ))
    })
}
