//! Requirements checked before any change: programs, systemd, a writable file system, a free address,
//! and this program in a place that only root can modify.

use std::path::Path;

use anyhow::Result;

use crate::app::{App, Bind};
use crate::layout;

use crate::host::{View, effective_uid};
use crate::signing::Trust;

use super::eligibility::{answers_of, ineligible};
use super::reach::out_of_reach;
use super::service::installed_bind;
use super::{About, Changes, Check, CheckContext, Finding, Fix, StepId};

pub(super) struct Requirements<'a>(pub(super) &'a App);
pub(super) struct Address<'a>(pub(super) &'a App);
pub(super) struct Program<'a>(pub(super) &'a App);

impl Check for Requirements<'_> {
    fn about(&self) -> About {
        let what = "systemd, sudo, ssh, Python";
        About::new(StepId::ServerRequirements, what)
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        // Before the survey executes it.
        if let Some(problem) = ineligible(context.view, &answers_of(self.0), "python")? {
            return Ok(problem.into());
        }
        // Before the survey, which runs the interpreter as the account.
        if let Some(problem) = out_of_reach(context.view, self.0)? {
            return Ok(problem.into());
        }
        let (python, user) = (self.0.python.as_path(), self.0.user.as_str());
        let survey = context.view.survey(python, user)?;
        if let Some((what, install)) = survey.lacks() {
            return Ok(Finding::manual(what, install));
        }
        let Some(systemd) = &survey.systemd else {
            return Ok(Finding::manual(
                "systemd is not running (/run/systemd/system does not exist); the app and the agent need it",
                "ps -p 1  # run pullpray on a server, or in a container that boots systemd",
            ));
        };
        let signed_by = &self.0.limits.signed_by;
        if context.view.which("gpgv").is_none()
            && Trust::read(context.view, signed_by).has_keyring()
        {
            return Ok(Finding::manual(
                "gpgv is not installed, which verifies OpenPGP signatures: signed_by names a keyring",
                "sudo apt-get install gpgv",
            ));
        }
        for (name, credential) in &self.0.limits.credentials {
            let path = credential.path.as_path();
            let stat = context.view.stat_target(path)?;
            if !credential.encrypted && stat.as_ref().is_some_and(|it| it.mode & 0o077 != 0) {
                let why = format!(
                    "others than root can read the credential {name}, {}",
                    path.display()
                );
                return Ok(Finding::manual(
                    why,
                    format!("sudo chmod 600 {}", path.display()),
                ));
            }
            if stat.is_none() {
                let why = format!("the credential {name}, {}, does not exist", path.display());
                let make = format!("sudo install -m 600 /dev/stdin {}", path.display());
                return Ok(Finding::manual(why, make));
            }
        }
        let state = layout::state(&self.0.name);
        let (project, statics) = (self.0.project_dir.as_path(), self.0.static_dir.as_path());
        for dir in ["/etc", "/opt", "/usr/local"]
            .map(Path::new)
            .into_iter()
            .chain([project, statics, &state])
        {
            let dir = existing(context.view, dir);
            let shown = dir.display();
            if context.view.is_read_only(dir)? {
                let why = format!("{shown} is on a file system mounted read-only");
                return Ok(Finding::manual(why, format!("findmnt --target {shown}")));
            }
        }
        let dir = existing(context.view, project);
        if context.view.is_noexec(dir)? {
            let (dir, app) = (dir.display(), &self.0.name);
            return Ok(Finding::manual(
                format!(
                    "{dir} is on a file system mounted noexec: Python cannot load compiled packages from environments in it"
                ),
                format!(
                    "findmnt --target {dir}  # mount it with exec, or use another: sudo pullpray init {app} --project-dir DIR"
                ),
            ));
        }
        if let Some(name) = context.view.unresolved_hostname()? {
            return Ok(Finding::warning(
                format!(
                    "this server cannot resolve its own name {name}: sudo tries that before each command, which can take half a minute"
                ),
                format!("echo '127.0.1.1 {name}' | sudo tee -a /etc/hosts"),
            ));
        }
        let python = survey.python.unwrap_or_default();
        let uv = if survey.uv.is_some() { "uv" } else { "pip" };
        Ok(Finding::Ok(format!(
            "systemd {systemd}, Python {python}, {uv}"
        )))
    }
}

