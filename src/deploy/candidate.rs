//! The newest commit on the git host, on its way to a deployment: listed, wanted, fetched, permitted, checked, accepted.
//! Each state consumes the one before, or stops the poll with its outcome.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use crate::app::{Limits, Track};
use crate::decide::{DeployPolicy, Signature, Tip, Verdict};
use crate::git::{Newest, RemoteError};
use crate::report::PollOutcome;
use crate::signing::Trust;
use crate::state::history::{Part, Tenths};
use crate::state::refusal::Why;
use crate::state::remote::RemoteFailure;
use crate::state::stamp;
use crate::text::short;

use super::fetch::{self, Code, FetchError};
use super::session::Session;
use super::{dependencies, no_reference, processes, recover, remarks, service, space};

/// Why nothing is deployed.
pub(super) enum Stop {
    /// The poll ended as intended.
    Ended(Box<PollOutcome>),
    /// The poll itself failed.
    Error(anyhow::Error),
}

impl Stop {
    pub(super) fn into_outcome(self) -> anyhow::Result<PollOutcome> {
        match self {
            Self::Ended(outcome) => Ok(*outcome),
            Self::Error(error) => Err(error),
        }
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

impl From<PollOutcome> for Stop {
    fn from(outcome: PollOutcome) -> Self {
        Self::Ended(Box::new(outcome))
    }
}

impl From<Verdict> for Stop {
    fn from(verdict: Verdict) -> Self {
        PollOutcome::Skipped(verdict).into()
    }
}

/// What decides, for one poll.
struct Gate {
    newest: Newest,
    trust: Trust,
    policy: DeployPolicy,
    /// When the git host answered, in seconds.
    started: f64,
}

/// A commit that the git host listed.
pub(super) struct Listed(Gate);

/// A commit to be deployed, as far as is known before it is here.
pub(super) struct Wanted(Gate);

/// A commit that is here.
pub(super) struct Fetched {
    gate: Gate,
    code: Code,
    signature: Signature,
}

/// A commit that the policy permits, with its history and signature.
pub(super) struct Permitted(Fetched);

/// A commit that is within the limits, and whose content can go live.
pub(super) struct Checked(Fetched);

/// A commit that may be deployed.
pub(super) struct Accepted {
    pub(super) code: Code,
    /// The digest of settings, environment and deploy script.
    pub(super) inputs_digest: String,
    /// When its deployment began, in seconds of the monotonic clock.
    pub(super) started: f64,
    /// A remark on the commit.
    pub(super) note: Option<String>,
    /// How long each part of the deployment took.
    pub(super) parts: BTreeMap<Part, Tenths>,
}

/// Queries the git host for the newest commit.
pub(super) fn list(session: &mut Session<'_>) -> Result<Listed, Stop> {
    let failure = match ask(session) {
        Ok(Some(newest)) => return Ok(Listed(gate(session, newest)?)),
        Ok(None) => no_reference(),
        Err(RemoteError::Preempted) => return Err(PollOutcome::Busy.into()),
        Err(error) => error.failure(),
    };
    Err(unreachable(session, failure))
}

/// Asks twice if sshd dropped the connection before it knew who asks, as it does when many come at once (sshd_config(5),
/// `MaxStartups`).
fn ask(session: &Session<'_>) -> Result<Option<Newest>, RemoteError> {
    let track = &session.app.track;
    match session.remote.newest(track) {
        Err(error) if error.is_dropped_early() => {
            session.progress(&format!("{error}; asking once more"));
            session.clock.sleep(random_pause());
            session.remote.newest(track)
        }
        answer => answer,
    }
}

/// Up to 4 s.
fn random_pause() -> Duration {
    // std's hasher is seeded at random.
    let random = std::hash::RandomState::new().build_hasher().finish();
    Duration::from_millis(200 + random % 3800)
}

fn gate(session: &Session<'_>, newest: Newest) -> anyhow::Result<Gate> {
    let app = session.app;
    let trust = Trust::read(session.server, &app.limits.signed_by);
    // What is live already is not decided about, unless a killed poll deployed it again.
    let ledger = session.ledger();
    let live = ledger.live().filter(|_| ledger.in_progress().is_none());
    let is_live = live.is_some_and(|live| live.commit == newest.commit.to_string());
    let policy = DeployPolicy {
        limits: Limits {
            deploy_window: app.limits.deploy_window.clone().filter(|_| !session.now),
            ..app.limits.clone()
        },
        inputs_digest: if is_live {
            String::new()
        } else {
            session.inputs_digest()?
        },
        signers: trust.text().to_owned(),
        preliminary: trust.preliminary(),
        by_person: session.now,
        killed: false,
    };
    Ok(Gate {
        newest,
        trust,
        policy,
        started: session.clock.elapsed(),
    })
}

fn unreachable(session: &mut Session<'_>, failure: RemoteFailure) -> Stop {
    let (at, by_cron) = (stamp(session.clock.now()), session.by_cron);
    let after = session.app.schedule.report_after();
    match session.record(|ledger| ledger.unreachable(at, by_cron, failure, after)) {
        Ok((outage, report)) => PollOutcome::Unreachable { outage, report }.into(),
        Err(error) => Stop::Error(error),
    }
}

impl Listed {
    /// Goes on unless the policy stops the commit, as far as is known: its history and signature only if it was refused
    /// for them before.
    pub(super) fn decide(self, session: &mut Session<'_>) -> Result<Wanted, Stop> {
        let Self(mut gate) = self;
        let poll = session.poll();
        let now = poll.clock.local().fixed_offset();
        let (commit, object) = gate.names();
        let policy = &mut gate.policy;
        let verdict = session.record(|ledger| {
            if poll.now {
                ledger.retry_failed();
            } else {
                policy.killed =
                    recover::count_killed_poll(poll, ledger, &commit, &policy.inputs_digest);
            }
            let tip = policy.cached_verdict(ledger, &object, &commit);
            policy
                .evaluate(ledger, &tip, &object, now)
                .or_else(|| policy.cached_unfit(ledger, &tip, &object))
        })?;
        if let Some(verdict) = verdict {
            session.answered()?;
            return Err(verdict.into());
        }
        let name = &gate.newest.name;
        session.progress(&match &session.app.track {
            Track::Commit(_) => format!("{name} is not live yet"),
            _ => format!("new commit {} on {name}", short(&commit)),
        });
        Ok(Wanted(gate))
    }
}

impl Wanted {
    /// Fetches the commit with its history.
    pub(super) fn fetch(self, session: &mut Session<'_>) -> Result<Fetched, Stop> {
        let Self(gate) = self;
        let live = session.live().map(|live| live.commit);
        let code = match fetch::fetch(session, &gate.newest, live.as_deref()) {
            Ok(code) => code,
            Err(error) => {
                let (commit, object) = gate.names();
                let tip = gate
                    .policy
                    .cached_verdict(session.ledger(), &object, &commit);
                return Err(gate.unfetched(session, &tip, &object, error));
            }
        };
        session.answered()?;
        Ok(Fetched {
            signature: gate.trust.verify(session.server, || code.signed_object())?,
            code,
            gate,
        })
    }
}

impl Fetched {
    /// Goes on unless the policy stops the commit, with its history and signature. The branch may have moved since it
    /// was listed: what was fetched counts.
    pub(super) fn decide(self, session: &mut Session<'_>) -> Result<Permitted, Stop> {
        let now = session.clock.local().fixed_offset();
        let (tip, object) = (self.tip(), self.code.object.to_string());
        let policy = &self.gate.policy;
        let verdict = session.record(|ledger| policy.evaluate(ledger, &tip, &object, now))?;
        if let Some(verdict) = verdict {
            return Err(verdict.into());
        }
        if let Signature::Trusted(who) = &self.signature {
            session.progress(&format!("{} is signed by {who}", short(&self.code.commit)));
        }
        Ok(Permitted(self))
    }

    /// Stops for a commit that is refused.
    fn refuse(&self, session: &mut Session<'_>, why: Why) -> Stop {
        let object = self.code.object.to_string();
        self.gate.refuse(session, &self.tip(), &object, why)
    }

    fn tip(&self) -> Tip<'_> {
        Tip {
            commit: &self.code.commit,
            descends: self.code.descends,
            signature: self.signature.clone(),
        }
    }
}

impl Permitted {
    /// Goes on if the commit is within the limits, and a checkout gives its files as they are meant; its trees and files
    /// are not read before this.
    pub(super) fn check_content(self, session: &mut Session<'_>) -> Result<Checked, Stop> {
        let Self(mut it) = self;
        let touched = |code: &Code| code.changes_paths(session.app, session.ledger());
        match it.code.read(session, touched) {
            Ok(true) => {}
            Ok(false) => return Err(it.refuse(session, Why::OtherPaths)),
            Err(error) => {
                let object = it.code.object.to_string();
                return Err(it.gate.unfetched(session, &it.tip(), &object, error));
            }
        }
        let checked = (it.code.check_limits(session))
            .and_then(|()| it.code.refuse_unfiltered(session))
            .and_then(|()| processes::refuse_unfit(session, &mut it.code))
            .and_then(|()| {
                let find = |code: &Code| dependencies::refusal(session.server, session.app, code);
                it.code.read(session, find)
            });
        match checked {
            Ok(None) => Ok(Checked(it)),
            Ok(Some(why)) => Err(it.refuse(session, why)),
            Err(error) => {
                let object = it.code.object.to_string();
                Err(it.gate.unfetched(session, &it.tip(), &object, error))
            }
        }
    }
}

impl Checked {
    /// Goes on if the server can take a release: the disk has enough space, and sudo permits the restart.
    pub(super) fn ensure_fits(self, session: &mut Session<'_>) -> Result<Accepted, Stop> {
        let Self(it) = self;
        let mut why = space::shortage(session, &it.code, session.ledger().live())?;
        if why.is_none() {
            let refused = service::prove_sudo(session.server, session.app).err();
            why = refused.map(|error| Why::SudoRefuses {
                words: format!("{error:#}"),
            });
        }
        if let Some(why) = why {
            return Err(it.refuse(session, why));
        }
        let (digest, started) = (it.gate.policy.inputs_digest, it.gate.started);
        Ok(Accepted::new(session, it.code, digest, started)?)
    }
}

impl Gate {
    /// The listed commit, and the object that points to it.
    fn names(&self) -> (String, String) {
        let newest = &self.newest;
        (newest.commit.to_string(), newest.object.to_string())
    }

