//! The words of `pullpray status`.

use std::fmt::Write as _;

use anyhow::Result;
use chrono::{DateTime, Local, TimeDelta, Utc};

use crate::app::App;
use crate::decide;
use crate::state::history::{Deployment, Outcome};
use crate::state::ledger::Ledger;
use crate::state::refusal::Why;
use crate::text::{duration, first_columns, for_terminal, short};

use super::remote;

/// States of a process with which nobody has to do anything.
const FINE: [&str; 2] = ["active", "running"];

/// What there is to report about an app.
pub struct Status {
    /// The app.
    pub app: App,
    /// Its ledger.
    pub ledger: Ledger,
    /// Bytes that are free where it lives.
    pub free: u64,
    /// Whether init has not come to the schedule yet, its last step.
    pub unfinished: bool,
    /// Why the polls seem to have stopped, if they do.
    pub overdue: Option<String>,
    /// The processes beside web, with their states: `active`, `activating (auto-restart)` …
    pub processes: Vec<(String, String)>,
    /// Whether the environment file is newer than the process that read it.
    pub environment_is_newer: bool,
    /// Whether the settings are newer than what was made of them.
    pub settings_are_newer: bool,
    /// That nobody hears of a failure, or what could not be delivered.
    pub notices: Option<String>,
}

/// Everything about one app, a line each: what is live, what was checked, what waits, what comes next.
///
/// # Errors
/// None is known; writing to memory does not fail.
pub fn render(status: &Status, now: DateTime<Utc>, history: bool) -> Result<String> {
    let Status {
        app,
        ledger,
        free,
        unfinished,
        overdue,
        processes,
        ..
    } = status;
    let mut text = String::new();
    match ledger.live() {
        Some(live) => writeln!(
            text,
            "{}: {} \"{}\" is live since {}",
            app.name,
            short(&live.commit),
            for_terminal(&live.subject),
            when(&live.since, now)
        )?,
        None => writeln!(text, "{}: nothing is live yet", app.name)?,
    }
    if !processes.is_empty() {
        let processes: Vec<String> = (processes.iter())
            .map(|(name, state)| format!("{name} {state}"))
            .collect();
        writeln!(text, "  beside    {}", processes.join(", "))?;
    }
    text.push_str(&newer(status));
    if let Some(in_progress) = ledger.in_progress() {
        writeln!(
            text,
            "  now       {} \"{}\" is being deployed, or was when its poll was killed",
            short(&in_progress.commit),
            for_terminal(&in_progress.subject)
        )?;
    }
    writeln!(
        text,
        "  source    {} of {}, at {}",
        app.track, app.repo, app.bind
    )?;
    let polls = polls(app, ledger, now);
    match (ledger.outage(), ledger.last_check()) {
        _ if *unfinished => writeln!(
            text,
            "  set-up    unfinished: sudo pullpray init {}",
            app.name
        )?,
        (Some(outage), _) => writeln!(
            text,
            "  checked   not since {}: {}",
            when(&outage.since, now),
            for_terminal(&remote::why(app, &outage.failure))
        )?,
        (None, Some(last)) => writeln!(text, "  checked   {}; {polls}", when(last, now))?,
        (None, None) => writeln!(text, "  checked   never; {polls}")?,
    }
    if let Some(why) = overdue {
        writeln!(
            text,
            "  {:<9} {why}\n            sudo pullpray doctor {}",
            app.schedule.who().trim_start_matches("a "),
            app.name
        )?;
    }
    if let Some(pause) = ledger.pause() {
        writeln!(
            text,
            "  paused    by {} since {}{}",
            for_terminal(&pause.by),
            when(&pause.since, now),
            reason(&pause.why)
        )?;
        writeln!(text, "            pullpray resume {}", app.name)?;
    }
    text.push_str(&not_live(app, ledger, now)?);
    if let Some(previous) = ledger.previous() {
        writeln!(
            text,
            "  previous  {} \"{}\"; to return to it: pullpray rollback {}",
            short(&previous.commit),
            for_terminal(&previous.subject),
            app.name
        )?;
    }
    if let Some(notices) = &status.notices {
        writeln!(text, "  notices   {notices}")?;
    }
    writeln!(text, "  disk      {} MiB free", free / 1024 / 1024)?;
    if history {
        text.extend(ledger.history().deployments().iter().map(past));
    }
    Ok(text)
}

/// What polls, how often, and when next: a timer counts from its last poll.
fn polls(app: &App, ledger: &Ledger, now: DateTime<Utc>) -> String {
    let (schedule, now) = (&app.schedule, now.with_timezone(&Local));
    let last = ledger.last_by_cron().filter(|_| schedule.timer().is_some());
    let last = last.and_then(|last| DateTime::parse_from_rfc3339(last).ok());
    let from = last.map_or(now, |last| last.with_timezone(&Local));
    let next = schedule.next_after(&from).filter(|next| *next > now);
    let format = match schedule.timer() {
        None => ", next %H:%M",
        Some(_) => ", next %H:%M:%S",
    };
    let next = next.map_or_else(String::new, |next| next.format(format).to_string());
    format!("{} polls {}{next}", schedule.who(), schedule.words())
}

/// Whether nobody has to do anything about a process in this state.
#[must_use]
pub fn is_fine(state: &str) -> bool {
    FINE.contains(&state)
}

