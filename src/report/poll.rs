//! The outcome of a poll, and the words for it: one line if there is something to report, and what follows from it.

use std::path::PathBuf;

use crate::app::{App, AppName};
use crate::decide::{Verdict, backoff};
use crate::exit::Exit;
use crate::layout;
use crate::state::ledger::{Release, RemoteOutage};
use crate::state::refusal::{Refusal, Why};
use crate::text::{for_terminal, short};

use super::remote;

/// How a poll ended.
#[derive(Debug)]
pub enum PollOutcome {
    /// Nothing was deployed, as intended.
    Skipped(Verdict),
    /// Another poll holds the lock, or this one yielded to an operator's command.
    Busy,
    /// A new release is live.
    Deployed {
        /// The previous release.
        from: Option<Release>,
        /// The new release.
        to: Release,
        /// Seconds from the git host's answer to the ledger's entry.
        took: f64,
        /// A remark, for example that history was rewritten.
        note: Option<String>,
    },
    /// The git host answers again after an outage that was reported; then the poll went on.
    Reachable(RemoteOutage, Box<PollOutcome>),
    /// The server differed from the ledger and was restored; then the poll went on.
    Recovered(Recovery, Box<PollOutcome>),
    /// The live release was lost or down: what was found, the poll's own outcome, and that of deploying the commit again.
    Redeployed(String, Box<PollOutcome>, Box<PollOutcome>),
    /// The live release is down, and the next attempt to deploy it again is not due; beside the poll's own outcome.
    StillDown(Box<PollOutcome>),
    /// Damaged state was moved aside and rebuilt: what was done; then the poll went on.
    StateRebuilt(String, Box<PollOutcome>),
    /// Processes that run by the clock failed since the last poll; beside the poll's own outcome.
    TimersFailed(Vec<TimerFailure>, Box<PollOutcome>),
    /// The deployment failed.
    Failed(Box<FailureReport>),
    /// The git host could not be reached.
    Unreachable {
        /// Since when, how often, and why.
        outage: RemoteOutage,
        /// Whether to report it: once per outage, after some polls in a row.
        report: bool,
    },
}

/// A process that runs by the clock and failed.
#[derive(Debug)]
pub struct TimerFailure {
    /// Its name in the Procfile.
    pub process: String,
    /// Its unit.
    pub unit: String,
    /// systemd's result, and the exit status.
    pub how: String,
    /// What it wrote last.
    pub last_lines: Vec<String>,
}

/// A failed deployment, as reported.
#[derive(Debug)]
pub struct FailureReport {
    /// The release that failed.
    pub release: Release,
    /// The stage that failed, and why, in one line.
    pub why: String,
    /// The migrations it applied, if any; they are not reverted.
    pub migrations: Option<String>,
    /// The lines of its output that tell most.
    pub last_lines: Vec<String>,
    /// The ways out of what its output says.
    pub hints: Vec<&'static str>,
    /// The log's path.
    pub log: PathBuf,
    /// The live release, if there is one.
    pub live: Option<Release>,
    /// Why the previous release could not be restored, if it could not.
    pub restore_error: Option<String>,
    /// The number of this attempt, from 1.
    pub tries: u32,
    /// How many attempts this commit gets.
    pub attempts: u32,
}

/// What a poll restored before it went on.
#[derive(Debug)]
pub struct Recovery {
    /// What was wrong.
    pub found: String,
    /// The restored release.
    pub live: Release,
    /// Why the restored release is unhealthy, if it is.
    pub unhealthy: Option<String>,
}

