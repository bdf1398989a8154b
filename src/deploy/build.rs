//! Building a release: one commit in its own directory, without touching what is live.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::host::Kind;
use crate::host::import_check;
use crate::host::{Log, PATH, ScriptRunner, Server};
use crate::layout;
use crate::state::history::Stage;
use crate::state::ledger::Release;
use crate::state::stamp;

use super::dependencies::{self, Dependencies};
use super::ended::{At, StageError};
use super::fetch::Code;
use super::session::Session;
use super::{Poll, free_name, hooks, migrations, project_tests, shared, writes};
use crate::text::short;

/// A release's name begins with the time of its deployment, UTC.
pub(super) const STAMP: &str = "%Y%m%dT%H%M%S";
/// Marks a virtual environment whose installation finished.
pub(super) const COMPLETE: &str = ".pullpray-complete";
/// Names the release's commit, for the service.
const COMMIT: &str = ".pullpray-commit";
/// Where collectstatic writes inside a release.
pub(super) const STATIC: &str = ".static";

/// The line of a deploy script that runs once for each phase.
const PHASES: &str = "# phases: build migrate";
/// The phase that changes what releases share.
const MIGRATE: &str = "migrate";

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

/// Ends what a killed deployment left running; names the release and creates its log.
pub(super) fn stage(session: &Session<'_>, code: &Code) -> Result<Staged> {
    let (poll, server, app) = (session.poll(), session.server, session.app);
    if let Some(killed) = session.ledger().in_progress() {
        server.end_leftovers(&app.releases().join(&killed.id));
    }
    let time = poll.clock.now().format(STAMP).to_string();
    let base = format!("{time}-{}", short(&code.commit));
    let log_of = |id: &str| layout::logs(&app.name).join(format!("{id}.log"));
    let id = free_name(&base, |id| {
        let taken = server.stat(&poll.release_dir(id))?.is_some();
        Ok(taken || server.stat(&log_of(id))?.is_some())
    })?;
    let (dir, log_path) = (poll.release_dir(&id), log_of(&id));
    let log = server.create_log(&log_path)?;
    Ok(Staged {
        release: Release {
            id,
            commit: code.commit.clone(),
            subject: code.info.subject.clone(),
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
        migrations::note(&migrations::applied(&self.read_log(server)?))
    }

    /// What the hook before the migrations printed last.
    pub(super) fn hook_note(&self, server: &Server) -> Option<String> {
        let log = self.read_log(server)?;
        let mut lines = log.lines();
        let note = lines.find_map(|line| line.strip_prefix(hooks::NOTE))?;
        Some(format!(
            "before-migrate: {}",
            note.chars().take(200).collect::<String>()
        ))
    }

    /// The report names the log, so an unreadable one is found there.
    fn read_log(&self, server: &Server) -> Option<String> {
        let log = server.read(&self.log_path).ok().flatten()?;
        Some(String::from_utf8_lossy(&log).into_owned())
    }

    /// The environment that the next attempt can use; empty if it was not completed.
    pub(super) fn complete_venv_name(&self, poll: &Poll<'_>) -> Result<String> {
        let venv = &self.release.venv;
        let mark = poll.app.venvs().join(venv).join(COMPLETE);
        let usable = !venv.is_empty() && poll.server.stat(&mark)?.is_some();
        Ok(if usable { venv.clone() } else { String::new() })
    }

    /// Checks the commit out, links shared paths, runs the deploy script, and verifies the result.
    pub(super) fn build(
        &mut self,
        session: &Session<'_>,
        code: &mut Code,
    ) -> Result<Built, StageError> {
        let server = session.server;
        session.progress(&format!("checking {} out", short(&code.commit)));
        self.check_out(session, code).at(Stage::Checkout)?;
        let (needs, ready) = self.choose_venv(session).at(Stage::Environment)?;
        self.release.venv.clone_from(&needs.key);
        self.link_venv(session, &needs, ready)
            .at(Stage::Environment)?;
        let script = self.script(session, &needs, ready).at(Stage::Script)?;
        let phased = has_phases(session).at(Stage::Script)?;
        if !phased && session.app.limits.tests.is_some() {
            let why = format!(
                "the settings have tests, and {} has no line `{PHASES}`: its migrations would come before them",
                script.program.display()
            );
            return Err(StageError::new(Stage::Script, why));
        }
        self.run_phase(session, &script, phased.then_some("build"))?;
        if server.stat(&self.dir).at(Stage::Script)?.is_none() {
            let dir = self.dir.display();
            let why = format!("the deploy script removed its own release, {dir}");
            return Err(StageError::new(Stage::Script, why));
        }
        if !ready {
            self.complete_venv(session, &needs).at(Stage::Environment)?;
        }
        let python = ScriptRunner {
            program: session.app.venvs().join(&needs.key).join("bin/python"),
            ..script.clone()
        };
        writes::refuse_writes(session, &self.dir, python.clone(), &mut self.log, code)?;
        project_tests::run(session, &script, &mut self.log)?;
        if phased {
            hooks::before_migrate(session, &script, &python.program, &mut self.log)?;
            self.run_phase(session, &script, Some(MIGRATE))?;
        }
        writes::refuse_new_databases(server, (session.app, &self.dir), code).at(Stage::Writes)?;
        // All of it must be on the disk before the activation.
        server.sync_file_system(&self.dir).at(Stage::Writes)?;
        Ok(Built {
            release: self.release.clone(),
        })
    }

    fn check_out(&self, poll: &Poll<'_>, code: &mut Code) -> Result<()> {
        let checkout = |code: &Code| {
            poll.server.remove_tree(&self.dir)?;
            poll.server.make_own_dir(&self.dir)?;
            code.checkout(&self.dir)
        };
        (code.read(poll, checkout)).map_err(|error| error.into_error(poll.app))?;
        if let Some(subdir) = &poll.app.subdir
            && (poll.server.stat(&poll.app.code_dir(&self.dir))?).map(|stat| stat.kind)
                != Some(Kind::Directory)
        {
            bail!("the commit has no directory {subdir}, which the settings name as subdir");
        }
        // For the service, whose unit is the same for each commit.
        let commit = format!("{}\n", self.release.commit);
        poll.server
            .write(&self.dir.join(COMMIT), commit.as_bytes(), 0o664, None)?;
        for path in &poll.app.shared_paths {
            shared::link(poll, &self.dir, path)?;
        }
        Ok(())
    }

    /// Chooses a complete environment that works; if there is none, names the one to create. Returns whether it exists.
    fn choose_venv(&self, session: &Session<'_>) -> Result<(Dependencies, bool)> {
        let (server, app, ledger) = (session.server, session.app, session.ledger());
        let mut needs = dependencies::find(server, app, &app.code_dir(&self.dir))?;
        let own = format!("{}-{}", needs.key, self.release.id);
        if needs.own {
            needs.key = own;
            return Ok((needs, false));
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
            // If the live release works with it, the new commit's code is at fault.
            let live = ledger.live().filter(|live| live.venv == name);
            let live = live.map(|live| app.releases().join(&live.id));
            let broken = import_check::broken(server, app, &self.dir, &venv)?;
            let works = match (&broken, live) {
                (None, _) => true,
                (Some(_), Some(dir)) => import_check::broken(server, app, &dir, &venv)?.is_none(),
                (Some(_), None) => false,
            };
            if works {
                name.clone_into(&mut needs.key);
                return Ok((needs, true));
            }
            let why = broken.unwrap_or_default();
            session.progress(&format!("creating another environment: {why}"));
        }
        // A release may still be running from it.
        let kept = ledger.releases().iter().any(|r| r.venv == needs.key);
        if kept && server.stat(&app.venvs().join(&needs.key))?.is_some() {
            needs.key = own;
        }
        Ok((needs, false))
    }

    /// Proves that the environment that the deploy script created works, and marks it complete.
    fn complete_venv(&self, poll: &Poll<'_>, needs: &Dependencies) -> Result<()> {
        let (server, app) = (poll.server, poll.app);
        let venv = app.venvs().join(&needs.key);
        if server.stat_target(&venv.join("bin/python"))?.is_none() {
            bail!(
                "the deploy script created no virtual environment at {}",
                venv.display()
            );
        }
        // Its name begins with the version: py3.11-…
        let is = server.python_version(&venv.join("bin/python"), None)?;
        let named = needs.key.trim_start_matches("py");
        let named = named.split('-').next().unwrap_or_default();
        if !is.starts_with(&format!("{named}.")) {
            let file = app.code_dir(&self.dir).join(".python-version");
            let cause = if server.stat(&file)?.is_some() {
                ".python-version in the repository, which names another"
            } else {
                "the deploy script, or requires-python in pyproject.toml"
            };
            bail!(
                "the environment has Python {is} instead of {named}, the version of {}; the cause may be {cause}; python in {} sets which one is used",
                app.python,
                layout::settings(&app.name).display()
            );
        }
        if let Some(why) = import_check::broken(server, app, &self.dir, &venv)? {
            bail!(
                "the release cannot be served from the environment that the deploy script created: {why}"
            );
        }
        server.sync_file_system(&venv)?;
        server.write(&venv.join(COMPLETE), b"", 0o664, None)
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

    /// The deploy script with its environment, the same in all phases.
    fn script(&self, poll: &Poll<'_>, needs: &Dependencies, ready: bool) -> Result<ScriptRunner> {
        let (server, app) = (poll.server, poll.app);
        let venv = app.venvs().join(&needs.key);
        let mut runner = ScriptRunner {
            program: app.deploy_script(),
            arguments: Vec::new(),
            directory: app.code_dir(&self.dir),
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
        // The environment's name says which Python is in it; a .python-version may name another, which uv would fetch.
        runner.set("UV_PYTHON", venv.join("bin/python"));
        runner.set("UV_PYTHON_DOWNLOADS", "never");
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
            ("PULLPRAY_PROJECT", app.code_dir(&self.dir).into()),
            ("PULLPRAY_SHARED", app.shared().into()),
            ("PULLPRAY_VENV", venv.into()),
            ("PULLPRAY_VENV_STATE", state.into()),
            ("PULLPRAY_DEPENDENCIES", needs.file.into()),
            ("PULLPRAY_PYTHON", app.python.as_path().into()),
            ("PULLPRAY_UV", uv.into()),
            (
                "PULLPRAY_TOOL",
                needs.tool.clone().unwrap_or_default().into(),
            ),
            ("STATIC_ROOT", self.dir.join(STATIC).into()),
        ] {
            runner.set(name, value);
        }
        Ok(runner)
    }

    /// Runs a phase of the deploy script; `None`: a script without phases.
    fn run_phase(
        &mut self,
        poll: &Poll<'_>,
        script: &ScriptRunner,
        phase: Option<&str>,
    ) -> Result<(), StageError> {
        let words = phase.map_or_else(String::new, |phase| format!(" {phase}"));
        poll.progress(&format!("running {}{words}", script.program.display()));
        let mut runner = script.clone();
        runner.arguments.extend(phase.map(OsString::from));
        let setting = if phase == Some(MIGRATE) {
            runner.deadline = Duration::from_secs(poll.app.limits.migrate_timeout);
            "migrate_timeout"
        } else {
            "deploy_timeout"
        };
        let outcome = runner.run(poll.server, &mut self.log).at(Stage::Script)?;
        if outcome.success {
            return Ok(());
        }
        let mut why = format!("the deploy script {}", outcome.ended);
        if phase == Some(MIGRATE) {
            why.push_str(" in its migrate phase");
        }
        let mut stage = Stage::Script;
        if (outcome.timed_out || outcome.killed)
            && let Some(log) = self.read_log(poll.server)
            && let Some(migration) = migrations::unfinished(&log)
        {
            stage = Stage::CutMigration;
            why = format!("the migration {migration} was cut off: {why}");
        }
        if outcome.timed_out {
            let settings = layout::settings(&poll.app.name);
            why.push_str(&format!(
                "; the time limit is {setting} in {}",
                settings.display()
            ));
        }
        Err(StageError::new(stage, why).with_output(&outcome.output))
    }
}

/// Whether the deploy script has the line of pullpray's that lists the phases. One without it does all at once, as those
/// of earlier versions did.
fn has_phases(poll: &Poll<'_>) -> Result<bool> {
    let script = poll.server.read(&poll.app.deploy_script())?;
    let script = script.unwrap_or_default();
    let mut lines = script.split(|&byte| byte == b'\n');
    Ok(lines.any(|line| line.trim_ascii_end() == PHASES.as_bytes()))
}
