//! How a deployment ends: live, or failed in one of its stages. Both are recorded and reported.

use anyhow::Result;

use crate::layout;
use crate::report::{FailureReport, PollOutcome};
use crate::state::history::{Deployment, Outcome, Stage};
use crate::state::ledger::{Failure, Release};
use crate::state::stamp;

use super::activate::Live;
use super::build::Staged;
use super::candidate::Accepted;
use super::remarks::join;
use super::session::Session;
use super::{causes, prune, restore, static_files};

/// A stage that failed.
#[derive(Debug)]
pub(super) struct StageError {
    /// Which.
    pub(super) stage: Stage,
    /// The cause, in one line that names what failed.
    pub(super) why: String,
    /// The lines of its output that tell most.
    pub(super) last_lines: Vec<String>,
    /// The ways out of what its output says.
    pub(super) hints: Vec<&'static str>,
    /// Why the previous release could not be restored, if that was tried and failed.
    pub(super) restore_error: Option<String>,
}

impl StageError {
    pub(super) fn new(stage: Stage, why: impl Into<String>) -> Self {
        Self {
            stage,
            why: why.into(),
            last_lines: Vec::new(),
            hints: Vec::new(),
            restore_error: None,
        }
    }

    pub(super) fn with_lines(self, last_lines: Vec<String>) -> Self {
        Self { last_lines, ..self }
    }

    pub(super) fn with_output(self, output: &str) -> Self {
        Self {
            hints: causes::hints(output),
            ..self.with_lines(causes::excerpt(output))
        }
    }
}

/// Errors of the server become errors of the stage they happen in.
pub(super) trait At<T> {
    fn at(self, stage: Stage) -> Result<T, StageError>;
}

impl<T> At<T> for Result<T> {
    fn at(self, stage: Stage) -> Result<T, StageError> {
        self.map_err(|error| StageError::new(stage, crate::error::in_one_line(&error)))
    }
}

/// Records that the release is live, and removes what no release needs any more.
pub(super) fn went_live(
    session: &mut Session<'_>,
    live: Live,
    accepted: Accepted,
) -> Result<PollOutcome> {
    let at = stamp(session.clock.now());
    let took = session.clock.elapsed() - accepted.started;
    let from = session.live();
    let beside = live.note.clone();
    let to = Release {
        since: at.clone(),
        ..live.into_release()
    };
    // It is live; an error here would only hide that.
    let dir = session.release_dir(&to.id);
    let links = static_files::unpublished_links(session.server, &dir);
    let log = layout::logs(&session.app.name).join(format!("{}.log", to.id));
    let said = session.server.read(&log).ok().flatten().unwrap_or_default();
    let said = notes(&String::from_utf8_lossy(&said));
    let ignored = ignored(session);
    let note = join(&[accepted.note, beside, ignored, links.ok().flatten(), said]);
    let ended = Deployment {
        note: note.clone(),
        parts: accepted.parts,
        ..Deployment::of(&to, at, took, Outcome::Live)
    };
    session.record(|ledger| ledger.went_live(to.clone(), ended))?;
    prune::try_prune(session, "");
    Ok(PollOutcome::Deployed {
        from,
        to,
        took,
        note,
    })
}

/// What the deploy script left out, by its lines that begin with `note: `: nobody reads the log of a success.
fn notes(log: &str) -> Option<String> {
    let lines = log.lines().filter_map(|line| line.strip_prefix("note: "));
    let lines = lines.map(|line| Some(line.chars().take(200).collect()));
    join(&lines.take(3).collect::<Vec<_>>())
}

/// What systemd does not read of the administrator's variables: the app runs with the defaults of its settings instead.
fn ignored(session: &Session<'_>) -> Option<String> {
    let file = session.app.environment_file();
    session.server.environment_misread(&file).ok().flatten()
}

/// Records the failure, with the live release checked and restored if need be.
pub(super) fn failed(
    session: &mut Session<'_>,
    staged: &Staged,
    error: StageError,
    accepted: Accepted,
) -> Result<PollOutcome> {
    let at = stamp(session.clock.now());
    let took = session.clock.elapsed() - accepted.started;
    let live = session.live();
    let restore_error = match &live {
        Some(live) if error.restore_error.is_none() => restore::ensure_live(session, live),
        _ => error.restore_error,
    };
    let release = staged.release().clone();
    // Where the backup lies, beside what it is for.
    let migrations = join(&[
        staged.migrations(session.server),
        staged.hook_note(session.server),
    ]);
    let (stage, why) = (error.stage, error.why.clone());
    let outcome = Outcome::Failed { stage, why };
    let ended = Deployment {
        log: Some(staged.log().to_owned()),
        note: join(&[accepted.note, ignored(session), migrations.clone()]),
        parts: accepted.parts,
        ..Deployment::of(&release, at.clone(), took, outcome)
    };
    let attempts = match stage {
        // The next one would most likely fail for what this one left behind.
        Stage::CutMigration => 1,
        _ => session.app.limits.attempts,
    };
    let known = session.ledger().failure(&release.commit);
    let is_last = known.map_or(0, |known| known.tries) + 1 >= attempts;
    let failure = Failure {
        commit: release.commit.clone(),
        tries: 1,
        last: at,
        stage,
        why: error.why.clone(),
        log: Some(staged.log().to_owned()),
        inputs_digest: accepted.inputs_digest,
    };
    // Building a first environment takes minutes, and the next attempt needs the same.
    let spared = match live {
        None if !is_last => staged.complete_venv_name(session).unwrap_or_default(),
        _ => String::new(),
    };
    // Before the ledger is written: the failed release may have filled the disk.
    prune::try_prune(session, &spared);
    let tries = session.record(|ledger| ledger.failed(failure, ended))?;
    Ok(PollOutcome::Failed(Box::new(FailureReport {
        log: staged.log().to_owned(),
        release,
        migrations,
        why: error.why,
        last_lines: error.last_lines,
        hints: error.hints,
        live,
        restore_error,
        tries,
        attempts,
    })))
}
