//! The directories of an app, with owner, group and mode.
//!
//! setgid passes the group on to new entries; under umask 022 even `mkdir(02775)` gives 2755, so modes are
//! set explicitly. The project directory closes code and data to other users; the web server reads static
//! files from a separate directory, or through an ACL. Parent directories are created if missing and
//! otherwise left as they are.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::app::{App, Bind};
use crate::host::{Kind, PUBLISHED_DIR, View};
use crate::layout;
use crate::store::marks;

use super::eligibility::{answers_of, ineligible};
use super::{About, Changes, Check, CheckContext, Finding, Fix, Problem, StepId};

pub(super) struct Directories<'a>(pub(super) &'a App);

/// Owner of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Root,
    App,
}

struct Spec {
    path: PathBuf,
    owner: Owner,
    mode: u32,
    /// A parent: created if missing, never modified.
    parent: bool,
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
            specs.push(Spec {
                path,
                owner,
                mode,
                parent: false,
            });
        }
        if let Bind::Unix(path) = &app.bind {
            add_parents(&mut specs, path.as_path());
        }
        specs
    }
}

/// Adds the missing parents of a path, topmost first.
fn add_parents(specs: &mut Vec<Spec>, path: &Path) {
    let parents: Vec<&Path> = path.ancestors().skip(1).collect();
    for part in parents.into_iter().rev().skip(1) {
        if !specs.iter().any(|spec| spec.path == part) {
            specs.push(Spec {
                path: part.to_owned(),
                owner: Owner::Root,
                mode: 0o755,
                parent: true,
            });
        }
    }
}

/// Ids of the app's user and group, as far as they exist.
pub(super) fn owner(view: &View, app: &App) -> Option<(u32, u32)> {
    let (user, group) = (
        view.user(app.user.as_str())?,
        view.group(app.group.as_str())?,
    );
    Some((user.uid, group.gid))
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
        let ids = owner(context.view, self.0);
        let mut absent = Vec::new();
        let mut differs = Vec::new();
        for spec in self.specs() {
            let Some(stat) = context.view.stat(&spec.path)? else {
                absent.push(spec.path.display().to_string());
                continue;
            };
            let kind = if spec.parent {
                context.view.stat_target(&spec.path)?.map(|s| s.kind)
            } else {
                Some(stat.kind)
            };
            if kind != Some(Kind::Directory) {
                return Ok(Problem::not_a("directory", &spec.path).into());
            }
            if spec.parent {
                continue;
            }
            let owner = match spec.owner {
                Owner::Root => Some((0, 0)),
                Owner::App => ids,
            };
            if owner != Some((stat.uid, stat.gid)) || stat.mode != spec.mode {
                let (user, group) = match spec.owner {
                    Owner::Root => ("root", "root"),
                    Owner::App => (self.0.user.as_str(), self.0.group.as_str()),
                };
                differs.push(format!(
                    "{} {} → {user}:{group} {:04o}",
                    spec.path.display(),
                    context.view.owned(stat.uid, stat.gid, stat.mode),
                    spec.mode
                ));
            }
        }
        if !marks::is_marked(context.view, self.0)? {
            absent.push(layout::data(&self.0.name).display().to_string());
        }
        if !differs.is_empty() {
            return Ok(Finding::differs(differs.join(", ")));
        }
        if absent.is_empty() {
            return Ok(Finding::Ok(format!(
                "{} and {} others",
                self.0.project_dir,
                self.specs().len() - 1
            )));
        }
        Ok(Finding::Absent(format!(
            "2770 {}:{}, {} in total",
            self.0.user,
            self.0.group,
            absent.len()
        )))
    }
}

impl Fix for Directories<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let app = self.0;
        let ids = owner(changes.context().view, app).ok_or_else(|| {
            anyhow!(
                "the user {} or the group {} does not exist",
                app.user,
                app.group
            )
        })?;
        // From here on the app can write to them. Recorded before the last one is created: if this run is
        // killed, the next one finds them all and would not record it.
        changes.release(app.project_dir.as_path(), app.static_dir.as_path())?;
        for spec in self.specs() {
            if spec.parent && changes.context().view.stat(&spec.path)?.is_some() {
                continue;
            }
            let owner = match spec.owner {
                Owner::Root => (0, 0),
                Owner::App => ids,
            };
            changes.directory(&spec.path, owner, spec.mode)?;
        }
        if marks::is_marked(changes.context().view, app)? {
            return Ok(());
        }
        changes.mark(app, ids)
    }
}
