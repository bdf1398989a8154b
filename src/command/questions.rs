//! The questions of the wizard, each with a default worked out from what is known so far.

use anyhow::{Result, bail};

use crate::app::{Answers, AppName, Facts, Limits, RepoUrl};
use crate::host::View;
use crate::provision;
use crate::ui::{Question, Ui};

/// What is asked, and in which words; the rest has defaults that can be given as flags.
const QUESTIONS: &[(&str, &str, Option<&str>)] = &[
    (
        "repo",
        "Repository to deploy",
        Some("over ssh, for example git@github.com:acme/todo.git"),
    ),
    ("branch", "Branch", None),
    (
        "app",
        "Name of the app",
        Some("names its files, units and directories on this server"),
    ),
    (
        "wsgi",
        "WSGI module",
        Some("for example todo.wsgi:application; empty: found in the repository"),
    ),
    ("user", "Account it runs as", None),
    ("group", "Group of the hosted apps", None),
    (
        "operator",
        "Your account, for the group",
        Some("becomes a member, to edit shared files and restart the app; \"none\" for nobody"),
    ),
    ("project_dir", "Where the app lives", None),
    (
        "static_dir",
        "Where its static files go",
        Some("what nginx serves as /static/"),
    ),
    (
        "shared_paths",
        "Files that outlive releases",
        Some("such as db.sqlite3,media/ with commas between; empty if there are none in the tree"),
    ),
    (
        "bind",
        "Where it listens",
        Some("the address that nginx passes requests to, or the path of a socket"),
    ),
    ("health_path", "Path to ask for its health", None),
    (
        "health_host",
        "Host header to ask with",
        Some("one of the project's ALLOWED_HOSTS"),
    ),
    (
        "schedule",
        "Poll every … minutes",
        Some("a number of minutes, or five fields of a crontab line"),
    ),
];

/// Which of the questions can be answered with nothing.
const OPTIONAL: [&str; 3] = ["wsgi", "operator", "shared_paths"];

/// Asks everything that was not said yet.
///
/// # Errors
/// When somebody interrupts.
pub(super) fn ask(
    ui: &mut dyn Ui,
    view: &View,
    answers: &mut Answers,
    facts: &Facts,
    known: &dyn Fn(&AppName) -> Result<Option<Answers>>,
) -> Result<()> {
    for (name, prompt, help) in QUESTIONS {
        // A tag or a commit, given as a flag, says what is followed.
        let followed = *name == "branch" && (answers.tag.is_some() || answers.commit.is_some());
        if answers.get(name).is_none() && !followed {
            let default = match *name {
                "operator" => facts.operator.as_ref().map(ToString::to_string),
                _ => answers.suggested(name, facts),
            };
            let question = Question {
                prompt: (*prompt).to_owned(),
                default,
                help: help.map(str::to_owned),
            };
            let said = ui.text(&question, &|text| check(view, answers, facts, name, text))?;
            let said = if *name == "operator" && said == "none" {
                String::new()
            } else {
                said
            };
            answers.set(name, &said);
        }
        if *name == "repo" {
            host_key(ui, view, answers, facts)?;
        }
        if *name == "app"
            && let Some(name) = answers
                .get("app")
                .and_then(|text| text.parse::<AppName>().ok())
            && let Some(saved) = known(&name)?
        {
            ui.note(&format!("{name} is known here: going on with its settings"));
            *answers = answers.clone().or(saved);
            for optional in OPTIONAL {
                if answers.get(optional).is_none() {
                    answers.set(optional, "");
                }
            }
        }
    }
    Ok(())
}

/// What an app of that name is already, and the ways out, if it is another one than these answers say.
pub(super) fn would_change(
    name: &AppName,
    answers: &Answers,
    saved: &Answers,
    facts: &Facts,
) -> Option<String> {
    let mut saved = saved.clone();
    saved.set("app", name.as_str());
    let changes = answers.changes(&saved, facts);
    let said = |name| saved.get(name).unwrap_or_default();
    let follows: String = ["branch", "tag", "commit"].map(said).concat();
    (!changes.is_empty()).then(|| {
        format!(
            "there is an app {name} already, which follows {follows} of {}\nhint: to change that one: sudo pullpray init {name} {changes}\nhint: for another one: --app NAME",
            said("repo")
        )
    })
}

