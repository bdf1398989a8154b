//! `pullpray poll APP`: one poll, and one line about it if there is something to say; with `--all`,
//! one poll of each app.

use std::io::Write;

use anyhow::Result;

use crate::app::{App, AppName};
use crate::cli;
use crate::decide::{self, Verdict};
use crate::deploy;
use crate::exit::Exit;
use crate::host::{Clock, Command, Server, effective_uid};
use crate::layout;
use crate::report::{FailureReport, PollOutcome, Recovery};
use crate::state::ledger::{Release, RemoteOutage};
use crate::state::refusal::{Refusal, Why};
use crate::store::marks;
use crate::text::for_terminal;
use crate::text::short;
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
    let mut worst = Exit::Done;
    for name in super::named(server, &[])? {
        let ended = Command::new("/proc/self/exe")
            .arg("poll")
            .args(arguments.now.then_some("--now"))
            .args(arguments.verbose.then_some("--verbose"))
            .arg(name.as_str())
            .relay(ui::stdout(), ui::stderr())?;
        worst = worse(worst, Exit::of(ended.code()));
    }
    Ok(worst)
}

/// The worse of two ends, by what is lost until somebody does something: the app itself; all news
/// of it; one release; one question that the next poll asks again.
fn worse(one: Exit, other: Exit) -> Exit {
    let badness = |exit| match exit {
        Exit::Done => 0,
        Exit::Waiting => 1,
        Exit::Failed => 2,
        Exit::Usage => 3,
        Exit::NotBroughtBack => 4,
        Exit::Interrupted => 5,
    };
    if badness(other) > badness(one) {
        other
    } else {
        one
    }
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
    let clock = Clock::system();
    let tell = |text: &str| {
        if arguments.verbose {
            // Nobody is left to tell if even this cannot be written.
            drop(writeln!(ui::stdout(), "{name}: {}", for_terminal(text)));
        }
    };
    let told = deploy::poll(&deploy::Poll {
        server,
        app: &app,
        clock: &clock,
        now: arguments.now,
        by_cron: by_cron(),
        tell: &tell,
    })?;
    tell_told(&app, told, arguments.verbose)
}

/// Whether the app's data is there. That it is not, people are told each time, and cron's mails once: that is
/// noted where it is not on the disk that may be away.
fn data_is_there(server: &Server, name: &AppName) -> Result<bool> {
    let note = layout::told(name);
    let told = server.stat(&note)?;
    let told = told.is_some_and(|stat| stat.uid == effective_uid());
    let there = marks::there(server, name);
    if there.is_ok() && told {
        server.remove_file(&note)?;
        writeln!(ui::stdout(), "{name}: its data is there again")?;
    }
    if there.is_err() && by_cron() {
        if told {
            return Ok(false);
        }
        // Where even this cannot be written, it is told each time.
        drop(server.write(&note, b"", 0o600, None));
    }
    there.map(|()| true)
}

