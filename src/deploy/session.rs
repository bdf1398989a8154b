//! What a poll records: outages of the git host, refused commits, and how deployments ended.

use anyhow::Result;

use crate::decide::{DeployPolicy, Tip};
use crate::report::{FailureReport, PollOutcome};
use crate::state::ledger::{Deployment, Failure, Ledger, Outcome, Release, RemoteOutage, Tenths};
use crate::state::refusal::Why;
use crate::state::stamp;

use super::build::Staged;
use super::{Poll, fetch, join, prune, restore, static_files};

/// An outage is reported after so many polls in a row: one that ends by itself is no news.
const REPORT_AFTER: u32 = 3;

/// A stage that failed after the release was staged.
#[derive(Debug)]
pub(crate) struct StageError {
    /// The stage and the cause, in one line.
    pub(super) why: String,
    /// The last lines of its output.
    pub(super) last_lines: Vec<String>,
    /// Why the previous release could not be restored, if that was tried and failed.
    pub(super) restore_error: Option<String>,
}

impl StageError {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            last_lines: Vec::new(),
            restore_error: None,
        }
    }
}

impl From<anyhow::Error> for StageError {
    fn from(error: anyhow::Error) -> Self {
        Self::new(crate::error::in_one_line(&error))
    }
}

/// A deployment that ended.
pub(super) struct Attempt {
    /// Seconds since the git host's answer.
    pub(super) took: f64,
    /// When it ended, RFC 3339.
    pub(super) at: String,
    /// The digest of settings, environment and deploy script.
    pub(super) inputs_digest: String,
    /// A remark on the commit.
    pub(super) note: Option<String>,
}

impl Poll<'_> {
    /// Records that the release is live, and removes what no release needs any more.
    pub(super) fn record_live(
        &self,
        mut ledger: Ledger,
        release: Release,
        attempt: Attempt,
        ended_outage: Option<RemoteOutage>,
    ) -> Result<PollOutcome> {
        let (server, app) = (self.server, self.app);
        let from = ledger.live.clone();
        let to = Release {
            since: attempt.at.clone(),
            ..release
        };
        // It is live; an error here would only hide that.
        let links = static_files::unpublished_links(server, &app.releases().join(&to.id));
        let note = join(&[attempt.note, links.ok().flatten()]);
        ledger.record_live(to.clone());
        ledger.record_deployment(Deployment {
            note: note.clone(),
            ..deployment(&to, attempt.at, attempt.took, Outcome::Live)
        });
        ledger.store(server, &app.name)?;
        self.prune(&mut ledger);
        Ok(PollOutcome::Deployed {
            from,
            to,
            took: attempt.took,
            ended_outage,
            note,
        })
    }

    /// Records the failure, with the live release checked and restored if need be.
    pub(super) fn record_failure(
        &self,
        mut ledger: Ledger,
        staged: &Staged,
        error: StageError,
        attempt: Attempt,
    ) -> Result<PollOutcome> {
        let (server, app) = (self.server, self.app);
        let unchecked = ledger
            .live
            .as_ref()
            .filter(|_| error.restore_error.is_none());
        let restore_error = match unchecked {
            Some(live) => restore::ensure_live(self, live),
            None => error.restore_error,
        };
        let release = staged.release().clone();
        ledger.in_progress = None;
        ledger.record_failure(Failure {
            commit: release.commit.clone(),
            tries: 0,
            last: attempt.at.clone(),
            why: error.why.clone(),
            log: Some(staged.log().to_owned()),
            inputs_digest: attempt.inputs_digest,
        });
        let migrations = staged.migrations(server);
        let outcome = Outcome::Failed(error.why.clone());
        ledger.record_deployment(Deployment {
            note: join(&[attempt.note, migrations.clone()]),
            ..deployment(&release, attempt.at, attempt.took, outcome)
        });
        // Before the ledger is written: the failed release may have filled the disk.
        self.prune(&mut ledger);
        ledger.store(server, &app.name)?;
        let tries = ledger
            .failure(&release.commit)
            .map_or(1, |failure| failure.tries);
        Ok(PollOutcome::Failed(Box::new(FailureReport {
            log: staged.log().to_owned(),
            release,
            migrations,
            why: error.why,
            last_lines: error.last_lines,
            live: ledger.live,
            restore_error,
            tries,
            attempts: app.limits.attempts,
        })))
    }

    /// What could not be removed now is removed by the next deployment.
    fn prune(&self, ledger: &mut Ledger) {
        if let Err(error) = prune::prune(self, ledger) {
            self.progress(&format!("old releases could not be removed: {error:#}"));
        }
    }

    /// Records a commit that could not be fetched, or exceeds the limits.
    pub(super) fn record_unfetched(
        &self,
        policy: &DeployPolicy,
        ledger: &mut Ledger,
        tip: &Tip<'_>,
        object: &str,
        error: fetch::FetchError,
    ) -> Result<PollOutcome> {
        let words = match error {
            fetch::FetchError::Remote(why) => return self.record_unreachable(ledger, why),
            fetch::FetchError::Local(error) => return Err(error),
            fetch::FetchError::Unfit(words) => words,
            fetch::FetchError::Preempted => return Ok(PollOutcome::Busy),
        };
        let now = self.clock.local().fixed_offset();
        let verdict = policy.refuse(ledger, tip, object, Why::Unfit { words }, now);
        self.record_reachable(ledger)?;
        Ok(PollOutcome::Skipped(verdict))
    }

    /// Records that the git host could not be reached.
    pub(super) fn record_unreachable(
        &self,
        ledger: &mut Ledger,
        why: String,
    ) -> Result<PollOutcome> {
        let mut outage = ledger.outage.take().unwrap_or(RemoteOutage {
            since: stamp(self.clock.now()),
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

    /// Records that the git host answered; returns the outage that ended, if it was reported.
    pub(super) fn record_reachable(&self, ledger: &mut Ledger) -> Result<Option<RemoteOutage>> {
        let outage = ledger.outage.take();
        ledger.last_check = Some(stamp(self.clock.now()));
        ledger.store(self.server, &self.app.name)?;
        Ok(outage.filter(|outage| outage.reported))
    }
}

/// A deployment as the history keeps it. `took` is in seconds.
pub(super) fn deployment(release: &Release, at: String, took: f64, outcome: Outcome) -> Deployment {
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
