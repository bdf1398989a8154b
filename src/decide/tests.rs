//! Examples, then properties.

use proptest::prelude::*;

use super::*;
use crate::state::history::Stage;
use crate::state::ledger::Release;

fn at(minute: i64) -> DateTime<FixedOffset> {
    (DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)).fixed_offset()
}
fn failure(tries: u32) -> Failure {
    Failure {
        commit: "b".into(),
        tries,
        last: at(0).to_rfc3339(),
        stage: Stage::Health,
        why: "why".into(),
        log: None,
        inputs_digest: "c".into(),
    }
}
fn release(commit: &str) -> Release {
    Release {
        id: "1".into(),
        commit: commit.into(),
        subject: String::new(),
        since: String::new(),
        venv: String::new(),
    }
}
fn ledger(failures: Vec<Failure>) -> Ledger {
    Ledger::in_state(Some(release("a")), failures, None)
}
fn pause() -> Pause {
    Pause {
        by: "ann".into(),
        since: "t".into(),
        why: "w".into(),
    }
}
fn tip(commit: &str) -> Tip<'_> {
    Tip {
        commit,
        descends: None,
        signature: Signature::NotChecked,
    }
}
fn decided(ledger: &Ledger, commit: &str, inputs_digest: &str, minute: i64) -> Decision {
    let limits = Limits::default();
    decide(&tip(commit), ledger, &limits, inputs_digest, at(minute))
}

#[test]
fn what_is_live_is_not_deployed_again_even_when_paused() {
    let mut ledger = ledger(Vec::new());
    assert_eq!(decided(&ledger, "a", "c", 0), Decision::UpToDate);
    assert_eq!(decided(&ledger, "b", "c", 0), Decision::Deploy);
    ledger.pause_for(pause());
    assert_eq!(decided(&ledger, "a", "c", 0), Decision::UpToDate);
    assert_eq!(decided(&ledger, "b", "c", 0), Decision::Paused(pause()));
}

#[test]
fn a_failed_commit_waits_longer_each_time_and_is_then_quarantined() {
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
    assert_eq!(decided(&thrice, "b", "other inputs", 0), Decision::Deploy);
    assert_eq!(decided(&thrice, "next", "c", 0), Decision::Deploy);
}

#[test]
fn a_clock_that_was_set_back_blocks_nothing_forever() {
    let once = ledger(vec![failure(1)]);
    // The failure lies in the future by no more than its delay: trusted.
    assert!(matches!(
        decided(&once, "b", "c", -10),
        Decision::Waiting(..)
    ));
    // By more: the clock was wrong.
    assert_eq!(decided(&once, "b", "c", -11), Decision::Deploy);
    assert_eq!(decided(&once, "b", "c", -1_000_000), Decision::Deploy);
    let mut unreadable = failure(1);
    unreadable.last = "yesterday".into();
    assert_eq!(
        decided(&ledger(vec![unreadable]), "b", "c", 0),
        Decision::Deploy
    );
}

#[test]
fn rewritten_history_is_refused_unless_allowed() {
    let ledger = ledger(Vec::new());
    let strict = Limits {
        allow_rewind: false,
        ..Limits::default()
    };
    let with = |descends, limits: &Limits| {
        let tip = Tip {
            descends,
            ..tip("b")
        };
        decide(&tip, &ledger, limits, "c", at(0))
    };
    assert_eq!(with(Some(false), &Limits::default()), Decision::Deploy);
    assert_eq!(with(Some(true), &strict), Decision::Deploy);
    assert_eq!(with(None, &strict), Decision::Deploy, "to be fetched");
    assert_eq!(
        with(Some(false), &strict),
        Decision::Refused(Why::NotDescendant { live: "a".into() })
    );
}

