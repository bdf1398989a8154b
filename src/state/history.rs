//! Past deployments, as the ledger keeps them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fields;
use super::ledger::Release;

/// How many past deployments are kept.
const MOST: usize = 100;

/// Past deployments, newest last, at most a hundred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(Vec<Deployment>);

/// A deployment that ended.
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
    /// How long each of its parts took, as far as it came.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<Part, Tenths>,
    /// How it ended.
    pub outcome: Outcome,
    /// Its log, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// A remark, for example that history was rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Tenths of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenths(pub u64);

impl Tenths {
    /// Rounds seconds.
    #[must_use]
    pub fn of(seconds: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a duration of a deployment in tenths of a second"
        )]
        Self((seconds.max(0.0) * 10.0).round() as u64)
    }

    /// As seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "tenths of a second")]
        let tenths = self.0 as f64;
        tenths / 10.0
    }
}

/// A part of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// From the git host's answer to the first change on this server.
    Fetch,
    /// Checkout, environment, deploy script, tests, migrations.
    Build,
    /// The trial.
    Trial,
    /// From the switch of `current` until the service is healthy.
    Switch,
}

impl Part {
    /// As JSON and the metrics spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Build => "build",
            Self::Trial => "trial",
            Self::Switch => "switch",
        }
    }
}

/// A stage of a deployment, as far as it can fail once it has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The commit is written into its directory, and shared paths are linked.
    Checkout,
    /// The virtual environment is chosen or created, and proven by importing the app.
    Environment,
    /// The deploy script runs.
    Script,
    /// A migration was cut off: the database may be half changed.
    CutMigration,
    /// The app must not write into its release.
    Writes,
    /// The release runs beside the live one.
    Trial,
    /// `current` is pointed to the release.
    Activate,
    /// The restarted service must be healthy.
    Health,
    /// The poll was killed in an unknown stage.
    Killed,
    /// It was live, and somebody rolled back from it.
    RolledBack,
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is live.
    Live,
    /// It failed, before or after the activation.
    Failed {
        /// In which stage.
        stage: Stage,
        /// Why, in one line.
        why: String,
    },
    /// Somebody rolled back to this release.
    RolledBack,
}

impl History {
    /// The deployments, newest last.
    #[must_use]
    pub fn deployments(&self) -> &[Deployment] {
        &self.0
    }

    pub(super) fn add(&mut self, deployment: Deployment) {
        self.0.push(deployment);
        let excess = self.0.len().saturating_sub(MOST);
        self.0.drain(..excess);
    }
}

impl Deployment {
    /// The deployment of a release that ended at `at` (RFC 3339) after `took` seconds.
    #[must_use]
    pub fn of(release: &Release, at: String, took: f64, outcome: Outcome) -> Self {
        Self {
            commit: release.commit.clone(),
            subject: release.subject.clone(),
            at,
            took: Tenths::of(took),
            parts: BTreeMap::new(),
            outcome,
            log: None,
            note: None,
        }
    }
}
