//! A poll: ask, fetch, deploy, check, take back.
//!
//! Each stage consumes what the one before returned, so none can be skipped. Nothing before the
//! flip touches what is live; everything after it can be taken back. The ledger is written before
//! the flip and after it, so a poll that was killed at any instant is followed by one that comes
//! right: what was under way is begun anew, from the release that was last known to be good.

mod build;
pub mod control;
mod dependencies;
mod fetch;
mod health;
mod inspect;
mod keep_live;
mod migrations;
mod prune;
mod rebuild_state;
mod recover;
mod service;
mod space;
mod switch;
mod trial;
mod writes;

pub use inspect::{Inspection, inspect};

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::app::{AbsPath, App, Limits, Track};
use crate::git::{self, Remote, RemoteError};
use crate::host::{Clock, Locked, Server, end_leftovers};
use crate::layout;
use crate::state::ledger::{Deployment, Failure, Ledger, Outcome, Release, RemoteOutage, Tenths};
use crate::state::refusal::Why;
use crate::state::{sha256, stamp};
use crate::text::short;

use crate::decide::{DeployPolicy, Signature, Tip};
use crate::report::{FailureReport, PollOutcome, Recovery};
use crate::signing::Trust;

/// How many polls in a row must go unanswered before it is told.
const REPORT_AFTER: u32 = 3;

/// What a poll needs of its surroundings.
pub struct Poll<'a> {
    /// The server.
    pub server: &'a Server,
    /// The app.
    pub app: &'a App,
    /// The time.
    pub clock: &'a Clock,
    /// Whether commits that failed before are tried again without waiting, and nobody waits for the
    /// deploy window.
    pub now: bool,
    /// Whether cron started it.
    pub by_cron: bool,
    /// The stages as they happen are told here.
    pub tell: &'a dyn Fn(&str),
}

/// Polls once.
///
/// # Errors
/// When the poll itself cannot be made: no lock, no readable ledger. What happens to a deployment
/// is not an error but told.
pub fn poll(poll: &Poll<'_>) -> Result<PollOutcome> {
    let (server, app) = (poll.server, poll.app);
    let Locked::Held(_lock) = server.lock(&layout::state(&app.name))? else {
        return Ok(PollOutcome::Busy);
    };
    let Some(aside) = rebuild_state::rebuild(poll)? else {
        return go_on(poll);
    };
    match go_on(poll) {
        Ok(told) => Ok(PollOutcome::StateRebuilt(aside, Box::new(told))),
        Err(error) => Err(error.context(aside)),
    }
}

/// Asks, deploys what is new, and puts right what is not as the ledger says.
fn go_on(poll: &Poll<'_>) -> Result<PollOutcome> {
    let told = ask(poll);
    match told {
        Ok(PollOutcome::Deployed { .. } | PollOutcome::Busy) => return told,
        Ok(told @ PollOutcome::Failed(_)) => return keep_live::keep_live(poll, told),
        _ => {}
    }
    // Also when the remote cannot be asked, or something here is in the way of a deployment.
    match recover::recover(poll) {
        Ok(Some(straightened)) => {
            let told = PollOutcome::Recovered(straightened, Box::new(told?));
            keep_live::keep_live(poll, told)
        }
        Ok(None) => keep_live::keep_live(poll, told?),
        // What came first is more likely the cause.
        Err(error) => told.and(Err(error)),
    }
}

