//! The ledger: what is live, what failed, what was refused, and past deployments.
//!
//! One JSON file, always written whole: before the activation (a deployment is in progress) and after it (live, or
//! failed), so the next poll knows of one that was killed in between.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fields;
use super::refusal::Refusal;

/// The version of the file's format.
pub const FORMAT: u32 = 1;
/// How many past deployments the history keeps.
const HISTORY: usize = 100;

/// Everything that polls remember about an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    format: u32,
    /// The release that is live.
    pub live: Option<Release>,
    /// The release that was live before; the target of a rollback.
    pub previous: Option<Release>,
    /// Successful releases that are still on the disk, oldest first, the live one included.
    pub releases: Vec<Release>,
    /// A deployment in progress; a poll that finds one knows that its poll was killed.
    pub in_progress: Option<Release>,
    /// Commits that failed, with their attempts.
    pub failures: Vec<Failure>,
    /// The newest commit, if it is refused.
    pub refused: Option<Refusal>,
    /// Who paused deployments, and why.
    pub pause: Option<Pause>,
    /// When the git host last answered.
    #[serde(default, deserialize_with = "fields::time_if_any")]
    pub last_check: Option<String>,
    /// When cron last started a poll; one started by hand proves nothing about the schedule.
    #[serde(default, deserialize_with = "fields::time_if_any")]
    pub last_by_cron: Option<String>,
    /// Since when the git host is unreachable.
    pub outage: Option<RemoteOutage>,
    /// Past deployments, newest last.
    pub history: Vec<Deployment>,
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
    /// The number of attempts.
    pub tries: u32,
    /// The time of the last one, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub last: String,
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

/// The git host could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteOutage {
    /// Since when, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub since: String,
    /// Failed polls in a row.
    pub polls: u32,
    /// The last error.
    pub why: String,
    /// Whether it was reported.
    pub reported: bool,
}

impl RemoteOutage {
    /// `1 poll`, `3 polls in a row`.
    #[must_use]
    pub fn polls_in_words(&self) -> String {
        match self.polls {
            1 => "1 poll".to_owned(),
            more => format!("{more} polls in a row"),
        }
    }
}

impl Failure {
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

/// A deployment of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The commit.
    #[serde(deserialize_with = "fields::commit")]
    pub commit: String,
    /// The first line of its message.
    pub subject: String,
    /// When it ended, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub at: String,
    /// How long it took.
    pub took: Tenths,
    /// How it ended.
    pub outcome: Outcome,
    /// A remark, for example that history was rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Tenths of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenths(pub u64);

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is live.
    Live,
    /// It failed, before or after the activation; why.
    Failed(String),
    /// Somebody rolled back to this release.
    RolledBack,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            format: FORMAT,
            live: None,
            previous: None,
            releases: Vec::new(),
            in_progress: None,
            failures: Vec::new(),
            refused: None,
            pause: None,
            last_check: None,
            last_by_cron: None,
            outage: None,
            history: Vec::new(),
        }
    }
}

impl Ledger {
    /// The readable parts of a damaged ledger, and whether it was JSON at all. Releases and the deployment in progress
    /// are read from the server instead.
    #[must_use]
    pub fn salvage(text: &str) -> (Self, bool) {
        let parts = serde_json::from_str::<serde_json::Map<_, _>>(text);
        let parsed = parts.is_ok();
        let mut salvaged = Self::default();
        for (name, part) in parts.unwrap_or_default() {
            let Ok(serde_json::Value::Object(mut whole)) = serde_json::to_value(&salvaged) else {
                break;
            };
            whole.insert(name, part);
            salvaged = serde_json::from_value(whole.into()).unwrap_or(salvaged);
        }
        salvaged.in_progress = None;
        (salvaged, parsed)
    }

    /// The failures of a commit, if it has any.
    #[must_use]
    pub fn failure(&self, commit: &str) -> Option<&Failure> {
        self.failures
            .iter()
            .find(|failure| failure.commit == commit)
    }

