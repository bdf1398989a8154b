//! The questions of the wizard, each with a default computed from the answers so far.

use anyhow::{Result, anyhow};

use crate::app::{
    ANSWERS, Answer, Answers, AppName, Facts, Limits, RepoUrl, is_python_version, masked,
};
use crate::error::{self, WithHint, usage};
use crate::host::View;
use crate::provision;
use crate::ui::{Question, Ui};

use super::way;

/// Refuses what is secret on the command line.
///
/// # Errors
/// When an answer is.
pub(super) fn refuse_secrets(answers: &Answers) -> Result<()> {
    for (name, is_secret) in [
        ("notify", (|text| masked(text) != text) as fn(&str) -> bool),
        ("proxy", |text| text.contains("://") && text.contains('@')),
    ] {
        let flag = format!("--{name}");
        if std::env::args_os().any(|word| word.as_encoded_bytes().starts_with(flag.as_bytes()))
            && answers.get(name).is_some_and(is_secret)
        {
            return Err(usage(format!(
                "{flag} has an address that is a secret, and everybody on this server can read a command line"
            ))
            .hint(format!(
                "give it at the wizard's question, as {name} in an answers file, or in the variable PULLPRAY_{}",
                name.to_uppercase()
            )));
        }
    }
    Ok(())
}

/// The answers that the wizard prompts for.
fn questions() -> impl Iterator<Item = &'static Answer> {
    ANSWERS.iter().filter(|answer| !answer.prompt.is_empty())
}

/// Prompts for one answer and stores it.
fn prompt(
    ui: &mut dyn Ui,
    view: &View,
    answers: &mut Answers,
    facts: &Facts,
    answer: &Answer,
    default: Option<String>,
) -> Result<()> {
    let name = answer.name;
    // What another app uses is proposed, and may have a secret.
    let proposed = default.as_deref().map(masked);
    let question = Question {
        prompt: answer.prompt.to_owned(),
        default: if name == "notify" {
            proposed.clone()
        } else {
            default.clone()
        },
        help: Some(answer.hint.to_owned()),
        shown: (name == "notify").then_some(masked),
    };
    let is_proposed = |text: &str| name == "notify" && proposed.as_deref() == Some(text);
    let text = ui.text(&question, &|text| match &default {
        Some(default) if is_proposed(text) => check(view, answers, facts, name, default),
        _ => check(view, answers, facts, name, text),
    })?;
    let text = default.filter(|_| is_proposed(&text)).unwrap_or(text);
    let none = ["operator", "notify"].contains(&name) && text == "none";
    answers.set(name, if none { "" } else { &text });
    Ok(())
}

/// Prompts for every answer that is still missing.
///
/// # Errors
/// When the user interrupts, or the host key cannot be fetched or is not confirmed.
pub(super) fn ask(
    ui: &mut dyn Ui,
    view: &View,
    answers: &mut Answers,
    facts: &Facts,
    saved: &dyn Fn(&AppName) -> Result<Option<Answers>>,
) -> Result<()> {
    for answer in questions() {
        let name = answer.name;
        // A tag or commit given as a flag replaces the branch.
        let tracked = name == "branch" && (answers.tag.is_some() || answers.commit.is_some());
        if answers.get(name).is_none() && !tracked {
            let default = match name {
                "operator" => facts.operator.as_ref().map(ToString::to_string),
                _ => answers.suggested(name, facts),
            };
            prompt(ui, view, answers, facts, answer, default)?;
        }
        if name == "repo" {
            host_key(ui, view, answers, facts)?;
        }
        if name == "app"
            && let Some(name) = answers
                .get("app")
                .and_then(|text| text.parse::<AppName>().ok())
            && let Some(saved) = saved(&name)?
        {
            ui.note(&format!(
                "{name} exists on this server: continuing with its settings"
            ));
            *answers = answers.clone().or(saved);
            for optional in questions().filter(|answer| answer.optional) {
                if answers.get(optional.name).is_none() {
                    answers.set(optional.name, "");
                }
            }
        }
    }
    Ok(())
}

