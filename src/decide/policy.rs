//! The policy of one poll, and the memory of refusals: a refused commit is not fetched again, and reported once.

use chrono::{DateTime, FixedOffset};

use crate::app::Limits;

use crate::state::ledger::{Failure, Ledger, Pause};
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
    /// The settings' limits; without the deploy window for `--now`.
    pub limits: Limits,
    /// A digest of everything beside the commit that decides whether a deployment works.
    pub inputs_digest: String,
    /// The digests of the files that list the signers: another list is another decision.
    pub signers: String,
    /// The signature check before the commit is here: [`Signature::Refused`] without a usable list.
    pub preliminary: Signature,
    /// Whether a person polls, who sees a refusal again.
    pub by_person: bool,
    /// Whether the commit's last poll was killed: then its next attempt is due at once.
    pub killed: bool,
}

impl DeployPolicy {
    /// A digest of everything beside the object that decides whether it is refused.
    fn inputs_digest(&self, ledger: &Ledger) -> String {
        let live = ledger.live().map_or("", |live| live.commit.as_str());
        let signers = &self.signers;
        sha256(format!("{}\0{}\0{live}", self.inputs_digest, signers).as_bytes())
    }

    /// What is known before the fetch: the reason of an earlier refusal, while its inputs are the same. So a refused
    /// commit is not fetched again with every poll.
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
                | Why::OtherPaths
                | Why::NoRoom { .. }
                | Why::ReadOnly { .. }
                | Why::Dependencies { .. }
                | Why::SudoRefuses { .. }
                | Why::Unfit { .. },
            )
            | None => {}
        }
        tip
    }

    /// An earlier refusal with the same inputs.
    fn refused<'l>(&self, ledger: &'l Ledger, object: &str, commit: &str) -> Option<&'l Refusal> {
        ledger.refused().filter(|refusal| {
            refusal.commit == commit
                && refusal.object == object
                && refusal.inputs_digest == self.inputs_digest(ledger)
        })
    }

    /// The refusal of a commit that exceeded the limits when it was fetched: it is not fetched again with every poll,
    /// unless a person polls.
    pub fn cached_unfit(&self, ledger: &Ledger, tip: &Tip<'_>, object: &str) -> Option<Verdict> {
        let refusal = self.refused(ledger, object, tip.commit)?;
        let unfit = matches!(refusal.why, Why::Unfit { .. } | Why::OtherPaths) && !self.by_person;
        unfit.then(|| Verdict::Refused {
            refusal: refusal.clone(),
            report: false,
        })
    }

    /// Decides, and records a refusal in the ledger, which the caller stores. `None` means deploy.
    pub fn evaluate(
        &self,
        ledger: &mut Ledger,
        tip: &Tip<'_>,
        object: &str,
        now: DateTime<FixedOffset>,
    ) -> Option<Verdict> {
        let decision = decide(tip, ledger, &self.limits, &self.inputs_digest, now);
        // The git host has another commit now, or the deploy window has opened.
        let over = |refusal: &Refusal| refusal.commit != tip.commit || refusal.why.is_transient();
        if !matches!(decision, Decision::Refused(_)) && ledger.refused().is_some_and(over) {
            ledger.admit();
        }
        Some(match decision {
            Decision::Deploy => return None,
            Decision::Waiting(..) if self.killed => return None,
            Decision::UpToDate => {
                ledger.supersede(tip.commit);
                Verdict::UpToDate
            }
            Decision::Paused(pause) => Verdict::Paused(pause),
            Decision::Waiting(failure, _) | Decision::Quarantined(failure) => {
                Verdict::Waiting(failure)
            }
            Decision::Refused(why) => self.refuse(ledger, tip, object, why, now),
        })
    }

    /// Records a refusal in the ledger; returns the verdict to report.
    pub fn refuse(
        &self,
        ledger: &mut Ledger,
        tip: &Tip<'_>,
        object: &str,
        why: Why,
        now: DateTime<FixedOffset>,
    ) -> Verdict {
        let quiet = why.is_quiet();
        let refusal = Refusal {
            commit: tip.commit.to_owned(),
            object: object.to_owned(),
            since: stamp(now.to_utc()),
            why,
            inputs_digest: self.inputs_digest(ledger),
        };
        let is_new = ledger.refuse(refusal.clone());
        Verdict::Refused {
            report: !quiet && (is_new || self.by_person),
            refusal: ledger.refused().cloned().unwrap_or(refusal),
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
    fn policy(signers: &str) -> DeployPolicy {
        DeployPolicy {
            limits: Limits {
                allow_rewind: false,
                ..Limits::default()
            },
            inputs_digest: "c".into(),
            signers: self::signers(signers),
            preliminary: Signature::NotChecked,
            by_person: false,
            killed: false,
        }
    }
    fn ledger() -> Ledger {
        let live = Release {
            id: "1".into(),
            commit: "a".into(),
            subject: String::new(),
            since: String::new(),
            venv: String::new(),
        };
        Ledger::in_state(Some(live), Vec::new(), None)
    }
    fn now() -> DateTime<FixedOffset> {
        DateTime::UNIX_EPOCH.fixed_offset()
    }
    /// A poll of a commit whose signature is refused: whether it fetches, and whether it reports.
    fn polled(policy: &DeployPolicy, ledger: &mut Ledger, commit: &str) -> (bool, bool) {
        let reports = |verdict: Option<Verdict>| {
            matches!(verdict, Some(Verdict::Refused { report: true, .. }))
        };
        let tip = policy.cached_verdict(ledger, commit, commit);
        if let Some(verdict) = policy.evaluate(ledger, &tip, commit, now()) {
            return (false, reports(Some(verdict)));
        }
        let tip = Tip {
            commit,
            descends: Some(true),
            signature: Signature::Refused("it is not signed".into()),
        };
        (true, reports(policy.evaluate(ledger, &tip, commit, now())))
    }

    #[test]
    fn a_refusal_is_reported_and_fetched_once() {
        let (policy, mut ledger) = (policy("ann"), ledger());
        assert_eq!(polled(&policy, &mut ledger, "b"), (true, true));
        assert_eq!(polled(&policy, &mut ledger, "b"), (false, false));
        assert_eq!(polled(&policy, &mut ledger, "b"), (false, false));
        assert_eq!(polled(&policy, &mut ledger, "c"), (true, true), "the next");
        assert!(ledger.refused().is_some_and(|r| r.commit == "c"));
        let tip = policy.cached_verdict(&ledger, "a", "a");
        assert!(matches!(
            policy.evaluate(&mut ledger, &tip, "a", now()),
            Some(Verdict::UpToDate)
        ));
        assert_eq!(ledger.refused(), None, "the live commit is the tip again");
    }

    #[test]
    fn changed_inputs_are_evaluated_again_and_only_another_reason_is_reported() {
        let mut ledger = ledger();
        assert_eq!(polled(&policy("ann"), &mut ledger, "b"), (true, true));
        let changed = policy("ann, bob");
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
    fn without_a_list_nothing_is_fetched_and_nothing_deployed() {
        let (mut policy, mut ledger) = (policy("ann"), ledger());
        policy.preliminary = Signature::Refused("the list is missing".into());
        assert_eq!(polled(&policy, &mut ledger, "b"), (false, true));
        assert_eq!(polled(&policy, &mut ledger, "b"), (false, false));
        let tip = policy.cached_verdict(&ledger, "a", "a");
        let verdict = policy.evaluate(&mut ledger, &tip, "a", now());
        assert!(matches!(verdict, Some(Verdict::UpToDate)));
    }

    #[test]
    fn a_person_who_polls_sees_it_again() {
        let mut ledger = ledger();
        let by_person = DeployPolicy {
            by_person: true,
            ..policy("")
        };
        assert_eq!(polled(&by_person, &mut ledger, "b"), (true, true));
        assert_eq!(polled(&by_person, &mut ledger, "b"), (false, true));
    }

    #[test]
    fn a_closed_window_is_recorded_and_never_reported() {
        let mut ledger = ledger();
        let mut policy = policy("");
        // The epoch was a Thursday.
        policy.limits.deploy_window = "Fri 08:00-18:00".parse().ok();
        let tip = policy.cached_verdict(&ledger, "b", "b");
        let verdict = policy.evaluate(&mut ledger, &tip, "b", now());
        assert!(
            matches!(verdict, Some(Verdict::Refused { report: false, ref refusal })
                if refusal.why.to_string().ends_with("opens Fri 1970-01-02 08:00")),
            "{verdict:?}"
        );
        assert!(ledger.refused().is_some());
        let open = now() + chrono::TimeDelta::hours(32);
        let tip = policy.cached_verdict(&ledger, "b", "b");
        assert!(policy.evaluate(&mut ledger, &tip, "b", open).is_none());
        assert_eq!(ledger.refused(), None);
    }
}
