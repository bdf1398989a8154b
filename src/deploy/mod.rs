//! A poll: check the git host, fetch, build, verify, activate, check the health, restore if it fails.
//!
//! Each stage consumes what the one before returned, so none can be skipped. Nothing before the activation touches what
//! is live; everything after it can be undone. The ledger is written before the activation and after it, so a poll that
//! was killed at any instant is followed by one that recovers: it starts from the release that was last known to be
//! good.
//!
//! `restore` restores the previous release when the new one is unhealthy, `recover` cleans up after a killed poll,
//! `keep_live` restarts a site that went down, `control` has the operators' commands: pause, resume, retry, redeploy,
//! roll back.

mod activate;
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
mod restore;
mod service;
mod session;
mod space;
mod static_files;
mod trial;
mod writes;

pub use inspect::{Inspection, inspect};

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::app::{AbsPath, App, Limits, Track};
use crate::decide::{DeployPolicy, Signature, Tip};
use crate::git::{self, Remote, RemoteError, SshRemote};
use crate::host::{Clock, Locked, Server};
use crate::layout;
use crate::report::PollOutcome;
use crate::signing::Trust;
use crate::state::ledger::{Ledger, Release, RemoteOutage};
use crate::state::{sha256, stamp};
use crate::text::short;

use session::{Attempt, StageError};

/// What a poll works with.
pub struct Poll<'a> {
    /// The server.
    pub server: &'a Server,
    /// The app.
    pub app: &'a App,
    /// The time.
    pub clock: &'a Clock,
    /// The app's repository.
    pub remote: &'a dyn Remote,
    /// `--now`: retry failed commits at once, and ignore the deploy window.
    pub now: bool,
    /// Whether cron started it.
    pub by_cron: bool,
    /// Called with each stage as it begins.
    pub progress: &'a dyn Fn(&str),
}

/// Polls once.
///
/// # Errors
/// When the poll itself fails: no lock, no readable ledger. A failed deployment is an outcome, not an error.
pub fn poll(poll: &Poll<'_>) -> Result<PollOutcome> {
    let (server, app) = (poll.server, poll.app);
    let Locked::Held(_lock) = server.lock(&layout::state(&app.name))? else {
        return Ok(PollOutcome::Busy);
    };
    let Some(rebuilt) = rebuild_state::rebuild(poll)? else {
        return run(poll);
    };
    match run(poll) {
        Ok(outcome) => Ok(PollOutcome::StateRebuilt(rebuilt, Box::new(outcome))),
        Err(error) => Err(error.context(rebuilt)),
    }
}

/// Deploys a new commit, and restores what differs from the ledger.
fn run(poll: &Poll<'_>) -> Result<PollOutcome> {
    let outcome = check(poll);
    match outcome {
        Ok(PollOutcome::Deployed { .. } | PollOutcome::Busy) => return outcome,
        Ok(outcome @ PollOutcome::Failed(_)) => return keep_live::keep_live(poll, outcome),
        _ => {}
    }
    // Also when the git host is unreachable, or something on this server prevents a deployment.
    match recover::recover(poll) {
        Ok(Some(recovery)) => {
            let outcome = PollOutcome::Recovered(recovery, Box::new(outcome?));
            keep_live::keep_live(poll, outcome)
        }
        Ok(None) => keep_live::keep_live(poll, outcome?),
        // The first error is more likely the cause.
        Err(error) => outcome.and(Err(error)),
    }
}

