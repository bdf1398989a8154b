//! The first release: runs the same poll that cron will run.

use anyhow::{Result, anyhow, bail};

use crate::app::App;
use crate::error::WithHint;
use crate::host::import_check;
use crate::host::{Kind, View, effective_uid};
use crate::layout;
use crate::state::Damaged;
use crate::state::ledger::{Ledger, Release};
use crate::text::short;

use super::{About, Changes, Check, CheckContext, Finding, Fix, StepId};

pub(super) struct FirstRelease<'a>(pub(super) &'a App);

impl Check for FirstRelease<'_> {
    fn about(&self) -> About {
        let (repo, track) = (self.0.repo.slug(), &self.0.track);
        About::new(StepId::AppRelease, format!("{repo} {track}"))
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let follows = "built, activated and health-checked";
        if self.0.wsgi.is_none() {
            return Ok(Finding::blocked(StepId::RepoAccess, follows));
        }
        let ledger = match Ledger::load(context.view, &self.0.name) {
            Err(error) if error.is::<Damaged>() => {
                return Ok(Finding::differs(format!("{error:#}")));
            }
            ledger => ledger?,
        };
        let Some(live) = ledger.live() else {
            return Ok(Finding::absent(follows));
        };
        let current = self.0.current();
        let path = current.display();
        if let Some(why) = self.unusable(context.view, live)? {
            return Ok(Finding::differs(why));
        }
        let kind = context.view.stat(&current)?.map(|stat| stat.kind);
        if kind.is_some_and(|kind| kind != Kind::Link) {
            return Ok(Finding::differs(format!("{path} exists and is not a link")));
        }
        let (id, since) = (&live.id, &live.since);
        let right = context.view.read_link(&current)? == Some(layout::release_link(id));
        let what = format!("{}, live since {since}", short(&live.commit));
        Ok(if right {
            match modified_by_hand(context.view, self.0, live)? {
                None => Finding::Ok(what),
                Some(which) => Finding::warning(
                    format!("{what}; {which} modified since then, which the next deployment drops"),
                    format!(
                        "cd {path}/ && find . -newer {path} -type f ! -name '*.pyc'  # commit and push what is to stay"
                    ),
                ),
            }
        } else {
            Finding::differs(format!("{path} does not point to the live release {id}"))
        })
    }
}

/// `2 of its files, such as views.py, were`, if somebody modified files of the live release: they are younger than the
/// link that made it live.
fn modified_by_hand(view: &View, app: &App, live: &Release) -> Result<Option<String>> {
    let Some(link) = view.stat(&app.current())? else {
        return Ok(None);
    };
    let found = view.modified_after(&app.releases().join(&live.id), link.modified)?;
    Ok(found.first().map(|first| {
        let first = first.display();
        match found.len() {
            1 => format!("{first} was"),
            several => format!("{several} of its files, such as {first}, were"),
        }
    }))
}

impl Fix for FirstRelease<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        // A running poll, cron's or one left by a killed run, may deploy it meanwhile.
        let patience = self.0.limits.patience();
        changes.wait_for_poll(patience)?;
        if self.check(&changes.context())?.is_satisfied() {
            return Ok(());
        }
        // A release may be live even without a ledger.
        let (view, name) = (changes.context().view, &self.0.name);
        let live = Ledger::load(view, name).map(|ledger| ledger.live().cloned());
        let first = matches!(live, Ok(None))
            && (view.stat(&layout::ledger(name))?.is_some()
                || view.list(&self.0.releases())?.is_empty());
        let redeploy = match live {
            Ok(Some(live)) => self.unusable(view, &live)?.is_some(),
            _ => false,
        };
        let verb: &[&str] = match (redeploy, first) {
            (true, _) => &["redeploy"],
            (_, true) => &["poll", "--now"],
            _ => &["poll"],
        };
        if first {
            // If this deployment fails, a later poll makes the app live, and it starts at boot all the same.
            changes.enable(&layout::socket_unit(name))?;
            changes.enable(&layout::service_unit(name))?;
            if !self.0.processes.is_empty() {
                changes.enable(&layout::process_target(name))?;
            }
            for (service, timer) in self.0.timed_units().zip(self.0.timer_units()) {
                changes.record_unit(&service)?;
                changes.unit(&timer)?;
            }
        }
        let output = changes.deploy(self.0, verb)?;
        // Not the exit code but the check decides: a poll that restores `current` succeeds even if it
        // could not reach the git host.
        if self.check(&changes.context())?.is_satisfied() {
            return Ok(());
        }
        let (verb, words) = (verb.join(" "), output.stdout + &output.stderr);
        if output.code == Some(0) {
            // Cron's poll may have begun in between.
            changes.wait_for_poll(patience)?;
            if self.check(&changes.context())?.is_satisfied() {
                return Ok(());
            }
            return Err(anyhow!(
                "pullpray {verb} {name} ended without a release: deployments are paused, or another poll has just started\n{words}"
            )
            .hint(format!("pullpray status {name}")));
        }
        if first {
            // systemd would restart an unhealthy first release forever, and a socket without a release
            // ends in trigger-limit-hit. The next deployment starts both.
            changes.stop(&layout::service_unit(name))?;
            changes.stop(&layout::socket_unit(name))?;
        }
        bail!("pullpray {verb} {name} {}\n{words}", output.ended);
    }
}

impl FirstRelease<'_> {
    /// Why the live release has to be deployed again: its directory is missing, a persistent path is not linked into it
    /// (because the settings did not list it then), or its virtual environment is broken. The latter is tested as the
    /// app's account, if the caller is root or that account.
    fn unusable(&self, view: &View, live: &Release) -> Result<Option<String>> {
        let app = self.0;
        let dir = app.releases().join(&live.id);
        if view.stat(&dir)?.is_none() {
            return Ok(Some(format!("{} does not exist", dir.display())));
        }
        for path in &app.shared_paths {
            let link = dir.join(path.path());
            let is_link = (view.stat(&link)?).is_some_and(|stat| stat.kind == Kind::Link);
            if !is_link || view.read_link(&link)? != Some(app.shared().join(path.path())) {
                let why = format!("{path} is not linked to shared/ in the live release");
                return Ok(Some(why));
            }
        }
        let me = effective_uid();
        let account = view.user(app.user.as_str()).map(|user| user.uid);
        if account.is_none_or(|account| me != 0 && me != account) {
            return Ok(None);
        }
        let why = import_check::broken(view, app, &dir, &app.venvs().join(&live.venv))?;
        // The steps for directories and ownership report and fix permissions.
        let why = why.filter(|why| !why.contains("PermissionError"));
        Ok(why.map(|why| format!("the live release cannot run in its virtual environment: {why}")))
    }
}
