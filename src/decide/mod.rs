//! The gate: whether to deploy what the remote has. Pure.
//!
//! It is asked twice: before anything is fetched, with what can be known then, and again when the
//! commit is here with its history and its signature. So "deploy" means "as far as is known".
//!
//! What is said first, when several things could be said:
//!
//! 1. *up to date*: nothing is to be done, so nothing stands in the way of it;
//! 2. *held*: a person said so, and will take it back; whatever else there is waits for that;
//! 3. *refused for what the commit is*, its signature before its history. How often it failed does
//!    not matter: trying again would not make it trusted;
//! 4. *quarantined*, before the window: it is not going to be deployed when that opens;
//! 5. *outside the window*, before waiting: the next try is not before both;
//! 6. *waiting* for its next try.
//!
//! A refusal is not a failure: nothing was tried, and no try is used up.

mod policy;

pub use policy::{DeployPolicy, Verdict};

use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Utc};

use crate::app::Limits;
use crate::state::ledger::{Failure, Ledger, Pause};
use crate::state::refusal::Why;

/// What is known of what the remote has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip<'a> {
    /// The commit.
    pub commit: &'a str,
    /// Whether the live commit is its ancestor; `None` when nothing is live, when that is not known
    /// yet, or when it does not matter.
    pub descends: Option<bool>,
    /// Who vouches for it.
    pub signature: Signature,
}

/// Who vouches for a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// Nobody has to, or it is not known yet.
    NotAsked,
    /// Somebody whom the settings trust, by the name that the list of signers gives.
    Trusted(String),
    /// Nobody whom the settings trust; why, in words.
    Refused(String),
}

/// Whether to deploy, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// What the remote has is live.
    UpToDate,
    /// It is new.
    Deploy,
    /// Somebody said that nothing is to be deployed.
    Paused(Pause),
    /// The settings do not let it through.
    Refused(Why),
    /// This commit failed too often.
    Quarantined(Failure),
    /// This commit failed, and its next try is not due.
    Waiting(Failure, DateTime<Utc>),
}

/// Decides for what the remote has.
///
/// `conditions` stands for settings and environment: a commit that failed under others gets all
/// its tries again. `now` is the instant together with this server's wall clock, by which the
/// window is reckoned. Nothing live is nothing to protect: the first release waits for no window.
pub fn decide(
    tip: &Tip<'_>,
    ledger: &Ledger,
    limits: &Limits,
    conditions: &str,
    now: DateTime<FixedOffset>,
) -> Decision {
    let live = ledger.live.as_ref().map(|live| live.commit.as_str());
    if live == Some(tip.commit) {
        return Decision::UpToDate;
    }
    if let Some(pause) = &ledger.pause {
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
        .filter(|failure| failure.conditions == conditions);
    if let Some(failure) = failure.filter(|failure| failure.tries >= limits.attempts) {
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

/// What the clock on the wall shows; at the ends of the calendar, where chrono has no local time, what
/// it shows in Greenwich.
fn wall_clock(now: DateTime<FixedOffset>) -> NaiveDateTime {
    let utc = now.naive_utc();
    utc.checked_add_offset(*now.offset()).unwrap_or(utc)
}

/// How long a commit rests after so many failures: 10 minutes after the first, twice as long after
/// each further one, a day at most.
#[must_use]
pub fn backoff(tries: u32) -> TimeDelta {
    let doublings = tries.saturating_sub(1).min(8);
    (TimeDelta::minutes(10) * (1 << doublings)).min(TimeDelta::days(1))
}

/// When a commit that failed is tried again: its pause after it failed.
///
/// `None` when there is nothing to wait for: the record has no readable time, or one that lies more
/// than a pause ahead of `now`. Then the clock was set back since, or was wrong when it failed, and
/// waiting for that time could mean for ever. A time that is less far ahead is believed, so a commit
/// never rests longer than two pauses.
#[must_use]
pub fn next_try(failure: &Failure, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let last = DateTime::parse_from_rfc3339(&failure.last).ok()?.to_utc();
    let pause = backoff(failure.tries);
    let believable = last
        .checked_sub_signed(pause)
        .is_none_or(|from| from <= now);
    last.checked_add_signed(pause).filter(|_| believable)
}

#[cfg(test)]
mod tests;
