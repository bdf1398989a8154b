use super::*;
use crate::state::history::Outcome;
use crate::state::refusal::{Scarce, Why};

fn release(id: &str) -> Release {
    Release {
        id: id.into(),
        commit: format!("{id:0>40}"),
        subject: "s".into(),
        since: "2026-11-25T12:00:00Z".into(),
        venv: "v".into(),
    }
}

fn live(ledger: &mut Ledger, release: Release) {
    let at = "2026-11-25T12:00:00Z".to_owned();
    let ended = Deployment::of(&release, at, 1.0, Outcome::Live);
    ledger.went_live(release, ended);
}

#[test]
fn attempts_are_counted_by_commit() {
    let mut ledger = Ledger::default();
    for _ in 0..2 {
        ledger.killed(Failure {
            commit: "a".into(),
            tries: 1,
            last: "t".into(),
            stage: Stage::Killed,
            why: "w".into(),
            log: None,
            inputs_digest: "c".into(),
        });
    }
    assert_eq!(ledger.failure("a").map(|f| f.tries), Some(2));
    live(
        &mut ledger,
        Release {
            commit: "a".into(),
            ..release("1")
        },
    );
    assert_eq!(ledger.failure("a"), None);
}

#[test]
fn a_refusal_is_new_once_and_keeps_its_time() {
    let refusal = |commit: &str, live: &str, since: &str| Refusal {
        commit: commit.into(),
        object: commit.into(),
        since: since.into(),
        why: Why::NotDescendant { live: live.into() },
        inputs_digest: "c".into(),
    };
    let mut ledger = Ledger::default();
    assert!(ledger.refuse(refusal("a", "x", "1")));
    assert!(!ledger.refuse(refusal("a", "x", "2")));
    assert_eq!(
        ledger.refused.as_ref().map(|r| r.since.as_str()),
        Some("1"),
        "since the first time"
    );
    assert!(ledger.refuse(refusal("a", "y", "3")), "another reason");
    assert!(ledger.refuse(refusal("b", "y", "4")), "another commit");
}

#[test]
fn lack_of_space_is_new_once_however_much_is_free() {
    let refusal = |what, free: u64| Refusal {
        commit: "a".into(),
        object: "a".into(),
        since: "t".into(),
        why: Why::NoRoom {
            dir: "/x".into(),
            what,
            needed: 100,
            free,
        },
        inputs_digest: "c".into(),
    };
    let mut ledger = Ledger::default();
    assert!(ledger.refuse(refusal(Scarce::Bytes, 5)));
    assert!(!ledger.refuse(refusal(Scarce::Bytes, 4)));
    assert!(ledger.refuse(refusal(Scarce::Inodes, 4)));
}

#[test]
fn a_ledger_without_refusals_is_read() -> anyhow::Result<()> {
    let mut old = serde_json::to_value(Ledger::default())?;
    if let Some(fields) = old.as_object_mut() {
        fields.remove("refused");
    }
    assert_eq!(serde_json::from_value::<Ledger>(old)?, Ledger::default());
    Ok(())
}
