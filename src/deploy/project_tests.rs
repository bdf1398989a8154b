//! The project's own tests, between the build phase of the deploy script and the first change to a database.

use std::ffi::OsString;
use std::time::Duration;

use crate::host::{Log, ScriptRunner};
use crate::layout;
use crate::state::history::Stage;
use crate::text::for_terminal;

use super::Poll;
use super::ended::{At, StageError};

/// A data segment counts what a process has for itself, not what it maps of files (getrlimit(2), `RLIMIT_DATA`).
const LIMITED: &str = "ulimit -d \"$1\" && eval \"$2\"";

/// Runs the tests, if the settings name a command, with the environment of the deploy script.
///
/// # Errors
/// When they fail or exceed a limit; nothing that is live was touched.
pub(super) fn run(poll: &Poll<'_>, script: &ScriptRunner, log: &mut Log) -> Result<(), StageError> {
    let limits = &poll.app.limits;
    let Some(command) = &limits.tests else {
        return Ok(());
    };
    poll.progress(&format!("running the tests: {command}"));
    let kibibytes = limits.tests_memory.saturating_mul(1024).to_string();
    let words = ["-c", LIMITED, "tests", &kibibytes, command];
    let runner = ScriptRunner {
        program: "/bin/sh".into(),
        arguments: words.map(OsString::from).to_vec(),
        deadline: Duration::from_secs(limits.tests_timeout),
        ..script.clone()
    };
    let outcome = runner.run(poll.server, log).at(Stage::Script)?;
    if outcome.success {
        return Ok(());
    }
    let mut why = format!(
        "the tests failed: {} {}",
        for_terminal(command),
        outcome.ended
    );
    if outcome.timed_out {
        let settings = layout::settings(&poll.app.name);
        why.push_str(&format!(
            "; the time limit is tests_timeout in {}",
            settings.display()
        ));
    }
    Err(StageError::new(Stage::Script, why).with_output(&outcome.output))
}
