//! The directories of an app, with owner, group and mode.
//!
//! setgid passes the group on to new entries; under umask 022 even `mkdir(02775)` gives 2755, so modes are
//! set explicitly. The project directory closes code and data to other users; the web server reads static
//! files from a separate directory, or through an ACL. Parent directories are created if missing and
//! otherwise left as they are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::app::{AccountName, App, Bind};
use crate::host::{Kind, PUBLISHED_DIR, View};
use crate::layout;
use crate::store::marks;

use super::audit::Ownership;
use super::eligibility::{answers_of, ineligible};
use super::{About, Changes, Check, CheckContext, Finding, Fix, Problem, StepId};

pub(super) struct Directories<'a>(pub(super) &'a App);

/// Owner of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Root,
    App,
    /// Whoever has it: a parent is created if missing, and never modified.
    Any,
}

struct Spec {
    path: PathBuf,
    owner: Owner,
    mode: u32,
}

impl Directories<'_> {
    fn specs(&self) -> Vec<Spec> {
        let app = self.0;
        let root = [
            (layout::SETTINGS_DIR.into(), 0o755),
            (app.poller_dir(), 0o755),
            (layout::AGENT_DIR.into(), 0o755),
            (layout::KEYS_DIR.into(), 0o755),
            (layout::STATE_DIR.into(), 0o755),
            (layout::RECEIPTS_DIR.into(), 0o700),
        ];
        let its = [
            (layout::state(&app.name), 0o750),
            (layout::logs(&app.name), 0o750),
            (app.project_dir.as_path().to_owned(), 0o2770),
            (app.releases(), 0o2770),
            (app.shared(), 0o2770),
            (app.venvs(), 0o2770),
            // World-readable for the web server, unlike the project directory.
            (app.static_dir.as_path().to_owned(), PUBLISHED_DIR),
        ];
        let owned = root.map(|dir| (Owner::Root, dir)).into_iter();
        let mut specs: Vec<Spec> = Vec::new();
        for (owner, (path, mode)) in owned.chain(its.map(|dir| (Owner::App, dir))) {
            add_parents(&mut specs, &path);
            specs.retain(|spec| spec.path != path);
            specs.push(Spec { path, owner, mode });
        }
        if let Bind::Unix(path) = &app.bind {
            add_parents(&mut specs, path.as_path());
        }
        specs
    }
}

/// The directories that pullpray owns, and whose owner and mode it therefore sets.
pub(super) fn owned_dirs(app: &App) -> Vec<PathBuf> {
    let specs = Directories(app).specs().into_iter();
    let owned = specs.filter(|spec| spec.owner != Owner::Any);
    owned.map(|spec| spec.path).collect()
}

/// Adds the missing parents of a path, topmost first.
fn add_parents(specs: &mut Vec<Spec>, path: &Path) {
    let parents: Vec<&Path> = path.ancestors().skip(1).collect();
    for part in parents.into_iter().rev().skip(1) {
        if !specs.iter().any(|spec| spec.path == part) {
            let (path, owner) = (part.to_owned(), Owner::Any);
            specs.push(Spec {
                path,
                owner,
                mode: 0o755,
            });
        }
    }
}

/// Ids of the app's user and group, as far as they exist.
pub(super) fn owner(view: &View, app: &App) -> Option<(u32, u32)> {
    let user = view.user(app.user.as_str())?;
    Some((user.uid, view.group(app.group.as_str())?.gid))
}

/// How many other accounts the app's group gives access, for the plan.
fn others_of(view: &View, app: &App) -> String {
    let operator = app.operator.as_ref().map(AccountName::as_str);
    let group = view.group(app.group.as_str());
    let members = group.map_or_else(Vec::new, |group| group.members);
    let others = members.iter().filter(|name| **name != app.user.as_str());
    let others = others.filter(|name| Some(name.as_str()) != operator);
    match others.count() {
        0 => String::new(),
        count => format!(
            "; {count} other members of {} can read {}'s settings and read and modify its files",
            app.group, app.name
        ),
    }
}

