//! `pullpray poll APP`: one poll; `--all`: one poll of each app.

use std::io::Write;

use anyhow::Result;

use crate::app::{App, AppName};
use crate::cli;
use crate::deploy;
use crate::exit::Exit;
use crate::host::{Server, effective_uid};
use crate::layout;
use crate::report::{self, PollOutcome};
use crate::store::marks;
use crate::text::for_terminal;
use crate::ui;

use super::{as_app_account, by_cron, load};

pub(super) fn run(server: &Server, arguments: &cli::Poll) -> Result<Exit> {
    match &arguments.app {
        Some(name) => one(server, name, arguments),
        None => all(server, arguments),
    }
}

/// Each app in a process of its own, as its own account.
fn all(server: &Server, arguments: &cli::Poll) -> Result<Exit> {
    let mut worst = Exit::Success;
    for name in super::named(server, &[])? {
        let now = arguments.now.then_some("--now");
        let verbose = arguments.verbose.then_some("--verbose");
        let words = ["poll", name.as_str()]
            .into_iter()
            .chain(now)
            .chain(verbose);
        let ended = server.run_self(words, None, None, ui::stdout(), ui::stderr())?;
        worst = worst.worse(Exit::of_child(ended.code()));
    }
    Ok(worst)
}

fn one(server: &Server, name: &AppName, arguments: &cli::Poll) -> Result<Exit> {
    let app = load(server, name)?;
    if let Some(exit) = as_app_account(server, &app)? {
        return Ok(exit);
    }
    let name = &app.name;
    if !data_is_there(server, name)? {
        return Ok(Exit::Failed);
    }
    let progress = |text: &str| {
        if arguments.verbose {
            // There is nowhere left to report that this cannot be written.
            drop(writeln!(ui::stdout(), "{name}: {}", for_terminal(text)));
        }
    };
    let outcome = deploy::poll(&deploy::Poll {
        server,
        app: &app,
        clock: server.clock(),
        remote: &deploy::remote(server, &app),
        now: arguments.now,
        by_cron: by_cron(),
        progress: &progress,
    })?;
    print(&app, &outcome, arguments.verbose)
}

/// Whether the app's data is there. A person sees the error each time; cron mails it once, remembered by a file
/// that is not on the disk that may be missing.
fn data_is_there(server: &Server, name: &AppName) -> Result<bool> {
    let note = layout::outage_reported(name);
    let reported = server.stat(&note)?;
    let reported = reported.is_some_and(|stat| stat.uid == effective_uid());
    let there = marks::ensure_present(server, name);
    if there.is_ok() && reported {
        server.remove_file(&note)?;
        writeln!(ui::stdout(), "{name}: its data is available again")?;
    }
    if there.is_err() && by_cron() {
        if reported {
            return Ok(false);
        }
        // If this cannot be written either, each poll reports it.
        drop(server.write(&note, b"", 0o600, None));
    }
    there.map(|()| true)
}

/// Prints the outcome, if there is something to report, and gives the exit code.
pub(super) fn print(app: &App, outcome: &PollOutcome, verbose: bool) -> Result<Exit> {
    let (text, exit) = report::poll::render(app, outcome, verbose);
    write!(ui::stdout(), "{text}")?;
    Ok(exit)
}
