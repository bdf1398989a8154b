//! The ledger: what was deployed, what failed, what is held.
//!
//! One JSON file, always written whole. It is written before the flip (a deployment is under
//! way) and after it (it is live, or it failed), so a poll that was killed in between is known to
//! the next one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fields;
use super::refusal::Refusal;

/// The version of the file's format.
pub const FORMAT: u32 = 1;
/// How many past deployments are remembered.
const REMEMBERED: usize = 100;

/// Everything that polls remember of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    format: u32,
    /// The release that is live.
    pub live: Option<Release>,
    /// The release that was live before, the one to go back to.
    pub previous: Option<Release>,
    /// Successful releases that are still on the disk, oldest first; the live one among them.
    pub releases: Vec<Release>,
    /// A deployment that has begun and not ended; found by a poll, it was killed.
    pub under_way: Option<Release>,
    /// Commits that failed, with their tries.
    pub failures: Vec<Failure>,
    /// What the remote has and what is not let through.
    pub refused: Option<Refusal>,
    /// Why polls look and do not deploy.
    pub pause: Option<Pause>,
    /// When the remote was last asked and answered.
    #[serde(default, deserialize_with = "fields::time_if_any")]
    pub last_check: Option<String>,
    /// When cron last started a poll. One by hand proves nothing of the schedule.
    #[serde(default, deserialize_with = "fields::time_if_any")]
    pub last_by_cron: Option<String>,
    /// Since when, and how often in a row, the remote could not be asked.
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
    /// Its first line, as the author wrote it: not yet safe for a terminal.
    pub subject: String,
    /// When it became live, RFC 3339; when it was begun while it is under way.
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
    /// How often it was tried.
    pub tries: u32,
    /// When last, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub last: String,
    /// Why, in one line.
    pub why: String,
    /// The last try's log.
    pub log: Option<PathBuf>,
    /// What settings and environment were, to try again when they change.
    pub conditions: String,
}

/// Polls look but do not deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who said so.
    pub by: String,
    /// Since when, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub since: String,
    /// Why.
    pub why: String,
}

/// The remote could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteOutage {
    /// Since when, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub since: String,
    /// How many polls in a row.
    pub polls: u32,
    /// The last reason.
    pub why: String,
    /// Whether it was reported.
    pub reported: bool,
}

impl RemoteOutage {
    /// How many polls, as a sentence says it.
    #[must_use]
    pub fn polls_in_words(&self) -> String {
        match self.polls {
            1 => "1 poll".to_owned(),
            more => format!("{more} polls in a row"),
        }
    }
}

impl Failure {
    /// How often it was tried, as a sentence says it.
    #[must_use]
    pub fn tries_in_words(&self) -> String {
        match self.tries {
            1 => "once".to_owned(),
            2 => "twice".to_owned(),
            more => format!("{more} times"),
        }
    }
}

