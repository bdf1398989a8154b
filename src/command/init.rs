//! `pullpray init`: from answers to a server that deploys by itself.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::app::{Answers, App, AppName, Limits, Problem, RepoUrl, Settings, paths};
use crate::cli;
use crate::exit::Exit;
use crate::poll::{Inspection, short};
use crate::record::ledger::Ledger;
use crate::record::receipt::Receipt;
use crate::server::{Clock, Server, effective_uid};
use crate::step::{self, Changes, Finding, Look, Planned, Settled, Step};
use crate::ui::{self, AskError, Mark, PlanRow, Ui, for_terminal};

use super::{questions, usage};

/// How often access is tried while the person adds the key.
const TRY_EVERY: Duration = Duration::from_secs(5);

pub(super) fn run(server: &Server, arguments: &cli::Init) -> Result<Exit> {
    if effective_uid() != 0 {
        return Err(usage(
            "init makes accounts, units and files of root's, so it needs root\nhint: sudo pullpray init",
        ));
    }
    let mut ui = ui::open(arguments.yes);
    let interactive = !arguments.yes && ui::is_interactive();
    let facts = server.facts(std::env::var("SUDO_USER").ok().as_deref())?;
    let mut answers = said(server, arguments)?;
    let saved = saved(server, &answers, arguments)?;
    let limits = saved
        .as_ref()
        .map_or_else(Limits::default, |saved| saved.limits.clone());
    let known = saved.is_some();
    if let Some(saved) = saved {
        answers = answers.or(saved.answers);
    }
    if interactive && !known {
        welcome(ui.as_mut(), server)?;
        let saved =
            |name: &AppName| Ok(super::settings(server, name)?.map(|settings| settings.answers));
        questions::ask(ui.as_mut(), server, &mut answers, &facts, &saved)?;
    }
    let clock = Clock::system();
    loop {
        let app = answers
            .parse(&facts, limits.clone())
            .map_err(|problems| missing(server, &answers, &problems, interactive))?;
        let receipt = Receipt::load(server, &app.name)?;
        let steps = step::list(&app);
        let look = Look {
            view: server.view(),
            receipt: &receipt,
            overwrite: arguments.overwrite,
        };
        ui.begin("looking at this server");
        let plan = step::look(&steps, &look);
        ui.update("");
        if plan
            .iter()
            .all(|planned| planned.finding.as_ref().is_ok_and(Finding::holds))
        {
            ui.done(
                Mark::Ok,
                "nothing to change",
                &format!("all {} steps of {} hold", plan.len(), app.name),
            );
            tell_kept(ui.as_mut(), &plan);
            return Ok(Exit::Done);
        }
        ui.done(
            Mark::Ok,
            "looked at this server",
            &format!(
                "{} of {} steps are to be made",
                plan.iter()
                    .filter(|p| !p.finding.as_ref().is_ok_and(Finding::holds))
                    .count(),
                plan.len()
            ),
        );
        show(ui.as_mut(), &plan);
        stop_if_broken(&plan)?;
        if arguments.dry_run {
            show_files(ui.as_mut(), &plan, &look)?;
            return Ok(Exit::Failed);
        }
        if interactive {
            match go_on(ui.as_mut(), &plan, &look)? {
                Choice::Go => {}
                Choice::Change => {
                    questions::change(ui.as_mut(), server, &mut answers, &facts)?;
                    continue;
                }
                Choice::Stop => {
                    ui.say("Nothing was changed.");
                    return Ok(Exit::Done);
                }
            }
        }
        drop(plan);
        drop(steps);
        let mut making = Making {
            server,
            ui: ui.as_mut(),
            clock: &clock,
            receipt,
            overwrite: arguments.overwrite,
            interactive,
            wait: arguments.wait.or((!interactive).then_some(Duration::ZERO)),
            told: BTreeSet::new(),
        };
        return making.all(app);
    }
}

/// What the person said to the plan.
enum Choice {
    Go,
    Change,
    Stop,
}

