//! Damaged ledgers. tests/long has many more cases.

use std::path::Path;

use proptest::prelude::*;

use crate::app::AppName;
use crate::host::{Locked, Server};
use crate::layout;
use crate::state::history::{Deployment, Outcome};
use crate::state::ledger::{Ledger, Release};

fn whole() -> String {
    let mut ledger = Ledger::default();
    for id in ["20261125T120000-1111111", "20261125T130000-2222222"] {
        let release = Release {
            id: id.to_owned(),
            commit: "1".repeat(40),
            subject: "s \"é\"".to_owned(),
            since: "2026-11-25T12:00:00Z".to_owned(),
            venv: "py3.11-system".to_owned(),
        };
        let ended = Deployment::of(&release, release.since.clone(), 1.5, Outcome::Live);
        ledger.went_live(release, ended);
    }
    serde_json::to_string_pretty(&ledger).unwrap()
}

proptest! {
    #[test]
    fn a_damaged_ledger_never_panics(
        at in any::<prop::sample::Index>(), gone in 0usize..60, put in prop::collection::vec(any::<u8>(), 0..30), odd in "[\\[{\"}\\]:,0-9a-z]{0,60}"
    ) {
        let mut bytes = whole().into_bytes();
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + gone);
        bytes.splice(at..end, put);
        let dir = tempfile::tempdir().unwrap();
        let server = Server::at(dir.path());
        let app: AppName = "todo".parse().unwrap();
        let path = layout::ledger(&app);
        let real = dir.path().join(path.strip_prefix("/").unwrap_or(Path::new("ledger")));
        std::fs::create_dir_all(real.parent().unwrap()).unwrap();
        let Locked::Held(lock) = server.lock(&layout::state(&app)).unwrap() else {
            panic!("it is locked");
        };
        for bytes in [bytes, odd.into_bytes()] {
            std::fs::write(&real, &bytes).unwrap();
            // A ledger that loads can be stored and loaded again.
            if let Ok(ledger) = Ledger::load(&server, &app) {
                ledger.persist(&server, &app, &lock).unwrap();
                prop_assert_eq!(Ledger::load(&server, &app).unwrap(), ledger);
            }
            let text = String::from_utf8_lossy(&bytes);
            let (rebuilt, _) = Ledger::rebuilt(&text, Vec::new(), None, String::new());
            prop_assert_eq!(rebuilt.in_progress(), None);
        }
    }
}