/// One line, if there is something to say, and the exit code.
pub(super) fn tell_told(app: &App, told: PollOutcome, verbose: bool) -> Result<Exit> {
    let name = &app.name;
    let tell = |text: &str| {
        if verbose {
            drop(writeln!(ui::stdout(), "{name}: {}", for_terminal(text)));
        }
    };
    let mut out = ui::stdout();
    Ok(match told {
        PollOutcome::Recovered(straightened, then) => {
            tell_straightened(app, &straightened, *then, verbose)?
        }
        PollOutcome::Redeployed(found, first, again) => {
            let first = tell_told(app, *first, verbose)?;
            writeln!(
                out,
                "{name}: {}; its commit is deployed again",
                for_terminal(&found)
            )?;
            match (tell_told(app, *again, verbose)?, first) {
                (Exit::Done, Exit::NotBroughtBack) => Exit::Failed,
                (Exit::Done, first) => first,
                (again, _) => again,
            }
        }
        PollOutcome::StateRebuilt(what, then) => {
            writeln!(out, "{name}: {}", for_terminal(&what))?;
            tell_told(app, *then, verbose)?
        }
        PollOutcome::Skipped(Verdict::UpToDate) => {
            tell("nothing new");
            Exit::Done
        }
        PollOutcome::Busy => {
            tell("another poll is at work");
            Exit::Done
        }
        PollOutcome::Skipped(Verdict::Paused(hold)) => {
            tell(&format!(
                "held by {} since {}: {}",
                hold.by, hold.since, hold.why
            ));
            Exit::Done
        }
        PollOutcome::Skipped(Verdict::Waiting(failure)) => {
            tell(&format!(
                "{} failed {}, last {}: {}",
                short(&failure.commit),
                failure.tries_in_words(),
                failure.last,
                failure.why
            ));
            Exit::Done
        }
        PollOutcome::Skipped(Verdict::Refused {
            refusal,
            report: aloud,
        }) => {
            if aloud || verbose {
                write!(out, "{}", refused(app, &refusal))?;
            }
            if aloud { Exit::Failed } else { Exit::Done }
        }
        PollOutcome::Deployed {
            from,
            to,
            took,
            ended_outage,
            note,
        } => {
            if let Some(outage) = ended_outage {
                write!(out, "{}", answers_again(name.as_str(), &outage))?;
            }
            let text = deployed(name.as_str(), from.as_ref(), &to, took, note.as_deref());
            write!(out, "{text}")?;
            Exit::Done
        }
        PollOutcome::Failed(report) => {
            write!(out, "{}", failed(name.as_str(), &report))?;
            if report.not_brought_back.is_some() {
                Exit::NotBroughtBack
            } else {
                Exit::Failed
            }
        }
        PollOutcome::Unreachable {
            outage,
            report: aloud,
        } => {
            if aloud || verbose {
                write!(out, "{}", could_not_ask(name.as_str(), &outage))?;
            }
            Exit::Waiting
        }
    })
}

/// What was put right, and how the poll went on.
fn tell_straightened(
    app: &App,
    straightened: &Recovery,
    then: PollOutcome,
    verbose: bool,
) -> Result<Exit> {
    let name = &app.name;
    let live = named(&straightened.live);
    let found = for_terminal(&straightened.found);
    let mut text = match &straightened.unhealthy {
        None => format!("{name}: {found}; {live} is live again\n"),
        Some(why) => {
            let why = for_terminal(why);
            format!("{name}: {found}; {live} was put back and is unhealthy: {why}\n")
        }
    };
    let mut exit = match straightened.unhealthy {
        None => Exit::Done,
        Some(_) => Exit::NotBroughtBack,
    };
    // Else nobody would ever be told: each of its polls was killed before it could say anything.
    if let PollOutcome::Skipped(Verdict::Waiting(failure)) = &then
        && failure.tries >= app.limits.attempts
    {
        text.push_str(&format!("  next  {}\n", given_up(failure.tries)));
        if exit == Exit::Done {
            exit = Exit::Failed;
        }
    }
    write!(ui::stdout(), "{text}")?;
    Ok(match tell_told(app, then, verbose)? {
        Exit::Done => exit,
        other if exit == Exit::Done => other,
        _ => exit,
    })
}

/// The end of a outage that was told.
fn answers_again(name: &str, outage: &RemoteOutage) -> String {
    format!(
        "{name}: the git host answers again, after {} polls without\n",
        outage.polls
    )
}

/// A release that went live.
fn deployed(
    name: &str,
    from: Option<&Release>,
    to: &Release,
    took: f64,
    note: Option<&str>,
) -> String {
    let change = match from {
        Some(from) if from.commit == to.commit => "again".to_owned(),
        from => format!(
            "{} →",
            from.map_or("first release", |from| short(&from.commit))
        ),
    };
    let mut text = format!("{name}: {change} {} live after {took:.1} s\n", named(to));
    if let Some(note) = note {
        text.push_str(&format!("  note  {}\n", for_terminal(note)));
    }
    text
}

fn named(release: &Release) -> String {
    format!(
        "{} \"{}\"",
        short(&release.commit),
        for_terminal(&release.subject)
    )
}

