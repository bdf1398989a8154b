//! Building a release: one commit in its own directory, without touching what is live.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::app::SharedPath;
use crate::host::import_check;
use crate::host::{Kind, Log, PATH, ScriptRunner, Server};
use crate::layout;
use crate::state::ledger::{Ledger, Release};
use crate::state::stamp;

use super::dependencies::{self, Dependencies};
use super::fetch::Code;
use super::{Poll, StageError, migrations, writes};
use crate::text::short;

/// A release's name begins with the time of its deployment, UTC.
pub(super) const STAMP: &str = "%Y%m%dT%H%M%S";
/// Marks a virtual environment whose installation finished.
pub(super) const COMPLETE: &str = ".pullpray-complete";
/// Where collectstatic writes inside a release.
pub(super) const STATIC: &str = ".static";

/// A release with its name, directory and log.
pub(super) struct Staged {
    release: Release,
    dir: PathBuf,
    log_path: PathBuf,
    log: Log,
}

/// A release that is ready for its trial.
#[must_use]
pub(super) struct Built {
    pub(super) release: Release,
}

/// Names the release and creates its log.
pub(super) fn stage(poll: &Poll<'_>, code: &Code) -> Result<Staged> {
    let (server, app) = (poll.server, poll.app);
    let time = poll.clock.now().format(STAMP).to_string();
    let base = format!("{time}-{}", short(code.commit()));
    let mut id = base.clone();
    for number in 2.. {
        if server.stat(&app.releases().join(&id))?.is_none()
            && server
                .stat(&layout::logs(&app.name).join(format!("{id}.log")))?
                .is_none()
        {
            break;
        }
        id = format!("{base}-{number}");
    }
    let dir = app.releases().join(&id);
    let log_path = layout::logs(&app.name).join(format!("{id}.log"));
    let log = server.create_log(&log_path)?;
    Ok(Staged {
        release: Release {
            id,
            commit: code.commit().to_owned(),
            subject: code.info().subject.clone(),
            since: stamp(poll.clock.now()),
            venv: String::new(),
        },
        dir,
        log_path,
        log,
    })
}

impl Staged {
    pub(super) fn release(&self) -> &Release {
        &self.release
    }
    pub(super) fn log(&self) -> &Path {
        &self.log_path
    }

    /// The migrations that the deploy script applied, from its output.
    pub(super) fn migrations(&self, server: &Server) -> Option<String> {
        // The report names the log, so an unreadable one is found there.
        let log = server.read(&self.log_path).ok().flatten()?;
        migrations::note(&migrations::applied(&String::from_utf8_lossy(&log)))
    }

    /// Checks the commit out, links shared paths, runs the deploy script, and verifies the result.
    pub(super) fn build(
        &mut self,
        poll: &Poll<'_>,
        code: &Code,
        ledger: &Ledger,
    ) -> Result<Built, StageError> {
        let (server, app) = (poll.server, poll.app);
        poll.progress(&format!("checking {} out", short(code.commit())));
        server.make_own_dir(&self.dir)?;
        code.checkout(&self.dir)?;
        for shared in &app.shared_paths {
            link_shared(server, &self.dir, &app.shared(), shared)?;
        }
        let mut needs = dependencies::find(server, app, &self.dir)?;
        let ready = self.choose_venv(poll, &mut needs, ledger)?;
        self.release.venv.clone_from(&needs.key);
        self.link_venv(poll, &needs, ready)?;
        let python = self.run_script(poll, &needs, ready)?;
        if server.stat(&self.dir)?.is_none() {
            return Err(StageError::new(format!(
                "the deploy script removed its own release, {}",
                self.dir.display()
            )));
        }
        if !ready {
            let venv = app.venvs().join(&needs.key);
            if server.stat_target(&venv.join("bin/python"))?.is_none() {
                return Err(StageError::new(format!(
                    "the deploy script created no virtual environment at {}",
                    venv.display()
                )));
            }
            if let Some(why) = import_check::broken(server, app, &self.dir, &venv)? {
                return Err(StageError::new(format!(
                    "the release cannot be served from the environment that the deploy script created: {why}"
                )));
            }
            server.sync_file_system(&venv)?;
            server.write(&venv.join(COMPLETE), b"", 0o664, None)?;
        }
        writes::refuse_writes(poll, python, &mut self.log, code)?;
        refuse_new_databases(server, &self.dir, code)?;
        // All of it must be on the disk before the activation.
        server.sync_file_system(&self.dir)?;
        Ok(Built {
            release: self.release.clone(),
        })
    }

