//! `pullpray status`: what is live, what happened, what comes next.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::app::AppName;
use crate::cli;
use crate::error;
use crate::exit::Exit;
use crate::host::Server;
use crate::provision;
use crate::report::metrics;
use crate::report::status::{self, Status};
use crate::state::history::Outcome;
use crate::state::ledger::Ledger;
use crate::store::marks;
use crate::text::for_terminal;
use crate::ui;

use super::{hint_lines, load, named};

/// The version of the JSON form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Report {
    schema: u32,
    apps: Vec<AppStatus>,
}

#[derive(Serialize)]
struct AppStatus {
    app: String,
    free_bytes: u64,
    /// Why nothing more is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    /// Whether somebody has to act.
    needs_attention: bool,
    #[serde(flatten)]
    ledger: Option<serde_json::Value>,
}

/// What is deployed, from where, and where it listens.
#[derive(Serialize)]
struct Source {
    repo: String,
    track: String,
    address: String,
}

/// The ledger with units in the names, and with one type for an outcome: its name, with stage and reason beside it.
fn shown(ledger: &Ledger) -> Result<serde_json::Value> {
    let mut shown = serde_json::to_value(ledger)?;
    let past = shown["history"].as_array_mut();
    for (row, deployment) in past
        .into_iter()
        .flatten()
        .zip(ledger.history().deployments())
    {
        let Some(row) = row.as_object_mut() else {
            continue;
        };
        row.remove("took");
        row.insert("took_seconds".to_owned(), deployment.took.seconds().into());
        row.remove("parts");
        let parts = deployment.parts.iter();
        let parts: serde_json::Map<_, _> = parts
            .map(|(name, took)| (name.name().to_owned(), took.seconds().into()))
            .collect();
        row.insert("part_seconds".to_owned(), parts.into());
        if let Some(serde_json::Value::Object(outcome)) = row.remove("outcome") {
            row.insert("outcome".to_owned(), "failed".into());
            row.extend(outcome["failed"].as_object().cloned().unwrap_or_default());
        } else {
            let live = deployment.outcome == Outcome::Live;
            let outcome = if live { "live" } else { "rolled_back" };
            row.insert("outcome".to_owned(), outcome.into());
        }
    }
    Ok(shown)
}

fn read(server: &Server, name: &AppName) -> Result<Status> {
    let app = load(server, name)?;
    marks::ensure_present(server, name)?;
    let ledger = Ledger::load(server, name)?;
    let free = server
        .free_space(app.project_dir.as_path())
        .map_or(0, |(bytes, _)| bytes);
    let overdue = provision::overdue(server, &app, &ledger, server.clock())?;
    let mut unfinished = true;
    for scheduler in app.schedulers() {
        unfinished &= server.stat(&scheduler)?.is_none();
    }
    Ok(Status {
        processes: provision::process_states(server, &app)?,
        settings_are_newer: provision::settings_are_newer(server, &app)?,
        environment_is_newer: provision::environment_is_newer(server, &app)?,
        notices: provision::nobody_hears(&app).or_else(|| provision::undelivered(server, &app)),
        unfinished,
        app,
        ledger,
        free,
        overdue,
    })
}

/// Prints the metrics of all apps.
pub(super) fn metrics(server: &Server) -> Result<Exit> {
    let mut exit = Exit::Success;
    let mut apps = Vec::new();
    for name in named(server, &[])? {
        let known = read(server, &name);
        if let Err(error) = &known {
            exit = Exit::Failed;
            writeln!(ui::stderr(), "{name}: {}", error::in_one_line(error))?;
        }
        apps.push((name, known.ok()));
    }
    write!(ui::stdout(), "{}", metrics::render(&apps))?;
    Ok(exit)
}

