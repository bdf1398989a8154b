//! The state of all apps in Prometheus' text format ("Exposition formats", version 0.0.4), all as gauges.

use std::fmt::Write;

use chrono::DateTime;

use crate::app::AppName;
use crate::state::history::Outcome;
use crate::text::short;

use super::status::{self, Status};

/// Further labels, and the value.
type Sample = (Vec<(&'static str, String)>, f64);

/// A metric of an app: its name behind `pullpray_`, what it says, and its samples.
struct Metric {
    name: &'static str,
    help: &'static str,
    samples: fn(&Status) -> Vec<Sample>,
}

fn one(value: f64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

fn flag(is: bool) -> Vec<Sample> {
    one(f64::from(u8::from(is)))
}

/// A count; none of these comes near the limits of a float.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn number(count: u64) -> Vec<Sample> {
    one(count as f64)
}

/// Seconds since 1970; no sample if it never happened.
fn time(stamp: Option<&str>) -> Vec<Sample> {
    let time = stamp.and_then(|stamp| DateTime::parse_from_rfc3339(stamp).ok());
    let seconds = time.and_then(|time| u64::try_from(time.timestamp()).ok());
    seconds.map(number).unwrap_or_default()
}

const METRICS: &[Metric] = &[
    Metric {
        name: "needs_attention",
        help: "Whether somebody has to act, as pullpray status --check.",
        samples: |it| flag(status::needs_attention(it)),
    },
    Metric {
        name: "last_answer_timestamp_seconds",
        help: "When the git host answered last.",
        samples: |it| time(it.ledger.last_check()),
    },
    Metric {
        name: "last_answer_by_cron_timestamp_seconds",
        help: "When it last answered a poll that cron or a timer started.",
        samples: |it| time(it.ledger.last_by_cron()),
    },
    Metric {
        name: "unreachable_polls",
        help: "Polls in a row that could not reach the git host.",
        samples: |it| number(it.ledger.outage().map_or(0, |outage| outage.polls.into())),
    },
    Metric {
        name: "live_info",
        help: "The live commit.",
        samples: |it| {
            let live = it.ledger.live().into_iter();
            live.map(|live| (vec![("commit", short(&live.commit).to_owned())], 1.0))
                .collect()
        },
    },
    Metric {
        name: "live_timestamp_seconds",
        help: "Since when it is live.",
        samples: |it| time(it.ledger.live().map(|live| live.since.as_str())),
    },
    Metric {
        name: "last_deployment_seconds",
        help: "How long the last deployment took.",
        samples: |it| {
            let last = it.ledger.history().deployments().last();
            last.map(|last| vec![(Vec::new(), last.took.seconds())])
                .unwrap_or_default()
        },
    },
    Metric {
        name: "last_deployment_part_seconds",
        help: "How long each part of the last deployment took, as far as it came.",
        samples: |it| {
            let last = it.ledger.history().deployments().last();
            let parts = last.into_iter().flat_map(|last| &last.parts);
            parts
                .map(|(name, took)| (vec![("part", name.name().to_owned())], took.seconds()))
                .collect()
        },
    },
    Metric {
        name: "last_deployment_failed",
        help: "Whether the last deployment failed.",
        samples: |it| {
            let last = it.ledger.history().deployments().last();
            flag(last.is_some_and(|last| matches!(last.outcome, Outcome::Failed { .. })))
        },
    },
    Metric {
        name: "failed_commits",
        help: "Commits whose deployment failed and that may be tried again.",
        samples: |it| number(failed(it, false)),
    },
    Metric {
        name: "quarantined_commits",
        help: "Commits that are not tried again until pullpray retry.",
        samples: |it| number(failed(it, true)),
    },
    Metric {
        name: "refused",
        help: "Whether the newest commit is refused.",
        samples: |it| {
            flag(
                it.ledger
                    .refused()
                    .is_some_and(|refusal| !refusal.why.is_quiet()),
            )
        },
    },
    Metric {
        name: "paused",
        help: "Whether deployments are paused.",
        samples: |it| flag(it.ledger.pause().is_some()),
    },
    Metric {
        name: "process_up",
        help: "Whether a process beside web runs; a timer's, whether its last run succeeded.",
        samples: |it| {
            let of = |(name, state): &(String, String)| {
                let up = status::is_fine(state);
                let name = name.split(' ').next().unwrap_or_default().to_owned();
                (vec![("process", name)], f64::from(u8::from(up)))
            };
            it.processes.iter().map(of).collect()
        },
    },
    Metric {
        name: "free_bytes",
        help: "Free space where the app lives.",
        samples: |it| number(it.free),
    },
];

fn failed(status: &Status, quarantined: bool) -> u64 {
    let attempts = status.app.limits.attempts;
    let failures = status.ledger.failures().iter();
    let like = failures.filter(|it| it.is_final(attempts) == quarantined);
    like.count() as u64
}

/// All metrics of these apps; of an app whose state cannot be read only that.
#[must_use]
pub fn render(apps: &[(AppName, Option<Status>)]) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, samples: Vec<(&AppName, Sample)>| {
        if samples.is_empty() {
            return;
        }
        // Writing to memory does not fail.
        let _ = writeln!(
            text,
            "# HELP pullpray_{name} {help}\n# TYPE pullpray_{name} gauge"
        );
        for (app, (labels, value)) in samples {
            let labels = (labels.iter()).fold(String::new(), |all, (label, text)| {
                format!("{all},{label}=\"{text}\"")
            });
            let _ = writeln!(text, "pullpray_{name}{{app=\"{app}\"{labels}}} {value}");
        }
    };
    let read = apps.iter().map(|(app, status)| {
        let known = f64::from(u8::from(status.is_some()));
        (app, (Vec::new(), known))
    });
    metric("up", "Whether the app's state can be read.", read.collect());
    for it in METRICS {
        let known = apps
            .iter()
            .filter_map(|(app, status)| Some((app, status.as_ref()?)));
        let samples = known.flat_map(|(app, status)| {
            let samples = (it.samples)(status).into_iter();
            samples.map(move |sample| (app, sample))
        });
        metric(it.name, it.help, samples.collect());
    }
    text
}