/// What a poll prints, and its exit code. Empty if there is nothing to report; `verbose` reports everything.
#[must_use]
pub fn render(app: &App, outcome: &PollOutcome, verbose: bool) -> (String, Exit) {
    let name = &app.name;
    let if_verbose = |text: String| {
        if verbose {
            format!("{name}: {}\n", for_terminal(&text))
        } else {
            String::new()
        }
    };
    match outcome {
        PollOutcome::Skipped(verdict) => skipped(app, verdict, verbose),
        PollOutcome::Busy => (
            if_verbose("another poll is running".to_owned()),
            Exit::Success,
        ),
        PollOutcome::Reachable(outage, then) => {
            let (text, exit) = render(app, then, verbose);
            let polls = outage.polls_in_words();
            let again = format!("{name}: the git host is reachable again, after {polls}\n");
            (again + &text, exit)
        }
        PollOutcome::Recovered(recovery, then) => recovered(app, recovery, then, verbose),
        PollOutcome::Redeployed(found, first, second) => {
            let (mut text, first) = render(app, first, verbose);
            text.push_str(&format!(
                "{name}: {}; deploying its commit again\n",
                for_terminal(found)
            ));
            let (second_text, second) = render(app, second, verbose);
            text.push_str(&second_text);
            let exit = match (second, first) {
                (Exit::Success, Exit::RestoreFailed) => Exit::Failed,
                (Exit::Success, first) => first,
                (second, _) => second,
            };
            (text, exit)
        }
        PollOutcome::TimersFailed(failures, then) => {
            let (mut text, exit) = render(app, then, verbose);
            for failure in failures {
                let TimerFailure {
                    process, unit, how, ..
                } = failure;
                text.push_str(&format!(
                    "{name}: {process} failed ({how}), which {unit} runs by the clock\n"
                ));
                for line in &failure.last_lines {
                    text.push_str(&format!("  | {line}\n"));
                }
                text.push_str(&format!(
                    "  log   sudo pullpray logs {name} --process {process}\n"
                ));
            }
            let failed = matches!(exit, Exit::Success);
            (text, if failed { Exit::Failed } else { exit })
        }
        PollOutcome::StillDown(then) => {
            let (text, exit) = render(app, then, verbose);
            (text + &if_verbose("it is still down".to_owned()), exit)
        }
        PollOutcome::StateRebuilt(what, then) => {
            let (text, exit) = render(app, then, verbose);
            (format!("{name}: {}\n{text}", for_terminal(what)), exit)
        }
        PollOutcome::Deployed {
            from,
            to,
            took,
            note,
        } => {
            let change = match from {
                Some(from) if from.commit == to.commit => "again".to_owned(),
                Some(from) => format!("{} →", short(&from.commit)),
                None => "first release →".to_owned(),
            };
            let mut text = format!("{name}: {change} {} live after {took:.1} s\n", title(to));
            push_note(&mut text, note.as_deref());
            (text, Exit::Success)
        }
        PollOutcome::Failed(report) => failed(app, report),
        PollOutcome::Unreachable { outage, report } => {
            let text = if *report || verbose {
                unreachable(app, outage)
            } else {
                String::new()
            };
            (text, Exit::Unreachable)
        }
    }
}

fn skipped(app: &App, verdict: &Verdict, verbose: bool) -> (String, Exit) {
    let name = &app.name;
    let text = match verdict {
        Verdict::Refused { refusal, report } => {
            let text = if *report || verbose {
                refused(app, refusal)
            } else {
                String::new()
            };
            return (text, if *report { Exit::Failed } else { Exit::Success });
        }
        _ if !verbose => return (String::new(), Exit::Success),
        Verdict::UpToDate => "up to date".to_owned(),
        Verdict::Paused(pause) => format!(
            "paused by {} since {}: {}",
            pause.by, pause.since, pause.why
        ),
        Verdict::Waiting(failure) => format!(
            "{} failed {}, last {}: {}",
            short(&failure.commit),
            failure.tries_in_words(),
            failure.last,
            failure.why
        ),
    };
    (format!("{name}: {}\n", for_terminal(&text)), Exit::Success)
}

/// What was recovered, and how the poll went on.
fn recovered(app: &App, recovery: &Recovery, then: &PollOutcome, verbose: bool) -> (String, Exit) {
    let name = &app.name;
    let (live, found) = (title(&recovery.live), for_terminal(&recovery.found));
    let (mut text, mut exit) = match &recovery.unhealthy {
        None => (format!("{name}: {found}; restored {live}\n"), Exit::Success),
        Some(why) => (
            format!(
                "{name}: {found}; restored {live}, which is unhealthy: {}\n",
                for_terminal(why)
            ),
            Exit::RestoreFailed,
        ),
    };
    // Nothing else would report it: each of its polls was killed before it could print anything.
    if let PollOutcome::Skipped(Verdict::Waiting(failure)) = then
        && failure.is_final(app.limits.attempts)
    {
        text.push_str(&format!("  next  {}\n", giving_up(name, failure.tries)));
        exit = Exit::Failed.worse(exit);
    }
    let (more, then) = render(app, then, verbose);
    text.push_str(&more);
    (text, if exit == Exit::Success { then } else { exit })
}

