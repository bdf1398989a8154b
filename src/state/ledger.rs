//! The ledger: what is live, what failed, what was refused, and past deployments.
//!
//! One JSON file, always written whole: before the activation (a deployment is in progress) and after it (live, or
//! failed), so the next poll knows of one that was killed in between. It changes only by the named transitions below;
//! whoever holds the app's lock stores it after each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fields;
use super::history::{Deployment, History, Stage};
use super::refusal::Refusal;
use super::remote::RemoteFailure;
pub use super::remote::RemoteOutage;

mod rebuilt;

/// The version of the file's format.
pub const FORMAT: u32 = 1;
/// How many failed commits are kept.
const FAILURES: usize = 20;

/// Everything that polls remember about an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    format: u32,
    live: Option<Release>,
    releases: Vec<Release>,
    in_progress: Option<Release>,
    failures: Vec<Failure>,
    refused: Option<Refusal>,
    pause: Option<Pause>,
    #[serde(skip)]
    answered: Answered,
    /// When cron or a timer last started a poll that the git host did not answer.
    #[serde(default, deserialize_with = "fields::time_if_any")]
    last_by_cron: Option<String>,
    outage: Option<RemoteOutage>,
    history: History,
}

/// When the git host last answered, RFC 3339. Not stored with the rest, which takes two fsyncs: these are the times of
/// empty files ([`crate::layout::answered`]), and a power cut may lose the last ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// A poll that cron or a timer started.
    pub by_cron: Option<String>,
    /// A poll that somebody started by hand; it proves nothing about the schedule.
    pub by_hand: Option<String>,
}

/// One commit in its own directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The directory's name under releases/.
    #[serde(deserialize_with = "fields::name")]
    pub id: String,
    /// The commit.
    #[serde(deserialize_with = "fields::commit")]
    pub commit: String,
    /// Its first line, as the author wrote it; not safe for a terminal.
    pub subject: String,
    /// When it became live, or when its deployment began, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub since: String,
    /// The virtual environment's name under venvs/.
    #[serde(deserialize_with = "fields::name_if_any")]
    pub venv: String,
}

/// A commit that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The commit.
    #[serde(deserialize_with = "fields::commit")]
    pub commit: String,
    /// The number of attempts; 1 for one that the ledger is to count.
    pub tries: u32,
    /// The time of the last one, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub last: String,
    /// The stage that failed last.
    pub stage: Stage,
    /// Why, in one line.
    pub why: String,
    /// The last attempt's log.
    pub log: Option<PathBuf>,
    /// The digest of settings and environment; when it changes, the commit is due again.
    pub inputs_digest: String,
}

/// A pause of deployments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who paused them.
    pub by: String,
    /// Since when, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub since: String,
    /// Why.
    pub why: String,
}

impl Failure {
    /// Whether it worked, and somebody rolled back from it.
    #[must_use]
    pub fn is_rollback(&self) -> bool {
        self.stage == Stage::RolledBack
    }

    /// Whether only a new commit or an operator's command ends it.
    #[must_use]
    pub fn is_final(&self, attempts: u32) -> bool {
        self.is_rollback() || self.stage == Stage::CutMigration || self.tries >= attempts
    }

    /// `once`, `twice`, `3 times`.
    #[must_use]
    pub fn tries_in_words(&self) -> String {
        match self.tries {
            1 => "once".to_owned(),
            2 => "twice".to_owned(),
            more => format!("{more} times"),
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            format: FORMAT,
            live: None,
            releases: Vec::new(),
            in_progress: None,
            failures: Vec::new(),
            refused: None,
            pause: None,
            answered: Answered::default(),
            last_by_cron: None,
            outage: None,
            history: History::default(),
        }
    }
}

