//! Hooks: programs of the administrator that run at a stage of a deployment, as the app's account.
//!
//! `before-migrate` runs when a migration is due, after the release was built and before its database is changed: the
//! place of a backup. Its failure stops the deployment, with nothing changed.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::host::{Kind, Log, ScriptRunner, Server};
use crate::layout;
use crate::state::history::Stage;

use super::Poll;
use super::ended::{At, StageError};

const BEFORE_MIGRATE: &str = "before-migrate";
/// How a line of the log begins that says what the hook printed last, such as the path of a backup.
pub(super) const NOTE: &str = "note: before-migrate: ";

/// Runs the hook before the migrate phase, if there is one and a migration is due. `script` is the deploy script with its
/// environment.
pub(super) fn before_migrate(
    poll: &Poll<'_>,
    script: &ScriptRunner,
    python: &Path,
    log: &mut Log,
) -> Result<(), StageError> {
    let (server, app) = (poll.server, poll.app);
    let Some(hook) = find(server, poll, BEFORE_MIGRATE).at(Stage::Script)? else {
        return Ok(());
    };
    let check = ScriptRunner {
        program: python.to_owned(),
        arguments: ["manage.py", "migrate", "--check"].map(Into::into).to_vec(),
        ..script.clone()
    };
    // It fails when a migration is due, and when the database does not answer: then the hook says so.
    if check.run(server, log).at(Stage::Script)?.success {
        return Ok(());
    }
    poll.progress(&format!("running {}", hook.display()));
    let mut runner = ScriptRunner {
        program: hook.clone(),
        arguments: Vec::new(),
        ..script.clone()
    };
    runner.set("PULLPRAY_EVENT", BEFORE_MIGRATE);
    let outcome = runner.run(server, log).at(Stage::Script)?;
    if !outcome.success {
        let why = format!(
            "the hook {} {}; nothing of {} was changed",
            hook.display(),
            outcome.ended,
            app.name
        );
        return Err(StageError::new(Stage::Script, why).with_output(&outcome.output));
    }
    let mut lines = outcome.output.lines().rev();
    if let Some(last) = lines.find(|line| !line.trim().is_empty()) {
        log.line(&format!("{NOTE}{}", last.trim()))
            .at(Stage::Script)?;
    }
    Ok(())
}

/// The app's hook for an event, or the one for all apps.
fn find(server: &Server, poll: &Poll<'_>, event: &str) -> Result<Option<PathBuf>> {
    let all = Path::new(layout::HOOKS_DIR);
    for path in [
        all.join(poll.app.name.as_str()).join(event),
        all.join(event),
    ] {
        let Some(stat) = server.stat_target(&path)? else {
            continue;
        };
        let shown = path.display();
        if stat.kind != Kind::File || stat.uid != 0 || stat.mode & 0o022 != 0 {
            bail!(
                "only root may be able to modify the hook {shown}: sudo chown root {shown} && sudo chmod go-w {shown}"
            );
        }
        if stat.mode & 0o111 == 0 {
            bail!("the hook {shown} is not executable: sudo chmod 755 {shown}");
        }
        return Ok(Some(path));
    }
    Ok(None)
}