/// Whether somebody has to act: a process is down, set-up is unfinished, polls have stopped, the git host is unreachable, or a commit failed
/// or is refused.
#[must_use]
pub fn needs_attention(status: &Status) -> bool {
    let ledger = &status.ledger;
    let refused = ledger.refused().is_some_and(|it| !it.why.is_quiet());
    let failed = ledger.failures().iter().any(|it| !it.is_rollback());
    let outage = ledger.outage().is_some_and(|outage| outage.reported);
    let down = (status.processes.iter()).any(|(_, state)| !is_fine(state));
    down || status.unfinished || status.overdue.is_some() || refused || failed || outage
}

/// What was changed and does not run yet.
fn newer(status: &Status) -> String {
    let name = &status.app.name;
    let mut text = String::new();
    if status.environment_is_newer {
        text.push_str(&format!(
            "  note      the environment was changed since the app started: sudo pullpray restart {name}\n"
        ));
    }
    if status.settings_are_newer && !status.unfinished {
        text.push_str(&format!(
            "  note      the settings are newer than units that differ from them: sudo pullpray init {name}\n"
        ));
    }
    text
}

/// Commits that are not live: refused, waiting, failed.
fn not_live(app: &App, ledger: &Ledger, now: DateTime<Utc>) -> Result<String> {
    let mut text = String::new();
    if let Some(refusal) = ledger.refused() {
        writeln!(
            text,
            "  {}   {}, since {}: {}",
            match refusal.why {
                Why::OtherPaths => "skipped",
                Why::OutsideWindow { .. } => "waits  ",
                _ => "refused",
            },
            short(&refusal.commit),
            when(&refusal.since, now),
            for_terminal(&refusal.why.to_string())
        )?;
    }
    for failure in ledger.failures() {
        let (how, tries) = if failure.is_rollback() {
            ("skipped", String::new())
        } else {
            ("failed ", format!(", {}, last", failure.tries_in_words()))
        };
        writeln!(
            text,
            "  {how}   {}{tries}, {}{}",
            short(&failure.commit),
            when(&failure.last, now),
            reason(&failure.why)
        )?;
        if let Some(log) = &failure.log {
            writeln!(
                text,
                "            log {}",
                for_terminal(&log.display().to_string())
            )?;
        }
        match decide::next_try(failure, now) {
            _ if failure.is_rollback() => writeln!(
                text,
                "            not deployed again until: sudo pullpray retry {}",
                app.name
            )?,
            _ if failure.is_final(app.limits.attempts) => writeln!(
                text,
                "            no more attempts until a new commit, changed settings, or: pullpray retry {}",
                app.name
            )?,
            None => writeln!(text, "            next attempt at the next poll")?,
            Some(next) => writeln!(
                text,
                "            next attempt {}, or: pullpray retry {}",
                next.with_timezone(&Local).format("%H:%M"),
                app.name
            )?,
        }
    }
    Ok(text)
}

/// A past deployment in a line; of a failure at most 80 columns, because its reason may be a whole log.
fn past(deployment: &Deployment) -> String {
    let took = deployment.took.0;
    let head = format!(
        "  {}  {} {:>4}.{} s  ",
        local(&deployment.at),
        short(&deployment.commit),
        took / 10,
        took % 10
    );
    let outcome = match &deployment.outcome {
        Outcome::Live => "live",
        Outcome::RolledBack => "rollback",
        Outcome::Failed { why, .. } => {
            let why = why.lines().next().unwrap_or_default();
            let line = first_columns(&format!("{head}failed: {}", for_terminal(why)), 80);
            let log = deployment.log.as_ref().map(|log| log.display().to_string());
            let log = log.map_or_else(String::new, |log| {
                format!("    log {}\n", for_terminal(&log))
            });
            return format!("{line}\n{log}");
        }
    };
    let note = deployment.note.as_deref();
    let note = note.map_or_else(String::new, |note| format!("; {}", for_terminal(note)));
    let subject = for_terminal(&deployment.subject);
    format!("{head}{outcome}  \"{subject}\"{note}\n")
}

fn reason(why: &str) -> String {
    if why.is_empty() {
        String::new()
    } else {
        format!(": {}", for_terminal(why))
    }
}

fn local(stamp: &str) -> String {
    DateTime::parse_from_rfc3339(stamp).map_or_else(
        |_| for_terminal(stamp),
        |time| {
            time.with_timezone(&Local)
                .format("%Y-%m-%d %H:%M")
                .to_string()
        },
    )
}

/// A time with its age: `2026-11-22 14:03 (3 minutes ago)`.
fn when(stamp: &str, now: DateTime<Utc>) -> String {
    let Ok(time) = DateTime::parse_from_rfc3339(stamp) else {
        return for_terminal(stamp);
    };
    let ago: TimeDelta = now - time.with_timezone(&Utc);
    format!("{} ({} ago)", local(stamp), duration(ago))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::history::{Stage, Tenths};

    #[test]
    fn a_failure_takes_one_line_of_80_columns() {
        let failed = |why: &str| {
            past(&Deployment {
                commit: "1".repeat(40),
                subject: "Divide".to_owned(),
                at: "2026-11-25T10:00:00Z".to_owned(),
                took: Tenths(123),
                outcome: Outcome::Failed {
                    stage: Stage::Script,
                    why: why.to_owned(),
                },
                log: None,
                note: None,
                parts: std::collections::BTreeMap::new(),
            })
        };
        for why in [
            "wörds ".repeat(150),
            format!("it ended with 1\n{}", "x".repeat(900)),
        ] {
            let line = failed(&why);
            assert_eq!(line.lines().count(), 1);
            assert!(line.trim_end().chars().count() <= 80, "{line}");
        }
        assert!(failed("it ended with 1\nmore").ends_with("12.3 s  failed: it ended with 1\n"));
        assert!(failed(&"x".repeat(90)).ends_with("xx…\n"));
    }
}
