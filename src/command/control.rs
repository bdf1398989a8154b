//! `pullpray rollback`, `redeploy`, `hold`, `resume`, `retry`.

use std::io::Write;

use anyhow::Result;

use crate::app::AppName;
use crate::deploy::Poll;
use crate::deploy::control::{self, RollbackOutcome};
use crate::exit::Exit;
use crate::host::{Clock, Server};
use crate::store::marks;
use crate::text::for_terminal;
use crate::text::short;
use crate::ui;

use super::{as_app_account, by, load};

/// Does it as the app's own account, and prints what came of it.
fn as_app(
    server: &Server,
    name: &AppName,
    act: impl FnOnce(&Poll<'_>, &str) -> Result<(Exit, String)>,
) -> Result<Exit> {
    let app = load(server, name)?;
    if let Some(exit) = as_app_account(server, &app)? {
        return Ok(exit);
    }
    marks::there(server, name)?;
    let clock = Clock::system();
    let poll = Poll {
        server,
        app: &app,
        clock: &clock,
        now: false,
        by_cron: false,
        tell: &|_| {},
    };
    let (exit, text) = act(&poll, &by(server))?;
    if !text.is_empty() {
        writeln!(ui::stdout(), "{name}: {text}")?;
    }
    Ok(exit)
}

pub(super) fn rollback(server: &Server, name: &AppName, release: Option<&str>) -> Result<Exit> {
    as_app(server, name, |poll, who| {
        Ok(match control::rollback(poll, release, who)? {
            RollbackOutcome::To(release) => (
                Exit::Done,
                format!(
                    "{} \"{}\" is live again\n  held  polls do not deploy until: pullpray resume {name}\n  note  migrations are not taken back; what later releases did to the database stays",
                    short(&release.commit),
                    for_terminal(&release.subject)
                ),
            ),
            RollbackOutcome::Failed {
                why,
                not_brought_back: None,
            } => (
                Exit::Failed,
                format!(
                    "going back failed: {}; what was live is live again, and held",
                    for_terminal(&why)
                ),
            ),
            RollbackOutcome::Failed {
                why,
                not_brought_back: Some(more),
            } => (
                Exit::NotBroughtBack,
                format!(
                    "going back failed: {}; AND WHAT WAS LIVE COULD NOT BE BROUGHT BACK: {}",
                    for_terminal(&why),
                    for_terminal(&more)
                ),
            ),
        })
    })
}

pub(super) fn redeploy(server: &Server, name: &AppName) -> Result<Exit> {
    as_app(server, name, |poll, _| {
        let exit = super::poll::tell_told(poll.app, control::redeploy(poll)?, false)?;
        Ok((exit, String::new()))
    })
}

pub(super) fn hold(server: &Server, name: &AppName, message: &str) -> Result<Exit> {
    as_app(server, name, |poll, who| {
        control::hold(poll, who, message)?;
        Ok((
            Exit::Done,
            format!("held; polls look and do not deploy until: pullpray resume {name}"),
        ))
    })
}

pub(super) fn resume(server: &Server, name: &AppName) -> Result<Exit> {
    as_app(server, name, |poll, _| {
        Ok((
            Exit::Done,
            match control::resume(poll)? {
                Some(hold) => format!(
                    "no longer held (by {} since {}); the next poll deploys what is new",
                    for_terminal(&hold.by),
                    hold.since
                ),
                None => "was not held".to_owned(),
            },
        ))
    })
}

pub(super) fn retry(server: &Server, name: &AppName) -> Result<Exit> {
    as_app(server, name, |poll, _| {
        Ok((
            Exit::Done,
            match control::retry(poll)? {
                0 => "no commit failed".to_owned(),
                count => format!(
                    "{count} failed commits get all their tries again; now: pullpray poll {name} -v"
                ),
            },
        ))
    })
}
