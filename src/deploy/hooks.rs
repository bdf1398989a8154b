//! Hooks: programs of the administrator that run at an event, as the app's account.
//!
//! `live`, `failed`, `refused`, `unreachable` and `recovered` run when a poll reports that, with its report: they tell
//! somebody, and change nothing about how the poll ends.
//!
//! `before-migrate` runs when a migration is due, after the release was built and before its database is changed: the
//! place of a backup. Its failure stops the deployment, with nothing changed.
//!
//! `before-switch` and `after-switch` run around a switch to another release, by a deployment or a rollback: the place
//! where a balancer drains and returns. A failure of the former stops it; the latter runs also if the previous release was restored.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::app::{App, AppName};
use crate::host::{Kind, Log, ScriptRunner, Server};
use crate::layout;
use crate::report::{PollOutcome, notice};
use crate::state::history::Stage;

use super::Poll;
use super::ended::{At, StageError};
use super::health::check_once;

const BEFORE_MIGRATE: &str = "before-migrate";
/// How a line of the log begins that says what the hook printed last, such as the path of a backup.
pub(super) const NOTE: &str = "note: before-migrate: ";

/// Runs the hook before the migrate phase, if there is one and a migration is due. `script` is the deploy script with its
/// environment.
pub(super) fn before_migrate(
    poll: &Poll<'_>,
    script: &ScriptRunner,
    python: &Path,
    log: &mut Log,
) -> Result<(), StageError> {
    let (server, app) = (poll.server, poll.app);
    let Some(hook) = find(server, &app.name, BEFORE_MIGRATE).at(Stage::Script)? else {
        return Ok(());
    };
    if server
        .stat(&script.directory.join("manage.py"))
        .at(Stage::Script)?
        .is_none()
    {
        return Ok(());
    }
    let check = ScriptRunner {
        program: python.to_owned(),
        arguments: ["manage.py", "migrate", "--check"].map(Into::into).to_vec(),
        ..script.clone()
    };
    // It fails when a migration is due, and when the database does not answer: then the hook says so.
    if check.run(server, log).at(Stage::Script)?.success {
        return Ok(());
    }
    poll.progress(&format!("running {}", hook.display()));
    let mut runner = ScriptRunner {
        program: hook.clone(),
        arguments: Vec::new(),
        ..script.clone()
    };
    runner.set("PULLPRAY_EVENT", BEFORE_MIGRATE);
    let outcome = runner.run(server, log).at(Stage::Script)?;
    if !outcome.success {
        let why = format!(
            "the hook {} {}; nothing of {} was changed",
            hook.display(),
            outcome.ended,
            app.name
        );
        return Err(StageError::new(Stage::Script, why).with_output(&outcome.output));
    }
    let mut lines = outcome.output.lines().rev();
    if let Some(last) = lines.find(|line| !line.trim().is_empty()) {
        log.line(&format!("{NOTE}{}", last.trim()))
            .at(Stage::Script)?;
    }
    Ok(())
}

/// How long a hook may take before or after a switch: a balancer drains its connections.
const AROUND: Duration = Duration::from_secs(300);

/// When a hook runs beside a switch to another release.
#[derive(Debug, Clone, Copy)]
enum Around {
    /// Before visitors come to it.
    Before,
    /// Once they do, or came back to the previous one.
    After,
}

/// Runs the hook before or after a switch, if there is one.
///
/// # Errors
/// Why it failed. Before the switch, that stops it.
fn around(poll: &Poll<'_>, when: Around, commit: &str) -> Result<()> {
    let (server, app) = (poll.server, poll.app);
    let event = match when {
        Around::Before => "before-switch",
        Around::After => "after-switch",
    };
    let Some(hook) = find(server, &app.name, event)? else {
        return Ok(());
    };
    poll.progress(&format!("running {}", hook.display()));
    let json = serde_json::json!({ "event": event, "app": app.name.as_str(), "commit": commit });
    let variables = [
        ("PULLPRAY_EVENT", event),
        ("PULLPRAY_APP", app.name.as_str()),
        ("PULLPRAY_COMMIT", commit),
    ];
    run(server, app, &hook, &json.to_string(), &variables, AROUND)
}

/// Runs the hook before a switch; if that fails, the one after it. While nothing healthy is live it prevents nothing.
///
/// # Errors
/// Why it failed.
pub(super) fn before_switch(poll: &Poll<'_>, commit: &str) -> Result<()> {
    let Err(error) = around(poll, Around::Before, commit) else {
        return Ok(());
    };
    if check_once(poll).is_err() {
        poll.progress(&format!("{error:#}"));
        return Ok(());
    }
    Err(match after_switch(poll, commit) {
        None => error,
        Some(also) => error.context(also),
    })
}

/// As [`around`] after a switch, which a failure does not change: returns what to say about it.
pub(super) fn after_switch(poll: &Poll<'_>, commit: &str) -> Option<String> {
    let error = around(poll, Around::After, commit).err()?;
    Some(crate::error::in_one_line(&error))
}

/// How long a hook may take that tells somebody.
const TO_TELL: Duration = Duration::from_secs(60);

/// Runs the hook for what a poll reports, if there is one: `message` is its text.
///
/// # Errors
/// Why it failed; the poll has ended before.
pub fn tell(server: &Server, app: &App, outcome: &PollOutcome, message: &str) -> Result<()> {
    let Some((event, commit)) = notice::event(outcome) else {
        return Ok(());
    };
    let event = event.name();
    let Some(hook) = find(server, &app.name, event)? else {
        return Ok(());
    };
    let commit = commit.unwrap_or_default();
    let message = message.trim_end();
    let json = serde_json::json!({
        "event": event, "app": app.name.as_str(), "commit": commit, "message": message,
    });
    let variables = [
        ("PULLPRAY_EVENT", event),
        ("PULLPRAY_APP", app.name.as_str()),
        ("PULLPRAY_COMMIT", commit),
        ("PULLPRAY_MESSAGE", message),
    ];
    run(server, app, &hook, &json.to_string(), &variables, TO_TELL)
}

/// The variables of the app's environment by which programs find the way out of a company's network. Its others may be
/// secrets, which these hooks do without.
const WAY_OUT: [&str; 13] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

fn run(
    server: &Server,
    app: &App,
    hook: &Path,
    input: &str,
    variables: &[(&str, &str)],
    deadline: Duration,
) -> Result<()> {
    // That it cannot be read may be what is reported.
    let environment = server.environment(&app.environment_file());
    let environment = environment.unwrap_or_default();
    let all: Vec<(&str, &str)> = (environment.iter())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| WAY_OUT.contains(name))
        .chain(variables.iter().copied())
        .collect();
    server
        .run_hook(hook, input.as_bytes(), &all, deadline)
        .with_context(|| format!("the hook {} failed", hook.display()))
}

/// The app's hook for an event, or the one for all apps.
fn find(server: &Server, app: &AppName, event: &str) -> Result<Option<PathBuf>> {
    let all = Path::new(layout::HOOKS_DIR);
    for path in [all.join(app.as_str()).join(event), all.join(event)] {
        let Some(stat) = server.stat_target(&path)? else {
            continue;
        };
        let shown = path.display();
        if stat.kind != Kind::File || stat.uid != 0 || stat.mode & 0o022 != 0 {
            bail!(
                "only root may be able to modify the hook {shown}: sudo chown root {shown} && sudo chmod go-w {shown}"
            );
        }
        if stat.mode & 0o111 == 0 {
            bail!("the hook {shown} is not executable: sudo chmod 755 {shown}");
        }
        return Ok(Some(path));
    }
    Ok(None)
}
