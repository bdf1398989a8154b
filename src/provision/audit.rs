//! Audits that only doctor runs: unit overrides, ownership drift, and files through which users could become root.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::app::App;
use crate::host::{Drift, Kind};
use crate::layout;

use super::directories::owner;
use super::{About, Changes, Check, CheckContext, Finding, Fix, Problem, StepId};

pub(super) struct DropIns<'a>(pub(super) &'a App);
pub(super) struct Ownership<'a>(pub(super) &'a App);
pub(super) struct PrivilegeEscalation<'a>(pub(super) &'a App);

impl Check for DropIns<'_> {
    fn about(&self) -> About {
        About::new(StepId::UnitsDropIns, layout::service_unit(&self.0.name))
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let name = &self.0.name;
        let (mut found, mut changed) = (Vec::new(), None);
        for unit in layout::units(name)
            .into_iter()
            .chain(self.0.process_units())
            .chain(self.0.poll_units())
        {
            let drop_ins = context.view.unit(&unit)?.drop_ins;
            if !drop_ins.is_empty() {
                found.extend(drop_ins);
                changed.get_or_insert(unit);
            }
        }
        let Some(unit) = changed else {
            return Ok(Finding::ok("no unit overrides"));
        };
        Ok(Finding::warning(
            format!("{} overrides unit settings", found.join(", ")),
            format!(
                "systemctl cat {unit}  # left as is; to remove it: sudo systemctl revert {unit}"
            ),
        ))
    }
}

impl Ownership<'_> {
    /// The trees that the app writes, with their group. Nobody else uses what polls write below /var/lib/pullpray.
    fn trees(&self, group: u32) -> [(PathBuf, Option<u32>); 5] {
        let app = self.0;
        [
            (app.releases(), Some(group)),
            (app.shared(), Some(group)),
            (app.venvs(), Some(group)),
            (app.static_dir.as_path().to_owned(), Some(group)),
            (layout::state(&app.name), None),
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
            let why = "the account does not exist";
            return Ok(Finding::blocked(StepId::AccountUser, why));
        };
        let mut all = Drift::default();
        for (tree, group) in self.trees(group) {
            all.add(context.view.drift(&tree, user, group)?);
        }
        let Drift { seen, count, first } = all;
        Ok(if first.is_empty() {
            Finding::Ok(format!(
                "{seen} entries owned by {}:{}",
                app.user, app.group
            ))
        } else {
            let first = first.join(", ");
            let mut dirs = self.trees(group).into_iter().map(|(dir, _)| dir);
            let acl = dirs.find(|dir| context.view.has_default_acl(dir));
            let acl = acl.map_or_else(String::new, |dir| {
                let dir = dir.display();
                format!("; {dir} has a default ACL, which sets the modes of what is created below it: sudo setfacl -R -k {dir}")
            });
            Finding::differs(format!(
                "{count} of {seen} entries have a wrong owner, group or directory mode, such as: {first}{acl}"
            ))
        })
    }
}

impl Fix for Ownership<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let app = self.0;
        let (user, group) = owner(changes.context().view, app)
            .ok_or_else(|| anyhow!("the account does not exist"))?;
        for (tree, group) in self.trees(group) {
            changes.own_tree(&tree, (user, group))?;
        }
        Ok(())
    }
}

impl Check for PrivilegeEscalation<'_> {
    fn about(&self) -> About {
        About::new(StepId::AuditRoot, "files that root reads or runs")
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (app, view) = (self.0, context.view);
        let name = &app.name;
        let (mut problems, mut checked) = (Vec::new(), 0);
        for (path, why) in layout::read_by_root(app) {
            // Skip missing files, and /dev/null, to which a masked unit links: everybody may write to that.
            if (view.stat_target(&path)?).is_none_or(|stat| stat.kind == Kind::Other) {
                continue;
            }
            checked += 1;
            // Group ownership is not checked: the app's group reads the environment file.
            if let Some(part) = view.first_changeable(&path)? {
                let (shown, path) = (part.display(), path.display());
                problems.push(Problem::new(
                    format!("{shown} can be modified by users other than root: {path} ({why})"),
                    fix_command(&part, "go-w"),
                ));
            }
        }
        let key = layout::private_key(name);
        if let Some(stat) = view.stat(&key)?
            && (stat.uid != 0 || stat.mode & 0o077 != 0)
        {
            let shown = key.display();
            problems.push(Problem::new(
                format!("{shown}, the private deploy key, can be read by users other than root"),
                fix_command(&key, "go="),
            ));
        }
        // systemd creates the sockets as root.
        let services = layout::units(name)
            .into_iter()
            .chain(app.process_units())
            .chain(app.poll_units());
        for unit in services.filter(|unit| unit.ends_with(".service")) {
            let state = view.unit(&unit)?;
            if state.load == "loaded" && state.user != app.user.as_str() {
                let is = Some(state.user.as_str()).filter(|user| !user.is_empty());
                problems.push(Problem::new(
                    format!(
                        "{unit} runs as {}, not as {}",
                        is.unwrap_or("root"),
                        app.user
                    ),
                    format!("systemctl cat {unit}  # shows the file that sets User="),
                ));
            }
        }
        let Some(Problem { remedy, .. }) = problems.first().cloned() else {
            let what =
                format!("only root can modify the {checked} files or their parent directories");
            return Ok(Finding::Ok(what));
        };
        let all: Vec<String> = problems.into_iter().map(|problem| problem.why).collect();
        Ok(Finding::manual(all.join("; "), remedy))
    }
}

/// Command that restores owner and mode. With an ACL, the group bits are its mask, so chmod limits it too.
fn fix_command(path: &Path, mode: &str) -> String {
    let path = path.display();
    format!("sudo chown root {path} && sudo chmod {mode} {path}")
}