    /// Stops for a commit that could not be fetched, or exceeds the limits.
    fn unfetched(
        &self,
        session: &mut Session<'_>,
        tip: &Tip<'_>,
        object: &str,
        error: FetchError,
    ) -> Stop {
        match error {
            FetchError::Remote(failure) => unreachable(session, failure),
            FetchError::Unfit(words) => self.refuse(session, tip, object, Why::Unfit { words }),
            FetchError::Preempted => PollOutcome::Busy.into(),
            FetchError::Local(error) => Stop::Error(error),
        }
    }

    /// Stops for a commit that is refused.
    fn refuse(&self, session: &mut Session<'_>, tip: &Tip<'_>, object: &str, why: Why) -> Stop {
        let now = session.clock.local().fixed_offset();
        let refused = session.answered().and_then(|()| {
            session.record(|ledger| self.policy.refuse(ledger, tip, object, why, now))
        });
        refused.map_or_else(Stop::Error, Stop::from)
    }
}

impl Accepted {
    /// A commit that was accepted now or before; says what is remarkable about it.
    pub(super) fn new(
        session: &Session<'_>,
        mut code: Code,
        inputs_digest: String,
        started: f64,
    ) -> anyhow::Result<Self> {
        let live = session.ledger().live();
        let note = code
            .read(session, |code| remarks::on(session, code, live))
            .map_err(|error| error.into_error(session.app))?;
        if let Some(note) = &note {
            session.progress(note);
        }
        Ok(Self {
            code,
            inputs_digest,
            started,
            note,
            parts: BTreeMap::new(),
        })
    }
}
