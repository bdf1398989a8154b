//! `pullpray poll APP`: one poll; `--all`: one poll of each app.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::app::{App, AppName};
use crate::cli;
use crate::deploy;
use crate::error;
use crate::exit::Exit;
use crate::host::{Server, effective_uid};
use crate::layout;
use crate::report::{self, PollOutcome};
use crate::state::sha256;
use crate::store::marks;
use crate::text::for_terminal;
use crate::ui;

use super::{as_app_account, by_cron, load_installed};

pub(super) fn run(server: &Server, arguments: &cli::Poll) -> Result<Exit> {
    server.clock().sleep(Duration::from_secs(arguments.splay));
    match &arguments.app {
        // Somebody removed it meanwhile.
        Some(name) if arguments.splay > 0 && !is_installed(server, name)? => Ok(Exit::Success),
        Some(name) => report_once(server, name, by_cron(), one(server, name, arguments)),
        None => all(server, arguments),
    }
}

fn is_installed(server: &Server, name: &AppName) -> Result<bool> {
    Ok(server.stat(&layout::settings(name))?.is_some() || server.lost_apps()?.contains(name))
}

/// How many apps are polled at once. sshd refuses connections from the tenth unauthenticated one on (sshd_config(5),
/// `MaxStartups`).
const AT_ONCE: usize = 8;

/// Each app in a process of its own, as its own account: one that hangs does not hold up the others.
fn all(server: &Server, arguments: &cli::Poll) -> Result<Exit> {
    let names = super::named(server, &[])?;
    let (next, ended) = (AtomicUsize::new(0), Mutex::new(Ok(Exit::Success)));
    let poll_some = || {
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let now = arguments.now.then_some("--now");
            let verbose = arguments.verbose.then_some("--verbose");
            let words = ["poll", name.as_str()]
                .into_iter()
                .chain(now)
                .chain(verbose);
            let exit = server.run_self(words, None, None, ui::stdout(), ui::stderr());
            let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            match exit {
                Ok(exit) => {
                    if let Ok(worst) = *ended {
                        *ended = Ok(worst.worse(Exit::of_child(exit.code())));
                    }
                }
                Err(error) => *ended = Err(error),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(names.len()) {
            scope.spawn(poll_some);
        }
    });
    let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(ended?)
}

fn one(server: &Server, name: &AppName, arguments: &cli::Poll) -> Result<Exit> {
    let app = load_installed(server, name)?;
    if let Some(exit) = as_app_account(server, &app)? {
        return Ok(exit);
    }
    let name = &app.name;
    let progress = |text: &str| {
        if arguments.verbose {
            // There is nowhere left to report that this cannot be written.
            drop(writeln!(ui::stdout(), "{name}: {}", for_terminal(text)));
        }
    };
    let poll = deploy::Poll {
        server,
        app: &app,
        clock: server.clock(),
        remote: &deploy::remote(server, &app),
        now: arguments.now,
        by_cron: by_cron(),
        progress: &progress,
    };
    let result = marks::ensure_present(server, name).and_then(|()| deploy::poll(&poll));
    let ended = |outcome, exit, report: &str| {
        let ended = deploy::Ended {
            server,
            app: &app,
            outcome,
            exit,
            report,
        };
        if let Err(error) = ended.tell() {
            let error = for_terminal(&error::in_one_line(&error));
            drop(writeln!(ui::stderr(), "{name}: notices: {error}"));
        }
    };
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            ended(None, Exit::Failed, &deploy::of_error(&app, &error));
            return Err(error);
        }
    };
    let exit = print(&app, &outcome, arguments.verbose)?;
    let (whole, _) = report::poll::render(&app, &outcome, true);
    ended(Some(&outcome), exit, &whole);
    let (message, _) = report::poll::render(&app, &outcome, false);
    if let Err(error) = deploy::tell(server, &app, &outcome, &message) {
        let error = for_terminal(&error::in_one_line(&error));
        writeln!(ui::stderr(), "{name}: {error}")?;
    }
    Ok(exit)
}

/// An error of this server's, such as a broken settings file. A person sees it each time; cron mails it once, and once
/// that it is over, and so a timer's journal has it, remembered by a file that is not on a disk that may be missing or full.
fn report_once(
    server: &Server,
    name: &AppName,
    by_cron: bool,
    result: Result<Exit>,
) -> Result<Exit> {
    let note = layout::error_reported(name);
    let own = server.stat(&note).ok().flatten();
    let own = own.filter(|stat| stat.uid == effective_uid());
    let reported = own.and_then(|_| server.read_untrusted(&note).ok().flatten());
    match &result {
        Ok(_) if reported.is_some() => {
            server.remove_file(&note)?;
            writeln!(ui::stdout(), "{name}: polls work again")?;
        }
        Err(error) if by_cron => {
            // Numbers of processes, of bytes and times make no other error of it.
            let mut text = format!("{error:#}");
            text.retain(|c| !c.is_ascii_digit());
            let digest = sha256(text.as_bytes());
            if reported.is_some_and(|reported| reported == digest) {
                return Ok(error::exit(error));
            }
            // If this cannot be written either, each poll reports it.
            drop(server.write(&note, digest.as_bytes(), 0o600, None));
        }
        _ => {}
    }
    result
}

/// Prints the outcome, if there is something to report, and gives the exit code.
pub(super) fn print(app: &App, outcome: &PollOutcome, verbose: bool) -> Result<Exit> {
    let (text, exit) = report::poll::render(app, outcome, verbose);
    write!(ui::stdout(), "{text}")?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::usage;
    use crate::host::testing::TestServer;

    #[test]
    fn cron_reports_an_error_once_and_its_end_once() -> Result<()> {
        let site = TestServer::new()?;
        std::fs::create_dir_all(site.real("/run/lock"))?;
        let name: AppName = "todo".parse()?;
        let note = site.real(layout::error_reported(&name));
        let broken = |by_cron, words: &str| {
            let failed = Err(usage(words));
            report_once(&site.server, &name, by_cron, failed).map_err(|error| error.to_string())
        };
        let text = "line 7 of the settings is broken";
        assert_eq!(broken(true, text), Err(text.to_owned()));
        assert_eq!(
            broken(true, "line 8 of the settings is broken"),
            Ok(Exit::Usage)
        );
        assert_eq!(broken(false, text), Err(text.to_owned()), "a person");
        assert_eq!(broken(true, "full"), Err("full".to_owned()));
        for _ in 0..2 {
            report_once(&site.server, &name, true, Ok(Exit::Success))?;
            assert!(!note.exists());
        }
        assert_eq!(broken(true, "full"), Err("full".to_owned()));
        Ok(())
    }
}
