//! Who could change what root reads, and what drifted: facts that doctor looks at.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::app::App;
use crate::host::{Drift, Kind};
use crate::layout;

use super::{Changes, CheckContext, Finding, PlanItem, Step, StepId};

pub(super) struct DropIns<'a>(pub(super) &'a App);
pub(super) struct Ownership<'a>(pub(super) &'a App);
pub(super) struct PrivilegeEscalation<'a>(pub(super) &'a App);

impl Step for DropIns<'_> {
    fn id(&self) -> StepId {
        StepId::UnitsDropIns
    }
    fn title(&self) -> String {
        "units as they were written".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "unit",
            what: layout::service_unit(&self.0.name),
        }
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let name = &self.0.name;
        let mut found = Vec::new();
        let mut changed = None;
        for unit in [
            layout::agent_unit(name),
            layout::socket_unit(name),
            layout::service_unit(name),
            layout::trial_unit(name),
        ] {
            let drop_ins = context.view.unit(&unit)?.drop_ins;
            if !drop_ins.is_empty() {
                found.extend(drop_ins);
                changed.get_or_insert(unit);
            }
        }
        Ok(match changed {
            None => Finding::Ok("no drop-in changes them".to_owned()),
            Some(unit) => Finding::Warning(
                format!("{} changes what the units do", found.join(", ")),
                format!(
                    "systemctl cat {unit}  # it is the administrator's, and stays; to drop it: sudo systemctl revert {unit}"
                ),
            ),
        })
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!("drop-ins are the administrator's"))
    }
}

impl Ownership<'_> {
    fn trees(&self) -> [PathBuf; 4] {
        let app = self.0;
        [
            app.releases(),
            app.shared(),
            app.venvs(),
            app.static_dir.as_path().to_owned(),
        ]
    }
}

impl Step for Ownership<'_> {
    fn id(&self) -> StepId {
        StepId::ProjectOwnership
    }
    fn title(&self) -> String {
        "owner and setgid in the tree".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "dirs",
            what: self.0.project_dir.to_string(),
        }
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let app = self.0;
        let (Some(user), Some(group)) = (
            context.view.user(app.user.as_str()),
            context.view.group(app.group.as_str()),
        ) else {
            return Ok(Finding::Blocked(
                StepId::AccountUser,
                "the account is missing".to_owned(),
            ));
        };
        let mut all = Drift::default();
        for tree in self.trees() {
            all.add(context.view.drift(&tree, user.uid, group.gid)?);
        }
        Ok(match all.first.first() {
            None => Finding::Ok(format!(
                "{} entries are {}:{}",
                all.seen, app.user, app.group
            )),
            Some(_) => Finding::Differs(
                format!(
                    "{} of {} entries have another owner or group, or lost their setgid bit, first: {}",
                    all.count,
                    all.seen,
                    all.first.join(", ")
                ),
                None,
            ),
        })
    }
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let app = self.0;
        let server = changes.server();
        let user = server
            .user(app.user.as_str())
            .ok_or_else(|| anyhow!("there is no user {}", app.user))?;
        let group = server
            .group(app.group.as_str())
            .ok_or_else(|| anyhow!("there is no group {}", app.group))?;
        for tree in self.trees() {
            server.own_tree(&tree, user.uid, group.gid)?;
        }
        Ok(())
    }
}

impl Step for PrivilegeEscalation<'_> {
    fn id(&self) -> StepId {
        StepId::AuditRoot
    }
    fn title(&self) -> String {
        "no way to root or to the key".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "audit",
            what: "what root reads and starts".to_owned(),
        }
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let app = self.0;
        let name = &app.name;
        let key = layout::private_key(name);
        // Each with the command that mends it.
        let mut ways: Vec<(String, String)> = Vec::new();
        let mut looked = 0;
        for (path, why) in layout::read_by_root(app) {
            // Nothing is read from what is not there, nor from /dev/null, where a masked unit leads:
            // that one others may write to, and must.
            if context
                .view
                .stat_target(&path)?
                .is_none_or(|stat| stat.kind == Kind::Other)
            {
                continue;
            }
            looked += 1;
            // The environment file alone belongs to the app's group, to read it.
            if let Some(part) = context.view.first_changeable(&path)? {
                ways.push((
                    format!(
                        "{} can be changed by others than root: {} ({why})",
                        part.display(),
                        path.display()
                    ),
                    mend(&part, "go-w"),
                ));
            }
        }
        if let Some(stat) = context.view.stat(&key)?
            && (stat.uid != 0 || stat.mode & 0o077 != 0)
        {
            ways.push((
                format!(
                    "{} can be read by others than root: it is the private deploy key",
                    key.display()
                ),
                mend(&key, "go="),
            ));
        }
        for unit in [
            layout::agent_unit(name),
            layout::service_unit(name),
            layout::trial_unit(name),
        ] {
            let state = context.view.unit(&unit)?;
            if state.load == "loaded" && state.user != app.user.as_str() {
                let is = if state.user.is_empty() {
                    "root"
                } else {
                    &state.user
                };
                ways.push((
                    format!("{unit} runs as {is}, not as {}", app.user),
                    format!("systemctl cat {unit}  # where it is said"),
                ));
            }
        }
        let Some((_, remedy)) = ways.first().cloned() else {
            return Ok(Finding::Ok(format!(
                "{looked} files and the ways to them are root's alone to change"
            )));
        };
        let all: Vec<String> = ways.into_iter().map(|(way, _)| way).collect();
        Ok(Finding::ManualFix(all.join("; "), remedy))
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!(
            "who may change what is the administrator's decision"
        ))
    }
}

/// An ACL shows in the group's bits, which are its mask, and goes with them.
fn mend(path: &Path, mode: &str) -> String {
    format!(
        "sudo chown root {0} && sudo chmod {mode} {0}",
        path.display()
    )
}