/// What it says.
impl Ledger {
    /// The release that is live.
    pub fn live(&self) -> Option<&Release> {
        self.live.as_ref()
    }
    /// The release that was live before; the target of a rollback. Never one that somebody rolled back from.
    pub fn previous(&self) -> Option<&Release> {
        let live = self.live.as_ref()?;
        let mut newest_first = self.releases.iter().rev();
        newest_first.find(|it| it.id != live.id && !self.was_rolled_back(&it.commit))
    }
    /// Whether somebody rolled back from this commit, and nobody took that back.
    pub fn was_rolled_back(&self, commit: &str) -> bool {
        self.failure(commit).is_some_and(Failure::is_rollback)
    }
    /// Successful releases that are still on the disk, oldest first, the live one included.
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }
    /// A deployment in progress; a poll that finds one knows that its poll was killed.
    pub fn in_progress(&self) -> Option<&Release> {
        self.in_progress.as_ref()
    }
    /// Commits that failed, with their attempts.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
    /// The failures of a commit, if it has any.
    pub fn failure(&self, commit: &str) -> Option<&Failure> {
        self.failures
            .iter()
            .find(|failure| failure.commit == commit)
    }
    /// The newest commit, if it is refused.
    pub fn refused(&self) -> Option<&Refusal> {
        self.refused.as_ref()
    }
    /// Who paused deployments, and why.
    pub fn pause(&self) -> Option<&Pause> {
        self.pause.as_ref()
    }
    /// When the git host last answered, RFC 3339.
    pub fn last_check(&self) -> Option<&str> {
        let Answered { by_cron, by_hand } = &self.answered;
        by_cron.as_deref().max(by_hand.as_deref())
    }
    /// When cron or a timer last started a poll, RFC 3339.
    pub fn last_by_cron(&self) -> Option<&str> {
        let answered = self.answered.by_cron.as_deref();
        answered.max(self.last_by_cron.as_deref())
    }
    /// Since when the git host is unreachable.
    pub fn outage(&self) -> Option<&RemoteOutage> {
        self.outage.as_ref()
    }
    /// Past deployments.
    pub fn history(&self) -> &History {
        &self.history
    }
}

/// Its transitions.
impl Ledger {
    /// The ledger with the times of the last answers.
    #[must_use]
    pub fn with_answers(self, answered: Answered) -> Self {
        Self { answered, ..self }
    }

    /// The git host could not be reached; returns the outage, and whether to report it now: once, after so many polls.
    pub fn unreachable(
        &mut self,
        at: String,
        by_cron: bool,
        failure: RemoteFailure,
        report_after: u32,
    ) -> (RemoteOutage, bool) {
        let mut outage = self.outage.take().unwrap_or(RemoteOutage {
            since: at.clone(),
            polls: 0,
            failure: failure.clone(),
            reported: false,
        });
        outage.polls += 1;
        outage.failure = failure;
        let report = outage.polls >= report_after && !outage.reported;
        outage.reported |= report;
        self.outage = Some(outage.clone());
        self.last_by_cron = by_cron.then_some(at).or(self.last_by_cron.take());
        (outage, report)
    }

    /// The git host answered.
    pub fn reachable(&mut self) {
        self.outage = None;
    }

    /// A commit is refused; returns whether the commit or the reason is new.
    pub fn refuse(&mut self, refusal: Refusal) -> bool {
        let known = self
            .refused
            .take()
            .filter(|known| known.commit == refusal.commit && refusal.why.is_same_as(&known.why));
        let is_new = known.is_none();
        let since = known.map_or_else(|| refusal.since.clone(), |known| known.since);
        self.refused = Some(Refusal { since, ..refusal });
        is_new
    }

    /// The refusal is over.
    pub fn admit(&mut self) {
        self.refused = None;
    }

    /// The deployment of a release begins.
    pub fn begin(&mut self, release: Release) {
        self.refused = None;
        self.in_progress = Some(release);
    }

