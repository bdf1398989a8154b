//! Waiting for a person who adds a deploy key on the git host.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::app::App;
use crate::text::for_terminal;
use crate::ui::{self, AskError, Mark, Ui};

/// How often access is tried meanwhile.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// Shows a public key, and where it belongs.
pub(super) fn show_key(ui: &mut dyn Ui, app: &App, key: &str, fingerprint: &str) {
    let page = match app.repo.deploy_key_page() {
        Some((page, off)) => format!("Add this key to the repository:\n  {page}\n  {off}"),
        None => format!(
            "Add this key to {} on {}, for reading only (in its settings: Deploy keys):",
            app.repo.slug(),
            app.repo.host()
        ),
    };
    // Algorithm, key, and the rest, which is the title.
    let title = key.splitn(3, ' ').nth(2).unwrap_or_default();
    ui.say("");
    ui.block(&format!(
        "{page}\n  title: {title}\n  fingerprint: {fingerprint}"
    ));
    ui.say("");
    ui.block(key);
    ui.say("");
}

/// Tries until access is given (`true`) or the time is up; `go_on` is the command for later.
/// `attempt` tells in the host's words why there is no access yet.
///
/// # Errors
/// When an attempt fails otherwise, or somebody interrupts.
pub(super) fn wait(
    ui: &mut dyn Ui,
    app: &App,
    time: Option<Duration>,
    go_on: &str,
    mut why: String,
    attempt: &mut dyn FnMut() -> Result<Option<String>>,
) -> Result<bool> {
    let host = app.repo.host();
    let until = time.map(|time| Instant::now() + time);
    let left = |until: Option<Instant>| {
        until.map_or(TRY_EVERY, |until| {
            until
                .saturating_duration_since(Instant::now())
                .min(TRY_EVERY)
        })
    };
    if !left(until).is_zero() {
        ui.begin(&format!(
            "waiting for access (trying every {} s, Ctrl-C to go on later with `{go_on}`)",
            TRY_EVERY.as_secs()
        ));
    }
    while !left(until).is_zero() {
        if ui::sleep(left(until)) {
            ui.done(Mark::Waiting, "access", "not given yet");
            return Err(interrupted(ui, go_on));
        }
        match attempt()? {
            None => return Ok(true),
            Some(words) => why = words,
        }
    }
    ui.done(
        Mark::Waiting,
        "access",
        &format!("not given yet; {host} says: {}", for_terminal(&why)),
    );
    ui.say(&format!("Once the key was added, go on with: {go_on}"));
    Ok(false)
}

/// What is told, and how it ends, when somebody presses Ctrl-C.
pub(super) fn interrupted(ui: &mut dyn Ui, go_on: &str) -> anyhow::Error {
    ui.say(&format!(
        "Interrupted. What was made so far stays; go on with: {go_on}"
    ));
    anyhow!(AskError::Interrupted)
}
