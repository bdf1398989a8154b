//! The gate: whether to deploy what the remote has. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::app::Limits;
use crate::record::ledger::{Failure, Hold, Ledger};

/// Whether to deploy, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// What the remote has is live.
    UpToDate,
    /// It is new.
    Deploy,
    /// Somebody said that nothing is to be deployed.
    Held(Hold),
    /// This commit failed, and its next try is not due.
    Waiting(Failure, DateTime<Utc>),
    /// This commit failed too often.
    Quarantined(Failure),
}

/// Decides for a commit.
///
/// `conditions` stands for settings and environment: a commit that failed under others gets all
/// its tries again.
pub fn decide(
    commit: &str,
    ledger: &Ledger,
    limits: &Limits,
    conditions: &str,
    now: DateTime<Utc>,
) -> Decision {
    if ledger
        .live
        .as_ref()
        .is_some_and(|live| live.commit == commit)
    {
        return Decision::UpToDate;
    }
    if let Some(hold) = &ledger.hold {
        return Decision::Held(hold.clone());
    }
    let Some(failure) = ledger
        .failure(commit)
        .filter(|failure| failure.conditions == conditions)
    else {
        return Decision::Deploy;
    };
    if failure.tries >= limits.attempts {
        return Decision::Quarantined(failure.clone());
    }
    match next_try(failure) {
        Some(due) if now < due => Decision::Waiting(failure.clone(), due),
        _ => Decision::Deploy,
    }
}

/// When a commit that failed is tried again: 10 minutes after the first failure, twice as long
/// after each further one, a day at most. `None` if its record has no readable time.
#[must_use]
pub fn next_try(failure: &Failure) -> Option<DateTime<Utc>> {
    let last = DateTime::parse_from_rfc3339(&failure.last)
        .ok()?
        .with_timezone(&Utc);
    let doublings = failure.tries.saturating_sub(1).min(8);
    let pause = TimeDelta::minutes(10) * (1 << doublings);
    Some(last + pause.min(TimeDelta::days(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ledger::Release;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::<Utc>::UNIX_EPOCH + TimeDelta::minutes(minute)
    }
    fn failure(tries: u32) -> Failure {
        Failure {
            commit: "b".into(),
            tries,
            last: at(0).to_rfc3339(),
            why: "why".into(),
            log: None,
            conditions: "c".into(),
        }
    }
    fn ledger(failures: Vec<Failure>) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.now_live(Release {
            id: "1".into(),
            commit: "a".into(),
            subject: String::new(),
            since: String::new(),
            venv: String::new(),
        });
        ledger.failures = failures;
        ledger
    }
    fn decided(ledger: &Ledger, commit: &str, conditions: &str, minute: i64) -> Decision {
        decide(commit, ledger, &Limits::default(), conditions, at(minute))
    }

    #[test]
    fn what_is_live_is_not_deployed_again_even_when_held() {
        let mut ledger = ledger(Vec::new());
        assert_eq!(decided(&ledger, "a", "c", 0), Decision::UpToDate);
        assert_eq!(decided(&ledger, "b", "c", 0), Decision::Deploy);
        let hold = Hold {
            by: "ann".into(),
            since: "t".into(),
            why: "w".into(),
        };
        ledger.hold = Some(hold.clone());
        assert_eq!(decided(&ledger, "a", "c", 0), Decision::UpToDate);
        assert_eq!(decided(&ledger, "b", "c", 0), Decision::Held(hold));
    }

    #[test]
    fn a_failed_commit_waits_longer_each_time_and_is_then_left_alone() {
        let once = ledger(vec![failure(1)]);
        assert!(matches!(decided(&once, "b", "c", 9), Decision::Waiting(_, due) if due == at(10)));
        assert_eq!(decided(&once, "b", "c", 10), Decision::Deploy);
        let twice = ledger(vec![failure(2)]);
        assert!(matches!(
            decided(&twice, "b", "c", 19),
            Decision::Waiting(..)
        ));
        assert_eq!(decided(&twice, "b", "c", 20), Decision::Deploy);
        let thrice = ledger(vec![failure(3)]);
        assert!(matches!(
            decided(&thrice, "b", "c", 100_000),
            Decision::Quarantined(_)
        ));
        assert_eq!(
            decided(&thrice, "b", "other conditions", 0),
            Decision::Deploy
        );
        assert_eq!(decided(&thrice, "next", "c", 0), Decision::Deploy);
    }
}
