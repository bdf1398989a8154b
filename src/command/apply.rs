//! Applying a plan: step by step, each reported after it was checked again.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::app::{App, Branch, Track};
use crate::error::{self, WithHint};
use crate::exit::Exit;
use crate::host::Server;
use crate::layout;
use crate::provision::{self, Changes, CheckContext, Converged, Finding, Step, StepId};
use crate::state::ledger::Ledger;
use crate::state::receipt::Receipt;
use crate::text::short;
use crate::ui::{self, Mark, Ui};

use super::access;

/// The command that continues where this one stopped.
pub(super) fn go_on(app: &App) -> String {
    format!("sudo pullpray init {}", app.name)
}

/// An application of the plan.
pub(super) struct Apply<'a> {
    pub(super) server: &'a Server,
    pub(super) ui: &'a mut dyn Ui,
    pub(super) receipt: Receipt,
    pub(super) overwrite: bool,
    /// Whether a project with `DEBUG = True` may go live.
    pub(super) allow_debug: bool,
    pub(super) interactive: bool,
    /// How long to wait for access to the repository; `None`: forever.
    pub(super) wait: Option<Duration>,
    /// Whether the settings of an app that is live were changed.
    pub(super) changed: bool,
    /// The files of the service and the schedule that were modified locally and stay.
    pub(super) kept: Vec<String>,
    /// Steps whose line was printed.
    pub(super) printed: BTreeSet<StepId>,
}

