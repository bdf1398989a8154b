//! The directories of an app, with owner, group and mode.
//!
//! setgid passes the group on to new entries; under umask 022 even `mkdir(02775)` gives 2755, so modes are
//! set explicitly. The project directory closes code and data to other users; the web server reads static
//! files from a separate directory, or through an ACL. Parent directories are created if missing and
//! otherwise left as they are.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::app::App;
use crate::host::{Kind, PUBLISHED_DIR, View};
use crate::layout;
use crate::store::marks;

use super::eligibility::{answers_of, ineligible};
use super::{About, Changes, CheckContext, Finding, Step, StepId};

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
        let mut specs: Vec<Spec> = Vec::new();
        let mut add = |path: PathBuf, owner: Owner, mode: u32| {
            let mut parents: Vec<PathBuf> = path
                .ancestors()
                .skip(1)
                .filter(|p| *p != Path::new("/"))
                .map(Path::to_owned)
                .collect();
            parents.reverse();
            for part in parents {
                if !specs.iter().any(|spec: &Spec| spec.path == part) {
                    specs.push(Spec {
                        path: part,
                        owner: Owner::Root,
                        mode: 0o755,
                        parent: true,
                    });
                }
            }
            specs.retain(|spec| spec.path != path);
            specs.push(Spec {
                path,
                owner,
                mode,
                parent: false,
            });
        };
        add(layout::SETTINGS_DIR.into(), Owner::Root, 0o755);
        add(app.poller_dir(), Owner::Root, 0o755);
        add(layout::AGENT_DIR.into(), Owner::Root, 0o755);
        add(layout::KEYS_DIR.into(), Owner::Root, 0o755);
        add(layout::STATE_DIR.into(), Owner::Root, 0o755);
        add(layout::RECEIPTS_DIR.into(), Owner::Root, 0o700);
        add(layout::state(&app.name), Owner::App, 0o750);
        add(layout::logs(&app.name), Owner::App, 0o750);
        add(app.project_dir.as_path().to_owned(), Owner::App, 0o2770);
        add(app.releases(), Owner::App, 0o2770);
        add(app.shared(), Owner::App, 0o2770);
        add(app.venvs(), Owner::App, 0o2770);
        // World-readable for the web server, unlike the project directory.
        add(
            app.static_dir.as_path().to_owned(),
            Owner::App,
            PUBLISHED_DIR,
        );
        if let crate::app::Bind::Unix(path) = &app.bind
            && let Some(dir) = path.as_path().parent()
        {
            for part in dir
                .ancestors()
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .filter(|p| *p != Path::new("/"))
            {
                specs.push(Spec {
                    path: part.to_owned(),
                    owner: Owner::Root,
                    mode: 0o755,
                    parent: true,
                });
            }
        }
        specs
    }

    fn ids(&self, view: &View) -> Option<(u32, u32)> {
        let user = view.user(self.0.user.as_str())?;
        let group = view.group(self.0.group.as_str())?;
        Some((user.uid, group.gid))
    }
}

impl Step for Directories<'_> {
    fn about(&self) -> About {
        About::new(
            StepId::ProjectDirectories,
            "directories",
            "dirs",
            self.0.project_dir.to_string(),
        )
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        for name in ["project_dir", "static_dir", "bind"] {
            if let Some((why, remedy)) = ineligible(context.view, &answers_of(self.0), name)? {
                return Ok(Finding::ManualFix(why, remedy));
            }
        }
        if let Some((_, why, remedy)) = marks::missing(context.view, &self.0.name)? {
            return Ok(Finding::ManualFix(why, remedy));
        }
        let ids = self.ids(context.view);
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
                return Ok(Finding::ManualFix(
                    format!("{} exists and is not a directory", spec.path.display()),
                    format!("sudo mv -T {0} {0}.was", spec.path.display()),
                ));
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
            return Ok(Finding::Differs(differs.join(", "), None));
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

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let ids = self.ids(changes.server()).ok_or_else(|| {
            anyhow!(
                "the user {} or the group {} does not exist",
                self.0.user,
                self.0.group
            )
        })?;
        // From here on the app can write to them. Recorded before the last one is created: if this run is
        // killed, the next one finds them all and would not record it.
        changes.release(self.0.project_dir.as_path(), self.0.static_dir.as_path())?;
        for spec in self.specs() {
            if spec.parent && changes.server().stat(&spec.path)?.is_some() {
                continue;
            }
            let owner = match spec.owner {
                Owner::Root => (0, 0),
                Owner::App => ids,
            };
            changes.directory(&spec.path, owner, spec.mode)?;
        }
        if !marks::is_marked(changes.server(), self.0)? {
            let copy = marks::mark(changes.server(), self.0, ids)?;
            changes.file(&layout::data(&self.0.name), copy.as_bytes(), 0o644, (0, 0))?;
        }
        Ok(())
    }
}
