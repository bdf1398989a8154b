//! `pullpray init`: answers, plan, consent, apply, next steps.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::app::{AccountName, Answers, App, AppName, Facts, Limits, Problem, RepoUrl, Settings};
use crate::cli;
use crate::error::{self, WithHint, usage};
use crate::exit::Exit;
use crate::host::{Server, effective_uid};
use crate::layout;
use crate::provision::{self, CheckContext, Finding, Planned};
use crate::state::receipt::Receipt;
use crate::store::marks;
use crate::text::for_terminal;
use crate::ui::{self, Mark, Ui};

use super::apply::Apply;
use super::plan::{show, show_files, show_modified, stop_if_broken};
use super::questions;
use super::questions::would_change;
use super::way;

pub(super) fn run(server: &Server, arguments: &cli::Init) -> Result<Exit> {
    let root = effective_uid() == 0;
    if !root && !arguments.dry_run {
        return Err(
            usage("init creates accounts, units and files in /etc, so it needs root").hint(
                "sudo pullpray init, or, to see only what it would do: pullpray init --dry-run",
            ),
        );
    }
    let mut ui = ui::open(arguments.yes);
    let mut init = Init {
        server,
        arguments,
        root,
        interactive: !arguments.yes && ui::is_interactive(),
        facts: server.facts(std::env::var("SUDO_USER").ok().as_deref())?,
        overwrite: arguments.overwrite,
        asked: false,
    };
    let (mut answers, limits) = init.collect_answers(ui.as_mut())?;
    questions::find_python(server, &mut answers)?;
    loop {
        let app = init.resolve(&answers, &limits)?;
        let receipt = init.receipt(&app)?;
        match init.plan_and_consent(ui.as_mut(), &app, &receipt)? {
            Consent::Apply => {
                let mut apply = Apply {
                    server,
                    ui: ui.as_mut(),
                    receipt,
                    overwrite: init.overwrite,
                    allow_debug: arguments.allow_debug,
                    interactive: init.interactive,
                    wait: arguments
                        .wait
                        .or((!init.interactive).then_some(Duration::ZERO)),
                    changed: false,
                    kept: Vec::new(),
                    printed: BTreeSet::new(),
                };
                return apply.all(app);
            }
            Consent::Change => questions::change(ui.as_mut(), server, &mut answers, &init.facts)?,
            Consent::PlanAgain => {}
            Consent::Stop(exit) => return Ok(exit),
        }
    }
}

/// One run of init.
struct Init<'a> {
    server: &'a Server,
    arguments: &'a cli::Init,
    root: bool,
    interactive: bool,
    facts: Facts,
    /// Whether files that were modified locally are replaced.
    overwrite: bool,
    /// Whether that was asked already.
    asked: bool,
}

/// What follows from showing the plan.
enum Consent {
    Apply,
    /// Another answer first.
    Change,
    /// The same answers, and locally modified files are replaced.
    PlanAgain,
    Stop(Exit),
}

