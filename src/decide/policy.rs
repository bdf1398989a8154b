//! At the gate: what is known of the tip before the fetch, and what is remembered of a refusal.

use chrono::{DateTime, FixedOffset};

use crate::app::Limits;

use crate::state::ledger::Ledger;
use crate::state::ledger::{Failure, Pause};
use crate::state::refusal::{Refusal, Why};
use crate::state::{sha256, stamp};

use super::{Decision, Signature, Tip, decide};

/// Why a tip is not deployed now.
#[derive(Debug)]
pub enum Verdict {
    /// It is live.
    UpToDate,
    /// Somebody paused deployments.
    Paused(Pause),
    /// It failed before, and its next try is not due, or there is none.
    Waiting(Failure),
    /// The settings refuse it.
    Refused {
        /// What, and why.
        refusal: Refusal,
        /// Whether to report it: once for a commit and a reason, never for a matter of time.
        report: bool,
    },
}

/// What decides beside the tip and the ledger.
pub struct DeployPolicy {
    /// What is let through; without the window if somebody said "now".
    pub limits: Limits,
    /// Stands for everything beside the commit that decides whether a deployment works.
    pub conditions: String,
    /// The text of the list of signers: another list is another decision.
    pub signers: String,
    /// What is known of any signature before the commit is here: [`Signature::Refused`] without a usable list.
    pub preliminary: Signature,
    /// Whether a person asks, who is told a refusal again.
    pub asked: bool,
    /// Whether the poll that tried it last was killed: then its next try is due at once.
    pub killed: bool,
}

impl DeployPolicy {
    /// Stands for everything beside the object itself that decides whether it is refused.
    fn inputs_digest(&self, ledger: &Ledger) -> String {
        let live = ledger.live.as_ref().map_or("", |live| live.commit.as_str());
        let signers = &self.signers;
        sha256(format!("{}\0{}\0{live}", self.conditions, signers).as_bytes())
    }

