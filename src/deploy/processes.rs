//! The processes beside web: they belong to the release, restart once its web is healthy, and are part of what healthy
//! means.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::app::{App, MAX_PROCFILE, PROCFILE, ProcessName, Procfile, Web};
use crate::git::Oid;
use crate::host::Server;
use crate::layout;
use crate::render::SudoCommand;
use crate::text::for_terminal;

use super::Poll;
use super::fetch::{Code, FetchError};
use super::service::sudo;

/// How long a process must stay up; one that cannot import its code ends sooner.
const STAYS_UP: Duration = Duration::from_secs(5);
/// How long it may take to stop, and to start: TimeoutStopSec= of its unit, and as much again.
const TO_START: Duration = Duration::from_secs(180);
const BETWEEN: Duration = Duration::from_millis(250);

/// A process did not stay up.
#[derive(Debug)]
pub(super) struct Down {
    why: String,
    /// When the processes were restarted, in seconds since 1970.
    pub(super) since: i64,
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Down {}

/// Restarts the processes on the release that `current` points to, and waits until all have stayed up for a while.
///
/// # Errors
/// [`Down`] if one did not.
pub(super) fn restart(poll: &Poll<'_>) -> Result<()> {
    let units = installed(poll.server, poll.app)?;
    if units.is_empty() {
        return Ok(());
    }
    poll.progress("restarting the processes beside web");
    let since = poll.clock.now().timestamp();
    sudo(poll.server, poll.app, SudoCommand::RestartProcesses)?;
    // How often systemd had restarted each by itself: it goes on counting if one was about to be started again.
    let mut before: BTreeMap<&str, u32> = BTreeMap::new();
    let patience = poll.clock.monotonic() + TO_START;
    let mut up_since = None;
    loop {
        let mut all = true;
        for unit in &units {
            let state = poll.server.unit(unit)?;
            let count = *before.entry(unit).or_insert(state.restarts);
            let now = poll.clock.monotonic();
            let ended = matches!(state.active.as_str(), "failed" | "inactive");
            if state.restarts > count || state.sub == "auto-restart" || ended || now >= patience {
                let result = Some(state.result).filter(|it| !matches!(it.as_str(), "" | "success"));
                let result = result.map(|it| format!(" ({it})")).unwrap_or_default();
                let why = format!("{unit} does not stay up{result}");
                bail!(Down { why, since });
            }
            all &= state.is_active();
        }
        let now = poll.clock.monotonic();
        up_since = if all { up_since.or(Some(now)) } else { None };
        if up_since.is_some_and(|since| now >= since + STAYS_UP) {
            return Ok(());
        }
        poll.clock.sleep(BETWEEN);
    }
}

/// Stops the processes, whose release is not live.
pub(super) fn stop(poll: &Poll<'_>) -> Result<()> {
    if installed(poll.server, poll.app)?.is_empty() {
        return Ok(());
    }
    sudo(poll.server, poll.app, SudoCommand::StopProcesses)
}

/// The units of the settings' processes that systemd has.
fn installed(server: &Server, app: &App) -> Result<Vec<String>> {
    let mut units = Vec::new();
    for unit in app.process_units() {
        if server.stat(&layout::unit_file(&unit))?.is_some() {
            units.push(unit);
        }
    }
    Ok(units)
}

/// The processes of a commit: what its Procfile says, or the administrator's.
fn procfile(server: &Server, app: &App, code: &Code, oid: Oid) -> Result<(String, Procfile)> {
    let own = layout::procfile(&app.name);
    if let Some(text) = server.read_text(&own)? {
        return Ok((own.display().to_string(), Procfile::parse(&text)));
    }
    let path = app.code_dir(Path::new("")).join(PROCFILE);
    let text = code.mirror.read_file(oid, &path)?;
    let text = text.unwrap_or_default();
    let text = if text.len() as u64 > MAX_PROCFILE {
        Vec::new()
    } else {
        text
    };
    let parsed = Procfile::parse(&String::from_utf8_lossy(&text));
    Ok((path.display().to_string(), parsed))
}

/// Refuses a commit whose Procfile lacks a process of the settings, or has another server than gunicorn for web.
pub(super) fn refuse_unfit(poll: &Poll<'_>, code: &mut Code) -> Result<(), FetchError> {
    let (server, app) = (poll.server, poll.app);
    let read = |code: &Code| procfile(server, app, code, code.info.oid);
    let (file, found) = code.read(poll, read)?;
    if let Some(Web::Other(line)) = found.web() {
        return Err(FetchError::Unfit(format!(
            "web in {file} does not start gunicorn: {}; gunicorn runs ASGI too, by its --worker-class; for this server alone, write a Procfile without the line, or with another: {}",
            for_terminal(line),
            layout::procfile(&app.name).display()
        )));
    }
    let missing: Vec<&str> = (app.processes.iter().chain(app.limits.timers.keys()))
        .map(ProcessName::as_str)
        .filter(|name| found.command(name).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = found.names().map(for_terminal).collect();
    let has = match names.as_slice() {
        [] => "has no lines".to_owned(),
        names => format!("names {}", names.join(", ")),
    };
    Err(FetchError::Unfit(format!(
        "the settings run {}, and {file} {has}; add the line, NAME: COMMAND, or take the name out: sudo pullpray init {} --processes NAMES",
        missing.join(", "),
        app.name
    )))
}

/// A remark on what nobody runs: lines of the Procfile that the live commit did not have, and processes without a unit.
pub(super) fn remark(poll: &Poll<'_>, code: &Code, live: Option<&str>) -> Result<Option<String>> {
    let (server, app) = (poll.server, poll.app);
    let installed = installed(server, app)?;
    if installed.len() < app.processes.len() {
        return Ok(Some(format!(
            "processes of the settings have no unit yet: sudo pullpray init {}",
            app.name
        )));
    }
    let names = |oid: Oid| -> Result<Vec<String>> {
        let (_, file) = procfile(server, app, code, oid)?;
        let named = || app.processes.iter().chain(app.limits.timers.keys());
        let runs = |name: &str| named().any(|process| process.as_str() == name);
        let idle = file.beside_web().filter(|name| !runs(name));
        Ok(idle.map(for_terminal).collect())
    };
    let known = live.and_then(|live| names(live.parse().ok()?).ok());
    let known = known.unwrap_or_default();
    let mut idle = names(code.info.oid)?;
    idle.retain(|name| !known.contains(name));
    Ok((!idle.is_empty()).then(|| {
        format!(
            "nobody runs {} of the Procfile (to run it: sudo pullpray init {} --processes NAMES)",
            idle.join(", "),
            app.name
        )
    }))
}