fn check(
    view: &View,
    answers: &Answers,
    facts: &Facts,
    name: &str,
    text: &str,
) -> Result<(), String> {
    if name == "operator" && (text == "none" || text.is_empty()) {
        return Ok(());
    }
    Answers::check_one(name, text).map_err(|invalid| invalid.to_string())?;
    let said = |other: &str| match answers.get(other) {
        // As it is read when it is an answer.
        _ if other == name => Some(text.trim().trim_end_matches('/').to_owned()),
        Some(said) => Some(said.to_owned()),
        None => answers.suggested(other, facts),
    };
    match provision::ineligible(view, &said, name) {
        Ok(None) => {}
        Ok(Some((why, _))) => return Err(why),
        Err(error) => return Err(format!("{error:#}")),
    }
    match name {
        "operator" if view.user(text).is_none() => {
            Err(format!("there is no user {text}; \"none\" for nobody"))
        }
        "bind" => {
            let port = text
                .parse::<crate::app::Bind>()
                .ok()
                .and_then(|bind| bind.port());
            let taken = view.listening_ports().unwrap_or_default();
            match port {
                Some(port) if taken.contains(&port) => {
                    Err(format!("something listens on port {port} already"))
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
                Some(why) => Err(why.replace("\nhint: ", "; ")),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// A host that publishes no key is asked for it, and the person whether it is the right one.
fn host_key(ui: &mut dyn Ui, view: &View, answers: &mut Answers, facts: &Facts) -> Result<()> {
    if answers.get("host_key").is_some() || answers.suggested("host_key", facts).is_some() {
        return Ok(());
    }
    let Some(repo) = answers
        .get("repo")
        .and_then(|text| text.parse::<RepoUrl>().ok())
    else {
        return Ok(());
    };
    ui.begin(&format!("asking {} for its host key", repo.host()));
    let keys = match view.scan_host_keys(repo.host(), repo.port()) {
        Ok(keys) => keys,
        Err(error) => {
            ui.done(crate::ui::Mark::Failed, "host key", &format!("{error:#}"));
            bail!(
                "{error:#}\nhint: is the name right, and may this server connect there? ssh-keyscan -p {} {}",
                repo.port(),
                repo.host()
            );
        }
    };
    let Some(key) = keys.first() else {
        return Ok(());
    };
    ui.done(
        crate::ui::Mark::Ok,
        &format!("host key of {}", repo.host()),
        &format!("{} {}", key.algorithm(), key.fingerprint),
    );
    ui.note(&format!("compare it with what the host's administrator says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub, on {}", repo.host()));
    if ui.confirm("Is that its key?", false)? {
        answers.set("host_key", &key.fingerprint);
        return Ok(());
    }
    bail!(
        "the host key of {} was not confirmed, so nothing was changed",
        repo.host()
    )
}

/// Lets one answer be changed, from a list of all.
///
/// # Errors
/// When somebody interrupts.
pub(super) fn change(
    ui: &mut dyn Ui,
    view: &View,
    answers: &mut Answers,
    facts: &Facts,
) -> Result<()> {
    let shown: Vec<String> = QUESTIONS
        .iter()
        .map(|(name, prompt, _)| {
            let is = answers
                .get(name)
                .map(str::to_owned)
                .or_else(|| answers.suggested(name, facts))
                .or_else(|| {
                    let tracks = answers.get("tag").or(answers.get("commit"));
                    tracks.filter(|_| *name == "branch").map(str::to_owned)
                })
                .unwrap_or_default();
            format!("{prompt}: {is}")
        })
        .collect();
    let options: Vec<&str> = shown.iter().map(String::as_str).collect();
    let chosen = ui.choose("Which answer?", &options, 0)?;
    let Some((name, prompt, help)) = QUESTIONS.get(chosen) else {
        return Ok(());
    };
    let question = Question {
        prompt: (*prompt).to_owned(),
        default: answers
            .get(name)
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
        help: help.map(str::to_owned),
    };
    let said = ui.text(&question, &|text| check(view, answers, facts, name, text))?;
    answers.set(
        name,
        if *name == "operator" && said == "none" {
            ""
        } else {
            &said
        },
    );
    if *name == "branch" {
        (answers.tag, answers.commit) = (None, None);
    }
    if *name == "repo" {
        answers.host_key = None;
        host_key(ui, view, answers, facts)?;
    }
    // What follows from the answers must still make an app.
    if let Err(problems) = answers.parse(facts, Limits::default()) {
        for problem in problems {
            ui.warn(&problem.to_string());
        }
    }
    Ok(())
}