pub(super) fn run(server: &Server, arguments: &cli::Status) -> Result<Exit> {
    // An error in one app does not hide the others.
    let names = named(server, &arguments.apps)?;
    if let [name] = names.as_slice() {
        read(server, name)?;
    }
    let apps: Vec<(AppName, Result<Status>)> = names
        .into_iter()
        .map(|name| {
            let known = read(server, &name);
            (name, known)
        })
        .collect();
    let bad = |status: &Status| arguments.check && status::needs_attention(status);
    let well = |known: &Result<Status>| known.as_ref().is_ok_and(|status| !bad(status));
    let exit = if apps.iter().all(|(_, known)| well(known)) {
        Exit::Success
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
                    Err(error) => (Some(error::in_one_line(&error)), None),
                };
                Ok(AppStatus {
                    app: name.to_string(),
                    free_bytes: known.as_ref().map_or(0, |status| status.free),
                    error,
                    source: known.as_ref().map(|Status { app, .. }| Source {
                        repo: app.repo.to_string(),
                        track: app.track.to_string(),
                        address: app.bind.to_string(),
                    }),
                    needs_attention: known.as_ref().is_none_or(status::needs_attention),
                    ledger: known.map(|status| shown(&status.ledger)).transpose()?,
                })
            })
            .collect::<Result<_>>()?;
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
    for (name, known) in &apps {
        let text = match known {
            Ok(status) => status::render(status, server.clock().now(), arguments.history)?,
            Err(error) => format!(
                "{name}: {}\n{}",
                for_terminal(&format!("{error:#}")),
                hint_lines(error, None)
            ),
        };
        write!(out, "{text}")?;
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::TestServer;
    use crate::state::history::{Deployment, Stage};
    use crate::state::ledger::Release;
    use crate::state::remote::{RemoteErrorKind, RemoteFailure};

    #[test]
    fn check_exits_with_a_failure_if_somebody_has_to_act() -> Result<()> {
        let test = TestServer::new()?;
        let settings = "format = 1\nrepo = \"git@github.com:acme/todo.git\"\nbranch = \"main\"\nhealth_host = \"todo.example.org\"\n";
        test.put("/etc/pullpray/todo.toml", settings, 0o644)?;
        test.put("/etc/cron.d/pullpray-todo", "", 0o644)?;
        let exit = |check| {
            run(
                &test.server,
                &cli::Status {
                    apps: vec!["todo".parse()?],
                    check,
                    history: false,
                    json: false,
                },
            )
        };
        let polled = |failed: Option<&str>| {
            let mut ledger = Ledger::default();
            test.answered(&"todo".parse()?, true, Some("2026-11-23T10:00:00Z"))?;
            if let Some(kind) = failed {
                let why = RemoteFailure::new(RemoteErrorKind::Disconnected, kind);
                for _ in 0..9 {
                    let at = "2026-11-23T10:00:00Z".to_owned();
                    ledger.unreachable(at, true, why.clone(), 3);
                }
            }
            test.put(
                crate::layout::ledger(&"todo".parse()?),
                &serde_json::to_string(&ledger)?,
                0o640,
            )
        };
        polled(None)?;
        assert_eq!((exit(true)?, exit(false)?), (Exit::Success, Exit::Success));
        polled(Some("Connection refused"))?;
        assert_eq!((exit(true)?, exit(false)?), (Exit::Failed, Exit::Success));
        polled(None)?;
        std::fs::remove_file(test.real("/etc/cron.d/pullpray-todo"))?;
        assert_eq!((exit(true)?, exit(false)?), (Exit::Failed, Exit::Success));
        Ok(())
    }

    #[test]
    fn an_outcome_has_one_type_and_a_duration_its_unit() -> Result<()> {
        let release = Release {
            id: "1".into(),
            commit: "a".into(),
            subject: String::new(),
            since: String::new(),
            venv: String::new(),
        };
        let mut ledger = Ledger::default();
        let why = "it failed".to_owned();
        let stage = Stage::Script;
        for outcome in [
            Outcome::Live,
            Outcome::Failed { stage, why },
            Outcome::RolledBack,
        ] {
            let ended = Deployment::of(&release, String::new(), 27.8, outcome);
            ledger.went_live(release.clone(), ended);
        }
        let json = shown(&ledger)?;
        for (row, outcome) in ["live", "failed", "rolled_back"].into_iter().enumerate() {
            let row = &json["history"][row];
            assert_eq!(
                (&row["outcome"], &row["took_seconds"]),
                (&outcome.into(), &27.8.into())
            );
            assert!(row.get("took").is_none());
        }
        assert_eq!(json["history"][1]["stage"], "script");
        assert_eq!(json["history"][1]["why"], "it failed");
        Ok(())
    }
}
