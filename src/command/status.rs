//! `pullpray status`: what is live, what happened, what comes next.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Result;
use chrono::{DateTime, Local, TimeDelta, Utc};
use serde::Serialize;

use crate::app::{App, AppName};
use crate::cli;
use crate::decide;
use crate::exit::Exit;
use crate::host::{Clock, Server};
use crate::provision;
use crate::state::ledger::{Ledger, Outcome};
use crate::store::marks;
use crate::text::for_terminal;
use crate::text::short;
use crate::ui;

use super::{load, named};

/// The version of the JSON form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Report {
    schema: u32,
    apps: Vec<Of>,
}

#[derive(Serialize)]
struct Of {
    app: String,
    free_bytes: u64,
    /// Why nothing more can be said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    ledger: Option<Ledger>,
}

/// What there is to tell of an app: it, its ledger, the bytes that are free where it lives, and whether cron does not poll.
type Known = (App, Ledger, u64, Option<String>);

fn known(server: &Server, name: &AppName) -> Result<Known> {
    let app = load(server, name)?;
    marks::there(server, name)?;
    let ledger = Ledger::load(server, name)?;
    let free = server
        .free_space(app.project_dir.as_path())
        .map_or(0, |(bytes, _)| bytes);
    let overdue = provision::overdue(server, &app, &ledger, &Clock::system())?;
    Ok((app, ledger, free, overdue))
}

pub(super) fn run(server: &Server, arguments: &cli::Status) -> Result<Exit> {
    // What is wrong with one app keeps nobody from hearing of the others.
    let names = named(server, &arguments.apps)?;
    if let [name] = names.as_slice() {
        known(server, name)?;
    }
    let apps: Vec<(AppName, Result<Known>)> = names
        .into_iter()
        .map(|name| {
            let known = known(server, &name);
            (name, known)
        })
        .collect();
    let exit = if apps.iter().all(|(_, known)| known.is_ok()) {
        Exit::Done
    } else {
        Exit::Failed
    };
    let mut out = ui::stdout();
    if arguments.json {
        let apps = apps
            .into_iter()
            .map(|(name, known)| {
                let (error, known) = match known {
                    Ok(known) => (None, Some(known)),
                    Err(error) => (Some(format!("{error:#}")), None),
                };
                Of {
                    app: name.to_string(),
                    free_bytes: known.as_ref().map_or(0, |(_, _, free, _)| *free),
                    error,
                    ledger: known.map(|(_, ledger, ..)| ledger),
                }
            })
            .collect();
        writeln!(
            out,
            "{}",
            ui::json_for_terminal(&serde_json::to_string_pretty(&Report {
                schema: SCHEMA,
                apps
            })?)
        )?;
        return Ok(exit);
    }
    let clock = Clock::system();
    for (name, known) in &apps {
        let text = match known {
            Ok(known) => told(known, &clock, arguments.history)?,
            Err(error) => format!("{name}: {}\n", for_terminal(&format!("{error:#}"))),
        };
        write!(out, "{text}")?;
    }
    Ok(exit)
}

fn told(known: &Known, clock: &Clock, history: bool) -> Result<String> {
    let (app, ledger, free, overdue) = known;
    let mut text = String::new();
    let now = clock.now();
    match &ledger.live {
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
    if let Some(under_way) = &ledger.under_way {
        writeln!(
            text,
            "  now       {} \"{}\" is being deployed, or was when the poll was ended",
            short(&under_way.commit),
            for_terminal(&under_way.subject)
        )?;
    }
    match (&ledger.outage, &ledger.last_check) {
        (Some(outage), _) => writeln!(
            text,
            "  checked   not since {}: {}",
            when(&outage.since, now),
            for_terminal(&outage.why)
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
    if let Some(hold) = &ledger.pause {
        writeln!(
            text,
            "  held      by {} since {}{}",
            for_terminal(&hold.by),
            when(&hold.since, now),
            reason(&hold.why)
        )?;
        writeln!(text, "            pullpray resume {}", app.name)?;
    }
    text.push_str(&not_live(app, ledger, now)?);
    if let Some(previous) = &ledger.previous {
        writeln!(
            text,
            "  before    {} \"{}\"; back to it: pullpray rollback {}",
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

/// What did not go live: refused, waiting, failed.
fn not_live(app: &App, ledger: &Ledger, now: DateTime<Utc>) -> Result<String> {
    let mut text = String::new();
    if let Some(refusal) = &ledger.refused {
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
    for failure in &ledger.failures {
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
                "            left alone until a new commit, other settings, or: pullpray retry {}",
                app.name
            )?,
            None => writeln!(text, "            next try with the next poll")?,
            Some(next) => writeln!(
                text,
                "            next try {}, or: pullpray retry {}",
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
    for deployment in &ledger.history {
        let outcome = match &deployment.outcome {
            Outcome::Live => "live".to_owned(),
            Outcome::RolledBack => "gone back to".to_owned(),
            Outcome::Failed(why) => format!("failed: {}", for_terminal(why)),
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
    format!("{} ({} ago)", local(stamp), provision::spoken(ago))
}