    /// What is known before the fetch: the reason of an earlier refusal, as long as nothing has
    /// changed that decided it. So a refused commit is not fetched again with every poll.
    pub fn cached_verdict<'a>(&self, ledger: &Ledger, object: &str, commit: &'a str) -> Tip<'a> {
        let mut tip = Tip {
            commit,
            descends: None,
            signature: self.preliminary.clone(),
        };
        match self.refused(ledger, object, commit).map(|it| &it.why) {
            Some(Why::NotTrusted { words }) => tip.signature = Signature::Refused(words.clone()),
            Some(Why::NotDescendant { .. }) => tip.descends = Some(false),
            Some(
                Why::OutsideWindow { .. }
                | Why::NoRoom { .. }
                | Why::ReadOnly { .. }
                | Why::Unfit { .. },
            )
            | None => {}
        }
        tip
    }

    /// An earlier refusal, if nothing has changed that decided it.
    fn refused<'l>(&self, ledger: &'l Ledger, object: &str, commit: &str) -> Option<&'l Refusal> {
        ledger.refused.as_ref().filter(|refusal| {
            refusal.commit == commit
                && refusal.object == object
                && refusal.conditions == self.inputs_digest(ledger)
        })
    }

    /// What is told of a commit that would be let through, if it was found to be beyond the bounds before: it is not
    /// fetched and unpacked again with every poll, unless a person asks.
    pub fn knows_unfit(&self, ledger: &Ledger, tip: &Tip<'_>, object: &str) -> Option<Verdict> {
        let refusal = self.refused(ledger, object, tip.commit)?;
        let unfit = matches!(refusal.why, Why::Unfit { .. }) && !self.asked;
        unfit.then(|| Verdict::Refused {
            refusal: refusal.clone(),
            report: false,
        })
    }

    /// Asks the gate, remembers a refusal, and gives what is told of a tip that is not let through.
    /// The ledger is left for the caller to store.
    pub fn evaluate(
        &self,
        ledger: &mut Ledger,
        tip: &Tip<'_>,
        object: &str,
        now: DateTime<FixedOffset>,
    ) -> Option<Verdict> {
        let decision = decide(tip, ledger, &self.limits, &self.conditions, now);
        // What was refused is no longer what the remote has, or its hour has come.
        let over = |refusal: &Refusal| refusal.commit != tip.commit || refusal.why.is_transient();
        if !matches!(decision, Decision::Refused(_)) && ledger.refused.as_ref().is_some_and(over) {
            ledger.refused = None;
        }
        Some(match decision {
            Decision::Deploy => return None,
            Decision::Waiting(..) if self.killed => return None,
            Decision::UpToDate => Verdict::UpToDate,
            Decision::Paused(pause) => Verdict::Paused(pause),
            Decision::Waiting(failure, _) | Decision::Quarantined(failure) => {
                Verdict::Waiting(failure)
            }
            Decision::Refused(why) => self.refuse(ledger, tip, object, why, now),
        })
    }

    /// Remembers a refusal, and gives what is told of it.
    pub fn refuse(
        &self,
        ledger: &mut Ledger,
        tip: &Tip<'_>,
        object: &str,
        why: Why,
        now: DateTime<FixedOffset>,
    ) -> Verdict {
        let passes = why.is_transient();
        let refusal = Refusal {
            commit: tip.commit.to_owned(),
            object: object.to_owned(),
            since: stamp(now.to_utc()),
            why,
            conditions: self.inputs_digest(ledger),
        };
        let news = ledger.refuse(refusal.clone());
        Verdict::Refused {
            report: !passes && (news || self.asked),
            refusal: ledger.refused.clone().unwrap_or(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ledger::Release;

    fn signers(comment: &str) -> String {
        format!(
            "# {comment}\nann ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti"
        )
    }
    fn gate(signers: &str) -> DeployPolicy {
        DeployPolicy {
            limits: Limits {
                allow_rewind: false,
                ..Limits::default()
            },
            conditions: "c".into(),
            signers: self::signers(signers),
            preliminary: Signature::NotAsked,
            asked: false,
            killed: false,
        }
    }
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.now_live(Release {
            id: "1".into(),
            commit: "a".into(),
            subject: String::new(),
            since: String::new(),
            venv: String::new(),
        });
        ledger
    }
    fn now() -> DateTime<FixedOffset> {
        DateTime::UNIX_EPOCH.fixed_offset()
    }
    /// What a poll does with a commit whose signature is refused: whether it fetches, and tells.
    fn polled(gate: &DeployPolicy, ledger: &mut Ledger, commit: &str) -> (bool, bool) {
        let told =
            |told: Option<Verdict>| matches!(told, Some(Verdict::Refused { report: true, .. }));
        let tip = gate.cached_verdict(ledger, commit, commit);
        if let Some(stopped) = gate.evaluate(ledger, &tip, commit, now()) {
            return (false, told(Some(stopped)));
        }
        let tip = Tip {
            commit,
            descends: Some(true),
            signature: Signature::Refused("it is not signed".into()),
        };
        (true, told(gate.evaluate(ledger, &tip, commit, now())))
    }

    #[test]
    fn a_refusal_is_told_once_and_fetched_once() {
        let (gate, mut ledger) = (gate("ann"), ledger());
        assert_eq!(polled(&gate, &mut ledger, "b"), (true, true));
        assert_eq!(polled(&gate, &mut ledger, "b"), (false, false));
        assert_eq!(polled(&gate, &mut ledger, "b"), (false, false));
        assert_eq!(polled(&gate, &mut ledger, "c"), (true, true), "the next");
        assert!(ledger.refused.as_ref().is_some_and(|r| r.commit == "c"));
        let tip = gate.cached_verdict(&ledger, "a", "a");
        assert!(matches!(
            gate.evaluate(&mut ledger, &tip, "a", now()),
            Some(Verdict::UpToDate)
        ));
        assert_eq!(ledger.refused, None, "the live commit is the tip again");
    }

    #[test]
    fn what_decided_it_is_looked_at_anew_and_told_only_if_it_is_another() {
        let mut ledger = ledger();
        assert_eq!(polled(&gate("ann"), &mut ledger, "b"), (true, true));
        let changed = gate("ann, bob");
        assert_eq!(polled(&changed, &mut ledger, "b"), (true, false));
        assert_eq!(polled(&changed, &mut ledger, "b"), (false, false));
        let tip = Tip {
            commit: "b",
            descends: Some(false),
            signature: Signature::Trusted("ann".into()),
        };
        assert!(matches!(
            changed.evaluate(&mut ledger, &tip, "b", now()),
            Some(Verdict::Refused { report: true, .. })
        ));
        let tip = changed.cached_verdict(&ledger, "b", "b");
        assert_eq!(tip.descends, Some(false));
        let resigned = changed.cached_verdict(&ledger, "another tag", "b");
        assert_eq!(resigned.descends, None, "another object, the same commit");
    }

    #[test]
    fn without_a_list_nothing_is_fetched_and_nothing_let_through() {
        let (mut gate, mut ledger) = (gate("ann"), ledger());
        gate.preliminary = Signature::Refused("the list is not there".into());
        assert_eq!(polled(&gate, &mut ledger, "b"), (false, true));
        assert_eq!(polled(&gate, &mut ledger, "b"), (false, false));
        let tip = gate.cached_verdict(&ledger, "a", "a");
        let stopped = gate.evaluate(&mut ledger, &tip, "a", now());
        assert!(matches!(stopped, Some(Verdict::UpToDate)));
    }

    #[test]
    fn a_person_who_asks_is_told_again() {
        let mut ledger = ledger();
        let asked = DeployPolicy {
            asked: true,
            ..gate("")
        };
        assert_eq!(polled(&asked, &mut ledger, "b"), (true, true));
        assert_eq!(polled(&asked, &mut ledger, "b"), (false, true));
    }

    #[test]
    fn a_closed_window_is_remembered_and_never_told() {
        let mut ledger = ledger();
        let mut gate = gate("");
        // The epoch was a Thursday.
        gate.limits.deploy_window = "Fri 08:00-18:00".parse().ok();
        let tip = gate.cached_verdict(&ledger, "b", "b");
        let stopped = gate.evaluate(&mut ledger, &tip, "b", now());
        assert!(
            matches!(stopped, Some(Verdict::Refused { report: false, ref refusal })
                if refusal.why.to_string().ends_with("opens Fri 1970-01-02 08:00")),
            "{stopped:?}"
        );
        assert!(ledger.refused.is_some());
        let open = now() + chrono::TimeDelta::hours(32);
        let tip = gate.cached_verdict(&ledger, "b", "b");
        assert!(gate.evaluate(&mut ledger, &tip, "b", open).is_none());
        assert_eq!(ledger.refused, None);
    }
}