/// Queries the git host for the newest commit, and deploys it unless the policy refuses it.
fn check(poll: &Poll<'_>) -> Result<PollOutcome> {
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
        inputs_digest: inputs_digest(server, app)?,
        signers: trust.text().to_owned(),
        preliminary: trust.preliminary(),
        by_person: poll.now,
        killed: false,
    };

    let newest = match poll.remote.newest(&app.track) {
        Ok(Some(newest)) => newest,
        Ok(None) => {
            return poll
                .record_unreachable(&mut ledger, format!("{} {}", app.repo, app.track.missing()));
        }
        Err(RemoteError::Preempted) => return Ok(PollOutcome::Busy),
        Err(error) => return poll.record_unreachable(&mut ledger, could_not_reach(app, &error)),
    };
    let now = || poll.clock.local().fixed_offset();
    let (commit, object) = (newest.commit.to_string(), newest.object.to_string());
    if poll.now {
        ledger.failures.clear();
    } else {
        policy.killed =
            recover::count_killed_poll(poll, &mut ledger, &commit, &policy.inputs_digest);
    }
    let cached = policy.cached_verdict(&ledger, &object, &commit);
    if let Some(verdict) = policy.evaluate(&mut ledger, &cached, &object, now()) {
        poll.record_reachable(&mut ledger)?;
        return Ok(PollOutcome::Skipped(verdict));
    }
    let started = poll.clock.elapsed();
    poll.progress(&match &app.track {
        Track::Commit(_) => format!("{} is not live yet", newest.name),
        _ => format!("new commit {} on {}", short(&commit), newest.name),
    });
    let live = ledger.live.as_ref().map(|live| live.commit.as_str());
    if let Some(verdict) = policy.cached_unfit(&ledger, &cached, &object) {
        poll.record_reachable(&mut ledger)?;
        return Ok(PollOutcome::Skipped(verdict));
    }
    let code = match fetch::fetch(server, poll.remote, app, &newest, live) {
        Ok(code) => code,
        Err(error) => return poll.record_unfetched(&policy, &mut ledger, &cached, &object, error),
    };
    let ended_outage = poll.record_reachable(&mut ledger)?;
    // The branch may have moved since it was listed: what was fetched counts.
    let fetched = code.commit().to_owned();
    let fetched = Tip {
        commit: &fetched,
        descends: code.descends(),
        signature: trust.verify(server, || code.signed_object())?,
    };
    if let Some(verdict) = policy.evaluate(&mut ledger, &fetched, &code.object().to_string(), now())
    {
        ledger.store(server, &app.name)?;
        return Ok(PollOutcome::Skipped(verdict));
    }
    if let Signature::Trusted(who) = &fetched.signature {
        poll.progress(&format!("{} is signed by {who}", short(code.commit())));
    }
    let object = code.object().to_string();
    let live = ledger.live.as_ref().map(|live| live.commit.as_str());
    let code = match code.check_complete(server, poll.remote, app, &newest, live) {
        Ok(code) => code,
        Err(error) => return poll.record_unfetched(&policy, &mut ledger, &fetched, &object, error),
    };
    if let Some(why) = space::shortage(poll, &code, ledger.live.as_ref())? {
        let verdict = policy.refuse(&mut ledger, &fetched, &object, why, now());
        ledger.store(server, &app.name)?;
        return Ok(PollOutcome::Skipped(verdict));
    }
    ledger.refused = None;
    poll.deploy(code, ledger, policy.inputs_digest, started, ended_outage)
}

impl Poll<'_> {
    fn progress(&self, text: &str) {
        (self.progress)(text);
    }

    /// The pipeline, from the fetched commit on.
    fn deploy(
        &self,
        code: fetch::Code,
        mut ledger: Ledger,
        inputs_digest: String,
        started: f64,
        ended_outage: Option<RemoteOutage>,
    ) -> Result<PollOutcome> {
        let live = ledger.live.clone();
        let note = join(&[
            rewritten(self.app, &code, live.as_ref()),
            code.new_submodules(live.as_ref())?,
        ]);
        if let Some(note) = &note {
            self.progress(note);
        }
        if let Some(killed) = &ledger.in_progress {
            self.server
                .end_leftovers(&self.app.releases().join(&killed.id));
        }
        let mut staged = build::stage(self, &code)?;
        ledger.in_progress = Some(staged.release().clone());
        ledger.store(self.server, &self.app.name)?;
        let result = staged
            .build(self, &code, &ledger)
            .and_then(|built| trial::verify(self, built))
            .and_then(|verified| activate::activate(self, verified, live.as_ref()))
            .and_then(|activated| activated.restart_and_check(self));
        let attempt = Attempt {
            took: self.clock.elapsed() - started,
            at: stamp(self.clock.now()),
            inputs_digest,
            note,
        };
        match result {
            Ok(live) => self.record_live(ledger, live.into_release(), attempt, ended_outage),
            Err(error) => self.record_failure(ledger, &staged, error, attempt),
        }
    }
}

/// A remark on a commit whose history does not contain the live commit.
fn rewritten(app: &App, code: &fetch::Code, live: Option<&Release>) -> Option<String> {
    let live = live.filter(|_| code.descends() == Some(false))?;
    let live = short(&live.commit);
    Some(match &app.track {
        // The next version may come from another branch: nothing was rewritten then.
        Track::Tag(_) => format!("{live} is not an ancestor of {}", short(code.commit())),
        _ => format!("history was rewritten: {live} is not an ancestor"),
    })
}

/// Joins remarks into one.
fn join(notes: &[Option<String>]) -> Option<String> {
    let notes: Vec<&str> = notes.iter().flatten().map(String::as_str).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// The app's repository, with the limits of a query.
#[must_use]
pub fn remote(server: &Server, app: &App) -> SshRemote {
    SshRemote {
        host: app.ssh_alias(),
        path: app.repo.path().to_owned(),
        run_as: None,
        ssh: server.real(Path::new("/usr/bin/ssh")),
        options: crate::render::ssh_arguments(app),
        idle: Duration::from_secs(60),
        whole: git::QUERY_TIMEOUT,
        most: git::MAX_QUERY_BYTES,
        preempted_by: Some(server.real(&layout::logs(&app.name))),
    }
}

fn could_not_reach(app: &App, error: &RemoteError) -> String {
    format!("could not reach {}: {error}", app.repo.host())
}

/// A digest of everything besides the commit that determines whether a deployment works: settings, environment, script.
fn inputs_digest(server: &Server, app: &App) -> Result<String> {
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
