//! `pullpray key APP`: shows the public deploy key, or rotates the key.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::app::App;
use crate::cli;
use crate::error::{WithHint, usage};
use crate::exit::Exit;
use crate::host::{Server, effective_uid};
use crate::provision::{self, Changes, Converged, Finding, NextKeyAccess, Rotation, StepId};
use crate::state::receipt::Receipt;
use crate::ui::{self, Mark, Ui};

use super::{access, load};

pub(super) fn run(server: &Server, arguments: &cli::Key) -> Result<Exit> {
    let app = load(server, &arguments.app)?;
    if arguments.rotate {
        return rotate(server, &app, arguments.wait);
    }
    let (key, fingerprint) = provision::public_key(server, &app.name)?.ok_or_else(|| {
        anyhow!("{} has no deploy key", app.name).hint(format!(
            "sudo pullpray doctor {} --fix --only key.deploy",
            app.name
        ))
    })?;
    let mut out = ui::stdout();
    writeln!(out, "{key}")?;
    writeln!(out, "fingerprint  {fingerprint}")?;
    match app.repo.deploy_key_page() {
        Some((page, off)) => writeln!(out, "add it at    {page} ({off})")?,
        None => writeln!(
            out,
            "add it to    {} on {}, read-only",
            app.repo.slug(),
            app.repo.host()
        )?,
    }
    Ok(Exit::Success)
}

fn rotate(server: &Server, app: &App, wait: Option<Duration>) -> Result<Exit> {
    let resume = format!("sudo pullpray key {} --rotate", app.name);
    if effective_uid() != 0 {
        return Err(usage("only root can rotate the deploy key").hint(resume));
    }
    let mut ui = ui::open(false);
    let ui = ui.as_mut();
    let mut receipt = Receipt::load(server, &app.name)?;
    let mut changes = Changes::begin(server, &mut receipt, &app.name, false)?;
    let (_, old) = provision::public_key(server, &app.name)?.ok_or_else(|| {
        anyhow!("{} has no deploy key to rotate", app.name)
            .hint(format!("sudo pullpray init {}", app.name))
    })?;
    if provision::rotation(server, &app.name)? != Rotation::Switched {
        let (key, fingerprint) = provision::next_key(&mut changes, app)?;
        let kind = key.split(' ').next().unwrap_or_default();
        let kind = kind.trim_start_matches("ssh-");
        ui.done(Mark::Ok, "next key", &format!("{kind} {fingerprint}"));
        let time = wait.or((!ui::is_interactive()).then_some(Duration::ZERO));
        if !await_access(ui, server, app, (&key, &fingerprint), time, &resume)? {
            return Ok(Exit::AwaitingAccess);
        }
    }
    provision::switch_key(&mut changes, app)?;
    // AgentKey restarts the agent if it still has the old key.
    for id in [
        StepId::KeyDeploy,
        StepId::AgentKey,
        StepId::RepoAccess,
        StepId::RepoReadOnly,
    ] {
        settle(ui, app, id, &mut changes, &resume)?;
    }
    let (_, new) = provision::public_key(server, &app.name)?
        .ok_or_else(|| anyhow!("the public key is gone"))?;
    if new != old {
        let place = app
            .repo
            .deploy_key_page()
            .map_or_else(|| app.repo.host().to_owned(), |(page, _)| page);
        ui.say(&format!(
            "The old key {old} was removed from this server. Remove it at {place} too."
        ));
    }
    Ok(Exit::Success)
}

/// Waits until the next key has read access; `false` when `time` is over.
///
/// # Errors
/// When the key has write access, or the user interrupts.
fn await_access(
    ui: &mut dyn Ui,
    server: &Server,
    app: &App,
    key: (&str, &str),
    time: Option<Duration>,
    resume: &str,
) -> Result<bool> {
    let mut granted = String::new();
    let mut attempt = || {
        Ok(match provision::next_key_access(server, app)? {
            NextKeyAccess::ReadOnly(words) => {
                granted = words;
                None
            }
            NextKeyAccess::Denied(why) => Some(why),
            NextKeyAccess::Writable => {
                return Err(anyhow!(
                    "the next key has write access to {}: an attacker on this server could change the code; the old key stays in use",
                    app.repo.slug()
                )
                .hint(format!(
                    "remove it, add it again without write access, then: {resume}"
                )));
            }
        })
    };
    if let Some(why) = attempt()? {
        ui.done(
            Mark::Waiting,
            "access",
            "waiting for the next key to be added on the git host; the old one stays in use",
        );
        access::show_key(ui, app, key.0, key.1);
        if !access::wait(ui, app, time, resume, why, &mut attempt)? {
            return Ok(false);
        }
    }
    ui.done(Mark::Ok, "access", &granted);
    Ok(true)
}

fn settle(
    ui: &mut dyn Ui,
    app: &App,
    id: StepId,
    changes: &mut Changes<'_>,
    resume: &str,
) -> Result<()> {
    let steps = provision::list(app);
    let Some(step) = steps.iter().find(|step| step.id() == id) else {
        return Err(anyhow!("there is no step {id}"));
    };
    let failed = |error: anyhow::Error| error.context(step.title()).hint(resume);
    match provision::converge(step, changes).map_err(failed)? {
        Converged::Unchanged(finding) | Converged::Changed(finding) => match finding {
            Finding::Ok(what) | Finding::Unproven(what) => {
                ui.done(Mark::Ok, &step.title(), &what);
                Ok(())
            }
            other => Err(failed(anyhow!(other.summary().to_owned()))),
        },
        Converged::AwaitsAccess(why) => Err(failed(anyhow!(why))),
    }
}
