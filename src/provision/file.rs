//! The step for a file, shared by sudoers, cron, the ssh alias and units: content from a template, owner
//! and mode, validation before it is in place, and verification with the program that reads it.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use similar::TextDiff;

use crate::app::{App, Calendar, ProcessName};
use crate::host::{Kind, View};
use crate::layout::{self, ManagedFile};
use crate::render;
use crate::state::sha256;

use super::finding::{absent_group, wrong_owner};
use super::readers::Reader;
use super::{About, Changes, Check, CheckContext, Finding, Fix, Problem, StepId};

/// What becomes of content that pullpray did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edits {
    /// It is shown, and stays unless it is to be overwritten.
    Overwritable,
    /// It is shown, and always stays.
    Kept,
    /// The file belongs to the administrator once it is written, and has secrets that are not shown.
    Private,
}

/// A file owned by root.
pub(super) struct FileStep<'a> {
    app: &'a App,
    id: StepId,
    path: PathBuf,
    mode: u32,
    /// Name of the group; `None`: root.
    group: Option<&'a str>,
    /// The rendered text, or the finding that blocks it.
    content: Result<String, Finding>,
    edits: Edits,
    reader: Reader,
}

impl<'a> FileStep<'a> {
    pub(super) fn new(app: &'a App, id: StepId, file: ManagedFile, text: Result<String>) -> Self {
        let waits_for_wsgi = matches!(
            file,
            ManagedFile::ServiceUnit | ManagedFile::BridgeUnit | ManagedFile::TrialUnit
        );
        let content = match text {
            Ok(_) if waits_for_wsgi && app.wsgi.is_none() => Err(Finding::blocked(
                StepId::RepoAccess,
                "0644 root; the WSGI module is read from the repository",
            )),
            Ok(text) => Ok(text),
            Err(error) => Err(Finding::blocked(
                StepId::ServerProgram,
                format!("failed to render the template: {error:#}"),
            )),
        };
        let environment = file == ManagedFile::Environment;
        Self {
            app,
            id,
            path: file.path(app),
            mode: file.mode(),
            group: environment.then(|| app.group.as_str()),
            content,
            edits: match file {
                ManagedFile::Environment => Edits::Private,
                ManagedFile::DeployScript => Edits::Kept,
                _ => Edits::Overwritable,
            },
            reader: Reader::of(file),
        }
    }

    /// The unit of a process beside web.
    pub(super) fn process(app: &'a App, process: &ProcessName) -> Self {
        let text = render::process_service(app, process);
        let step = Self::new(app, StepId::ProcessUnit, ManagedFile::ProcessTarget, text);
        let unit = layout::process_unit(&app.name, process);
        Self {
            path: layout::unit_file(&unit),
            ..step
        }
    }

    /// The timer of a process.
    pub(super) fn timer(app: &'a App, process: &ProcessName, when: &Calendar) -> Self {
        let text = render::process_timer(app, process, when);
        let step = Self::new(app, StepId::ProcessUnit, ManagedFile::ProcessTarget, text);
        let unit = layout::timer_unit(&app.name, process);
        Self {
            path: layout::unit_file(&unit),
            ..step
        }
    }

    fn gid(&self, view: &View) -> Option<u32> {
        match self.group {
            None => Some(0),
            Some(name) => view.group(name).map(|group| group.gid),
        }
    }

    fn owner(&self) -> String {
        let group = self.group.map(|group| format!(":{group}"));
        format!("{:04o} root{}", self.mode, group.unwrap_or_default())
    }

    /// Restarts the running app, or agent, on its new unit.
    fn restart(&self, changes: &Changes<'_>, new: bool) -> Result<()> {
        let view = changes.context().view;
        let unit = match self.id {
            // In another project directory, the first deployment there restarts it.
            StepId::GunicornService if view.stat(&self.app.current())?.is_none() => return Ok(()),
            StepId::GunicornService => layout::service_unit(&self.app.name),
            StepId::GunicornOwnSocket => layout::own_socket_unit(&self.app.name),
            StepId::AgentUnit => layout::agent_unit(&self.app.name),
            StepId::ScheduleTimer => layout::poll_units(&self.app.name)[1].clone(),
            StepId::ProcessUnit => {
                let unit = self.path.file_name().unwrap_or_default();
                let unit = unit.to_string_lossy().into_owned();
                if self.app.timed_units().any(|timed| timed == unit) {
                    return Ok(());
                }
                unit
            }
            _ => return Ok(()),
        };
        // One in the state failed or activating is restarted, too, as after the put-back.
        if !new || view.unit(&unit)?.active == "inactive" {
            return Ok(());
        }
        match self.id {
            StepId::GunicornService => changes.restart_app(self.app),
            // systemd restarts no socket of a service that runs. With it the service stops, and starts again below.
            StepId::GunicornOwnSocket => changes.stop(&unit),
            _ => changes.restart(&unit),
        }
    }

