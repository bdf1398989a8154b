//! Whether to deploy the newest commit on the git host now. Pure.
//!
//! Evaluated twice: before the fetch, with what is known then, and again when the commit is here with its history and
//! signature. So "deploy" means "as far as is known".
//!
//! The order, when several answers apply:
//!
//! 1. *up to date*: there is nothing to do;
//! 2. *paused*: a person decided that, and everything else waits until they resume;
//! 3. *refused for what the commit is*, its signature before its history. Earlier failures do not matter: another
//!    attempt would not make it trusted;
//! 4. *quarantined*, before the deploy window: it will not be deployed when that opens;
//! 5. *outside the window*, before waiting: the next attempt needs both;
//! 6. *waiting* for its next attempt.
//!
//! A refusal is not a failure: it uses no attempt.

pub mod notices;
mod policy;

pub use policy::{DeployPolicy, Verdict};

use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Utc};

use crate::app::Limits;
use crate::state::ledger::{Failure, Ledger, Pause};
use crate::state::refusal::Why;

/// What is known about the newest commit on the git host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip<'a> {
    /// The commit.
    pub commit: &'a str,
    /// Whether the live commit is its ancestor; `None` if nothing is live, it is not known yet, or it does not matter.
    pub descends: Option<bool>,
    /// Its signature.
    pub signature: Signature,
}

/// The result of a signature check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// No signature is required, or it was not checked yet.
    NotChecked,
    /// Valid, by this principal of a list of allowed signers, or this key of an OpenPGP keyring.
    Trusted(String),
    /// Missing or invalid; why.
    Refused(String),
}

/// Whether to deploy, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// The commit is live.
    UpToDate,
    /// Deploy it.
    Deploy,
    /// Deployments are paused.
    Paused(Pause),
    /// The settings refuse it.
    Refused(Why),
    /// It failed `attempts` times, or somebody rolled back from it.
    Quarantined(Failure),
    /// It failed, and its next attempt is not due before this time.
    Waiting(Failure, DateTime<Utc>),
}

/// Decides about the newest commit on the git host.
///
/// `inputs_digest` is the digest of settings and environment: a commit that failed under others gets all its attempts again.
/// `now` carries this server's offset from UTC, since the deploy window is in local time. The first release waits for
/// no window: there is nothing live to protect.
pub fn decide(
    tip: &Tip<'_>,
    ledger: &Ledger,
    limits: &Limits,
    inputs_digest: &str,
    now: DateTime<FixedOffset>,
) -> Decision {
    let live = ledger.live().map(|live| live.commit.as_str());
    if live == Some(tip.commit) {
        return Decision::UpToDate;
    }
    if let Some(pause) = ledger.pause() {
        return Decision::Paused(pause.clone());
    }
    if let Signature::Refused(words) = &tip.signature {
        return Decision::Refused(Why::NotTrusted {
            words: words.clone(),
        });
    }
    if let (Some(false), false, Some(live)) = (tip.descends, limits.allow_rewind, live) {
        return Decision::Refused(Why::NotDescendant { live: live.into() });
    }
    let failure = ledger
        .failure(tip.commit)
        .filter(|failure| failure.is_rollback() || failure.inputs_digest == inputs_digest);
    if let Some(failure) = failure.filter(|failure| failure.is_final(limits.attempts)) {
        return Decision::Quarantined(failure.clone());
    }
    if let (Some(window), Some(_)) = (&limits.deploy_window, live)
        && let local = wall_clock(now)
        && !window.contains(local)
    {
        let opens = window
            .opens_next(local)
            .map(|opens| opens.format("%a %Y-%m-%d %H:%M").to_string());
        return Decision::Refused(Why::OutsideWindow { opens });
    }
    let due = failure.and_then(|failure| Some((failure, next_try(failure, now.to_utc())?)));
    match due {
        Some((failure, due)) if now < due => Decision::Waiting(failure.clone(), due),
        _ => Decision::Deploy,
    }
}

/// Whether a commit failed with these inputs, and its next attempt is not due, or there is none.
#[must_use]
pub fn is_backing_off(
    commit: &str,
    ledger: &Ledger,
    limits: &Limits,
    inputs_digest: &str,
    now: DateTime<Utc>,
) -> bool {
    let failure = ledger.failure(commit);
    failure.is_some_and(|failure| {
        let is_due = next_try(failure, now).is_none_or(|due| due <= now);
        failure.inputs_digest == inputs_digest && (failure.is_final(limits.attempts) || !is_due)
    })
}

/// The local time; UTC at the ends of the calendar, where chrono has no local time.
fn wall_clock(now: DateTime<FixedOffset>) -> NaiveDateTime {
    let utc = now.naive_utc();
    utc.checked_add_offset(*now.offset()).unwrap_or(utc)
}

/// The delay after a number of failures: 10 minutes after the first, doubled with each, at most a day.
#[must_use]
pub fn backoff(tries: u32) -> TimeDelta {
    let doublings = tries.saturating_sub(1).min(8);
    (TimeDelta::minutes(10) * (1 << doublings)).min(TimeDelta::days(1))
}

/// When a failed commit is due again.
///
/// `None` if it is due now: the record has no valid time, or one that is more than one delay ahead of `now`. Then the
/// clock was set back, or was wrong at the failure, and waiting for that time could take forever. A smaller difference
/// is accepted, so a commit never waits longer than two delays.
#[must_use]
pub fn next_try(failure: &Failure, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let last = DateTime::parse_from_rfc3339(&failure.last).ok()?.to_utc();
    let delay = backoff(failure.tries);
    let believable = last
        .checked_sub_signed(delay)
        .is_none_or(|from| from <= now);
    last.checked_add_signed(delay).filter(|_| believable)
}

#[cfg(test)]
mod passed;
#[cfg(test)]
mod tests;
