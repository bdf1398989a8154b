//! A poll: check the git host, fetch, build, verify, activate, check the health, restore if it fails.
//!
//! [`poll`], [`deploy_newest`] and [`deploy`] below are the whole pipeline. Each stage consumes what the one before
//! returned, so none can be skipped. Nothing before the activation touches what is live; everything after it can be
//! undone. A [`session::Session`] alone stores the ledger, before the activation and after it, so a poll that was killed
//! at any instant is followed by one that recovers: it starts from the release that was last known to be good.
//!
//! `restore` restores the previous release when the new one is unhealthy, `recover` cleans up after a killed poll,
//! `keep_live` restarts a site that went down, `control` has the operators' commands: pause, resume, retry, redeploy,
//! roll back.

mod activate;
mod bridge;
mod build;
mod candidate;
mod causes;
pub mod control;
mod dependencies;
mod ended;
mod fetch;
mod health;
mod hooks;
mod inspect;
mod keep_live;
mod migrations;
mod notices;
mod packaging;
mod processes;
mod project_tests;
mod prune;
mod python_needs;
mod rebuild_state;
mod recover;
mod remarks;
mod requirements;
mod restore;
mod service;
mod session;
mod shared;
mod space;
mod static_files;
mod timers;
mod trial;
mod writes;

#[cfg(test)]
mod tests;

pub use hooks::tell;
pub use inspect::{Inspection, SettingsFound, inspect, start_empty};
pub use notices::{Ended, of_error, test as test_channels};

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::app::App;
use crate::git::{self, Remote, SshRemote};
use crate::host::{Clock, Locked, Server};
use crate::layout;
use crate::report::PollOutcome;
use crate::state::history::{Part, Tenths};
use crate::state::remote::{RemoteErrorKind, RemoteFailure};
use crate::state::sha256;

use candidate::{Accepted, Stop};
use ended::StageError;
use session::Session;

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
    /// Whether cron or a timer started it.
    pub by_cron: bool,
    /// Called with each stage as it begins.
    pub progress: &'a dyn Fn(&str),
}

/// Polls once.
///
/// # Errors
/// When the poll itself fails: no lock, no readable ledger. A failed deployment is an outcome, not an error.
pub fn poll(poll: &Poll<'_>) -> Result<PollOutcome> {
    let Locked::Held(lock) = poll.server.lock(&layout::state(&poll.app.name))? else {
        return Ok(PollOutcome::Busy);
    };
    let (mut session, rebuilt) = rebuild_state::open(poll, lock)?;
    let outage = session.ledger().outage().filter(|outage| outage.reported);
    let outage = outage.cloned();
    let outcome = deploy_newest(&mut session).or_else(Stop::into_outcome);
    let outcome = recover_and_keep_live(&mut session, outcome);
    let outcome = match outage.filter(|_| session.ledger().outage().is_none()) {
        Some(outage) => outcome.map(|it| PollOutcome::Reachable(outage, Box::new(it))),
        None => outcome,
    };
    let outcome = outcome.map(|outcome| match timers::failures(poll) {
        Ok(failures) if failures.is_empty() => outcome,
        Ok(failures) => PollOutcome::TimersFailed(failures, Box::new(outcome)),
        Err(error) => {
            poll.progress(&format!("failed to look at the timers: {error:#}"));
            outcome
        }
    });
    match (rebuilt, outcome) {
        (None, outcome) => outcome,
        (Some(what), Ok(outcome)) => Ok(PollOutcome::StateRebuilt(what, Box::new(outcome))),
        (Some(what), Err(error)) => Err(error.context(what)),
    }
}

/// Deploys the newest commit on the git host, unless something stops it.
fn deploy_newest(session: &mut Session<'_>) -> Result<PollOutcome, Stop> {
    let accepted = candidate::list(session)?
        .decide(session)?
        .fetch(session)?
        .decide(session)?
        .check_content(session)?
        .ensure_fits(session)?;
    Ok(deploy(session, accepted)?)
}