/// A deployment that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The commit.
    #[serde(deserialize_with = "fields::commit")]
    pub commit: String,
    /// Its first line.
    pub subject: String,
    /// When it ended, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub at: String,
    /// Seconds it took.
    pub took: Tenths,
    /// How it ended.
    pub outcome: Outcome,
    /// What else is to be known of it: that history was rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Seconds in tenths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenths(pub u64);

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is live.
    Live,
    /// It failed before or after the flip; the release before is live.
    Failed(String),
    /// Somebody went back to this release.
    RolledBack,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            format: FORMAT,
            live: None,
            previous: None,
            releases: Vec::new(),
            under_way: None,
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
    /// What is left of one that is damaged, part by part, and whether its parts could be told apart. Which releases
    /// there are and what was under way, the server knows better.
    #[must_use]
    pub fn left_of(text: &str) -> (Self, bool) {
        let parts = serde_json::from_str::<serde_json::Map<_, _>>(text);
        let parsed = parts.is_ok();
        let mut left = Self::default();
        for (name, part) in parts.unwrap_or_default() {
            let Ok(serde_json::Value::Object(mut whole)) = serde_json::to_value(&left) else {
                break;
            };
            whole.insert(name, part);
            left = serde_json::from_value(whole.into()).unwrap_or(left);
        }
        left.under_way = None;
        (left, parsed)
    }

    /// What is known of a commit's failures.
    #[must_use]
    pub fn failure(&self, commit: &str) -> Option<&Failure> {
        self.failures
            .iter()
            .find(|failure| failure.commit == commit)
    }

    /// Counts a failed try.
    pub fn failed(&mut self, failure: Failure) {
        let tries = self.failure(&failure.commit).map_or(0, |known| known.tries);
        self.failures.retain(|known| known.commit != failure.commit);
        self.failures.push(Failure {
            tries: tries + 1,
            ..failure
        });
        // Old failures of commits that nobody will see again.
        let excess = self.failures.len().saturating_sub(20);
        self.failures.drain(..excess);
    }

    /// Notes that a commit is not let through; tells whether that is news: the commit is another, or
    /// the reason is.
    pub fn refuse(&mut self, refusal: Refusal) -> bool {
        let known = self
            .refused
            .take()
            .filter(|known| known.commit == refusal.commit && refusal.why.is_same_as(&known.why));
        let news = known.is_none();
        let since = known.map_or_else(|| refusal.since.clone(), |known| known.since);
        self.refused = Some(Refusal { since, ..refusal });
        news
    }

    /// A release has become live.
    pub fn now_live(&mut self, release: Release) {
        self.failures
            .retain(|failure| failure.commit != release.commit);
        self.under_way = None;
        // One that was deployed again takes the place of what was lost, and is nothing to go back to.
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

    /// Remembers how a deployment ended.
    pub fn remember(&mut self, deployment: Deployment) {
        self.history.push(deployment);
        let excess = self.history.len().saturating_sub(REMEMBERED);
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
    fn tries_are_counted_by_commit() {
        let mut ledger = Ledger::default();
        for _ in 0..2 {
            ledger.failed(Failure {
                commit: "a".into(),
                tries: 0,
                last: "t".into(),
                why: "w".into(),
                log: None,
                conditions: "c".into(),
            });
        }
        assert_eq!(ledger.failure("a").map(|f| f.tries), Some(2));
        ledger.now_live(Release {
            commit: "a".into(),
            ..release("1")
        });
        assert_eq!(ledger.failure("a"), None);
    }

    #[test]
    fn a_refusal_is_news_once_and_keeps_its_beginning() {
        let refusal = |commit: &str, live: &str, since: &str| Refusal {
            commit: commit.into(),
            object: commit.into(),
            since: since.into(),
            why: Why::NotDescendant { live: live.into() },
            conditions: "c".into(),
        };
        let mut ledger = Ledger::default();
        assert!(ledger.refuse(refusal("a", "x", "1")));
        assert!(!ledger.refuse(refusal("a", "x", "2")));
        assert_eq!(
            ledger.refused.as_ref().map(|r| r.since.as_str()),
            Some("1"),
            "since the first time"
        );
        assert!(ledger.refuse(refusal("a", "y", "3")), "another reason");
        assert!(ledger.refuse(refusal("b", "y", "4")), "another commit");
    }

    #[test]
    fn too_little_room_is_news_once_however_little_it_is() {
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
            conditions: "c".into(),
        };
        let mut ledger = Ledger::default();
        assert!(ledger.refuse(refusal(Scarce::Bytes, 5)));
        assert!(!ledger.refuse(refusal(Scarce::Bytes, 4)));
        assert!(ledger.refuse(refusal(Scarce::Inodes, 4)));
    }

    #[test]
    fn a_ledger_from_before_refusals_is_read() -> anyhow::Result<()> {
        let mut old = serde_json::to_value(Ledger::default())?;
        if let Some(fields) = old.as_object_mut() {
            fields.remove("refused");
        }
        assert_eq!(serde_json::from_value::<Ledger>(old)?, Ledger::default());
        Ok(())
    }
}