#[test]
fn the_order_of_precedence() {
    let mut everything = ledger(vec![failure(3)]);
    everything.pause_for(pause());
    let limits = Limits {
        allow_rewind: false,
        deploy_window: "Fri 08:00-18:00".parse().ok(),
        ..Limits::default()
    };
    let refused = Tip {
        commit: "b",
        descends: Some(false),
        signature: Signature::Refused("it is not signed".into()),
    };
    let say = |tip: &Tip<'_>, ledger: &Ledger| decide(tip, ledger, &limits, "c", at(0));
    let live = Tip {
        commit: "a",
        ..refused.clone()
    };
    assert_eq!(say(&live, &everything), Decision::UpToDate);
    assert!(matches!(say(&refused, &everything), Decision::Paused(_)));
    everything.resume();
    assert!(matches!(
        say(&refused, &everything),
        Decision::Refused(Why::NotTrusted { .. })
    ));
    let signed = Tip {
        signature: Signature::Trusted("ann".into()),
        ..refused
    };
    assert!(matches!(
        say(&signed, &everything),
        Decision::Refused(Why::NotDescendant { .. })
    ));
    let descends = Tip {
        descends: Some(true),
        ..signed
    };
    assert!(matches!(
        say(&descends, &everything),
        Decision::Quarantined(_)
    ));
    everything = ledger(vec![failure(1)]);
    assert!(matches!(
        say(&descends, &everything),
        Decision::Refused(Why::OutsideWindow { .. })
    ));
    everything = Ledger::in_state(None, vec![failure(1)], None);
    assert!(
        matches!(say(&descends, &everything), Decision::Waiting(..)),
        "a first release waits for no window"
    );
    everything.retry();
    assert_eq!(say(&descends, &everything), Decision::Deploy);
}

const COMMITS: [&str; 4] = ["a", "b", "c", "d"];

fn any_commit() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&COMMITS[..])
}

/// A time with an offset: mostly from this decade, sometimes from any.
fn any_now() -> impl Strategy<Value = DateTime<FixedOffset>> {
    let seconds = prop_oneof![
        8 => 1_700_000_000i64..1_800_000_000,
        1 => any::<i64>(),
        1 => Just(DateTime::<Utc>::MIN_UTC.timestamp()),
        1 => Just(DateTime::<Utc>::MAX_UTC.timestamp()),
    ];
    (seconds, -14i32..=14).prop_filter_map("no such time", |(seconds, hours)| {
        let offset = FixedOffset::east_opt(hours * 3600)?;
        Some(DateTime::from_timestamp(seconds, 0)?.with_timezone(&offset))
    })
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let last = prop_oneof![
        6 => (1_700_000_000i64..1_800_000_000)
            .prop_filter_map("no such time", |seconds| DateTime::from_timestamp(seconds, 0))
            .prop_map(|time| time.to_rfc3339()),
        1 => ".{0,25}",
        1 => Just("9999-12-31T23:59:60Z".to_owned()),
        1 => Just("0000-01-01T00:00:00Z".to_owned()),
    ];
    (any_commit(), 0u32..6, last, prop::bool::ANY).prop_map(|(commit, tries, last, same)| Failure {
        commit: commit.into(),
        tries,
        last,
        inputs_digest: if same { "c".into() } else { "other".into() },
        ..failure(tries)
    })
}

fn any_ledger() -> impl Strategy<Value = Ledger> {
    (
        prop::option::of(any_commit()),
        prop::collection::vec(any_failure(), 0..4),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(live, failures, paused)| {
            Ledger::in_state(live.map(release), failures, paused.then(pause))
        })
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let window = prop::sample::select(vec![
        None,
        Some("daily 00:00-24:00"),
        Some("Mon-Fri 08:00-18:00"),
        Some("Sat 22:00-02:00"),
    ]);
    (1u32..5, prop::bool::ANY, window).prop_map(|(attempts, allow_rewind, window)| Limits {
        attempts,
        allow_rewind,
        deploy_window: window.and_then(|text| text.parse().ok()),
        ..Limits::default()
    })
}

