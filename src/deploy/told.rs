//! How a poll ended.

use std::path::PathBuf;

use crate::state::ledger::{Failure, Hold, Release, Silence};
use crate::state::refusal::Refusal;

use super::Straightened;

/// How a poll ended.
#[derive(Debug)]
pub enum Told {
    /// What the remote has is live.
    NothingNew,
    /// Another poll is at work, or a command that this one gave way to.
    Elsewhere,
    /// Something is new and somebody said that nothing is to be deployed.
    Held(Hold),
    /// Something is new, failed before, and is not due or given up.
    Waiting(Failure),
    /// Something is new, and the settings do not let it through.
    Refused {
        /// What, and why.
        refusal: Refusal,
        /// Whether it is to be told: once for a commit and a reason, never for a matter of time.
        tell: bool,
    },
    /// A new release is live.
    Deployed {
        /// The release before.
        from: Option<Release>,
        /// The new one.
        to: Release,
        /// Seconds from the answer to the record.
        took: f64,
        /// Since when the remote could not be asked before, if that was reported.
        after_silence: Option<Silence>,
        /// What else is to be known of it: that history was rewritten.
        note: Option<String>,
    },
    /// Something else than the ledger says was found and put right; then the poll went on.
    Straightened(Straightened, Box<Told>),
    /// What was live was lost or down: what was found, how the poll had gone, and how its commit was deployed again.
    Again(String, Box<Told>, Box<Told>),
    /// State was damaged and set aside: what, and what there is in its place; then the poll went on.
    SetAside(String, Box<Told>),
    /// The new release failed.
    Failed(Box<Report>),
    /// The remote could not be asked.
    CouldNotAsk {
        /// For how long, and why.
        silence: Silence,
        /// Whether it is to be told: once it has lasted, and only once.
        tell: bool,
    },
}

/// A deployment that failed.
#[derive(Debug)]
pub struct Report {
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
