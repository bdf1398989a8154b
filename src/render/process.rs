//! The units of the processes beside web, and what they have in common with gunicorn's.

use std::path::Path;

use anyhow::Result;
use askama::Template;

use crate::app::{App, Calendar, ProcessName};
use crate::layout;

use super::text;

/// What all units that run the app's code have in common: account, environment and sandbox.
pub(super) struct Common<'a> {
    pub(super) app: &'a App,
    pub(super) current: String,
}

impl<'a> Common<'a> {
    /// For the release that this link points to.
    pub(super) fn new(app: &'a App, current: &Path) -> Self {
        let current = text(current);
        Self { app, current }
    }
    pub(super) fn runtime(&self) -> String {
        layout::agent_runtime(&self.app.name)
    }
    pub(super) fn agent_dir(&self) -> &'static str {
        layout::AGENT_DIR
    }
    pub(super) fn settings_dir(&self) -> &'static str {
        layout::SETTINGS_DIR
    }
    pub(super) fn data(&self) -> String {
        text(&layout::data(&self.app.name))
    }
    pub(super) fn procfile(&self) -> String {
        text(&layout::procfile(&self.app.name))
    }
    pub(super) fn project(&self) -> String {
        text(&self.app.code_dir(Path::new(&self.current)))
    }
    pub(super) fn shared(&self) -> String {
        super::shared(self.app)
    }
    pub(super) fn environment(&self) -> String {
        text(&self.app.environment_file())
    }
    pub(super) fn program(&self) -> String {
        text(&self.app.program)
    }
}

/// The unit of a process.
#[derive(Template)]
#[template(path = "process.service", escape = "none", ext = "txt")]
struct ProcessService<'a> {
    common: Common<'a>,
    process: &'a ProcessName,
    unit: String,
    target: String,
    /// Whether a timer starts it.
    timed: bool,
}

impl ProcessService<'_> {
    fn runtime(&self) -> String {
        layout::timer_runtime(&self.common.app.name, self.process)
    }
}

/// The unit of a timer.
#[derive(Template)]
#[template(path = "process.timer", escape = "none", ext = "txt")]
struct Timer<'a> {
    app: &'a App,
    process: &'a ProcessName,
    when: &'a Calendar,
}

/// The unit of a timer.
///
/// # Errors
/// When askama fails to render; no case is known.
pub fn process_timer(app: &App, process: &ProcessName, when: &Calendar) -> Result<String> {
    Ok(Timer { app, process, when }.render()? + "\n")
}

/// The unit of a process beside web.
///
/// # Errors
/// When askama fails to render; no case is known.
pub fn process_service(app: &App, process: &ProcessName) -> Result<String> {
    let unit = ProcessService {
        common: Common::new(app, &app.current()),
        process,
        unit: layout::process_unit(&app.name, process),
        target: layout::process_target(&app.name),
        timed: app.limits.timers.contains_key(process),
    };
    Ok(unit.render()? + "\n")
}

/// The account, environment and sandbox of the app's units, as properties of systemd-run(1).
///
/// # Errors
/// When askama fails to render; no case is known.
pub fn sandbox(app: &App) -> Result<Vec<String>> {
    let own = [
        "Type",
        "ExecStart",
        "KillMode",
        "TimeoutStopSec",
        "Restart",
        "RestartSec",
        "SyslogIdentifier",
        "TimeoutStartSec",
        "RuntimeDirectory",
        "RuntimeDirectoryPreserve",
        "ExecStopPost",
    ];
    let text = process_service(app, &"run".parse()?)?;
    let service = text.lines().skip_while(|line| *line != "[Service]");
    let properties = service.filter(|line| {
        let key = line.split('=').next().unwrap_or_default();
        line.contains('=') && !line.starts_with('#') && !own.contains(&key)
    });
    Ok(properties.map(str::to_owned).collect())
}