/// What is new and not let through: told once, so it says what mends it.
fn refused(app: &App, refusal: &Refusal) -> String {
    let (name, commit) = (&app.name, short(&refusal.commit));
    let why = for_terminal(&refusal.why.to_string());
    if refusal.why.is_transient() {
        return format!(
            "{name}: {commit} is new and waits: {why}\n  now   sudo pullpray poll {name} --now\n"
        );
    }
    let mut text = format!("{name}: {commit} is new and was not deployed: {why}\n");
    match &refusal.why {
        Why::NotDescendant { .. } => text.push_str(&format!(
            "  hint: if that was meant, set allow_rewind = true in {}\n",
            layout::settings(name).display()
        )),
        Why::NotTrusted { .. } => {
            if let Some(list) = &app.limits.signed_by {
                text.push_str(&format!(
                    "  hint: {list} lists who may sign; see ALLOWED SIGNERS in ssh-keygen(1)\n"
                ));
            }
        }
        Why::NoRoom { dir, .. } => text.push_str(&format!(
            "  hint: make room; what takes it: df -h {0}; df -i {0}; sudo du -xsh {0}/*\n",
            dir.display()
        )),
        Why::ReadOnly { dir } => text.push_str(&format!(
            "  hint: what it is, and why (a kernel that met errors on the disk says so): findmnt --target {}; sudo dmesg --level err\n",
            dir.display()
        )),
        Why::Unfit { .. } => text.push_str(&format!(
            "  hint: max_file and max_size stand in {}; to look at it once more: sudo pullpray poll {name} --now\n",
            layout::settings(name).display()
        )),
        Why::OutsideWindow { .. } => {}
    }
    text.push_str("  next  this is told once; polls look on, and deploy what is let through\n");
    text
}

fn failed(name: &str, report: &FailureReport) -> String {
    let live = match (&report.live, &report.not_brought_back) {
        (Some(live), None) => format!("{} is still live", short(&live.commit)),
        (Some(live), Some(why)) => format!(
            "AND {} COULD NOT BE BROUGHT BACK: {}",
            short(&live.commit),
            for_terminal(why)
        ),
        (None, _) => "nothing is live yet".to_owned(),
    };
    let mut text = format!(
        "{name}: deploying {} failed: {}; {live}\n",
        named(&report.release),
        for_terminal(&report.why)
    );
    for line in &report.last_lines {
        text.push_str("  | ");
        text.push_str(&for_terminal(line));
        text.push('\n');
    }
    if let Some(migrations) = &report.migrations {
        text.push_str(&format!("  note  {}\n", for_terminal(migrations)));
    }
    text.push_str(&format!("  log   {}\n", report.log.display()));
    let next = if report.tries >= report.attempts {
        given_up(report.tries)
    } else {
        format!(
            "try {} of {} in {} minutes, or at the next commit",
            report.tries + 1,
            report.attempts,
            decide::backoff(report.tries).num_minutes()
        )
    };
    text.push_str(&format!("  next  {next}\n"));
    text
}

fn given_up(tries: u32) -> String {
    format!("given up after {tries} tries, until a new commit or a change of settings")
}

fn could_not_ask(name: &str, outage: &RemoteOutage) -> String {
    let polls = outage.polls_in_words();
    let why = for_terminal(outage.why.trim_end_matches('.'));
    let mut text = format!("{name}: {why}, {polls}, since {}\n", outage.since);
    if let Some(hint) = remedy(name, &outage.why) {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}

/// What mends it that the git host could not be asked, where that is known.
fn remedy(name: &str, why: &str) -> Option<String> {
    if why.contains("Host key verification failed") {
        return Some(format!(
            "the git host shows another key than the pinned one: sudo pullpray doctor {name} shows both, and the command that accepts the new one"
        ));
    }
    why.contains("Permission denied").then(|| {
        format!(
            "does the git host still know the key? pullpray key {name} shows it. Does the agent hold it? sudo systemctl restart ssh-agent.{name}.service"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_that_is_down_is_the_worst_and_a_silent_host_the_least() {
        use Exit::{Done, Failed, NotBroughtBack, Usage, Waiting};
        let order = [Done, Waiting, Failed, Usage, NotBroughtBack];
        for (at, exit) in order.into_iter().enumerate() {
            for better in &order[..at] {
                assert_eq!(worse(exit, *better), exit);
                assert_eq!(worse(*better, exit), exit);
            }
        }
    }
}