impl Init<'_> {
    /// Flags, variables and the answers file; what the app's settings say; the questions of the wizard.
    fn collect_answers(&self, ui: &mut dyn Ui) -> Result<(Answers, Limits)> {
        let (server, facts) = (self.server, &self.facts);
        let (mut answers, limits) = given(server, self.arguments)?;
        if let Some(saved) = saved(server, &answers, facts)? {
            return Ok((answers.or(saved.answers), limits.unwrap_or(saved.limits)));
        }
        if self.interactive {
            welcome(ui, server)?;
            let saved = |name: &AppName| {
                Ok(super::settings(server, name)?.map(|settings| settings.answers))
            };
            questions::ask(ui, server, &mut answers, facts, &saved)?;
        } else if answers.parse(facts, Limits::default()).is_ok() {
            let found = way::find(ui, server, &mut answers);
            // A dry run shows what it can.
            found.or_else(|error| {
                if self.arguments.dry_run {
                    Ok(())
                } else {
                    Err(error)
                }
            })?;
        }
        Ok((answers, limits.unwrap_or_default()))
    }

    /// The app that the answers describe.
    fn resolve(&self, answers: &Answers, limits: &Limits) -> Result<App> {
        let app = answers
            .parse(&self.facts, limits.clone())
            .map_err(|problems| missing(self.server, answers, &problems, self.interactive))?;
        if self.root {
            marks::ensure_present(self.server, &app.name)?;
        }
        Ok(app)
    }

    /// Who runs sudo, if it has a name that cannot be an operator's, such as one of a directory service.
    fn unusable_operator(&self, app: &App) -> Option<String> {
        let name = std::env::var("SUDO_USER")
            .ok()
            .filter(|name| name != "root")?;
        (app.operator.is_none() && name.parse::<AccountName>().is_err()).then_some(name)
    }

    fn receipt(&self, app: &App) -> Result<Receipt> {
        if self.root {
            Receipt::load(self.server, &app.name)
        } else {
            Ok(Receipt::unreadable(&app.name))
        }
    }

    /// Checks every step, shows what would change, and asks for consent.
    fn plan_and_consent(
        &mut self,
        ui: &mut dyn Ui,
        app: &App,
        receipt: &Receipt,
    ) -> Result<Consent> {
        let steps = provision::list(app);
        let context = CheckContext {
            view: self.server.view(),
            receipt,
            overwrite: self.overwrite,
            offline: false,
        };
        ui.begin("checking this server");
        let plan = provision::plan(&steps, &context);
        ui.update("");
        let unchanged = print_summary(ui, &plan, app);
        if let Some(name) = self.unusable_operator(app) {
            ui.note(&format!(
                "{name}, who runs sudo, cannot be the operator: only names that useradd accepts can; its own tools may add it to {}",
                app.group
            ));
        }
        let may_ask = self.interactive && !self.arguments.dry_run && !self.asked;
        self.asked = true;
        if asks_to_replace(ui, &plan, may_ask)? {
            self.overwrite = true;
            return Ok(Consent::PlanAgain);
        }
        if unchanged {
            return Ok(Consent::Stop(Exit::Success));
        }
        show(ui, &plan);
        if self.arguments.dry_run {
            return Ok(Consent::Stop(dry_run(ui, &plan, self.root)?));
        }
        stop_if_broken(&plan)?;
        if !self.interactive {
            return Ok(Consent::Apply);
        }
        consent(ui, &plan)
    }
}

