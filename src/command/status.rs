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
use crate::report::status::{self, Status};
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
    #[serde(flatten)]
    ledger: Option<Ledger>,
}

fn read(server: &Server, name: &AppName) -> Result<Status> {
    let app = load(server, name)?;
    marks::ensure_present(server, name)?;
    let ledger = Ledger::load(server, name)?;
    let free = server
        .free_space(app.project_dir.as_path())
        .map_or(0, |(bytes, _)| bytes);
    let overdue = provision::overdue(server, &app, &ledger, server.clock())?;
    Ok(Status {
        app,
        ledger,
        free,
        overdue,
    })
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
    let exit = if apps.iter().all(|(_, known)| known.is_ok()) {
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
                AppStatus {
                    app: name.to_string(),
                    free_bytes: known.as_ref().map_or(0, |status| status.free),
                    error,
                    ledger: known.map(|status| status.ledger),
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
