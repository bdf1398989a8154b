//! The processes beside web: those of the settings run, and no others of the app.

use anyhow::Result;

use crate::app::{App, ProcessName};
use crate::host::{Stat, View};
use crate::layout;
use crate::render;

use super::{About, Changes, Check, CheckContext, Finding, Fix, StepId, scheduler};

pub(super) struct Processes<'a>(pub(super) &'a App);

impl Processes<'_> {
    /// The units of processes that the settings do not name any more.
    fn stale(&self, view: &View) -> Result<Vec<String>> {
        let app = self.0;
        let prefix = format!("pullpray.{}.", app.name);
        let mut wanted: Vec<String> = app.process_units().collect();
        if !wanted.is_empty() {
            wanted.push(layout::process_target(&app.name));
        }
        wanted.extend(app.timed_units().chain(app.timer_units()));
        let mut found = Vec::new();
        for name in view.list(layout::UNITS_DIR.as_ref())? {
            let Some(unit) = name.to_str() else { continue };
            let rest = unit.strip_prefix(&prefix);
            let kind = |rest: &str| {
                rest == "target" || rest.ends_with(".service") || rest.ends_with(".timer")
            };
            if rest.is_some_and(kind) && !wanted.iter().any(|it| it == unit) {
                found.push(unit.to_owned());
            }
        }
        Ok(found)
    }

    /// The units that should run and do not.
    fn down(&self, view: &View) -> Result<Vec<String>> {
        let mut down = Vec::new();
        for unit in self.0.process_units() {
            if !view.unit(&unit)?.is_active() {
                down.push(unit);
            }
        }
        Ok(down)
    }
}

impl Check for Processes<'_> {
    fn about(&self) -> About {
        About::new(
            StepId::ProcessRunning,
            format!("{} beside web", self.0.name),
        )
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (app, view) = (self.0, context.view);
        let stale = self.stale(view)?;
        if !stale.is_empty() {
            let what = format!("not in the settings: {}", stale.join(", "));
            return Ok(Finding::differs(what));
        }
        if app.processes.is_empty() && app.limits.timers.is_empty() {
            return Ok(Finding::ok("none"));
        }
        if view.stat(&app.current())?.is_none() {
            let follows = "started with the first release";
            return Ok(Finding::blocked(StepId::AppRelease, follows));
        }
        // It runs on from when it was no timer's.
        for service in app.timed_units() {
            if view.unit(&service)?.is_active() {
                return Ok(Finding::differs(format!(
                    "{service} runs without its timer"
                )));
            }
        }
        for timer in app.timer_units() {
            let unit = view.unit(&timer)?;
            if !unit.is_active() || !unit.is_enabled() {
                return Ok(Finding::differs(format!("{timer} is {}", unit.active)));
            }
        }
        let target = layout::process_target(&app.name);
        if !app.processes.is_empty() && !view.unit(&target)?.is_enabled() {
            return Ok(Finding::differs("they would not start at boot"));
        }
        let down = self.down(view)?;
        if let [first, ..] = down.as_slice() {
            let unit = view.unit(first)?;
            let why = format!("{first} is {} ({})", unit.active, unit.result);
            // It was started, and ended by itself.
            if unit.sub == "auto-restart" {
                let log = format!("sudo pullpray logs {}  # shows why it ends", app.name);
                return Ok(Finding::manual(why, log));
            }
            return Ok(Finding::differs(why));
        }
        let timed = app.limits.timers.keys();
        let names = app.processes.iter().chain(timed).map(ToString::to_string);
        Ok(Finding::Ok(names.collect::<Vec<_>>().join(", ")))
    }
}

impl Fix for Processes<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let app = self.0;
        let stale = self.stale(changes.context().view)?;
        for unit in &stale {
            changes.remove_unit(unit)?;
        }
        if !stale.is_empty() {
            changes.reload_units()?;
        }
        for (service, timer) in app.timed_units().zip(app.timer_units()) {
            changes.record_unit(&service)?;
            if changes.context().view.unit(&service)?.is_active() {
                changes.stop(&service)?;
            }
            changes.unit(&timer)?;
        }
        if app.processes.is_empty() {
            return Ok(());
        }
        changes.unit(&layout::process_target(&app.name))?;
        // A target that is active already starts nothing.
        let down = self.down(changes.context().view)?;
        for unit in app.process_units() {
            changes.record_unit(&unit)?;
            if down.contains(&unit) {
                changes.restart(&unit)?;
            }
        }
        Ok(())
    }
}