fn go_on(ui: &mut dyn Ui, plan: &[Planned<'_>], look: &Look<'_>) -> Result<Choice> {
    let options = ["yes", "show every file", "change an answer", "no"];
    Ok(match ui.choose("Go on?", &options, 0)? {
        0 => Choice::Go,
        1 => {
            show_files(ui, plan, look)?;
            if ui.confirm("Go on?", true)? {
                Choice::Go
            } else {
                Choice::Stop
            }
        }
        2 => Choice::Change,
        _ => Choice::Stop,
    })
}

/// Flags and variables, then the answers file.
fn said(server: &Server, arguments: &cli::Init) -> Result<Answers> {
    let mut answers = arguments.answers.clone();
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
        let read: Answers = toml::from_str(&text)
            .map_err(|error| usage(format!("{} cannot be used: {error}", file.display())))?;
        answers = answers.or(read);
    }
    Ok(answers)
}

/// What the app's settings say already, if it is one that init has seen before.
fn saved(server: &Server, answers: &Answers, arguments: &cli::Init) -> Result<Option<Settings>> {
    let explicit = answers.get("app").map(str::parse::<AppName>);
    let derived = || {
        answers
            .get("repo")
            .and_then(|text| text.parse::<RepoUrl>().ok())
            .and_then(|repo| repo.suggested_name())
    };
    let name = match explicit {
        Some(Ok(name)) => name,
        // Told with all the other problems.
        Some(Err(_)) => return Ok(None),
        None => match derived() {
            Some(name) => name,
            None => return Ok(None),
        },
    };
    let Some(saved) = super::settings(server, &name)? else {
        return Ok(None);
    };
    let is_explicit = arguments.name.is_some() || answers.get("app").is_some();
    if let (Some(new), Some(old)) = (answers.get("repo"), saved.answers.get("repo"))
        && new != old
        && !is_explicit
    {
        return Err(usage(format!(
            "there is an app {name} already, from {old}\nhint: give this one another name: --app NAME"
        )));
    }
    Ok(Some(saved))
}

/// One error that names every missing answer, and what is wrong with the others.
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
            text.push_str(" (there is no terminal to ask at)");
        }
    }
    for problem in problems.iter().filter(|problem| problem.invalid.is_some()) {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&problem.to_string());
    }
    if absent == ["--host-key"]
        && let Some(repo) = answers
            .get("repo")
            .and_then(|text| text.parse::<RepoUrl>().ok())
        && let Ok(keys) = server.scan_host_keys(repo.host(), repo.port())
        && let Some(key) = keys
            .iter()
            .find(|key| key.algorithm() == "ssh-ed25519")
            .or(keys.first())
    {
        text.push_str(&format!(
            "\nhint: {} shows {}; once you have compared it: --host-key {}",
            repo.host(),
            key.fingerprint,
            key.fingerprint
        ));
    }
    usage(text)
}

fn welcome(ui: &mut dyn Ui, server: &Server) -> Result<()> {
    let survey = server.survey(std::path::Path::new("/usr/bin/python3"))?;
    ui.heading("pullpray: continuous delivery for servers that nobody may dial in to");
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
            "pip (no uv)".to_owned()
        },
    ];
    ui.say(&format!("  this server    {}", parts.join(", ")));
    ui.say("  makes          account, deploy key, ssh alias, ssh agent, sudoers entry, gunicorn service, cron entry; you see all of it before anything is changed");
    ui.say("  never          touches your own ssh keys, opens a port, or runs your code as root");
    ui.say("");
    if !survey.missing.is_empty() {
        let mut packages: Vec<&str> = survey
            .missing
            .iter()
            .map(|missing| missing.package)
            .collect();
        packages.sort_unstable();
        packages.dedup();
        let what: Vec<&str> = survey.missing.iter().map(|missing| missing.what).collect();
        bail!(
            "missing on this server: {}\nhint: sudo apt-get install {}",
            what.join("; "),
            packages.join(" ")
        );
    }
    Ok(())
}