/// The path, or the first of its parents that exists.
fn existing<'a>(view: &View, path: &'a Path) -> &'a Path {
    let mut parts = path.ancestors();
    let there = |part: &&Path| view.stat_target(part).is_ok_and(|stat| stat.is_some());
    parts.find(there).unwrap_or(Path::new("/"))
}

impl Check for Address<'_> {
    fn about(&self) -> About {
        About::new(StepId::AppAddress, &self.0.bind)
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (view, app, bind) = (context.view, &self.0.name, &self.0.bind);
        if view.has_systemd()? && view.unit(&layout::socket_unit(app))?.is_active() {
            let own = installed_bind(context.view, self.0)?;
            let same =
                |own: &Bind| own == bind || (own.port().is_some() && own.port() == bind.port());
            if own.as_ref().is_none_or(same) {
                return Ok(Finding::ok("in use by this app"));
            }
        }
        let taken = match bind {
            Bind::Tcp(address) => view.listening_ports()?.contains(&address.port()),
            Bind::Unix(path) => view.stat(path.as_path())?.is_some(),
        };
        if !taken {
            return Ok(Finding::ok("free"));
        }
        let free = view.facts(None)?.bind();
        Ok(Finding::manual(
            format!("{bind} is already in use"),
            match bind.port() {
                Some(port) => format!(
                    "sudo ss -ltnp 'sport = :{port}'  # shows the process; a free port: sudo pullpray init {app} --bind {free}"
                ),
                None => format!(
                    "sudo ss -lxp | grep {bind}  # shows the process; another path: sudo pullpray init {app} --bind PATH"
                ),
            },
        ))
    }
}

impl Check for Program<'_> {
    fn about(&self) -> About {
        About::new(StepId::ServerProgram, self.0.program.display())
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let program = &self.0.program;
        let own = context.view.own_program()?;
        if context.view.stat(program)?.is_none() {
            return Ok(Finding::Absent(format!(
                "copied from {}, which other accounts cannot execute or could modify",
                own.display()
            )));
        }
        if let Some(finding) = self.not_executable(context)? {
            return Ok(finding);
        }
        if let Some(path) = context.view.first_untrusted(program)? {
            let (path, program) = (path.display(), program.display());
            return Ok(Finding::manual(
                format!("{path} can be modified by users other than root, and root runs {program}"),
                format!("sudo chown root:root {path} && sudo chmod go-w {path}"),
            ));
        }
        // Running a newer program from elsewhere updates the installed one.
        if own != *program && context.view.read(&own)? != context.view.read(program)? {
            return Ok(Finding::differs(format!("differs from {}", own.display())));
        }
        let what = "only root can modify it or its parent directories";
        Ok(Finding::ok(what))
    }
}

impl Fix for Program<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let own = changes.context().view.own_program()?;
        if own == self.0.program {
            // The administrator's file: only set the mode that lets cron execute it.
            return changes.adopt(&own, (0, 0), 0o755);
        }
        changes.program(&own, &self.0.program)
    }
}

impl Program<'_> {
    /// What prevents cron from executing the program as the app's account. Checks the mode bits, because
    /// root, who runs the check, can execute it in any case.
    fn not_executable(&self, context: &CheckContext<'_>) -> Result<Option<Finding>> {
        let (view, program, user) = (context.view, &self.0.program, &self.0.user);
        let shown = program.display();
        for path in program.ancestors() {
            let mode = view.stat_target(path)?.map_or(0o001, |stat| stat.mode);
            if mode & 0o001 != 0 {
                continue;
            }
            let dir = path.display();
            return Ok(Some(if path == program {
                let what = format!("has mode {mode:04o}, but cron must execute it as {user}");
                Finding::differs(what)
            } else {
                Finding::manual(
                    format!(
                        "{dir} has mode {mode:04o}, so {user} cannot reach {shown}, which cron runs"
                    ),
                    format!("sudo chmod o+rx {dir}"),
                )
            }));
        }
        // Try as the account, if possible: finds a noexec mount, an ACL, a security profile.
        let me = effective_uid();
        let identity = view.identity(user.as_str()).ok();
        let Some(identity) = identity.filter(|account| me == 0 || account.uid == me) else {
            return Ok(None);
        };
        Ok(view.cannot_start(program, &identity).map(|why| {
            Finding::manual(
                format!("{user} cannot execute {shown}: {why}"),
                format!("namei -l {shown}; findmnt --target {shown}"),
            )
        }))
    }
}
