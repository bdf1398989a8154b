//! What must be there before anything is changed: programs, systemd, a writable file system, a
//! free address, and this program where root and cron can trust it.

use anyhow::{Result, anyhow};

use crate::app::{App, Bind};
use crate::layout;

use crate::host::effective_uid;

use super::eligibility::{answers_of, ineligible};
use super::{Changes, CheckContext, Finding, PlanItem, Step, StepId};

pub(super) struct Requirements<'a>(pub(super) &'a App);
pub(super) struct Address<'a>(pub(super) &'a App);
pub(super) struct Program<'a>(pub(super) &'a App);

impl Step for Requirements<'_> {
    fn id(&self) -> StepId {
        StepId::ServerRequirements
    }
    fn title(&self) -> String {
        "what this server needs".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "server",
            what: "systemd, cron, sudo, ssh, Python".to_owned(),
        }
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        // Before it is started.
        if let Some((why, remedy)) = ineligible(context.view, &answers_of(self.0), "python")? {
            return Ok(Finding::ManualFix(why, remedy));
        }
        let survey = context
            .view
            .survey(self.0.python.as_path(), self.0.user.as_str())?;
        if let Some((what, install)) = survey.lacks() {
            return Ok(Finding::ManualFix(what, install));
        }
        let Some(systemd) = &survey.systemd else {
            return Ok(Finding::ManualFix(
                "systemd does not run here (there is no /run/systemd/system), and it is what keeps the app and the agent running".to_owned(),
                "ps -p 1  # run pullpray on a server, or in a container that boots systemd".to_owned(),
            ));
        };
        if let Some(dir) = survey.read_only.first() {
            return Ok(Finding::ManualFix(
                format!(
                    "{} is on a file system that is mounted read-only",
                    dir.display()
                ),
                format!("findmnt --target {}", dir.display()),
            ));
        }
        let python = survey.python.unwrap_or_default();
        let uv = if survey.uv.is_some() { "uv" } else { "pip" };
        Ok(Finding::Ok(format!(
            "systemd {systemd}, Python {python}, {uv}"
        )))
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!("packages are the administrator's to install"))
    }
}

impl Step for Address<'_> {
    fn id(&self) -> StepId {
        StepId::AppAddress
    }
    fn title(&self) -> String {
        format!("address {}", self.0.bind)
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "address",
            what: self.0.bind.to_string(),
        }
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
            return Ok(Finding::ManualFix(
                format!("something else listens on {} already", self.0.bind),
                match self.0.bind.port() {
                    Some(port) => format!(
                        "sudo ss -ltnp 'sport = :{port}'  # who it is; a free one: sudo pullpray init {} --bind {free}",
                        self.0.name
                    ),
                    None => format!(
                        "sudo ss -lxp | grep {}  # who it is; another path: sudo pullpray init {} --bind PATH",
                        self.0.bind, self.0.name
                    ),
                },
            ));
        }
        Ok(Finding::Ok(if ours {
            "the app's own".to_owned()
        } else {
            "is free".to_owned()
        }))
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!("the address must be free"))
    }
}

impl Step for Program<'_> {
    fn id(&self) -> StepId {
        StepId::ServerProgram
    }
    fn title(&self) -> String {
        "pullpray itself".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "file",
            what: self.0.program.display().to_string(),
        }
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let program = &self.0.program;
        let own = context.view.own_program()?;
        if context.view.stat(program)?.is_none() {
            return Ok(Finding::Absent(format!(
                "copied from {}, where other accounts could not start it or could change it",
                own.display()
            )));
        }
        if let Some(finding) = self.shut(context)? {
            return Ok(finding);
        }
        if let Some(path) = context.view.first_untrusted(program)? {
            return Ok(Finding::ManualFix(
                format!(
                    "{} can be changed by others than root, and root starts {}",
                    path.display(),
                    program.display()
                ),
                format!(
                    "sudo chown root:root {0} && sudo chmod go-w {0}",
                    path.display()
                ),
            ));
        }
        // A newer program run from elsewhere brings the installed one up to date.
        if own != *program && context.view.read(&own)? != context.view.read(program)? {
            return Ok(Finding::Differs(
                format!("is another version than {}", own.display()),
                None,
            ));
        }
        Ok(Finding::Ok("root's alone, all the way".to_owned()))
    }
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let own = changes.server().own_program()?;
        if own == self.0.program {
            // It is the administrator's, but for the bits without which cron cannot start it.
            changes.adopt_file(&own)?;
            return changes.server().restore_mode(&own, 0, 0, 0o755);
        }
        changes.program(&own, &self.0.program)
    }
}

impl Program<'_> {
    /// What keeps cron from starting it as the app's account; root, who looks, is kept from nothing.
    fn shut(&self, context: &CheckContext<'_>) -> Result<Option<Finding>> {
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
                return Ok(Some(Finding::Differs(
                    format!(
                        "is {:04o}, and cron has to start it as {}",
                        stat.mode, app.user
                    ),
                    None,
                )));
            }
            let (dir, mode) = (path.display(), stat.mode);
            return Ok(Some(Finding::ManualFix(
                format!(
                    "{dir} is {mode:04o}, and shuts out {}, as whom cron has to start {}",
                    app.user,
                    program.display()
                ),
                format!("sudo chmod o+rx {dir}"),
            )));
        }
        // Seen as the account, where that can be: a mount without exec, an ACL, a profile.
        let root = effective_uid() == 0;
        let Some(user) = user.filter(|user| root || user.uid == effective_uid()) else {
            return Ok(None);
        };
        Ok(context.view.cannot_start(program, &user).map(|why| {
            Finding::ManualFix(
                format!("{} cannot start {}: {why}", app.user, program.display()),
                format!("namei -l {0}; findmnt --target {0}", program.display()),
            )
        }))
    }
}
