//! The first release: the step that runs the very poll that cron will run.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::app::App;
use crate::host::import_check;
use crate::host::{Kind, View, effective_uid};
use crate::layout;
use crate::state::Damaged;
use crate::state::ledger::{Ledger, Release};

use super::{Changes, CheckContext, Finding, PlanItem, Step, StepId};

pub(super) struct FirstRelease<'a>(pub(super) &'a App);

impl Step for FirstRelease<'_> {
    fn id(&self) -> StepId {
        StepId::AppRelease
    }
    fn title(&self) -> String {
        "first release".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "deploy",
            what: format!("{} {}", self.0.repo.slug(), self.0.track),
        }
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        if self.0.wsgi.is_none() {
            return Ok(Finding::Blocked(
                StepId::RepoAccess,
                "built, switched to, and asked for its health".to_owned(),
            ));
        }
        let ledger = match Ledger::load(context.view, &self.0.name) {
            Err(error) if error.is::<Damaged>() => {
                return Ok(Finding::Differs(format!("{error:#}"), None));
            }
            ledger => ledger?,
        };
        let Some(live) = ledger.live else {
            return Ok(Finding::Absent(
                "built, switched to, and asked for its health".to_owned(),
            ));
        };
        let current = self.0.current();
        let path = current.display();
        if let Some(why) = self.lost(context.view, &live)? {
            return Ok(Finding::Differs(why, None));
        }
        let leads = match context.view.stat(&current)?.map(|stat| stat.kind) {
            None => None,
            Some(Kind::Link) => context.view.read_link(&current)?,
            Some(_) => {
                return Ok(Finding::Differs(
                    format!("{path} is there and is not a link"),
                    None,
                ));
            }
        };
        if leads.as_deref() != Some(&layout::release_link(&live.id)) {
            return Ok(Finding::Differs(
                format!("{path} does not lead to the live release {}", live.id),
                None,
            ));
        }
        Ok(Finding::Ok(format!(
            "{}, live since {}",
            crate::text::short(&live.commit),
            live.since
        )))
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        // A poll that is at work, cron's or that of a run that was killed, may make it for us.
        let patience = Duration::from_secs(self.0.limits.deploy_timeout + 900);
        drop(
            changes
                .server()
                .lock_in_time(&layout::state(&self.0.name), patience)?,
        );
        if matches!(self.check(&changes.context())?, Finding::Ok(_)) {
            return Ok(());
        }
        // Without a ledger it may be live all the same.
        let server = changes.server();
        let first = Ledger::load(server, &self.0.name).is_ok_and(|ledger| ledger.live.is_none())
            && (server.stat(&layout::ledger(&self.0.name))?.is_some()
                || server.list(&self.0.releases())?.is_empty());
        let live = Ledger::load(server, &self.0.name).ok();
        let live = live.and_then(|ledger| ledger.live);
        let lost = match &live {
            Some(live) => self.lost(server, live)?.is_some(),
            None => false,
        };
        let verb: &[&str] = match (lost, first) {
            (true, _) => &["redeploy"],
            (_, true) => &["poll", "--now"],
            _ => &["poll"],
        };
        let (name, script) = (&self.0.name, self.0.limits.deploy_timeout);
        let said = server.run_verb(&self.0.program, verb, name.as_str(), script)?;
        // Its exit code says how the poll ended; a `current` led back to the live release counts
        // even if the git host could not be asked.
        if matches!(self.check(&changes.context())?, Finding::Ok(_)) {
            return Ok(());
        }
        let (verb, words) = (verb.join(" "), said.stdout + &said.stderr);
        if said.code == Some(0) {
            bail!(
                "pullpray {verb} {name} ended without a release: it is held, or another poll began just now\n{words}hint: pullpray status {name}"
            );
        }
        if first {
            // An ill first release would be started again and again, and a socket without a
            // release ends in trigger-limit-hit. The next run starts them.
            for unit in [
                layout::service_unit(&self.0.name),
                layout::socket_unit(&self.0.name),
            ] {
                changes.server().disable_now(&unit)?;
            }
        }
        bail!("pullpray {verb} {name} {}\n{words}", said.ended);
    }
}

impl FirstRelease<'_> {
    /// Why the live release has to be deployed again: it is gone, or its environment does not serve it. The latter is
    /// tried as the app's account, by whoever can.
    fn lost(&self, view: &View, live: &Release) -> Result<Option<String>> {
        let app = self.0;
        let dir = app.releases().join(&live.id);
        if view.stat(&dir)?.is_none() {
            return Ok(Some(format!("{} is gone", dir.display())));
        }
        let me = effective_uid();
        let account = view.user(app.user.as_str()).map(|user| user.uid);
        if account.is_none_or(|account| me != 0 && me != account) {
            return Ok(None);
        }
        let why = import_check::broken(view, app, &dir, &app.venvs().join(&live.venv))?;
        // Whose files they are is told, and mended, by the checks of directories and owners.
        let why = why.filter(|why| !why.contains("PermissionError"));
        Ok(why.map(|why| format!("the live release cannot be served from its environment: {why}")))
    }
}