/// Prints how much is to do; whether nothing is.
fn print_summary(ui: &mut dyn Ui, plan: &[Planned<'_>], app: &App) -> bool {
    let satisfied =
        |planned: &&Planned<'_>| planned.finding.as_ref().is_ok_and(Finding::is_satisfied);
    let missing = plan.len() - plan.iter().filter(satisfied).count();
    let (title, detail) = if missing == 0 {
        (
            "nothing to change",
            format!("all {} steps of {} are done", plan.len(), app.name),
        )
    } else {
        (
            "checked this server",
            format!("{missing} of {} steps to do", plan.len()),
        )
    };
    ui.done(Mark::Ok, title, &detail);
    missing == 0
}

/// Shows what was modified locally; whether the person wants it replaced.
fn asks_to_replace(ui: &mut dyn Ui, plan: &[Planned<'_>], may_ask: bool) -> Result<bool> {
    if !show_modified(ui, plan) || !may_ask {
        return Ok(false);
    }
    let options = [
        "keep them as they are",
        "replace them with what pullpray would write; backups are kept",
    ];
    Ok(ui.choose("These files were modified locally", &options, 0)? == 1)
}

/// Shows every file that would be written; what only root can check is named, not guessed.
fn dry_run(ui: &mut dyn Ui, plan: &[Planned<'_>], root: bool) -> Result<Exit> {
    let unseen = show_files(ui, plan);
    if root {
        stop_if_broken(plan)?;
    }
    if !root && !unseen.is_empty() {
        ui.say("");
        for (id, why) in &unseen {
            ui.warn(&format!("{id}: {}", for_terminal(why)));
        }
        ui.say("To see the rest: sudo pullpray init --dry-run");
    }
    let changes = plan.iter().any(|planned| {
        planned
            .finding
            .as_ref()
            .is_ok_and(|finding| !finding.is_satisfied())
    });
    Ok(if changes {
        Exit::ChangesPending
    } else {
        Exit::Unknown
    })
}

fn consent(ui: &mut dyn Ui, plan: &[Planned<'_>]) -> Result<Consent> {
    let options = ["yes", "show every file", "change an answer", "no"];
    let agreed = match ui.choose("Go on?", &options, 0)? {
        0 => true,
        1 => {
            show_files(ui, plan);
            ui.confirm("Go on?", true)?
        }
        2 => return Ok(Consent::Change),
        _ => false,
    };
    if agreed {
        return Ok(Consent::Apply);
    }
    ui.say("Nothing was changed.");
    Ok(Consent::Stop(Exit::Success))
}

/// Flags and variables, then the answers file, which may be the settings file of an app on another server.
fn given(server: &Server, arguments: &cli::Init) -> Result<(Answers, Option<Limits>)> {
    let mut limits = None;
    let mut answers = arguments.answers.clone();
    questions::refuse_secrets(&answers)?;
    if let Some(name) = &arguments.name {
        match answers.get("app") {
            Some(other) if other != name.as_str() => {
                return Err(usage(format!("two names for the app: {name} and {other}")));
            }
            _ => answers.set("app", name.as_str()),
        }
    }
    if let Some(file) = &arguments.file {
        let absolute = std::path::absolute(file)
            .with_context(|| format!("failed to find {}", file.display()))?;
        let text = server
            .read_text(&absolute)?
            .ok_or_else(|| usage(format!("there is no file {}", file.display())))?;
        let read = Settings::parse_answers(&text)
            .map_err(|error| usage(format!("{} cannot be used: {error}", file.display())))?;
        (answers, limits) = (answers.or(read.0), read.1);
    }
    Ok((answers, limits))
}

/// The settings of an app that init has set up before. A name that was not given, but follows from the
/// repository, means a new app or the same again, and never changes an existing one.
fn saved(server: &Server, answers: &Answers, facts: &Facts) -> Result<Option<Settings>> {
    let explicit = answers.get("app").is_some();
    // An invalid name is reported with all the other problems.
    let Some(name) = answers.suggested("app", facts) else {
        return Ok(None);
    };
    let name: AppName = name.parse()?;
    let saved = match super::settings(server, &name)? {
        // The file was lost: defaults would describe another app.
        None if effective_uid() == 0 => super::settings_at(server, &layout::settings_copy(&name))?,
        saved => saved,
    };
    let Some(saved) = saved else {
        return Ok(None);
    };
    if !explicit && let Some(why) = would_change(&name, answers, &saved.answers, facts) {
        return Err(why);
    }
    Ok(Some(saved))
}

/// One error that names every missing answer and every invalid one.
fn missing(
    server: &Server,
    answers: &Answers,
    problems: &[Problem],
    interactive: bool,
) -> anyhow::Error {
    let mut text = String::new();
    let absent: Vec<String> = problems
        .iter()
        .filter(|p| p.invalid.is_none())
        .map(Problem::flag)
        .collect();
    if !absent.is_empty() {
        text.push_str(&format!("missing: {}", absent.join(", ")));
        if !interactive {
            text.push_str(" (there is no terminal to ask on)");
        }
    }
    for problem in problems.iter().filter(|problem| problem.invalid.is_some()) {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&problem.to_string());
    }
    let error = usage(text);
    if absent == ["--host-key"]
        && let Some(repo) = answers
            .get("repo")
            .and_then(|text| text.parse::<RepoUrl>().ok())
    {
        return error.hint(match provision::first_host_key(server, &repo, answers) {
            Ok(key) => format!(
                "{} shows {1}; once you have compared it: --host-key {1}",
                repo.host(),
                key.fingerprint
            ),
            Err(unreachable) => error::hints(&unreachable).concat(),
        });
    }
    error
}

fn welcome(ui: &mut dyn Ui, server: &Server) -> Result<()> {
    let survey = server.survey(std::path::Path::new("/usr/bin/python3"), "nobody")?;
    ui.heading("pullpray: continuous delivery for servers with no inbound access");
    ui.say("");
    let python = survey.python.as_deref().unwrap_or("none");
    let parts = [
        survey.os.clone(),
        survey.systemd.as_deref().map_or_else(
            || "no systemd".to_owned(),
            |version| format!("systemd {version}"),
        ),
        if survey.nginx {
            "nginx".to_owned()
        } else {
            "no nginx".to_owned()
        },
        format!("Python {python}"),
        if survey.uv.is_some() {
            "uv".to_owned()
        } else {
            format!("pip (no uv in {})", crate::host::PATH)
        },
    ];
    ui.say(&format!("  this server    {}", parts.join(", ")));
    ui.say("  creates        account, deploy key, ssh alias, ssh agent, sudoers entry, gunicorn service, cron entry; you see all of it before anything changes");
    ui.say("  never          touches your own ssh keys, opens a port, or runs your code as root");
    ui.say("");
    if let Some((what, install)) = survey.lacks() {
        return Err(anyhow!(what).hint(install));
    }
    Ok(())
}