/// The processes beside web, with their states as systemd names them.
///
/// # Errors
/// When systemctl fails.
pub fn process_states(view: &View, app: &App) -> Result<Vec<(String, String)>> {
    let mut states = Vec::new();
    for process in &app.processes {
        let unit = view.unit(&layout::process_unit(&app.name, process))?;
        let state = match unit.sub.as_str() {
            "auto-restart" => format!("{} (ended: {})", unit.active, unit.result),
            _ if unit.load == "not-found" => "has no unit yet".to_owned(),
            _ => unit.active,
        };
        states.push((process.to_string(), state));
    }
    for (process, when) in &app.limits.timers {
        let unit = view.unit(&layout::process_unit(&app.name, process))?;
        let timer = view.unit(&layout::timer_unit(&app.name, process))?;
        let state = match (unit.active.as_str(), unit.result.as_str()) {
            _ if timer.load == "not-found" => "has no unit yet".to_owned(),
            _ if !timer.is_active() => format!("timer {}", timer.active),
            ("activating", _) if failed_before(view, app, process)? => {
                "running, failed before".to_owned()
            }
            ("activating", _) => "running".to_owned(),
            (_, "success") => "active".to_owned(),
            (_, result) => format!("failed ({result})"),
        };
        states.push((format!("{process} ({when})"), state));
    }
    Ok(states)
}

/// Whether the last run of a timer's process that ended failed: systemd forgets its result when the next one starts.
fn failed_before(view: &View, app: &App, process: &ProcessName) -> Result<bool> {
    let file = layout::timer_failure(&app.name, process);
    Ok(view.stat(&file)?.is_some() || view.stat(&file.with_file_name("reported"))?.is_some())
}

/// Whether the settings are newer than a unit, or than the schedule, that differs from what they say. It may differ because
/// somebody edited it.
///
/// # Errors
/// When a file cannot be read, or a template be rendered.
pub fn settings_are_newer(view: &View, app: &App) -> Result<bool> {
    let Some(settings) = view.stat(&layout::settings(&app.name))? else {
        return Ok(false);
    };
    if !Processes(app).stale(view)?.is_empty() {
        return Ok(true);
    }
    let mut wanted = scheduler::files(app)?;
    if app.wsgi.is_some() {
        let unit = layout::service_unit(&app.name);
        wanted.push((layout::unit_file(&unit), render::gunicorn_service(app)?));
    }
    let timed = app.limits.timers.iter();
    for (process, unit) in (app.processes.iter().zip(app.process_units())).chain(
        timed
            .clone()
            .map(|(process, _)| process)
            .zip(app.timed_units()),
    ) {
        let text = render::process_service(app, process)?;
        wanted.push((layout::unit_file(&unit), text));
    }
    for ((process, when), unit) in timed.zip(app.timer_units()) {
        let text = render::process_timer(app, process, when)?;
        wanted.push((layout::unit_file(&unit), text));
    }
    for (path, text) in wanted {
        let older = (view.stat(&path)?).is_none_or(|stat| stat.modified < settings.modified);
        if older && view.read_text(&path)?.as_deref() != Some(text.as_str()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the environment file was changed since the service, which reads it at its start, became active.
///
/// # Errors
/// When systemctl fails, or the file cannot be examined.
pub fn environment_is_newer(view: &View, app: &App) -> Result<bool> {
    let service = view.unit(&layout::service_unit(&app.name))?;
    let clock = view.clock();
    let runs =
        (service.since.zip(clock.since_boot())).map(|(since, now)| now.saturating_sub(since));
    let runs = runs.and_then(|runs| i64::try_from(runs.as_secs()).ok());
    let started = runs.map(|runs| clock.now().timestamp() - runs);
    let file = view.stat(&app.environment_file())?;
    let newer = |(file, started): (Stat, i64)| file.modified > started;
    Ok(service.is_active() && file.zip(started).is_some_and(newer))
}