    /// Whether apply would replace this content.
    fn replaces(&self, context: &CheckContext<'_>, is: &[u8]) -> bool {
        let ours = || context.receipt.wrote(&self.path, &sha256(is));
        match self.edits {
            Edits::Overwritable => {
                context.overwrite || ours() || self.reader.disabled(is).is_some()
            }
            Edits::Kept => ours(),
            Edits::Private => false,
        }
    }
}

impl Check for FileStep<'_> {
    fn about(&self) -> About {
        About::new(self.id, self.path.display())
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (view, path) = (context.view, &self.path);
        let wanted = match &self.content {
            Ok(text) => text,
            Err(finding) => return Ok(finding.clone()),
        };
        let Some(stat) = view.stat(path)? else {
            let lacks = self.reader.lacks(view)?;
            let absent = || format!("{}{}", self.owner(), self.reader.remark(view));
            return Ok(lacks.map_or_else(|| Finding::Absent(absent()), Into::into));
        };
        if stat.kind != Kind::File {
            // `systemctl mask` replaces a unit with this link (systemctl(1)).
            let masked = stat.kind == Kind::Link
                && view.read_link(path)?.as_deref() == Some(Path::new("/dev/null"));
            return Ok(Finding::ManualFix(if masked {
                Problem::masked(&path.file_name().unwrap_or_default().to_string_lossy())
            } else {
                Problem::not_a("file", path)
            }));
        }
        let Some(gid) = self.gid(view) else {
            return Ok(absent_group(self.group.unwrap_or("root")));
        };
        let wrong = wrong_owner(view, &stat, gid, self.mode)
            // cron ignores a file with more than one hard link (cron(8)); the other name would also allow changes.
            .or_else(|| (stat.links > 1).then(|| format!("has {} hard links", stat.links)));
        let read = if self.edits == Edits::Private {
            Ok(None)
        } else {
            view.read(path)
        };
        // Not everybody can read it; what is wrong with its owner can be said without.
        let is = if wrong.is_some() {
            read.ok().flatten()
        } else {
            read?
        };
        let is = is.filter(|is| is != wanted.as_bytes());
        let diff = (is.as_ref()).map(|is| unified(path, &String::from_utf8_lossy(is), wanted));
        let replaced = is.as_ref().is_some_and(|is| self.replaces(context, is));
        let disabled = is.and_then(|is| self.reader.disabled(&is));
        let what = match wrong {
            None if replaced => Some(disabled.unwrap_or("content differs").to_owned()),
            None => self.reader.ignores(view, path)?,
            wrong => wrong,
        };
        if let Some(what) = what {
            let diff = diff.filter(|_| replaced);
            return Ok(Finding::Differs { what, diff });
        }
        if let Some(problem) = self.reader.rejects(view, self.app, path)? {
            return Ok(problem.into());
        }
        if self.edits == Edits::Private
            && let Some(why) = view.environment_misread(path)?
        {
            let remedy = format!(
                "sudoedit {}, then sudo pullpray redeploy {}",
                path.display(),
                self.app.name
            );
            return Ok(Finding::Warning(Problem::new(why, remedy)));
        }
        let what = "modified locally, left as is".to_owned();
        Ok(match diff {
            Some(diff) => Finding::LocallyModified { what, diff },
            None => Finding::Ok(self.owner()),
        })
    }
}

impl Fix for FileStep<'_> {
    fn preview(&self) -> Option<(PathBuf, String)> {
        let text = self.content.as_ref().ok()?;
        Some((self.path.clone(), text.clone()))
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let text =
            (self.content.as_ref()).map_err(|why| anyhow!("{}", why.summary().to_owned()))?;
        let context = changes.context();
        let gid = self.gid(context.view);
        let gid = gid.ok_or_else(|| anyhow!("its group does not exist"))?;
        let old = context.view.read(&self.path)?;
        // The administrator's content stays; only owner and mode are set.
        let kept = (old.as_deref()).filter(|old| !self.replaces(&context, old));
        let becomes = kept.unwrap_or(text.as_bytes());
        self.reader.validate(changes, becomes)?;
        let before = self.reader.complaints(context.view)?;
        if kept.is_some() {
            changes.rewrite(&self.path, becomes, self.mode, (0, gid))?;
        } else {
            changes.file(&self.path, becomes, self.mode, (0, gid))?;
        }
        let new = old.is_some() && kept.is_none() && old.as_deref() != Some(text.as_bytes());
        let read_again = |changes: &Changes<'_>| {
            self.reader.reload(changes, &before)?;
            self.restart(changes, new)
        };
        let Err(error) = read_again(changes) else {
            return Ok(());
        };
        // Revert at once: the configuration as a whole was rejected, or the service does not start with it.
        changes.put_back(&self.path, old.as_deref(), self.mode, (0, gid))?;
        drop(read_again(changes));
        Err(error.context(format!("reverted {}", self.path.display())))
    }
}

/// Unified diff from the current to the desired text of a file.
#[must_use]
pub fn unified(path: &Path, is: &str, should: &str) -> String {
    let path = path.display().to_string();
    TextDiff::from_lines(is, should)
        .unified_diff()
        .header(&path, &format!("{path} (pullpray)"))
        .to_string()
}
