//! Audits that only doctor runs: unit overrides, ownership drift, and files through which users could become root.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::app::App;
use crate::host::{Drift, Kind};
use crate::layout;

use super::directories::owner;
use super::{About, Changes, Check, CheckContext, Finding, Fix, StepId};

pub(super) struct DropIns<'a>(pub(super) &'a App);
pub(super) struct Ownership<'a>(pub(super) &'a App);
pub(super) struct PrivilegeEscalation<'a>(pub(super) &'a App);

impl Check for DropIns<'_> {
    fn about(&self) -> About {
        About::new(StepId::UnitsDropIns, layout::service_unit(&self.0.name))
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let name = &self.0.name;
        let mut found = Vec::new();
        let mut changed = None;
        for unit in layout::units(name) {
            let drop_ins = context.view.unit(&unit)?.drop_ins;
            if !drop_ins.is_empty() {
                found.extend(drop_ins);
                changed.get_or_insert(unit);
            }
        }
        Ok(match changed {
            None => Finding::ok("no unit overrides"),
            Some(unit) => Finding::warning(
                format!("{} overrides unit settings", found.join(", ")),
                format!(
                    "systemctl cat {unit}  # left as is; to remove it: sudo systemctl revert {unit}"
                ),
            ),
        })
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

impl Check for Ownership<'_> {
    fn about(&self) -> About {
        About::new(StepId::ProjectOwnership, &self.0.project_dir)
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let app = self.0;
        let Some((user, group)) = owner(context.view, app) else {
            return Ok(Finding::blocked(
                StepId::AccountUser,
                "the account does not exist",
            ));
        };
        let mut all = Drift::default();
        for tree in self.trees() {
            all.add(context.view.drift(&tree, user, group)?);
        }
        Ok(match all.first.first() {
            None => Finding::Ok(format!(
                "{} entries owned by {}:{}",
                all.seen, app.user, app.group
            )),
            Some(_) => Finding::differs(format!(
                "{} of {} entries have a wrong owner or group, or no setgid bit, such as: {}",
                all.count,
                all.seen,
                all.first.join(", ")
            )),
        })
    }
}

impl Fix for Ownership<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let app = self.0;
        let owner = owner(changes.context().view, app)
            .ok_or_else(|| anyhow!("the account does not exist"))?;
        for tree in self.trees() {
            changes.own_tree(&tree, owner)?;
        }
        Ok(())
    }
}

impl Check for PrivilegeEscalation<'_> {
    fn about(&self) -> About {
        About::new(StepId::AuditRoot, "files that root reads or runs")
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let app = self.0;
        let name = &app.name;
        let key = layout::private_key(name);
        // Each with the command that fixes it.
        let mut findings: Vec<(String, String)> = Vec::new();
        let mut checked = 0;
        for (path, why) in layout::read_by_root(app) {
            // Skip missing files, and /dev/null, to which a masked unit links: everybody may write to that.
            if context
                .view
                .stat_target(&path)?
                .is_none_or(|stat| stat.kind == Kind::Other)
            {
                continue;
            }
            checked += 1;
            // Group ownership is not checked: the app's group reads the environment file.
            if let Some(part) = context.view.first_changeable(&path)? {
                findings.push((
                    format!(
                        "{} can be modified by users other than root: {} ({why})",
                        part.display(),
                        path.display()
                    ),
                    fix_command(&part, "go-w"),
                ));
            }
        }
        if let Some(stat) = context.view.stat(&key)?
            && (stat.uid != 0 || stat.mode & 0o077 != 0)
        {
            findings.push((
                format!(
                    "{}, the private deploy key, can be read by users other than root",
                    key.display()
                ),
                fix_command(&key, "go="),
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
                findings.push((
                    format!("{unit} runs as {is}, not as {}", app.user),
                    format!("systemctl cat {unit}  # shows the file that sets User="),
                ));
            }
        }
        let Some((_, remedy)) = findings.first().cloned() else {
            return Ok(Finding::Ok(format!(
                "only root can modify the {checked} files or their parent directories"
            )));
        };
        let all: Vec<String> = findings.into_iter().map(|(finding, _)| finding).collect();
        Ok(Finding::manual(all.join("; "), remedy))
    }
}

/// Command that restores owner and mode. With an ACL, the group bits are its mask, so chmod limits it too.
fn fix_command(path: &Path, mode: &str) -> String {
    format!(
        "sudo chown root {0} && sudo chmod {mode} {0}",
        path.display()
    )
}