/// Asks, and deploys what is new.
fn ask(poll: &Poll<'_>) -> Result<PollOutcome> {
    let (server, app) = (poll.server, poll.app);
    let mut ledger = Ledger::load(server, &app.name)?;
    if poll.by_cron {
        ledger.last_by_cron = Some(stamp(poll.clock.now()));
    }
    let trust = Trust::read(server, app.limits.signed_by.as_ref().map(AbsPath::as_path));
    let mut policy = DeployPolicy {
        limits: Limits {
            deploy_window: app.limits.deploy_window.clone().filter(|_| !poll.now),
            ..app.limits.clone()
        },
        conditions: conditions(server, app)?,
        signers: trust.text().to_owned(),
        preliminary: trust.preliminary(),
        asked: poll.now,
        killed: false,
    };

    let newest = match git::newest(&remote(app), &app.track) {
        Ok(Some(newest)) => newest,
        Ok(None) => {
            return poll
                .record_unreachable(&mut ledger, format!("{} {}", app.repo, app.track.missing()));
        }
        Err(RemoteError::GaveWay) => return Ok(PollOutcome::Busy),
        Err(error) => return poll.record_unreachable(&mut ledger, why_not_asked(app, &error)),
    };
    let now = || poll.clock.local().fixed_offset();
    let (commit, object) = (newest.commit.to_string(), newest.object.to_string());
    if poll.now {
        ledger.failures.clear();
    } else {
        policy.killed = recover::count_killed_poll(poll, &mut ledger, &commit, &policy.conditions);
    }
    let known = policy.cached_verdict(&ledger, &object, &commit);
    if let Some(verdict) = policy.evaluate(&mut ledger, &known, &object, now()) {
        poll.record_reachable(&mut ledger)?;
        return Ok(PollOutcome::Skipped(verdict));
    }
    let started = poll.clock.elapsed();
    poll.say(&match &app.track {
        Track::Commit(_) => format!("{} is not live yet", newest.name),
        _ => format!("{} is new at {}", short(&commit), newest.name),
    });
    let live = ledger.live.as_ref().map(|live| live.commit.as_str());
    if let Some(verdict) = policy.knows_unfit(&ledger, &known, &object) {
        poll.record_reachable(&mut ledger)?;
        return Ok(PollOutcome::Skipped(verdict));
    }
    let code = match fetch::fetch(server, app, &newest, live) {
        Ok(code) => code,
        Err(error) => return poll.not_fetched(&policy, &mut ledger, &known, &object, error),
    };
    let ended_outage = poll.record_reachable(&mut ledger)?;
    // It may have moved since it was listed: what was fetched is what counts.
    let fetched = code.commit().to_owned();
    let fetched = Tip {
        commit: &fetched,
        descends: code.descends(),
        signature: trust.verify(|| code.vouched())?,
    };
    if let Some(verdict) = policy.evaluate(&mut ledger, &fetched, &code.object().to_string(), now())
    {
        ledger.store(server, &app.name)?;
        return Ok(PollOutcome::Skipped(verdict));
    }
    if let Signature::Trusted(who) = &fetched.signature {
        poll.say(&format!("{} is signed by {who}", short(code.commit())));
    }
    let object = code.object().to_string();
    let live = ledger.live.as_ref().map(|live| live.commit.as_str());
    let code = match code.whole(server, app, &newest, live) {
        Ok(code) => code,
        Err(error) => return poll.not_fetched(&policy, &mut ledger, &fetched, &object, error),
    };
    if let Some(why) = space::no_room(poll, &code, ledger.live.as_ref())? {
        let verdict = policy.refuse(&mut ledger, &fetched, &object, why, now());
        ledger.store(server, &app.name)?;
        return Ok(PollOutcome::Skipped(verdict));
    }
    ledger.refused = None;
    poll.deploy(code, ledger, policy.conditions, started, ended_outage)
}

/// What is to be known of a commit that is deployed though the live one is not its ancestor.
fn rewritten(app: &App, code: &fetch::Code, live: Option<&Release>) -> Option<String> {
    let live = live.filter(|_| code.descends() == Some(false))?;
    let live = short(&live.commit);
    Some(match &app.track {
        // The next version may come from another branch: nothing was rewritten then.
        Track::Tag(_) => format!("{live} is not an ancestor of {}", short(code.commit())),
        _ => format!("history was rewritten: {live} is not an ancestor"),
    })
}