impl Apply<'_> {
    pub(super) fn all(&mut self, mut app: App) -> Result<Exit> {
        let live = Ledger::load(self.server, &app.name).is_ok_and(|ledger| ledger.live().is_some());
        if app.wsgi.is_none() || !live {
            loop {
                match self.walk(&app, Some(StepId::RepoReadOnly)) {
                    Ok(Some(exit)) => return Ok(exit),
                    Ok(None) => break,
                    Err(error) => app.track = self.another_branch(&app, error)?,
                }
            }
            app = self.ask_repository(app)?;
        }
        if let Some(exit) = self.walk(&app, None)? {
            return Ok(exit);
        }
        self.print_next_steps(&app)?;
        if live && self.changed && !self.kept.is_empty() {
            return Err(anyhow!(
                "the settings were changed, but not all of it is carried out: {} was modified locally and stays as it is",
                self.kept.join(", ")
            )
            .hint(format!("{} --overwrite  # replaces it; backups are kept", go_on(&app))));
        }
        Ok(Exit::Success)
    }

    /// Asks for another branch if the repository can be read and does not have the one to follow; else the error.
    fn another_branch(&mut self, app: &App, error: anyhow::Error) -> Result<Track> {
        const MOST: usize = 15;
        let context = CheckContext {
            view: self.server,
            receipt: &self.receipt,
            overwrite: false,
            offline: false,
        };
        let mut names = Vec::new();
        if self.interactive {
            names = provision::other_branches(&context, app).unwrap_or_default();
        }
        let branches: Vec<Branch> = (names.iter())
            .filter_map(|name| name.parse().ok())
            .take(MOST)
            .collect();
        let shown: Vec<&str> = branches.iter().map(Branch::as_str).collect();
        if shown.is_empty() {
            return Err(error);
        }
        let more = match names.len() - shown.len() {
            0 => String::new(),
            more => format!(" ({more} more: Ctrl-C, and --branch NAME)"),
        };
        let missing = app.track.missing();
        let title = format!("The repository {missing}. Branch to deploy{more}");
        let chosen = self.ui.choose(&title, &shown, 0)?;
        branches
            .get(chosen)
            .cloned()
            .map(Track::Branch)
            .ok_or(error)
    }

    /// Applies the steps up to one of them, or all; an exit code if it has to stop earlier.
    fn walk(&mut self, app: &App, until: Option<StepId>) -> Result<Option<Exit>> {
        for step in &provision::list(app) {
            if ui::interrupted() {
                return Err(access::interrupted(self.ui, &go_on(app)));
            }
            if !self.printed.contains(&step.id()) {
                self.ui.begin(&step.title());
            }
            match self.converge(app, step)? {
                Converged::Unchanged(finding) => self.report(step, &finding, Mark::Unchanged),
                Converged::Changed(finding) => {
                    self.printed.remove(&step.id());
                    self.changed |= step.id() == StepId::AppSettings;
                    self.report(step, &finding, Mark::Ok);
                }
                Converged::AwaitsAccess(why) => {
                    if let Some(exit) = self.await_access(app, step, &why)? {
                        return Ok(Some(exit));
                    }
                }
            }
            if until == Some(step.id()) {
                break;
            }
        }
        Ok(None)
    }

    fn converge(&mut self, app: &App, step: &Step<'_>) -> Result<Converged> {
        let mut changes =
            Changes::begin(self.server, &mut self.receipt, &app.name, self.overwrite)?;
        let converged = provision::converge(step, &mut changes);
        if let Err(error) = &converged {
            let text = format!("{error:#}");
            let first = text.lines().next().unwrap_or_default().to_owned();
            self.ui.done(Mark::Failed, &step.title(), &first);
        }
        converged.with_context(|| {
            format!(
                "the step {} failed; what was done so far stays; to continue: sudo pullpray init {}",
                step.id(),
                app.name
            )
        })
    }

    fn report(&mut self, step: &Step<'_>, finding: &Finding, mark: Mark) {
        if !self.printed.insert(step.id()) {
            return;
        }
        match finding {
            Finding::Ok(what) => {
                let made = mark == Mark::Ok && step.about().creates();
                let what = if made {
                    format!("created, {what}")
                } else {
                    what.clone()
                };
                self.ui.done(mark, &step.title(), &what);
            }
            Finding::LocallyModified { what, .. } => {
                if step.id() != StepId::DeployScript {
                    self.kept.push(step.about().what);
                }
                self.ui.done(Mark::Unchanged, &step.title(), what);
            }
            Finding::Unproven(what) | Finding::Unknown(what) => {
                self.ui.done(Mark::Skipped, &step.title(), what);
            }
            Finding::Warning(problem) => {
                self.ui.done(Mark::Skipped, &step.title(), &problem.why);
                self.ui.note(&problem.remedy);
            }
            other => self.ui.done(mark, &step.title(), other.summary()),
        }
    }

    /// Shows the key and where to add it, and retries until the git host accepts it.
    fn await_access(&mut self, app: &App, step: &Step<'_>, why: &str) -> Result<Option<Exit>> {
        let (key, fingerprint) = provision::public_key(self.server, &app.name)?
            .ok_or_else(|| anyhow!("the public key is gone"))?;
        self.ui.done(
            Mark::Waiting,
            &step.title(),
            &format!(
                "waiting for the deploy key to be added on {}",
                app.repo.host()
            ),
        );
        access::show_key(self.ui, app, &key, &fingerprint);
        let mut found = None;
        let (server, overwrite) = (self.server, self.overwrite);
        let receipt = &mut self.receipt;
        let mut attempt = || {
            let mut changes = Changes::begin(server, receipt, &app.name, overwrite)?;
            match provision::converge(step, &mut changes) {
                Ok(Converged::Unchanged(finding) | Converged::Changed(finding)) => {
                    found = Some(finding);
                    Ok(None)
                }
                Ok(Converged::AwaitsAccess(why)) => Ok(Some(why)),
                // Somebody will plug the cable in again.
                Err(error) if error::exit(&error) == Exit::Unreachable => {
                    Ok(Some(format!("{error:#}")))
                }
                Err(error) => Err(error),
            }
        };
        let why = why.to_owned();
        let go_on = go_on(app);
        let access = access::wait(self.ui, app, self.wait, &go_on, why, &mut attempt)?;
        if let Some(finding) = found {
            self.report(step, &finding, Mark::Ok);
        }
        Ok((!access).then_some(Exit::AwaitingAccess))
    }

    fn print_next_steps(&mut self, app: &App) -> Result<()> {
        let ledger = Ledger::load(self.server, &app.name)?;
        let live = ledger
            .live()
            .map_or_else(String::new, |live| format!(" at {}", short(&live.commit)));
        let name = &app.name;
        let next = app
            .schedule
            .next_after(&self.server.clock().local())
            .filter(|_| app.schedule.timer().is_none())
            .map_or_else(String::new, |at| {
                format!(" (next at {})", at.format("%H:%M"))
            });
        self.ui.say("");
        self.ui
            .heading(&format!("{name} is live{live} on {}.", app.bind));
        self.ui.say(&format!(
            "{} checks {} for new commits {}{next}; {}.",
            app.schedule.who(),
            app.repo.host(),
            app.schedule.words(),
            app.track.words()
        ));
        if ledger.last_by_cron().is_none() {
            let whose = match app.schedule.timer() {
                None => "Cron's",
                Some(_) => "The timer's",
            };
            self.ui.say(&format!(
                "{whose} first poll shows that the schedule works: pullpray status {name}"
            ));
        }
        self.ui.say(&format!(
            "  environment, secrets   {}",
            app.environment_file().display()
        ));
        self.ui.say(&format!(
            "  deploy script          {}",
            app.deploy_script().display()
        ));
        self.ui.say(&format!(
            "  settings               {}",
            layout::settings(name).display()
        ));
        self.ui.say(&format!(
            "  what is live           pullpray status {name}         check everything: sudo pullpray doctor {name}\n  deploy now             sudo pullpray poll {name} -v   undo a deployment: sudo pullpray rollback {name}"
        ));
        if let Some(problem) = provision::lacks_program(self.server, app)? {
            self.ui.note(&problem.why);
            self.ui.note(&problem.remedy);
        }
        match provision::nobody_hears(app) {
            Some(why) => self.ui.note(&why),
            // As the app's account, as polls will do it.
            None if self.interactive && self.changed => {
                let words = ["notify", name.as_str(), "--test"];
                (self.server).run_self(words, None, None, ui::stdout(), ui::stderr())?;
            }
            None => {}
        }
        if let Some(operator) = &app.operator {
            self.ui.note(&format!(
                "{operator} is a member of {} after the next login",
                app.group
            ));
        }
        Ok(())
    }
}