/// `14ece25 "Fix the cart"`, safe for a terminal.
#[must_use]
pub fn title(release: &Release) -> String {
    format!(
        "{} \"{}\"",
        short(&release.commit),
        for_terminal(&release.subject)
    )
}

fn push_note(text: &mut String, note: Option<&str>) {
    if let Some(note) = note {
        text.push_str(&format!("  note  {}\n", for_terminal(note)));
    }
}

/// A refused commit is reported once, so the report says what lets it through.
fn refused(app: &App, refusal: &Refusal) -> String {
    let (name, commit) = (&app.name, short(&refusal.commit));
    let why = for_terminal(&refusal.why.to_string());
    if refusal.why == Why::OtherPaths {
        return format!("{name}: {commit} is not deployed: {why}\n");
    }
    if refusal.why.is_transient() {
        return format!("{name}: {commit} waits: {why}\n  now   sudo pullpray poll {name} --now\n");
    }
    let settings = layout::settings(name);
    let settings = settings.display();
    let hint = match &refusal.why {
        Why::NotDescendant { .. } => Some(format!(
            "if that was intended, set allow_rewind = true in {settings}"
        )),
        Why::NotTrusted { .. } => {
            let files = app.limits.signed_by.iter().map(ToString::to_string);
            let files = files.collect::<Vec<_>>().join(", ");
            Some(format!(
                "who may sign: {files}; see ALLOWED SIGNERS in ssh-keygen(1)"
            ))
        }
        Why::NoRoom { dir, .. } => Some(format!(
            "free some space; what uses it: df -h {0}; df -i {0}; sudo du -xsh {0}/*",
            dir.display()
        )),
        Why::ReadOnly { dir } => Some(format!(
            "which file system that is, and why (the kernel reports disk errors): findmnt --target {}; sudo dmesg --level err",
            dir.display()
        )),
        Why::SudoRefuses { .. } => Some(format!(
            "the server refuses, whatever the commit: sudo pullpray doctor {name}"
        )),
        Why::Unfit { .. } => Some(format!(
            "max_file, max_size and accept_filters are set in {settings}; to try again: sudo pullpray poll {name} --now"
        )),
        Why::Dependencies { fix, .. } => Some(for_terminal(fix)),
        Why::OutsideWindow { .. } | Why::OtherPaths => None,
    };
    let hint = hint.map_or_else(String::new, |hint| format!("  hint: {hint}\n"));
    format!("{name}: refused {commit}: {why}\n{hint}  next  reported once; polling continues\n")
}

fn failed(app: &App, report: &FailureReport) -> (String, Exit) {
    let name = &app.name;
    let live = match (&report.live, &report.restore_error) {
        (Some(live), None) => format!("{} is still live", short(&live.commit)),
        (Some(live), Some(why)) => format!(
            "AND {} COULD NOT BE RESTORED: {}",
            short(&live.commit),
            for_terminal(why)
        ),
        (None, _) => "nothing is live yet".to_owned(),
    };
    let mut text = format!(
        "{name}: deployment of {} failed: {}; {live}\n",
        title(&report.release),
        for_terminal(&report.why)
    );
    for line in &report.last_lines {
        text.push_str(&format!("  | {}\n", for_terminal(line)));
    }
    for hint in &report.hints {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    push_note(&mut text, report.migrations.as_deref());
    text.push_str(&format!("  log   {}\n", report.log.display()));
    let next = if report.tries >= report.attempts {
        giving_up(name, report.tries)
    } else {
        format!(
            "attempt {} of {} in {} minutes, or at the next commit",
            report.tries + 1,
            report.attempts,
            backoff(report.tries).num_minutes()
        )
    };
    text.push_str(&format!("  next  {next}\n"));
    let exit = match report.restore_error {
        Some(_) => Exit::RestoreFailed,
        None => Exit::Failed,
    };
    (text, exit)
}

fn giving_up(app: &AppName, tries: u32) -> String {
    let attempts = if tries == 1 { "attempt" } else { "attempts" };
    format!(
        "giving up after {tries} {attempts}; will try again on a new commit or a settings change, or: sudo pullpray retry {app}"
    )
}

fn unreachable(app: &App, outage: &RemoteOutage) -> String {
    format!(
        "{}: {}, {}, since {}\n  hint: {}\n",
        app.name,
        for_terminal(&remote::why(app, &outage.failure)),
        outage.polls_in_words(),
        outage.since,
        for_terminal(&remote::hint(app, outage.failure.kind))
    )
}