impl Poll<'_> {
    fn say(&self, text: &str) {
        (self.tell)(text);
    }

    /// The pipeline from the fetched commit on.
    fn deploy(
        &self,
        code: fetch::Code,
        mut ledger: Ledger,
        conditions: String,
        started: f64,
        ended_outage: Option<RemoteOutage>,
    ) -> Result<PollOutcome> {
        let (server, app) = (self.server, self.app);
        let notes = [
            rewritten(app, &code, ledger.live.as_ref()),
            code.new_submodules(ledger.live.as_ref())?,
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        let mut note = (!notes.is_empty()).then(|| notes.join("; "));
        if let Some(note) = &note {
            self.say(note);
        }
        if let Some(killed) = &ledger.under_way {
            end_leftovers(&app.releases().join(&killed.id));
        }
        let mut staged = build::stage(self, &code)?;
        ledger.under_way = Some(staged.release().clone());
        ledger.store(server, &app.name)?;
        let result = staged
            .build(self, &code, &ledger)
            .and_then(|built| trial::try_out(self, built))
            .and_then(|tried| switch::flip(self, tried, ledger.live.as_ref()))
            .and_then(|flipped| flipped.restart_and_ask(self));
        let took = self.clock.elapsed() - started;
        let now = stamp(self.clock.now());
        let failed = match result {
            Ok(healthy) => {
                let from = ledger.live.clone();
                let to = Release {
                    since: now.clone(),
                    ..healthy.into_release()
                };
                // It is live, whatever cannot be told of it.
                let links = switch::unpublished(server, &app.releases().join(&to.id));
                if let Some(links) = links.ok().flatten() {
                    note = Some(note.map_or(links.clone(), |note| format!("{note}; {links}")));
                }
                ledger.now_live(to.clone());
                let ended = deployment(&to, now, took, Outcome::Live);
                ledger.remember(Deployment {
                    note: note.clone(),
                    ..ended
                });
                ledger.store(server, &app.name)?;
                // What cannot be tidied now is tidied by the next deployment.
                if let Err(error) = prune::prune(self, &mut ledger) {
                    self.say(&format!("old releases could not be removed: {error:#}"));
                }
                return Ok(PollOutcome::Deployed {
                    from,
                    to,
                    took,
                    ended_outage,
                    note,
                });
            }
            Err(failed) => failed,
        };
        let unasked = ledger
            .live
            .as_ref()
            .filter(|_| failed.not_brought_back.is_none());
        let not_brought_back = match unasked {
            Some(live) => switch::not_live(self, live),
            None => failed.not_brought_back,
        };
        let release = staged.release().clone();
        ledger.under_way = None;
        ledger.failed(Failure {
            commit: release.commit.clone(),
            tries: 0,
            last: now.clone(),
            why: failed.why.clone(),
            log: Some(staged.log().to_owned()),
            conditions,
        });
        let ended = deployment(&release, now, took, Outcome::Failed(failed.why.clone()));
        let migrations = staged.migrations(server);
        let notes: Vec<String> = note.into_iter().chain(migrations.clone()).collect();
        ledger.remember(Deployment {
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            ..ended
        });
        // First of all: it may have filled the disk, and then the ledger could not be written.
        if let Err(error) = prune::prune(self, &mut ledger) {
            self.say(&format!("old releases could not be removed: {error:#}"));
        }
        ledger.store(server, &app.name)?;
        let tries = ledger
            .failure(&release.commit)
            .map_or(1, |failure| failure.tries);
        Ok(PollOutcome::Failed(Box::new(FailureReport {
            log: staged.log().to_owned(),
            release,
            migrations,
            why: failed.why,
            last_lines: failed.last_lines,
            live: ledger.live,
            not_brought_back,
            tries,
            attempts: app.limits.attempts,
        })))
    }

    /// What is told of a commit that could not be fetched, or is not to be.
    fn not_fetched(
        &self,
        policy: &DeployPolicy,
        ledger: &mut Ledger,
        tip: &Tip<'_>,
        object: &str,
        error: fetch::FetchError,
    ) -> Result<PollOutcome> {
        let words = match error {
            fetch::FetchError::Remote(why) => return self.record_unreachable(ledger, why),
            fetch::FetchError::Here(error) => return Err(error),
            fetch::FetchError::Unfit(words) => words,
            fetch::FetchError::GaveWay => return Ok(PollOutcome::Busy),
        };
        let now = self.clock.local().fixed_offset();
        let verdict = policy.refuse(ledger, tip, object, Why::Unfit { words }, now);
        self.record_reachable(ledger)?;
        Ok(PollOutcome::Skipped(verdict))
    }

    /// Notes that the remote could not be asked.
    fn record_unreachable(&self, ledger: &mut Ledger, why: String) -> Result<PollOutcome> {
        let now = stamp(self.clock.now());
        let mut outage = ledger.outage.take().unwrap_or(RemoteOutage {
            since: now,
            polls: 0,
            why: String::new(),
            reported: false,
        });
        outage.polls += 1;
        outage.why = why;
        let report = outage.polls >= REPORT_AFTER && !outage.reported;
        outage.reported |= report;
        ledger.outage = Some(outage.clone());
        ledger.store(self.server, &self.app.name)?;
        Ok(PollOutcome::Unreachable { outage, report })
    }

    /// Notes that the remote answered; gives the outage that ended, if it had been told.
    fn record_reachable(&self, ledger: &mut Ledger) -> Result<Option<RemoteOutage>> {
        let outage = ledger.outage.take();
        ledger.last_check = Some(stamp(self.clock.now()));
        ledger.store(self.server, &self.app.name)?;
        Ok(outage.filter(|outage| outage.reported))
    }
}

/// A failed stage after the release was staged.
#[derive(Debug)]
pub(crate) struct Failed {
    why: String,
    last_lines: Vec<String>,
    not_brought_back: Option<String>,
}

impl Failed {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            last_lines: Vec::new(),
            not_brought_back: None,
        }
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}

fn deployment(release: &Release, at: String, took: f64, outcome: Outcome) -> Deployment {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a duration of a deployment in tenths of a second"
    )]
    let took = Tenths((took.max(0.0) * 10.0).round() as u64);
    Deployment {
        commit: release.commit.clone(),
        subject: release.subject.clone(),
        at,
        took,
        outcome,
        note: None,
    }
}

/// The remote, to be asked a question.
fn remote(app: &App) -> Remote {
    Remote {
        host: app.ssh_alias(),
        path: app.repo.path().to_owned(),
        run_as: None,
        ssh: "/usr/bin/ssh".into(),
        options: crate::render::ssh_arguments(app),
        idle: Duration::from_secs(60),
        whole: git::QUESTION,
        most: git::MOST,
        gives_way: Some(layout::logs(&app.name)),
    }
}

fn why_not_asked(app: &App, error: &RemoteError) -> String {
    format!("could not ask {}: {error}", app.repo.host())
}

/// Stands for everything beside the commit that decides whether a deployment works.
fn conditions(server: &Server, app: &App) -> Result<String> {
    let mut all = Vec::new();
    let files: [&Path; 3] = [
        &layout::settings(&app.name),
        &app.environment_file(),
        &app.deploy_script(),
    ];
    for path in files {
        let content = server
            .read(path)
            .with_context(|| format!("failed to read the settings of {}", app.name))?;
        all.extend(content.unwrap_or_default());
        all.push(0);
    }
    Ok(sha256(&all))
}