    /// The deployment in progress succeeded: its release is live.
    pub fn went_live(&mut self, release: Release, ended: Deployment) {
        self.forgive(&release.commit);
        self.in_progress = None;
        // A redeployed commit replaces its lost release, and is no target of a rollback.
        self.releases
            .retain(|known| known.id != release.id && known.commit != release.commit);
        self.releases.push(release.clone());
        let commit = release.commit.clone();
        let old = self.live.replace(release);
        if old.is_none_or(|old| old.commit != commit) {
            self.supersede(&commit);
        }
        self.history.add(ended);
    }

    /// Somebody rolled back from a commit: deployments are paused, and it is not deployed again when they go on.
    pub fn rolled_back(&mut self, commit: &str, pause: Pause) {
        self.forgive(commit);
        self.count(Failure {
            commit: commit.to_owned(),
            tries: 1,
            last: pause.since.clone(),
            stage: Stage::RolledBack,
            why: format!("{} by {}", pause.why, pause.by),
            log: None,
            inputs_digest: String::new(),
        });
        self.pause = Some(pause);
    }

    /// The deployment in progress failed; returns how often this commit has.
    pub fn failed(&mut self, failure: Failure, ended: Deployment) -> u32 {
        self.in_progress = None;
        self.history.add(ended);
        self.count(failure)
    }

    /// The poll that deployed a commit was killed, which counts as an attempt. What is in progress stays, until
    /// [`Ledger::recovered`] or the next deployment.
    pub fn killed(&mut self, failure: Failure) {
        self.count(failure);
    }

    fn count(&mut self, failure: Failure) -> u32 {
        let tries = self.failure(&failure.commit).map_or(0, |known| known.tries) + failure.tries;
        self.forgive(&failure.commit);
        if self
            .live
            .as_ref()
            .is_none_or(|live| live.commit != failure.commit)
        {
            self.supersede(&failure.commit);
        }
        self.failures.push(Failure { tries, ..failure });
        // The oldest, of commits that no branch points to any more.
        let excess = self.failures.len().saturating_sub(FAILURES);
        self.failures.drain(..excess);
        tries
    }

    /// The live release was restored: nothing is in progress any more.
    pub fn recovered(&mut self) {
        self.in_progress = None;
    }

    /// This commit is the tip: what failed before it no longer matters, except what must never return by itself.
    pub fn supersede(&mut self, tip: &str) {
        let live = self.live.as_ref().map(|live| live.commit.as_str());
        self.failures.retain(|failure| {
            let stays = matches!(failure.stage, Stage::RolledBack | Stage::CutMigration);
            stays || failure.commit == tip || live == Some(failure.commit.as_str())
        });
    }

    /// A commit's failures no longer matter.
    pub fn forgive(&mut self, commit: &str) {
        self.failures.retain(|failure| failure.commit != commit);
    }

    /// Failed commits may be tried again at once, also those that somebody rolled back from; returns how many there were.
    pub fn retry(&mut self) -> usize {
        std::mem::take(&mut self.failures).len()
    }

    /// Commits that failed by themselves may be tried again at once.
    pub fn retry_failed(&mut self) {
        self.failures.retain(Failure::is_rollback);
    }

    /// Deployments are paused.
    pub fn pause_for(&mut self, pause: Pause) {
        self.pause = Some(pause);
    }

    /// Deployments go on; returns the pause that ended.
    pub fn resume(&mut self) -> Option<Pause> {
        self.pause.take()
    }

    /// Only the newest `keep` releases stay, and always the live and the previous one.
    pub fn pruned(&mut self, keep: usize) {
        let excess = self.releases.len().saturating_sub(keep);
        let needed = [self.live.as_ref(), self.previous()].map(|it| it.map(|it| it.id.clone()));
        let mut at = 0;
        self.releases.retain(|release| {
            at += 1;
            at > excess || needed.iter().flatten().any(|id| *id == release.id)
        });
    }
}

#[cfg(test)]
impl Ledger {
    /// A ledger in any state, also in one that no transition leads to.
    pub(crate) fn in_state(
        live: Option<Release>,
        failures: Vec<Failure>,
        pause: Option<Pause>,
    ) -> Self {
        Self {
            live,
            failures,
            pause,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
