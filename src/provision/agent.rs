//! The agent: enabled, running, and loaded with the deploy key.

use std::path::Path;

use anyhow::Result;

use crate::app::App;
use crate::host::{AgentKey, View};
use crate::layout;

use super::key_pair::public_key;
use super::{About, Changes, Check, CheckContext, Finding, Fix, Problem, StepId};

pub(super) struct AgentRuns<'a>(pub(super) &'a App);

/// Whether the agent runs and has the deploy key loaded.
pub(super) fn has_deploy_key(context: &CheckContext<'_>, app: &App) -> Result<bool> {
    let Some((_, wanted)) = public_key(context.view, &app.name)? else {
        return Ok(false);
    };
    let keys = loaded_keys(context, app)?;
    Ok(keys.iter().any(|key| key.fingerprint == wanted))
}

/// The keys loaded in the agent; empty if it does not run.
pub(super) fn loaded_keys(context: &CheckContext<'_>, app: &App) -> Result<Vec<AgentKey>> {
    let (view, socket) = (context.view, layout::agent_socket(&app.name));
    let unit = layout::agent_unit(&app.name);
    if view.stat(&socket)?.is_none() || !view.unit(&unit)?.is_active() {
        return Ok(Vec::new());
    }
    view.agent_keys(&socket)
}

/// Why a unit is not enabled and active; `awaits` is the step that writes its file, and what follows then.
pub(super) fn not_running(
    view: &View,
    unit: &str,
    (on, why): (StepId, &str),
) -> Result<Option<Finding>> {
    let state = view.unit(unit)?;
    let is = || {
        let failed = state.active == "failed" || state.active == "activating";
        let last = if failed {
            view.unit_log(unit, 3)
        } else {
            String::new()
        };
        let last = last.replace('\n', " / ");
        let end = if last.is_empty() {
            last
        } else {
            format!(": {last}")
        };
        format!("{unit} is {} and {}{end}", state.active, state.enabled)
    };
    Ok(match state.load.as_str() {
        "masked" => Some(Problem::masked(unit).into()),
        "not-found" => Some(Finding::blocked(on, why)),
        _ if state.active.is_empty() => Some(Finding::blocked(
            StepId::ServerRequirements,
            "systemd does not answer",
        )),
        _ if state.is_active() && state.is_enabled() => None,
        _ => Some(Finding::differs(is())),
    })
}

impl Check for AgentRuns<'_> {
    fn about(&self) -> About {
        About::new(StepId::AgentKey, layout::agent_unit(&self.0.name))
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let unit = layout::agent_unit(&self.0.name);
        let awaits = (StepId::AgentUnit, "enabled and started");
        if let Some(finding) = not_running(context.view, &unit, awaits)? {
            return Ok(finding);
        }
        let Some((_, wanted)) = public_key(context.view, &self.0.name)? else {
            return Ok(Finding::blocked(StepId::KeyDeploy, "gets the key loaded"));
        };
        let socket = layout::agent_socket(&self.0.name);
        // A restart creates it again.
        if context.view.stat(&socket)?.is_none() {
            let socket = socket.display();
            return Ok(Finding::differs(format!(
                "{unit} runs, but its socket {socket} does not exist"
            )));
        }
        let keys = context.view.agent_keys(&socket)?;
        if keys.iter().any(|key| key.fingerprint == wanted) {
            if let Some(problem) = lost_setgid(context.view)? {
                return Ok(Finding::Warning(problem));
            }
            return Ok(Finding::Ok(format!("{unit} runs as {}", self.0.user)));
        }
        Ok(Finding::differs(match keys.len() {
            0 => "the agent has no key loaded".to_owned(),
            many => format!("the agent has {many} other keys loaded, but not the deploy key"),
        }))
    }
}

/// Debian installs ssh-agent setgid, so that the app's account cannot trace it in the instant after its start.
fn lost_setgid(view: &View) -> Result<Option<Problem>> {
    let program = Path::new("/usr/bin/ssh-agent");
    let lost = view
        .stat(program)?
        .is_some_and(|stat| stat.mode & 0o2000 == 0);
    Ok((lost && view.group("_ssh").is_some()).then(|| {
        Problem::new(
            "/usr/bin/ssh-agent is not setgid any more: when it starts, the app's account could trace it and read the key",
            "sudo chgrp _ssh /usr/bin/ssh-agent && sudo chmod g+s /usr/bin/ssh-agent",
        )
    }))
}

impl Fix for AgentRuns<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let unit = layout::agent_unit(&self.0.name);
        let running = changes.context().view.unit(&unit)?.is_active();
        changes.unit(&unit)?;
        if running {
            changes.restart(&unit)?;
        }
        Ok(())
    }
}
