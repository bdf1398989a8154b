//! Shows the deploy key and waits until the user has added it on the git host.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::app::App;
use crate::render;
use crate::ui::{self, Mark, PromptError, Ui};

/// The interval between access attempts.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Shows a public key, and where to add it.
pub(super) fn show_key(ui: &mut dyn Ui, app: &App, key: &str, fingerprint: &str) {
    let page = match app.repo.deploy_key_page() {
        Some((page, off)) => format!("Add this key to the repository:\n  {page}\n  {off}"),
        None => format!(
            "Add this key to {} on {}, read-only (in its settings: Deploy keys):",
            app.repo.slug(),
            app.repo.host()
        ),
    };
    // The comment after algorithm and key is the title.
    let title = key.splitn(3, ' ').nth(2).unwrap_or_default();
    ui.say("");
    ui.block(&format!(
        "{page}\n  title: {title}\n  fingerprint: {fingerprint}"
    ));
    ui.say("");
    ui.block(key);
    ui.say("");
    if app.repo.deploy_key_page().is_none() {
        ui.say("If that is an account with git and sshd only, in its .ssh/authorized_keys:");
        ui.block(&render::authorized_keys_line(app, key));
        ui.say("");
    }
}

/// Retries until access is granted (`true`) or `time` is over (`false`; `None` waits without limit).
/// `resume` is the command to continue later. `attempt` returns the host's message while there is no
/// access.
///
/// # Errors
/// When an attempt fails for another reason, or the user interrupts.
pub(super) fn wait(
    ui: &mut dyn Ui,
    app: &App,
    time: Option<Duration>,
    resume: &str,
    mut why: String,
    attempt: &mut dyn FnMut() -> Result<Option<String>>,
) -> Result<bool> {
    let host = app.repo.host();
    let until = time.map(|time| Instant::now() + time);
    let left = |until: Option<Instant>| {
        until.map_or(RETRY_INTERVAL, |until| {
            until
                .saturating_duration_since(Instant::now())
                .min(RETRY_INTERVAL)
        })
    };
    if !left(until).is_zero() {
        ui.begin(&format!(
            "waiting for access (retrying every {} s; Ctrl-C to stop, `{resume}` to continue later)",
            RETRY_INTERVAL.as_secs()
        ));
    }
    while !left(until).is_zero() {
        if ui::sleep(left(until)) {
            ui.done(Mark::Waiting, "access", "not granted yet");
            return Err(interrupted(ui, resume));
        }
        match attempt()? {
            None => return Ok(true),
            Some(words) => {
                if words != why {
                    ui.update(&words);
                }
                why = words;
            }
        }
    }
    ui.done(
        Mark::Waiting,
        "access",
        &format!("not granted yet; {host} says: {why}"),
    );
    ui.say(&format!("After adding the key, continue with: {resume}"));
    Ok(false)
}

/// Prints how to continue after Ctrl-C, and returns the error to exit with.
pub(super) fn interrupted(ui: &mut dyn Ui, resume: &str) -> anyhow::Error {
    ui.say(&format!(
        "Interrupted. Completed steps are kept; continue with: {resume}"
    ));
    anyhow!(PromptError::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Answers, Facts, Limits};

    #[test]
    fn the_lines_of_the_hosts_answer_stay_lines() {
        let mut answers = Answers::default();
        answers.set("repo", "git@github.com:acme/todo.git");
        let app = answers.parse(&Facts::default(), Limits::default()).unwrap();
        let mut out = Vec::new();
        let granted = wait(
            &mut ui::Plain::new(&mut out),
            &app,
            Some(Duration::ZERO),
            "pullpray key",
            "ERROR: denied\nplease\x1b[1m ask".to_owned(),
            &mut || Ok(None),
        );
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(granted.is_ok_and(|granted| !granted), "{text}");
        assert!(text.contains("github.com says: ERROR: denied\n"), "{text}");
        assert!(!text.contains("\\n") && !text.contains('\x1b'), "{text}");
    }
}