/// The error for answers that would change an existing app of this name; `None` if they would not.
pub(super) fn would_change(
    name: &AppName,
    answers: &Answers,
    saved: &Answers,
    facts: &Facts,
) -> Option<anyhow::Error> {
    let mut saved = saved.clone();
    saved.set("app", name.as_str());
    let changes = answers.changes(&saved, facts);
    let value = |name| saved.get(name).unwrap_or_default();
    let follows: String = ["branch", "tag", "commit"].map(value).concat();
    (!changes.is_empty()).then(|| {
        usage(format!(
            "the app {name} exists already and follows {follows} of {}",
            value("repo")
        ))
        .hint(format!("to change it: sudo pullpray init {name} {changes}"))
        .hint("to create another app: --app NAME")
    })
}

fn check(
    view: &View,
    answers: &Answers,
    facts: &Facts,
    name: &str,
    text: &str,
) -> Result<(), String> {
    if name == "operator" && text.is_empty()
        || ["operator", "notify"].contains(&name) && text == "none"
    {
        return Ok(());
    }
    Answers::check_one(name, text).map_err(|invalid| invalid.to_string())?;
    let value = |other: &str| match answers.get(other) {
        // Normalized as in parsing.
        _ if other == name => Some(text.trim().trim_end_matches('/').to_owned()),
        Some(given) => Some(given.to_owned()),
        None => answers.suggested(other, facts),
    };
    match provision::ineligible(view, &value, name) {
        Ok(None) => {}
        Ok(Some(problem)) => return Err(problem.why),
        Err(error) => return Err(error::in_one_line(&error)),
    }
    match name {
        "operator" if view.user(text).is_none() => {
            Err(format!("there is no user {text}; \"none\" for no one"))
        }
        "bind" => {
            let port = text
                .parse::<crate::app::Bind>()
                .ok()
                .and_then(|bind| bind.port());
            let taken = view.listening_ports().unwrap_or_default();
            // Its own socket does not stand in an app's way.
            let app = answers.get("app").and_then(|app| app.parse().ok());
            let saved = app.and_then(|app| super::settings(view, &app).ok().flatten());
            let own = saved.and_then(|saved| saved.answers.get("bind")?.parse().ok());
            let own = own.and_then(|bind: crate::app::Bind| bind.port());
            match port {
                Some(port) if own != Some(port) && taken.contains(&port) => {
                    Err(format!("port {port} is already in use"))
                }
                _ => Ok(()),
            }
        }
        "app" => {
            let Ok(app) = text.parse::<AppName>() else {
                return Ok(());
            };
            let saved = super::settings(view, &app).ok().flatten();
            match saved.and_then(|saved| would_change(&app, answers, &saved.answers, facts)) {
                Some(why) => Err(error::in_one_line(&why)),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Fetches the host key of a host that does not publish it, and has the user confirm it.
fn host_key(ui: &mut dyn Ui, view: &View, answers: &mut Answers, facts: &Facts) -> Result<()> {
    let known = answers.get("host_key").is_some();
    let known = known || answers.suggested("host_key", facts).is_some();
    let Some(repo) = answers
        .get("repo")
        .and_then(|text| text.parse::<RepoUrl>().ok())
        // A host with another address may need it.
        .filter(|repo| !known || way::may_differ(repo, answers))
    else {
        return Ok(());
    };
    let key = match way::first_key(ui, view, &repo, answers) {
        Ok(key) => key,
        Err(error) => {
            ui.done(crate::ui::Mark::Failed, "host key", &format!("{error:#}"));
            for hint in error::hints(&error) {
                ui.note(&hint);
            }
            return ask_for_a_host_key_again(ui, view, answers, facts, error);
        }
    };
    if known {
        ui.done(crate::ui::Mark::Ok, repo.host(), "answers");
        return Ok(());
    }
    ui.done(
        crate::ui::Mark::Ok,
        &format!("host key of {}", repo.host()),
        &format!("{} {}", key.algorithm(), key.fingerprint),
    );
    ui.note(&format!(
        "compare it with the output on {} of: for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done",
        repo.host()
    ));
    if ui.confirm("Is this the correct key?", false)? {
        answers.set("host_key", &key.fingerprint);
        return Ok(());
    }
    let error = anyhow!(
        "the host key of {} was not confirmed; nothing was changed",
        repo.host()
    );
    ask_for_a_host_key_again(ui, view, answers, facts, error)
}

/// Lets the user decide how to go on without a host key; the error if that is to stop.
fn ask_for_a_host_key_again(
    ui: &mut dyn Ui,
    view: &View,
    answers: &mut Answers,
    facts: &Facts,
    error: anyhow::Error,
) -> Result<()> {
    let options = [
        "try again",
        "another address of the repository",
        "through a proxy or a jump host",
        "stop",
    ];
    match (ui.choose("How to go on?", &options, 0)?, questions().next()) {
        (0, _) => {}
        (1, Some(question)) => {
            let current = answers.get("repo").map(str::to_owned);
            prompt(ui, view, answers, facts, question, current)?;
        }
        (2, _) => way::ask(ui, view, answers)?,
        _ => return Err(error.hint(again(answers))),
    }
    host_key(ui, view, answers, facts)
}

/// The command that continues.
fn again(answers: &Answers) -> String {
    let app = answers.get("app").unwrap_or_default();
    format!("sudo pullpray init {app}").trim_end().to_owned()
}

/// Lets the user choose one answer from a list and change it.
///
/// # Errors
/// As [`ask`].
pub(super) fn change(
    ui: &mut dyn Ui,
    view: &View,
    answers: &mut Answers,
    facts: &Facts,
) -> Result<()> {
    let shown: Vec<String> = questions()
        .map(|Answer { name, prompt, .. }| {
            let value = answers
                .get(name)
                .map(str::to_owned)
                .or_else(|| answers.suggested(name, facts))
                .or_else(|| {
                    let tracks = answers.get("tag").or(answers.get("commit"));
                    tracks.filter(|_| *name == "branch").map(str::to_owned)
                })
                .unwrap_or_default();
            let secret = *name == "notify";
            let value = if secret { masked(&value) } else { value };
            format!("{prompt}: {value}")
        })
        .collect();
    let options: Vec<&str> = shown.iter().map(String::as_str).collect();
    let chosen = ui.choose("Which answer?", &options, 0)?;
    let Some(answer) = questions().nth(chosen) else {
        return Ok(());
    };
    let name = answer.name;
    let current = answers.get(name).filter(|text| !text.is_empty());
    let current = current.map(str::to_owned);
    prompt(ui, view, answers, facts, answer, current)?;
    if name == "branch" {
        (answers.tag, answers.commit) = (None, None);
    }
    if name == "repo" {
        (answers.host_key, answers.ssh_host) = (None, None);
        host_key(ui, view, answers, facts)?;
    }
    // Warn if the change makes the answers invalid as a whole.
    if let Err(problems) = answers.parse(facts, Limits::default()) {
        for problem in problems {
            ui.warn(&problem.to_string());
        }
    }
    Ok(())
}

/// Replaces a version of Python by the path of its interpreter.
pub(super) fn find_python(server: &View, answers: &mut Answers) -> Result<()> {
    let version = answers.get("python").filter(|text| is_python_version(text));
    let Some(version) = version.map(str::to_owned) else {
        return Ok(());
    };
    let Some(path) = server.find_python(&version)? else {
        let why = anyhow!("there is no python{version} on this server, nor below /opt/python");
        return Err(why.hint(format!(
            "install it, from the distribution or with uv: sudo UV_PYTHON_INSTALL_DIR=/opt/python uv python install {version}"
        )));
    };
    answers.set("python", &path.display().to_string());
    Ok(())
}
