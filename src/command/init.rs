//! `pullpray init`: from answers to a server that deploys by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::app::{Answers, App, AppName, Facts, Limits, Problem, RepoUrl, Settings};
use crate::cli;
use crate::exit::Exit;
use crate::host::{Clock, Server, effective_uid};
use crate::layout;
use crate::provision::{self, CheckContext, Finding, Planned};
use crate::state::receipt::Receipt;
use crate::store::marks;
use crate::text::for_terminal;
use crate::ui::{self, Mark, Ui};

use super::apply::Apply;
use super::plan::{show, show_files, stop_if_broken, tell_kept};
use super::questions::would_change;
use super::{questions, usage};

pub(super) fn run(server: &Server, arguments: &cli::Init) -> Result<Exit> {
    let root = effective_uid() == 0;
    if !root && !arguments.dry_run {
        return Err(usage(
            "init makes accounts, units and files of root's, so it needs root\nhint: sudo pullpray init, or, only to see what it would do: pullpray init --dry-run",
        ));
    }
    let mut ui = ui::open(arguments.yes);
    let interactive = !arguments.yes && ui::is_interactive();
    let facts = server.facts(std::env::var("SUDO_USER").ok().as_deref())?;
    let mut answers = said(server, arguments)?;
    let saved = saved(server, &answers, &facts)?;
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
    let mut overwrite = arguments.overwrite;
    let mut asked = false;
    loop {
        let app = answers
            .parse(&facts, limits.clone())
            .map_err(|problems| missing(server, &answers, &problems, interactive))?;
        if root {
            marks::there(server, &app.name)?;
        }
        let receipt = if root {
            Receipt::load(server, &app.name)?
        } else {
            Receipt::unreadable(&app.name)
        };
        let steps = provision::list(&app);
        let look = CheckContext {
            view: server.view(),
            receipt: &receipt,
            overwrite,
            offline: false,
        };
        ui.begin("looking at this server");
        let plan = provision::look(&steps, &look);
        ui.update("");
        let holds = tell_looked(ui.as_mut(), &plan, &app);
        let may_ask = interactive && !arguments.dry_run && !asked;
        asked = true;
        if asks_to_replace(ui.as_mut(), &plan, may_ask)? {
            overwrite = true;
            continue;
        }
        if holds {
            return Ok(Exit::Success);
        }
        show(ui.as_mut(), &plan);
        if arguments.dry_run {
            return dry_run(ui.as_mut(), &plan, &look, root);
        }
        stop_if_broken(&plan)?;
        if interactive {
            match go_on(ui.as_mut(), &plan, &look)? {
                Choice::Go => {}
                Choice::Change => {
                    questions::change(ui.as_mut(), server, &mut answers, &facts)?;
                    continue;
                }
                Choice::Stop => {
                    ui.say("Nothing was changed.");
                    return Ok(Exit::Success);
                }
            }
        }
        drop(plan);
        drop(steps);
        let mut making = Apply {
            server,
            ui: ui.as_mut(),
            clock: &clock,
            receipt,
            overwrite,
            interactive,
            wait: arguments.wait.or((!interactive).then_some(Duration::ZERO)),
            told: BTreeSet::new(),
        };
        return making.all(app);
    }
}

/// Tells how much is to be done; whether nothing is.
fn tell_looked(ui: &mut dyn Ui, plan: &[Planned<'_>], app: &App) -> bool {
    let holds = |planned: &&Planned<'_>| planned.finding.as_ref().is_ok_and(Finding::is_satisfied);
    let missing = plan.len() - plan.iter().filter(holds).count();
    let (title, detail) = if missing == 0 {
        (
            "nothing to change",
            format!("all {} steps of {} hold", plan.len(), app.name),
        )
    } else {
        (
            "looked at this server",
            format!("{missing} of {} steps are to be made", plan.len()),
        )
    };
    ui.done(Mark::Ok, title, &detail);
    missing == 0
}

/// Shows what somebody changed; whether the person wants it replaced.
fn asks_to_replace(ui: &mut dyn Ui, plan: &[Planned<'_>], may_ask: bool) -> Result<bool> {
    if !tell_kept(ui, plan) || !may_ask {
        return Ok(false);
    }
    let options = [
        "keep them as they are",
        "replace them by what pullpray would write; backups are kept",
    ];
    Ok(ui.choose("Somebody changed these files", &options, 0)? == 1)
}

/// Every file that would be written; what cannot be looked at without root is named and not guessed.
fn dry_run(
    ui: &mut dyn Ui,
    plan: &[Planned<'_>],
    look: &CheckContext<'_>,
    root: bool,
) -> Result<Exit> {
    let unseen = show_files(ui, plan, look);
    if root {
        stop_if_broken(plan)?;
    }
    if !root && !unseen.is_empty() {
        ui.say("");
        for (id, why) in &unseen {
            ui.warn(&format!("{id}: {}", for_terminal(why)));
        }
        ui.say("The rest can be seen as root: sudo pullpray init --dry-run");
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

/// What the person said to the plan.
enum Choice {
    Go,
    Change,
    Stop,
}

fn go_on(ui: &mut dyn Ui, plan: &[Planned<'_>], look: &CheckContext<'_>) -> Result<Choice> {
    let options = ["yes", "show every file", "change an answer", "no"];
    Ok(match ui.choose("Go on?", &options, 0)? {
        0 => Choice::Go,
        1 => {
            show_files(ui, plan, look);
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

/// What the app's settings say already, if it is one that init has seen before. A name that nobody said, but
/// that follows from the repository, means a new app or the same again, and never changes one.
fn saved(server: &Server, answers: &Answers, facts: &Facts) -> Result<Option<Settings>> {
    let explicit = answers.get("app").is_some();
    // A name that cannot be one is told with all the other problems.
    let Some(name) = answers.suggested("app", facts) else {
        return Ok(None);
    };
    let name: AppName = name.parse()?;
    let saved = match super::settings(server, &name)? {
        // Somebody lost it: what defaults would say now is not what the app is.
        None if effective_uid() == 0 => super::settings_at(server, &layout::settings_copy(&name))?,
        saved => saved,
    };
    let Some(saved) = saved else {
        return Ok(None);
    };
    if !explicit && let Some(why) = would_change(&name, answers, &saved.answers, facts) {
        return Err(usage(why));
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
        && let Some(key) = keys.first()
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
    let survey = server.survey(std::path::Path::new("/usr/bin/python3"), "nobody")?;
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
    if let Some((what, install)) = survey.lacks() {
        bail!("{what}\nhint: {install}");
    }
    Ok(())
}