fn any_tip() -> impl Strategy<Value = Tip<'static>> {
    let signature = prop::sample::select(vec![
        Signature::NotChecked,
        Signature::Trusted("ann".into()),
        Signature::Refused("it is not signed".into()),
    ]);
    (any_commit(), prop::option::of(prop::bool::ANY), signature).prop_map(
        |(commit, descends, signature)| Tip {
            commit,
            descends,
            signature,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_decision_depends_only_on_its_inputs(
        tip in any_tip(), ledger in any_ledger(), limits in any_limits(), now in any_now()
    ) {
        let first = decide(&tip, &ledger, &limits, "c", now);
        prop_assert_eq!(&first, &decide(&tip, &ledger, &limits, "c", now));
        for failure in ledger.failures() {
            let _ = next_try(failure, now.to_utc());
        }
    }

    #[test]
    fn only_permitted_commits_are_deployed(
        tip in any_tip(), ledger in any_ledger(), limits in any_limits(), now in any_now()
    ) {
        let decision = decide(&tip, &ledger, &limits, "c", now);
        let live = ledger.live().map(|live| live.commit.as_str());
        if live == Some(tip.commit) {
            prop_assert_eq!(&decision, &Decision::UpToDate);
        }
        if decision == Decision::Deploy {
            prop_assert!(live != Some(tip.commit), "the live commit again");
            prop_assert!(ledger.pause().is_none(), "though deployments are paused");
            prop_assert!(!matches!(tip.signature, Signature::Refused(_)), "unsigned");
            prop_assert!(
                limits.allow_rewind || tip.descends != Some(false) || live.is_none(),
                "rewound"
            );
            let used_up = ledger.failure(tip.commit).is_some_and(|failure| {
                failure.inputs_digest == "c" && failure.tries >= limits.attempts
            });
            prop_assert!(!used_up, "no attempt is left");
            let closed = limits
                .deploy_window
                .as_ref()
                .is_some_and(|window| !window.contains(wall_clock(now)));
            prop_assert!(!closed || live.is_none(), "outside the window");
        }
    }

    #[test]
    fn refusals_do_not_depend_on_failures(
        tip in any_tip(), ledger in any_ledger(), limits in any_limits(), now in any_now()
    ) {
        let mut clean = ledger.clone();
        clean.retry();
        let decision = decide(&tip, &ledger, &limits, "c", now);
        let without = decide(&tip, &clean, &limits, "c", now);
        match (&decision, &without) {
            (Decision::Refused(_), _) => prop_assert_eq!(&decision, &without),
            // It will not be deployed when the window opens, so the window does not matter.
            (Decision::Quarantined(_), Decision::Refused(why)) => prop_assert!(why.is_transient()),
            (_, Decision::Refused(_)) => prop_assert!(false, "{:?}", decision),
            _ => {}
        }
    }

    #[test]
    fn a_commit_with_attempts_left_is_deployed_eventually(
        known in any_failure(), limits in any_limits(), now in any_now()
    ) {
        let open = Limits { deploy_window: None, ..limits };
        let ledger = Ledger::in_state(Some(release("live")), vec![known.clone()], None);
        let Some(later) = now.checked_add_signed(TimeDelta::days(2)) else { return Ok(()) };
        let decision = decide(&tip(&known.commit), &ledger, &open, "c", later);
        match &decision {
            Decision::Deploy => {}
            Decision::Quarantined(_) => prop_assert!(known.tries >= open.attempts),
            // It failed after `now`, or the record says so: two days later that is over, too.
            Decision::Waiting(_, due) => {
                prop_assert!(*due - later.to_utc() <= backoff(known.tries) * 2);
                let due = due.with_timezone(&now.timezone());
                let then = decide(&tip(&known.commit), &ledger, &open, "c", due);
                prop_assert_eq!(then, Decision::Deploy);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn delays_grow_up_to_a_day(tries in any::<u32>()) {
        prop_assert!(backoff(tries) <= backoff(tries.saturating_add(1)));
        prop_assert!(backoff(tries) >= TimeDelta::minutes(10) && backoff(tries) <= TimeDelta::days(1));
    }

    #[test]
    fn a_waiting_commit_is_due_at_the_reported_time(
        tip in any_tip(), ledger in any_ledger(), limits in any_limits(), now in any_now()
    ) {
        if let Decision::Waiting(_, due) = decide(&tip, &ledger, &limits, "c", now) {
            prop_assert!(due > now);
            let then = decide(&tip, &ledger, &limits, "c", due.with_timezone(&now.timezone()));
            let closed = matches!(&then, Decision::Refused(why) if why.is_transient());
            prop_assert!(then == Decision::Deploy || closed, "{:?}", then);
        }
    }
}