    /// Chooses a complete environment that works; if there is none, names the one to create. Returns whether it exists.
    fn choose_venv(
        &self,
        poll: &Poll<'_>,
        needs: &mut Dependencies,
        ledger: &Ledger,
    ) -> Result<bool> {
        let (server, app) = (poll.server, poll.app);
        let own = format!("{}-{}", needs.key, self.release.id);
        if needs.own {
            needs.key = own;
            return Ok(false);
        }
        for name in server.list(&app.venvs())? {
            let Some(name) = name.to_str() else { continue };
            let venv = app.venvs().join(name);
            let alike = name.strip_prefix(&needs.key);
            if alike.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('-'))
                || server.stat(&venv.join(COMPLETE))?.is_none()
                || !dependencies::imports_from(server, app, &venv)?.is_empty()
            {
                continue;
            }
            let Some(why) = import_check::broken(server, app, &self.dir, &venv)? else {
                name.clone_into(&mut needs.key);
                return Ok(true);
            };
            // If the live release works with it, the new commit's code is at fault.
            let live = ledger.live.as_ref().filter(|live| live.venv == name);
            let live = live.map(|live| app.releases().join(&live.id));
            if let Some(dir) = live
                && import_check::broken(server, app, &dir, &venv)?.is_none()
            {
                name.clone_into(&mut needs.key);
                return Ok(true);
            }
            poll.progress(&format!("creating another environment: {why}"));
        }
        // A release may still be running from it.
        let kept = ledger.releases.iter().any(|r| r.venv == needs.key);
        if kept && server.stat(&app.venvs().join(&needs.key))?.is_some() {
            needs.key = own;
        }
        Ok(false)
    }

    /// Links .venv to the environment.
    fn link_venv(&self, poll: &Poll<'_>, needs: &Dependencies, ready: bool) -> Result<()> {
        let (server, app) = (poll.server, poll.app);
        let link = self.dir.join(".venv");
        if server.stat(&link)?.is_some() {
            bail!("the repository tracks .venv, which is where the virtual environment goes");
        }
        server.switch_link(&link, &Path::new("../../venvs").join(&needs.key))?;
        if !ready {
            // The rest of an installation that failed or was killed.
            server.remove_tree(&app.venvs().join(&needs.key))?;
        }
        Ok(())
    }

    /// Runs the deploy script; returns the release's Python with the same environment, for the checks that follow.
    fn run_script(
        &mut self,
        poll: &Poll<'_>,
        needs: &Dependencies,
        ready: bool,
    ) -> Result<ScriptRunner, StageError> {
        let (server, app) = (poll.server, poll.app);
        let script = app.deploy_script();
        poll.progress(&format!("running {}", script.display()));
        let venv = app.venvs().join(&needs.key);
        let mut runner = ScriptRunner {
            program: script,
            arguments: Vec::new(),
            directory: self.dir.clone(),
            environment: Vec::new(),
            deadline: Duration::from_secs(app.limits.deploy_timeout),
        };
        let mut path = OsString::from(venv.join("bin"));
        path.push(":");
        path.push(PATH);
        runner.set("PATH", path);
        runner.set("HOME", layout::state(&app.name));
        runner.set("USER", app.user.as_str());
        runner.set("LOGNAME", app.user.as_str());
        runner.set("LC_ALL", "C.UTF-8");
        if let Some(settings) = &app.settings {
            runner.set("DJANGO_SETTINGS_MODULE", settings.as_str());
        }
        for (name, value) in server.environment(&app.environment_file())? {
            runner.set(name, value);
        }
        // After the administrator's file, which must not override them.
        let uv = server.which("uv").unwrap_or_default();
        let state = if ready { "ready" } else { "new" };
        for (name, value) in [
            ("PULLPRAY_APP", app.name.as_str().into()),
            ("PULLPRAY_COMMIT", self.release.commit.clone().into()),
            ("PULLPRAY_RELEASE", OsString::from(&self.dir)),
            ("PULLPRAY_SHARED", app.shared().into()),
            ("PULLPRAY_VENV", venv.into()),
            ("PULLPRAY_VENV_STATE", state.into()),
            ("PULLPRAY_DEPENDENCIES", needs.file.into()),
            ("PULLPRAY_PYTHON", app.python.as_path().into()),
            ("PULLPRAY_UV", uv.into()),
            ("STATIC_ROOT", self.dir.join(STATIC).into()),
        ] {
            runner.set(name, value);
        }
        let python = ScriptRunner {
            program: app.venvs().join(&needs.key).join("bin/python"),
            directory: self.dir.clone(),
            arguments: Vec::new(),
            environment: runner.environment.clone(),
            deadline: runner.deadline,
        };
        let outcome = runner.run(server, &mut self.log)?;
        if outcome.success {
            return Ok(python);
        }
        Err(StageError {
            why: format!("the deploy script {}", outcome.ended),
            last_lines: outcome.last_lines,
            restore_error: None,
        })
    }
}

/// Links a persistent path from shared/ into this release.
fn link_shared(server: &Server, release: &Path, shared: &Path, path: &SharedPath) -> Result<()> {
    let target = shared.join(path.path());
    if path.is_directory() {
        server.make_own_dirs(&target)?;
    } else if server.stat_target(&target)?.is_none() {
        bail!(
            "{} is missing: the settings list {path} under shared_paths, and an empty one is never created in its place. Put it there, or, to start with an empty file: sudo -u \"$(stat -c %U {})\" touch {}",
            target.display(),
            shared.display(),
            target.display()
        );
    }
    let link = release.join(path.path());
    if let Some(parent) = link.parent() {
        server.make_own_dirs(parent)?;
    }
    match server.stat(&link)?.map(|stat| stat.kind) {
        Some(Kind::Directory) => server.remove_tree(&link)?,
        Some(_) => server.remove_file(&link)?,
        None => {}
    }
    server.switch_link(&link, &target)
}

/// Refuses a database inside the release: the next commit would start with an empty one.
fn refuse_new_databases(server: &Server, release: &Path, code: &Code) -> Result<(), StageError> {
    let tracked = code
        .mirror()
        .blobs(code.info().oid, &|path| path.components().count() == 1)
        .map_err(|error| StageError::new(error.to_string()))?;
    for name in server.list(release)? {
        let path = release.join(&name);
        let file = server
            .stat(&path)?
            .is_some_and(|stat| stat.kind == Kind::File);
        if file
            && !tracked.iter().any(|(path, _)| path.as_os_str() == name)
            && server.begins_with(&path, b"SQLite format 3\0")?
        {
            let name = name.to_string_lossy();
            return Err(StageError::new(format!(
                "migrate created the database {name} inside the release, and it would be lost with it: list it as shared_paths = [\"{name}\"] in the settings, or read its directory from os.environ[\"PULLPRAY_SHARED\"]"
            )));
        }
    }
    Ok(())
}