    /// Counts a failed attempt.
    pub fn record_failure(&mut self, failure: Failure) {
        let tries = self.failure(&failure.commit).map_or(0, |known| known.tries);
        self.failures.retain(|known| known.commit != failure.commit);
        self.failures.push(Failure {
            tries: tries + 1,
            ..failure
        });
        // The oldest, of commits that no branch points to any more.
        let excess = self.failures.len().saturating_sub(20);
        self.failures.drain(..excess);
    }

    /// Records a refused commit; returns whether the commit or the reason is new.
    pub fn record_refusal(&mut self, refusal: Refusal) -> bool {
        let known = self
            .refused
            .take()
            .filter(|known| known.commit == refusal.commit && refusal.why.is_same_as(&known.why));
        let is_new = known.is_none();
        let since = known.map_or_else(|| refusal.since.clone(), |known| known.since);
        self.refused = Some(Refusal { since, ..refusal });
        is_new
    }

    /// Records that a release is live.
    pub fn record_live(&mut self, release: Release) {
        self.failures
            .retain(|failure| failure.commit != release.commit);
        self.in_progress = None;
        // A redeployed commit replaces its lost release, and is no target of a rollback.
        self.releases
            .retain(|known| known.id != release.id && known.commit != release.commit);
        self.releases.push(release.clone());
        let commit = release.commit.clone();
        if let Some(old) = self.live.replace(release)
            && old.commit != commit
        {
            self.previous = Some(old);
        }
    }

    /// Adds a deployment to the history.
    pub fn record_deployment(&mut self, deployment: Deployment) {
        self.history.push(deployment);
        let excess = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::refusal::{Scarce, Why};

    fn release(id: &str) -> Release {
        Release {
            id: id.into(),
            commit: format!("{id:0>40}"),
            subject: "s".into(),
            since: "2026-11-25T12:00:00Z".into(),
            venv: "v".into(),
        }
    }

    #[test]
    fn attempts_are_counted_by_commit() {
        let mut ledger = Ledger::default();
        for _ in 0..2 {
            ledger.record_failure(Failure {
                commit: "a".into(),
                tries: 0,
                last: "t".into(),
                why: "w".into(),
                log: None,
                inputs_digest: "c".into(),
            });
        }
        assert_eq!(ledger.failure("a").map(|f| f.tries), Some(2));
        ledger.record_live(Release {
            commit: "a".into(),
            ..release("1")
        });
        assert_eq!(ledger.failure("a"), None);
    }

    #[test]
    fn a_refusal_is_new_once_and_keeps_its_time() {
        let refusal = |commit: &str, live: &str, since: &str| Refusal {
            commit: commit.into(),
            object: commit.into(),
            since: since.into(),
            why: Why::NotDescendant { live: live.into() },
            inputs_digest: "c".into(),
        };
        let mut ledger = Ledger::default();
        assert!(ledger.record_refusal(refusal("a", "x", "1")));
        assert!(!ledger.record_refusal(refusal("a", "x", "2")));
        assert_eq!(
            ledger.refused.as_ref().map(|r| r.since.as_str()),
            Some("1"),
            "since the first time"
        );
        assert!(
            ledger.record_refusal(refusal("a", "y", "3")),
            "another reason"
        );
        assert!(
            ledger.record_refusal(refusal("b", "y", "4")),
            "another commit"
        );
    }

    #[test]
    fn lack_of_space_is_new_once_however_much_is_free() {
        let refusal = |what, free: u64| Refusal {
            commit: "a".into(),
            object: "a".into(),
            since: "t".into(),
            why: Why::NoRoom {
                dir: "/x".into(),
                what,
                needed: 100,
                free,
            },
            inputs_digest: "c".into(),
        };
        let mut ledger = Ledger::default();
        assert!(ledger.record_refusal(refusal(Scarce::Bytes, 5)));
        assert!(!ledger.record_refusal(refusal(Scarce::Bytes, 4)));
        assert!(ledger.record_refusal(refusal(Scarce::Inodes, 4)));
    }

    #[test]
    fn a_ledger_without_refusals_is_read() -> anyhow::Result<()> {
        let mut old = serde_json::to_value(Ledger::default())?;
        if let Some(fields) = old.as_object_mut() {
            fields.remove("refused");
        }
        assert_eq!(serde_json::from_value::<Ledger>(old)?, Ledger::default());
        Ok(())
    }
}
