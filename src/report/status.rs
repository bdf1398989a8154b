//! The words of `pullpray status`.

use std::fmt::Write as _;

use anyhow::Result;
use chrono::{DateTime, Local, TimeDelta, Utc};

use crate::app::App;
use crate::decide;
use crate::state::history::Outcome;
use crate::state::ledger::Ledger;
use crate::text::{duration, for_terminal, short};

use super::remote;

/// What there is to report about an app.
pub struct Status {
    /// The app.
    pub app: App,
    /// Its ledger.
    pub ledger: Ledger,
    /// Bytes that are free where it lives.
    pub free: u64,
    /// Why cron's polls seem to have stopped, if they do.
    pub overdue: Option<String>,
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
        overdue,
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
    if let Some(in_progress) = ledger.in_progress() {
        writeln!(
            text,
            "  now       {} \"{}\" is being deployed, or was when its poll was killed",
            short(&in_progress.commit),
            for_terminal(&in_progress.subject)
        )?;
    }
    match (ledger.outage(), ledger.last_check()) {
        (Some(outage), _) => writeln!(
            text,
            "  checked   not since {}: {}",
            when(&outage.since, now),
            for_terminal(&remote::why(app, &outage.failure))
        )?,
        (None, Some(last)) => writeln!(
            text,
            "  checked   {}; cron polls {}",
            when(last, now),
            app.schedule.words()
        )?,
        (None, None) => writeln!(
            text,
            "  checked   never; cron polls {}",
            app.schedule.words()
        )?,
    }
    if let Some(why) = overdue {
        writeln!(
            text,
            "  cron      {why}\n            sudo pullpray doctor {}",
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
    writeln!(text, "  disk      {} MiB free", free / 1024 / 1024)?;
    if history {
        text.push_str(&past(ledger)?);
    }
    Ok(text)
}

/// Commits that are not live: refused, waiting, failed.
fn not_live(app: &App, ledger: &Ledger, now: DateTime<Utc>) -> Result<String> {
    let mut text = String::new();
    if let Some(refusal) = ledger.refused() {
        writeln!(
            text,
            "  {}   {}, since {}: {}",
            if refusal.why.is_transient() {
                "waits  "
            } else {
                "refused"
            },
            short(&refusal.commit),
            when(&refusal.since, now),
            for_terminal(&refusal.why.to_string())
        )?;
    }
    for failure in ledger.failures() {
        writeln!(
            text,
            "  failed    {}, {}, last {}{}",
            short(&failure.commit),
            failure.tries_in_words(),
            when(&failure.last, now),
            reason(&failure.why)
        )?;
        match decide::next_try(failure, now) {
            _ if failure.tries >= app.limits.attempts => writeln!(
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

/// Past deployments, a line each.
fn past(ledger: &Ledger) -> Result<String> {
    let mut text = String::new();
    for deployment in ledger.history().deployments() {
        let outcome = match &deployment.outcome {
            Outcome::Live => "live".to_owned(),
            Outcome::RolledBack => "rollback".to_owned(),
            Outcome::Failed { why, .. } => format!("failed: {}", for_terminal(why)),
        };
        let took = deployment.took.0;
        writeln!(
            text,
            "  {}  {} {:>4}.{} s  {outcome}  \"{}\"{}",
            local(&deployment.at),
            short(&deployment.commit),
            took / 10,
            took % 10,
            for_terminal(&deployment.subject),
            deployment
                .note
                .as_deref()
                .map_or_else(String::new, |note| format!("; {}", for_terminal(note)))
        )?;
    }
    Ok(text)
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
