//! Only what passed goes live: CI moves the branch that is followed, polls decide, in every order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::state::history::{Deployment, Outcome};
use crate::state::ledger::Release;

/// Commits on one line, each a child of the one with the next lower number; some are green.
#[derive(Debug, Clone)]
struct History {
    green: Vec<bool>,
    /// The commits in the order in which their jobs end, each with the number of polls after it.
    ends: Vec<(usize, usize)>,
}

/// The branch and the server.
struct World {
    /// Whether jobs push with `--force`, as they should not.
    forced: bool,
    policy: DeployPolicy,
    branch: Option<usize>,
    ledger: Ledger,
    /// What was live, in order.
    lived: Vec<usize>,
    /// What polls saw.
    seen: BTreeSet<usize>,
}

impl World {
    fn new(forced: bool, allow_rewind: bool) -> Self {
        let limits = Limits {
            allow_rewind,
            ..Limits::default()
        };
        let policy = DeployPolicy {
            limits,
            inputs_digest: "c".into(),
            signers: String::new(),
            preliminary: Signature::NotChecked,
            by_person: false,
            killed: false,
        };
        Self {
            forced,
            policy,
            branch: None,
            ledger: Ledger::default(),
            lived: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    /// The job of a commit ends; the host refuses what is no fast-forward.
    fn job_ends(&mut self, commit: usize, green: bool) {
        if green && (self.forced || self.branch.is_none_or(|branch| branch < commit)) {
            self.branch = Some(commit);
        }
    }

    /// As a poll does it: what is known of an earlier refusal first, then the commit and its history.
    fn poll(&mut self) {
        let Some(tip) = self.branch else { return };
        self.seen.insert(tip);
        let (name, now) = (tip.to_string(), DateTime::UNIX_EPOCH.fixed_offset());
        let known = self.policy.cached_verdict(&self.ledger, &name, &name);
        let known = self.policy.evaluate(&mut self.ledger, &known, &name, now);
        if known.is_some() {
            return;
        }
        let fetched = Tip {
            commit: &name,
            descends: self.lived.last().map(|live| *live < tip),
            signature: Signature::NotChecked,
        };
        let verdict = self.policy.evaluate(&mut self.ledger, &fetched, &name, now);
        if verdict.is_some() {
            return;
        }
        let release = Release {
            id: format!("{}", self.lived.len()),
            commit: name.clone(),
            subject: String::new(),
            since: String::new(),
            venv: String::new(),
        };
        let ended = Deployment::of(&release, now.to_rfc3339(), 1.0, Outcome::Live);
        self.ledger.went_live(release, ended);
        self.lived.push(tip);
    }

    fn plays(mut self, history: &History) -> Self {
        for &(commit, polls) in &history.ends {
            self.job_ends(commit, history.green[commit]);
            for _ in 0..polls {
                self.poll();
            }
        }
        self.poll();
        self
    }
}

fn any_history() -> impl Strategy<Value = History> {
    (1usize..9).prop_flat_map(|commits| {
        let order = Just((0..commits).collect::<Vec<_>>()).prop_shuffle();
        let polls = prop::collection::vec(0usize..3, commits);
        let green = prop::collection::vec(prop::bool::ANY, commits);
        (green, order, polls).prop_map(|(green, order, polls)| History {
            green,
            ends: order.into_iter().zip(polls).collect(),
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_red_commit_never_lives_and_the_newest_green_one_does(
        history in any_history(), allow_rewind in prop::bool::ANY
    ) {
        let world = World::new(false, allow_rewind).plays(&history);
        prop_assert!(world.lived.iter().all(|commit| history.green[*commit]));
        prop_assert!(world.lived.is_sorted_by(|earlier, later| earlier < later));
        let newest = history.green.iter().rposition(|green| *green);
        prop_assert_eq!(world.lived.last().copied(), newest);
        let live = world.ledger.live().map(|live| live.commit.clone());
        prop_assert_eq!(live, newest.map(|commit| commit.to_string()));
    }

    #[test]
    fn a_branch_that_jobs_force_back_takes_nothing_back(history in any_history()) {
        let world = World::new(true, false).plays(&history);
        prop_assert!(world.lived.iter().all(|commit| history.green[*commit]));
        prop_assert!(world.lived.is_sorted_by(|earlier, later| earlier < later));
        prop_assert_eq!(world.lived.last(), world.seen.last());
        if world.branch.is_some_and(|branch| Some(&branch) != world.seen.last()) {
            prop_assert!(world.ledger.refused().is_some(), "it is not reported");
        }
    }
}

#[test]
fn without_the_setting_a_forced_branch_takes_the_server_back() {
    let history = History {
        green: vec![true, true],
        ends: vec![(1, 1), (0, 1)],
    };
    assert_eq!(World::new(true, true).plays(&history).lived, [1, 0]);
    assert_eq!(World::new(true, false).plays(&history).lived, [1]);
    assert_eq!(World::new(false, true).plays(&history).lived, [1]);
}