/// Deploys a commit. Once this has begun, every error is recorded as a failed deployment.
fn deploy(session: &mut Session<'_>, mut accepted: Accepted) -> Result<PollOutcome> {
    let watch = Stopwatch::new(session.clock);
    watch.add(Part::Fetch, accepted.started);
    let mut staged = build::stage(session, &accepted.code)?;
    session.record(|ledger| ledger.begin(staged.release().clone()))?;
    let result = watch
        .time(Part::Build, || staged.build(session, &mut accepted.code))
        .and_then(|built| watch.time(Part::Trial, || trial::verify(session, built)))
        .and_then(|verified| {
            watch.time(Part::Switch, || {
                activate::activate(session, verified)
                    .and_then(|activated| activated.restart_and_check(session))
            })
        });
    accepted.parts = watch.parts.into_inner();
    match result {
        Ok(live) => ended::went_live(session, live, accepted),
        Err(error) => ended::failed(session, &staged, error, accepted),
    }
}

/// How long the parts of a deployment take, also one that fails.
struct Stopwatch<'a> {
    clock: &'a Clock,
    parts: RefCell<BTreeMap<Part, Tenths>>,
}

impl<'a> Stopwatch<'a> {
    fn new(clock: &'a Clock) -> Self {
        let parts = RefCell::default();
        Self { clock, parts }
    }

    fn add(&self, part: Part, begun: f64) {
        let took = Tenths::of(self.clock.elapsed() - begun);
        self.parts.borrow_mut().insert(part, took);
    }

    fn time<T>(&self, part: Part, run: impl FnOnce() -> T) -> T {
        let begun = self.clock.elapsed();
        let result = run();
        self.add(part, begun);
        result
    }
}

/// Restores what differs from the ledger, and a site that is down. Also when the git host is unreachable, or something
/// on this server prevents a deployment.
fn recover_and_keep_live(
    session: &mut Session<'_>,
    outcome: Result<PollOutcome>,
) -> Result<PollOutcome> {
    let recovery = match &outcome {
        Ok(PollOutcome::Deployed { .. } | PollOutcome::Busy) => return outcome,
        Ok(PollOutcome::Failed(_)) => None,
        _ => match recover::recover(session) {
            Ok(recovery) => recovery,
            // The first error is more likely the cause.
            Err(error) => return outcome.and(Err(error)),
        },
    };
    let outcome = match recovery {
        Some(recovery) => PollOutcome::Recovered(recovery, Box::new(outcome?)),
        None => outcome?,
    };
    keep_live::keep_live(session, outcome)
}

impl<'a> Poll<'a> {
    /// What a command works with that prints no progress and was not started by cron.
    #[must_use]
    pub fn by_hand(server: &'a Server, app: &'a App, remote: &'a dyn Remote) -> Self {
        Self {
            server,
            app,
            clock: server.clock(),
            remote,
            now: false,
            by_cron: false,
            progress: &|_| {},
        }
    }

    fn progress(&self, text: &str) {
        (self.progress)(text);
    }

    /// The directory of a release.
    fn release_dir(&self, id: &str) -> PathBuf {
        self.app.releases().join(id)
    }

    /// A digest of everything besides the commit that determines whether a deployment works: settings, environment,
    /// script, and the administrator's Procfile.
    fn inputs_digest(&self) -> Result<String> {
        let (server, app) = (self.server, self.app);
        let mut all = Vec::new();
        let files: [&Path; 4] = [
            &layout::settings(&app.name),
            &app.environment_file(),
            &app.deploy_script(),
            &layout::procfile(&app.name),
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
}

/// This name, or the first of `NAME-2`, `NAME-3` … that is not taken.
fn free_name(base: &str, taken: impl Fn(&str) -> Result<bool>) -> Result<String> {
    let mut name = base.to_owned();
    for number in 2.. {
        if !taken(&name)? {
            break;
        }
        name = format!("{base}-{number}");
    }
    Ok(name)
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
        proxy: None,
        idle: Duration::from_secs(60),
        whole: git::QUERY_TIMEOUT,
        most: git::MAX_QUERY_BYTES,
        preempted_by: Some(server.real(&layout::logs(&app.name))),
    }
}

/// The failure of a repository without what is tracked.
fn no_reference() -> RemoteFailure {
    RemoteFailure::new(RemoteErrorKind::NoReference, "")
}
