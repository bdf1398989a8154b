//! A ledger rebuilt after damage.

use super::{Ledger, Pause, Release};

impl Ledger {
    /// A ledger from the readable parts of a damaged one and what is on the server: the complete releases, oldest first,
    /// and the name of the one that `current` points to, if it exists. Returns also whether it is known if deployments
    /// were paused.
    #[must_use]
    pub fn rebuilt(
        damaged: &str,
        mut releases: Vec<Release>,
        current: Option<&str>,
        at: String,
    ) -> (Self, bool) {
        let (mut ledger, parsed) = Self::salvage(damaged);
        let salvaged = ledger.live.take().map(|live| live.id);
        let current = current.or(salvaged.as_deref());
        let live = (releases.iter())
            .position(|release| current == Some(release.id.as_str()))
            .or(releases.len().checked_sub(1));
        ledger.live = live.map(|at| releases[at].clone());
        // After a rollback the newer release must not return by itself, and the next rollback goes further back.
        let newer = live.is_some_and(|at| at + 1 < releases.len());
        releases.rotate_left(live.map_or(0, |at| at + 1));
        ledger.releases = releases;
        let why = match () {
            () if parsed || ledger.pause.is_some() => None,
            () if damaged.contains("\"pause\": {") => {
                Some("deployments were paused before the ledger was damaged")
            }
            () if newer => Some("a newer release than the live one exists, as after a rollback"),
            () => None,
        };
        ledger.pause = ledger.pause.take().or(why.map(|why| Pause {
            by: "pullpray".to_owned(),
            since: at,
            why: why.to_owned(),
        }));
        (ledger, parsed)
    }

    /// The readable parts of a damaged ledger, and whether it was JSON at all. A deployment in progress is not
    /// believed.
    fn salvage(text: &str) -> (Self, bool) {
        let parts = serde_json::from_str::<serde_json::Map<_, _>>(text);
        let parsed = parts.is_ok();
        let mut salvaged = Self::default();
        for (name, part) in parts.unwrap_or_default() {
            let Ok(serde_json::Value::Object(mut whole)) = serde_json::to_value(&salvaged) else {
                break;
            };
            whole.insert(name, part);
            salvaged = serde_json::from_value(whole.into()).unwrap_or(salvaged);
        }
        salvaged.in_progress = None;
        (salvaged, parsed)
    }
}