/// A changed project directory into which nobody has copied the app's data: with an empty one, the next deployment
/// would create a new database.
fn data_elsewhere(view: &View, app: &App) -> Result<Option<Problem>> {
    let to = app.shared();
    let Some(from) = marks::shared(view, &app.name)?.filter(|from| *from != to) else {
        return Ok(None);
    };
    let mut held = view.list(&from)?.into_iter();
    if view.stat(&to)?.is_some() || !held.any(|name| name != layout::MARK) {
        return Ok(None);
    }
    let (name, from, to, dir) = (&app.name, from.display(), to.display(), &app.project_dir);
    Ok(Some(Problem::new(
        format!(
            "the data of {name} is in {from}, and {to} does not exist: copy it, with the service stopped"
        ),
        format!(
            "sudo systemctl stop {0} {1} && sudo mkdir -p {dir} && sudo cp -a {from} {to} && sudo pullpray init {name} --project-dir {dir}",
            layout::socket_unit(name),
            layout::service_unit(name)
        ),
    )))
}

impl Check for Directories<'_> {
    fn about(&self) -> About {
        About::new(StepId::ProjectDirectories, &self.0.project_dir)
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        for name in ["project_dir", "static_dir", "bind"] {
            if let Some(problem) = ineligible(context.view, &answers_of(self.0), name)? {
                return Ok(problem.into());
            }
        }
        if let Some((_, why, remedy)) = marks::missing(context.view, &self.0.name)? {
            return Ok(Finding::manual(why, remedy));
        }
        let (view, app) = (context.view, self.0);
        if let Some(problem) = data_elsewhere(view, app)? {
            return Ok(problem.into());
        }
        let ids = owner(view, app);
        let (user, group) = (app.user.as_str(), app.group.as_str());
        let (specs, mut absent, mut differs) = (self.specs(), 0, Vec::new());
        for Spec { path, owner, mode } in &specs {
            let Some(stat) = view.stat(path)? else {
                absent += 1;
                continue;
            };
            let (owner, kind, names) = match owner {
                Owner::Root => (Some((0, 0)), Some(stat.kind), "root:root".to_owned()),
                Owner::App => (ids, Some(stat.kind), format!("{user}:{group}")),
                Owner::Any => (None, view.stat_target(path)?.map(|s| s.kind), String::new()),
            };
            if kind != Some(Kind::Directory) {
                return Ok(Problem::not_a("directory", path).into());
            }
            let right = owner == Some((stat.uid, stat.gid)) && stat.mode == *mode;
            if !right && !names.is_empty() {
                let is = view.owned(stat.uid, stat.gid, stat.mode);
                differs.push(format!("{} {is} → {names} {mode:04o}", path.display()));
            }
        }
        if !marks::is_marked(view, app)? {
            absent += 1;
        }
        Ok(match absent {
            _ if !differs.is_empty() => Finding::differs(differs.join(", ")),
            0 => Finding::Ok(format!(
                "{} and {} others",
                app.project_dir,
                specs.len() - 1
            )),
            count => Finding::Absent(format!(
                "2770 {user}:{group}, {count} in total{}",
                others_of(view, app)
            )),
        })
    }
}

impl Fix for Directories<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let app = self.0;
        let (user, group) = (&app.user, &app.group);
        let ids = owner(changes.context().view, app);
        let ids =
            ids.with_context(|| format!("the user {user} or the group {group} does not exist"))?;
        // From here on the app can write to them. Recorded before the last one is created: if this run is
        // killed, the next one finds them all and would not record it.
        changes.release(app.project_dir.as_path(), app.static_dir.as_path())?;
        let (view, mut changed_hands) = (changes.context().view, false);
        for spec in self.specs() {
            if let (Owner::App, Some(stat)) = (&spec.owner, view.stat(&spec.path)?) {
                changed_hands |= (stat.uid, stat.gid) != ids;
            }
        }
        for spec in self.specs() {
            let owner = match spec.owner {
                Owner::Any if changes.context().view.stat(&spec.path)?.is_some() => continue,
                Owner::Any | Owner::Root => (0, 0),
                Owner::App => ids,
            };
            changes.directory(&spec.path, owner, spec.mode)?;
        }
        if changed_hands {
            // Another account or group: all that the former one left belongs to it.
            Ownership(app).apply(changes)?;
        }
        if marks::is_marked(changes.context().view, app)? {
            return Ok(());
        }
        changes.mark(app, ids)
    }
}
