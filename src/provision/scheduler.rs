//! The step for what starts the polls, cron's entry or a timer: it works, and it is the only one.

use std::path::PathBuf;

use anyhow::Result;

use crate::app::App;
use crate::host::View;
use crate::layout::{self, ManagedFile};
use crate::render;
use crate::state::receipt::Before;

use super::file::FileStep;
use super::readers::confined;
use super::{About, Changes, Check, CheckContext, Finding, Fix, Step, StepId, fix};

/// The last file of the scheduler that the settings name. The other scheduler goes once this one works, so that at each
/// moment one of them polls; two never poll at once, because a poll locks the app.
struct Scheduler<'a> {
    app: &'a App,
    file: FileStep<'a>,
}

/// The steps of the scheduler that the settings name.
pub(super) fn steps(app: &App) -> Vec<Step<'_>> {
    let scheduler = |file| fix(Scheduler { app, file });
    if app.schedule.timer().is_none() {
        let text = render::cron(app);
        let entry = FileStep::new(app, StepId::ScheduleCron, ManagedFile::Cron, text);
        return vec![scheduler(entry)];
    }
    let unit = |id, file, text| FileStep::new(app, id, file, text);
    vec![
        fix(unit(
            StepId::ScheduleService,
            ManagedFile::PollService,
            render::poll_service(app),
        )),
        scheduler(unit(
            StepId::ScheduleTimer,
            ManagedFile::PollTimer,
            render::poll_timer(app),
        )),
    ]
}

/// The files of the scheduler that the settings name, and their text.
///
/// # Errors
/// When a template cannot be rendered.
pub(super) fn files(app: &App) -> Result<Vec<(PathBuf, String)>> {
    if app.schedule.timer().is_none() {
        return Ok(vec![(app.cron(), render::cron(app)?)]);
    }
    Ok(vec![
        (
            ManagedFile::PollService.path(app),
            render::poll_service(app)?,
        ),
        (ManagedFile::PollTimer.path(app), render::poll_timer(app)?),
    ])
}

impl Scheduler<'_> {
    /// The files of the other scheduler.
    fn others(&self, view: &View) -> Result<Vec<PathBuf>> {
        let mut others = match self.app.schedule.timer() {
            Some(_) => vec![self.app.cron()],
            None => layout::poll_units(&self.app.name)
                .map(|unit| layout::unit_file(&unit))
                .into(),
        };
        let mut there = Vec::new();
        for path in others.drain(..) {
            if view.stat(&path)?.is_some() {
                there.push(path);
            }
        }
        Ok(there)
    }

    /// What keeps a timer whose units are in place from starting deployments.
    fn timer_does_not_work(&self, view: &View) -> Result<Option<Finding>> {
        if self.app.schedule.timer().is_none() {
            return Ok(None);
        }
        let [service, timer] = layout::poll_units(&self.app.name);
        if let Some(problem) = confined(&service, &view.unit(&service)?) {
            return Ok(Some(problem.into()));
        }
        let state = view.unit(&timer)?;
        Ok(if !state.is_active() {
            let is = state.active;
            Some(Finding::differs(format!(
                "{timer} is {is}, so nothing polls"
            )))
        } else if !state.is_enabled() {
            Some(Finding::differs(format!("{timer} would not start at boot")))
        } else {
            None
        })
    }
}

impl Check for Scheduler<'_> {
    fn about(&self) -> About {
        self.file.about()
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (app, view) = (self.app, context.view);
        let timer = app.schedule.timer().is_some();
        if !timer && !view.has_cron() {
            return Ok(Finding::manual(
                format!(
                    "polls {} need cron, which is not installed",
                    app.schedule.words()
                ),
                format!(
                    "sudo apt-get install cron  # or a systemd timer: sudo pullpray init {} --schedule 5m",
                    app.name
                ),
            ));
        }
        let found = self.file.check(context)?;
        if let Finding::Absent(what) = found {
            let no_cron = if view.has_cron() {
                ""
            } else {
                "; there is no cron"
            };
            let polls = format!(", polls {}{no_cron}", app.schedule.words());
            let polls = if timer { polls } else { String::new() };
            return Ok(Finding::Absent(what + &polls));
        }
        if !found.is_satisfied() {
            return Ok(found);
        }
        if let Some(finding) = self.timer_does_not_work(view)? {
            return Ok(finding);
        }
        let Some(other) = self.others(view)?.into_iter().next() else {
            return Ok(found);
        };
        let shown = other.display();
        Ok(
            if context.receipt.before(&other) == Some(&Before::Adopted) {
                Finding::manual(
                    format!("{shown}, which existed before pullpray, polls too"),
                    format!("sudo rm {shown}"),
                )
            } else {
                Finding::differs(format!("{shown} polls too"))
            },
        )
    }
}

impl Fix for Scheduler<'_> {
    fn preview(&self) -> Option<(PathBuf, String)> {
        self.file.preview()
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let name = &self.app.name;
        if !self.file.check(&changes.context())?.is_satisfied() {
            self.file.apply(changes)?;
        }
        let [service, timer] = layout::poll_units(name);
        if self.app.schedule.timer().is_some() {
            changes.record_unit(&service)?;
            changes.unit(&timer)?;
        }
        let others = self.others(changes.context().view)?;
        for path in &others {
            if *path == layout::unit_file(&timer) {
                // The service stays: it may be deploying.
                changes.disable(&timer)?;
            }
            changes.retire(path)?;
        }
        if others.iter().any(|path| *path != self.app.cron()) {
            changes.reload_units()?;
        }
        Ok(())
    }
}
