//! Requirements checked before any change: programs, systemd, a writable file system, a free address,
//! and this program in a place that only root can modify.

use anyhow::Result;

use crate::app::{App, Bind};
use crate::layout;

use crate::host::effective_uid;

use super::eligibility::{answers_of, ineligible};
use super::{About, Changes, Check, CheckContext, Finding, Fix, StepId};

pub(super) struct Requirements<'a>(pub(super) &'a App);
pub(super) struct Address<'a>(pub(super) &'a App);
pub(super) struct Program<'a>(pub(super) &'a App);

impl Check for Requirements<'_> {
    fn about(&self) -> About {
        About::new(
            StepId::ServerRequirements,
            "systemd, cron, sudo, ssh, Python",
        )
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        // Before the survey executes it.
        if let Some(problem) = ineligible(context.view, &answers_of(self.0), "python")? {
            return Ok(problem.into());
        }
        let survey = context
            .view
            .survey(self.0.python.as_path(), self.0.user.as_str())?;
        if let Some((what, install)) = survey.lacks() {
            return Ok(Finding::manual(what, install));
        }
        let Some(systemd) = &survey.systemd else {
            return Ok(Finding::manual(
                "systemd is not running (/run/systemd/system does not exist); the app and the agent need it",
                "ps -p 1  # run pullpray on a server, or in a container that boots systemd",
            ));
        };
        if let Some(dir) = survey.read_only.first() {
            return Ok(Finding::manual(
                format!("{} is on a file system mounted read-only", dir.display()),
                format!("findmnt --target {}", dir.display()),
            ));
        }
        let python = survey.python.unwrap_or_default();
        let uv = if survey.uv.is_some() { "uv" } else { "pip" };
        Ok(Finding::Ok(format!(
            "systemd {systemd}, Python {python}, {uv}"
        )))
    }
}

impl Check for Address<'_> {
    fn about(&self) -> About {
        About::new(StepId::AppAddress, &self.0.bind)
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let ours = context.view.has_systemd()?
            && context
                .view
                .unit(&layout::socket_unit(&self.0.name))?
                .is_active();
        let taken = match &self.0.bind {
            _ if ours => false,
            Bind::Tcp(address) => context.view.listening_ports()?.contains(&address.port()),
            Bind::Unix(path) => context.view.stat(path.as_path())?.is_some(),
        };
        if taken {
            let free = context.view.facts(None)?.bind();
            return Ok(Finding::manual(
                format!("{} is already in use", self.0.bind),
                match self.0.bind.port() {
                    Some(port) => format!(
                        "sudo ss -ltnp 'sport = :{port}'  # shows the process; a free port: sudo pullpray init {} --bind {free}",
                        self.0.name
                    ),
                    None => format!(
                        "sudo ss -lxp | grep {}  # shows the process; another path: sudo pullpray init {} --bind PATH",
                        self.0.bind, self.0.name
                    ),
                },
            ));
        }
        Ok(Finding::Ok(if ours {
            "in use by this app".to_owned()
        } else {
            "free".to_owned()
        }))
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
            return Ok(Finding::manual(
                format!(
                    "{} can be modified by users other than root, and root runs {}",
                    path.display(),
                    program.display()
                ),
                format!(
                    "sudo chown root:root {0} && sudo chmod go-w {0}",
                    path.display()
                ),
            ));
        }
        // Running a newer program from elsewhere updates the installed one.
        if own != *program && context.view.read(&own)? != context.view.read(program)? {
            return Ok(Finding::differs(format!("differs from {}", own.display())));
        }
        Ok(Finding::Ok(
            "only root can modify it or its parent directories".to_owned(),
        ))
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
        let (app, program) = (self.0, &self.0.program);
        let user = context.view.user(app.user.as_str());
        let user = user.and_then(|user| context.view.identity(&user.name).ok());
        for path in program.ancestors() {
            let Some(stat) = context.view.stat_target(path)? else {
                continue;
            };
            if stat.mode & 0o001 != 0 {
                continue;
            }
            if path == program {
                return Ok(Some(Finding::differs(format!(
                    "has mode {:04o}, but cron must execute it as {}",
                    stat.mode, app.user
                ))));
            }
            let (dir, mode) = (path.display(), stat.mode);
            return Ok(Some(Finding::manual(
                format!(
                    "{dir} has mode {mode:04o}, so {} cannot reach {}, which cron runs",
                    app.user,
                    program.display()
                ),
                format!("sudo chmod o+rx {dir}"),
            )));
        }
        // Try as the account, if possible: finds a noexec mount, an ACL, a security profile.
        let root = effective_uid() == 0;
        let Some(user) = user.filter(|user| root || user.uid == effective_uid()) else {
            return Ok(None);
        };
        Ok(context.view.cannot_start(program, &user).map(|why| {
            Finding::manual(
                format!("{} cannot execute {}: {why}", app.user, program.display()),
                format!("namei -l {0}; findmnt --target {0}", program.display()),
            )
        }))
    }
}