fn show(ui: &mut dyn Ui, plan: &[Planned<'_>]) {
    let rows: Vec<PlanRow> = plan
        .iter()
        .filter_map(|planned| {
            let row = planned.step.row();
            let (mark, detail) = match &planned.finding {
                Ok(Finding::Absent(what) | Finding::Waits(_, what)) => ('+', what.clone()),
                Ok(Finding::Differs(what, _)) => ('~', what.clone()),
                Ok(Finding::AwaitsAccess(_)) => {
                    ('+', "waits until the git host knows the key".to_owned())
                }
                Ok(Finding::Kept(what, _)) => ('=', what.clone()),
                Ok(Finding::Holds(_) | Finding::Unproven(_)) => return None,
                Ok(Finding::Broken(..)) | Err(_) => return None,
            };
            Some(PlanRow {
                mark,
                kind: row.kind.to_owned(),
                what: row.what,
                detail,
            })
        })
        .collect();
    if !rows.is_empty() {
        ui.say("");
        ui.heading(&format!("Plan: {} steps", rows.len()));
        ui.plan(&rows);
        ui.say("");
    }
}

/// What cannot be mended by going on stops before anything is changed, all of it at once.
fn stop_if_broken(plan: &[Planned<'_>]) -> Result<()> {
    let mut text = String::new();
    for planned in plan {
        let problem = match &planned.finding {
            Ok(Finding::Broken(why, hint)) => format!("{why}\nhint: {hint}"),
            Err(error) => format!("{error:#}"),
            _ => continue,
        };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!(
            "{} ({}): {problem}",
            planned.step.title(),
            planned.step.id()
        ));
    }
    if text.is_empty() {
        return Ok(());
    }
    bail!("{text}")
}

fn show_files(ui: &mut dyn Ui, plan: &[Planned<'_>], look: &Look<'_>) -> Result<()> {
    for planned in plan {
        if planned.finding.as_ref().is_ok_and(Finding::holds) {
            continue;
        }
        if let Some((path, diff)) = planned.step.preview(look)? {
            ui.diff(&path.display().to_string(), &diff);
        }
    }
    Ok(())
}

fn tell_kept(ui: &mut dyn Ui, plan: &[Planned<'_>]) {
    for planned in plan {
        if let Ok(Finding::Kept(what, _)) = &planned.finding {
            ui.note(&format!(
                "{}: {what}; --overwrite replaces it",
                planned.step.row().what
            ));
        }
    }
}

/// Carrying the plan out.
struct Making<'a> {
    server: &'a Server,
    ui: &'a mut dyn Ui,
    clock: &'a Clock,
    receipt: Receipt,
    overwrite: bool,
    interactive: bool,
    /// `None`: without end.
    wait: Option<Duration>,
    /// Steps whose line was printed.
    told: BTreeSet<&'static str>,
}

impl Making<'_> {
    fn all(&mut self, mut app: App) -> Result<Exit> {
        if app.wsgi.is_none() {
            if let Some(exit) = self.walk(&app, Some("repo.read_only"))? {
                return Ok(exit);
            }
            app = self.ask_repository(app)?;
        }
        if let Some(exit) = self.walk(&app, None)? {
            return Ok(exit);
        }
        self.farewell(&app)?;
        Ok(Exit::Done)
    }

    /// Settles the steps up to one of them, or all. An exit code if it has to end before that.
    fn walk(&mut self, app: &App, until: Option<&str>) -> Result<Option<Exit>> {
        for step in step::list(app) {
            let step = step.as_ref();
            if ui::interrupted() {
                return Err(self.interrupted(app));
            }
            if !self.told.contains(step.id()) {
                self.ui.begin(&step.title());
            }
            match self.settle(app, step)? {
                Settled::Was(finding) => self.tell(step, &finding, Mark::Unchanged),
                Settled::Made(finding) => {
                    self.told.remove(step.id());
                    self.tell(step, &finding, Mark::Ok);
                }
                Settled::AwaitsAccess(why) => {
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

    fn settle(&mut self, app: &App, step: &dyn Step) -> Result<Settled> {
        let mut changes = Changes::begin(
            self.server,
            &mut self.receipt,
            self.clock,
            &app.name,
            self.overwrite,
        )?;
        let settled = step::settle(step, &mut changes);
        if let Err(error) = &settled {
            let text = format!("{error:#}");
            let first = text.lines().next().unwrap_or_default().to_owned();
            self.ui.done(Mark::Failed, &step.title(), &first);
        }
        settled.with_context(|| format!("the step {} failed; what was made so far stays, and `pullpray init {}` goes on from here", step.id(), app.name))
    }

    fn tell(&mut self, step: &dyn Step, finding: &Finding, mark: Mark) {
        if !self.told.insert(step.id()) {
            return;
        }
        match finding {
            Finding::Holds(what) => self.ui.done(mark, &step.title(), what),
            Finding::Kept(what, _) => self.ui.done(Mark::Unchanged, &step.title(), what),
            Finding::Unproven(what) => self.ui.done(Mark::Skipped, &step.title(), what),
            other => self.ui.done(mark, &step.title(), &format!("{other:?}")),
        }
    }

    /// Shows the key, says where it belongs, and tries until it is accepted.
    fn await_access(&mut self, app: &App, step: &dyn Step, why: &str) -> Result<Option<Exit>> {
        let (key, fingerprint) = step::public_key(self.server, &app.name)?
            .ok_or_else(|| anyhow!("the public key is gone"))?;
        self.ui.done(
            Mark::Waiting,
            &step.title(),
            "waits until the git host knows the deploy key",
        );
        let page = match app.repo.deploy_key_page() {
            Some((page, off)) => format!("Add this key to the repository:\n  {page}\n  {off}"),
            None => format!(
                "Add this key to {} on {}, for reading only (in its settings: Deploy keys):",
                app.repo.slug(),
                app.repo.host()
            ),
        };
        let title = key
            .split_once(' ')
            .and_then(|(_, rest)| rest.split_once(' '))
            .map_or("", |(_, title)| title);
        self.ui.say("");
        self.ui.block(&format!(
            "{page}\n  title: {title}\n  fingerprint: {fingerprint}"
        ));
        self.ui.say("");
        self.ui.block(&key);
        self.ui.say("");
        let until = self.wait.map(|wait| Instant::now() + wait);
        if self.wait == Some(Duration::ZERO) {
            self.ui
                .say(&format!("{} says: {}", app.repo.host(), for_terminal(why)));
            self.ui.say(&format!(
                "Once the key was added, go on with: pullpray init {}",
                app.name
            ));
            return Ok(Some(Exit::Waiting));
        }
        self.ui.begin(&format!(
            "waiting for access (trying every {} s, Ctrl-C to go on later with `pullpray init {}`)",
            TRY_EVERY.as_secs(),
            app.name
        ));
        loop {
            if until.is_some_and(|until| Instant::now() >= until) {
                self.ui.done(
                    Mark::Waiting,
                    &step.title(),
                    &format!("no access yet: {}", for_terminal(why)),
                );
                self.ui.say(&format!(
                    "Once the key was added, go on with: pullpray init {}",
                    app.name
                ));
                return Ok(Some(Exit::Waiting));
            }
            let left = until.map_or(TRY_EVERY, |until| {
                until
                    .saturating_duration_since(Instant::now())
                    .min(TRY_EVERY)
            });
            if ui::sleep(left) {
                return Err(self.interrupted(app));
            }
            match self.settle(app, step)? {
                Settled::Was(finding) | Settled::Made(finding) => {
                    self.tell(step, &finding, Mark::Ok);
                    return Ok(None);
                }
                Settled::AwaitsAccess(_) => {}
            }
        }
    }

    fn interrupted(&mut self, app: &App) -> anyhow::Error {
        self.ui.say(&format!(
            "Interrupted. What was made so far stays; go on with: pullpray init {}",
            app.name
        ));
        anyhow!(AskError::Interrupted)
    }

    /// Completes the answers that only the repository could give.
    fn ask_repository(&mut self, mut app: App) -> Result<App> {
        let title = "repository is looked at";
        self.ui.begin(title);
        let found: Inspection = self
            .server
            .run_inspect(&app.program, app.name.as_str())
            .and_then(|text| Ok(serde_json::from_str(&text)?))
            .inspect_err(|error| {
                self.ui.done(Mark::Failed, title, &format!("{error:#}"));
            })?;
        let subject = for_terminal(&found.subject);
        self.ui.done(
            Mark::Ok,
            title,
            &format!("{} \"{subject}\"", short(&found.commit)),
        );
        let wsgi = match found.wsgi.as_slice() {
            [only] => only.clone(),
            [] if !self.interactive => bail!(
                "there is no wsgi.py in the repository\nhint: pullpray init {} --wsgi MODULE:CALLABLE",
                app.name
            ),
            [_, _, ..] if !self.interactive => bail!(
                "the repository has several WSGI modules: {}\nhint: pullpray init {} --wsgi {}",
                found.wsgi.join(", "),
                app.name,
                found.wsgi.join(" | --wsgi ")
            ),
            several => {
                let question = ui::Question {
                    prompt: "WSGI module".to_owned(),
                    default: several.first().cloned(),
                    help: Some(if several.is_empty() {
                        "no wsgi.py was found in the repository".to_owned()
                    } else {
                        format!("found: {}", several.join(", "))
                    }),
                };
                self.ui.text(&question, &|text| {
                    if text.is_empty() {
                        return Err("it is needed to start the app".to_owned());
                    }
                    Answers::check_one("wsgi", text).map_err(|invalid| invalid.to_string())
                })?
            }
        };
        let parsed = wsgi.parse().map_err(|error| anyhow!("{error}"))?;
        app.wsgi = Some(parsed);
        if app.settings.is_none() {
            app.settings = found
                .settings
                .as_deref()
                .and_then(|module| module.parse().ok());
        }
        let settings = app
            .settings
            .as_ref()
            .map_or_else(|| "left to wsgi.py".to_owned(), ToString::to_string);
        self.ui.done(
            Mark::Ok,
            "WSGI module",
            &format!("{wsgi}, settings {settings}"),
        );
        if !found.manage {
            self.ui.warn(&format!(
                "there is no manage.py at the top of the repository; adapt {}",
                app.deploy_script().display()
            ));
        }
        if found.sqlite && app.shared_paths.is_empty() {
            self.ui.warn("the project's settings put a sqlite database beside the code, where it would begin anew with each release");
            self.ui.note(&format!("list it: pullpray init {} --shared-paths db.sqlite3, or read its directory from os.environ[\"PULLPRAY_SHARED\"]", app.name));
        }
        Ok(app)
    }

    fn farewell(&mut self, app: &App) -> Result<()> {
        let ledger = Ledger::load(self.server, &app.name)?;
        let live = ledger
            .live
            .map_or_else(String::new, |live| format!(" at {}", short(&live.commit)));
        let name = &app.name;
        let next = app
            .schedule
            .next_after(&self.clock.local())
            .map_or_else(String::new, |at| {
                format!(" (next at {})", at.format("%H:%M"))
            });
        self.ui.say("");
        self.ui
            .heading(&format!("{name} is live{live} on {}.", app.bind));
        self.ui.say(&format!(
            "cron asks {} {}{next}; what is pushed to {} goes live by itself.",
            app.repo.host(),
            app.schedule.words(),
            app.branch
        ));
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
            paths::settings(name).display()
        ));
        self.ui.say(&format!(
            "  deploy now             sudo pullpray poll {name} -v"
        ));
        if let Some(operator) = &app.operator {
            self.ui.note(&format!(
                "{operator} is a member of {} from the next login on",
                app.group
            ));
        }
        Ok(())
    }
}
