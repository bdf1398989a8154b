//! How a poll ended.

use std::path::PathBuf;

use crate::decide::Verdict;
use crate::state::ledger::{Release, RemoteOutage};

/// How a poll ended.
#[derive(Debug)]
pub enum PollOutcome {
    /// Nothing was deployed, and that is as it should be.
    Skipped(Verdict),
    /// Another poll is at work, or a command that this one gave way to.
    Busy,
    /// A new release is live.
    Deployed {
        /// The release before.
        from: Option<Release>,
        /// The new one.
        to: Release,
        /// Seconds from the answer to the record.
        took: f64,
        /// Since when the remote could not be asked before, if that was reported.
        ended_outage: Option<RemoteOutage>,
        /// What else is to be known of it: that history was rewritten.
        note: Option<String>,
    },
    /// Something else than the ledger says was found and put right; then the poll went on.
    Recovered(Recovery, Box<PollOutcome>),
    /// What was live was lost or down: what was found, how the poll had gone, and how its commit was deployed again.
    Redeployed(String, Box<PollOutcome>, Box<PollOutcome>),
    /// State was damaged and set aside: what, and what there is in its place; then the poll went on.
    StateRebuilt(String, Box<PollOutcome>),
    /// The new release failed.
    Failed(Box<FailureReport>),
    /// The remote could not be asked.
    Unreachable {
        /// For how long, and why.
        outage: RemoteOutage,
        /// Whether it is to be told: once it has lasted, and only once.
        report: bool,
    },
}

/// A deployment that failed.
#[derive(Debug)]
pub struct FailureReport {
    /// What was to be deployed.
    pub release: Release,
    /// Which stage failed, and why, in one line.
    pub why: String,
    /// Which migrations it applied, if any: they stay.
    pub migrations: Option<String>,
    /// The last lines of the log.
    pub last_lines: Vec<String>,
    /// The log.
    pub log: PathBuf,
    /// What is live now.
    pub live: Option<Release>,
    /// Set if the release before could not be brought back.
    pub not_brought_back: Option<String>,
    /// Which try this was.
    pub tries: u32,
    /// How many there are.
    pub attempts: u32,
}

/// What was put right.
#[derive(Debug)]
pub struct Recovery {
    /// What had happened.
    pub found: String,
    /// The release that is live again.
    pub live: Release,
    /// Why it does not answer well, if it does not.
    pub unhealthy: Option<String>,
}
