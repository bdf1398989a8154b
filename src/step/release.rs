//! The first release: the step that runs the very poll that cron will run.

use anyhow::{Result, bail};

use crate::app::{App, paths};
use crate::record::ledger::Ledger;

use super::{Changes, Finding, Look, Row, Step};

pub(super) struct FirstRelease<'a>(pub(super) &'a App);

impl Step for FirstRelease<'_> {
    fn id(&self) -> &'static str {
        "app.release"
    }
    fn title(&self) -> String {
        "first release".to_owned()
    }
    fn row(&self) -> Row {
        Row {
            kind: "deploy",
            what: format!("{} {}", self.0.repo.slug(), self.0.branch),
        }
    }

    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        if self.0.wsgi.is_none() {
            return Ok(Finding::Waits(
                "repo.access",
                "built, switched to, and asked for its health".to_owned(),
            ));
        }
        let ledger = Ledger::load(look.view, &self.0.name)?;
        let Some(live) = ledger.live else {
            return Ok(Finding::Absent(
                "built, switched to, and asked for its health".to_owned(),
            ));
        };
        let target = look.view.read_link(&self.0.current())?;
        let id = target
            .as_deref()
            .and_then(|path| path.file_name())
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if id != live.id {
            return Ok(Finding::Differs(
                format!(
                    "{} does not lead to the live release {}",
                    self.0.current().display(),
                    live.id
                ),
                None,
            ));
        }
        Ok(Finding::Holds(format!(
            "{}, live since {}",
            live.commit.get(..7).unwrap_or_default(),
            live.since
        )))
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.release(self.0.project_dir.as_path(), self.0.static_dir.as_path())?;
        let said = changes.server().run_poll(
            &self.0.program,
            self.0.name.as_str(),
            self.0.limits.deploy_timeout,
        )?;
        if !said.success() {
            // An ill first release would be started again and again, and a socket without a
            // release ends in trigger-limit-hit. The next run starts them.
            for unit in [
                paths::service_unit(&self.0.name),
                paths::socket_unit(&self.0.name),
            ] {
                changes.server().disable_now(&unit)?;
            }
            bail!(
                "pullpray poll {} {}\n{}{}",
                self.0.name,
                said.ended,
                said.stdout,
                said.stderr
            );
        }
        // What a poll would have printed nothing for: another one was running, or it is held.
        if Ledger::load(changes.server(), &self.0.name)?.live.is_none() {
            bail!(
                "pullpray poll {} ended without a release: {}{}",
                self.0.name,
                said.stdout,
                said.stderr
            );
        }
        Ok(())
    }
}
