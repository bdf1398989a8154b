//! systemd's units, asked and steered through systemctl.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Command, Server, View};

/// What systemd says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, `bad-setting` …
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating` …
    pub active: String,
    /// `running`, `listening`, `dead` …
    pub sub: String,
    /// `enabled`, `disabled`, `masked` …
    pub enabled: String,
    /// The main process, 0 if there is none.
    pub main_pid: u32,
    /// Why it ended: `success`, `exit-code`, `trigger-limit-hit` …
    pub result: String,
    /// How often systemd restarted it by itself.
    pub restarts: u32,
    /// Drop-ins of the administrator.
    pub drop_ins: Vec<String>,
    /// Whether its file changed since systemd read it.
    pub needs_reload: bool,
    /// As whom it runs, drop-ins considered; empty for root and for what is no service.
    pub user: String,
}

impl UnitState {
    /// Whether it runs or listens.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active == "active"
    }
    /// Whether it starts at boot.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled == "enabled"
    }
}

const PROPERTIES: &str = "LoadState,ActiveState,SubState,UnitFileState,MainPID,Result,NRestarts,DropInPaths,NeedDaemonReload,User";

impl View {
    /// Whether systemd is the running init (sd_booted(3)).
    ///
    /// # Errors
    /// When /run cannot be looked at.
    pub fn has_systemd(&self) -> Result<bool> {
        Ok(self.stat(Path::new("/run/systemd/system"))?.is_some())
    }

    /// What systemd says of a unit.
    ///
    /// # Errors
    /// When systemctl cannot be asked.
    pub fn unit(&self, name: &str) -> Result<UnitState> {
        let said = Command::new("systemctl")
            .args(["show", "--no-pager", "--property", PROPERTIES, "--", name])
            .deadline(Duration::from_secs(30))
            .run()?;
        Ok(parse(&said.stdout))
    }

    /// The last lines that a unit wrote to the journal, for a report.
    #[must_use]
    pub fn unit_log(&self, name: &str, lines: u32) -> String {
        let said = Command::new("journalctl")
            .args([
                "--no-pager",
                "--quiet",
                "--output=cat",
                "--unit",
                name,
                "--lines",
            ])
            .arg(lines.to_string())
            .deadline(Duration::from_secs(10))
            .outcome();
        said.map(|outcome| outcome.stdout.trim().to_owned())
            .unwrap_or_default()
    }
}

impl Server {
    /// Has systemd read its unit files again.
    ///
    /// # Errors
    /// What systemctl says.
    pub fn reload_units(&self) -> Result<()> {
        self.systemctl(&["daemon-reload"])
    }

    /// Enables a unit and starts it now.
    ///
    /// # Errors
    /// What systemctl says, and what the unit wrote.
    pub fn enable_now(&self, unit: &str) -> Result<()> {
        self.systemctl(&["enable", "--quiet", "--", unit])?;
        // A unit that failed before may have used up its starts.
        drop(self.systemctl(&["reset-failed", "--", unit]));
        let Err(error) = self.systemctl(&["start", "--", unit]) else {
            return Ok(());
        };
        let log = self.unit_log(unit, 5);
        bail!("{error:#}\n{log}")
    }

    /// Stops a unit and takes it out of the boot.
    ///
    /// # Errors
    /// What systemctl says.
    pub fn disable_now(&self, unit: &str) -> Result<()> {
        self.systemctl(&["disable", "--quiet", "--now", "--", unit])
    }

    /// Stops a unit.
    ///
    /// # Errors
    /// What systemctl says.
    pub(super) fn stop(&self, unit: &str) -> Result<()> {
        self.systemctl(&["stop", "--", unit])
    }

    /// Restarts a unit.
    ///
    /// # Errors
    /// What systemctl says.
    pub fn restart(&self, unit: &str) -> Result<()> {
        self.systemctl(&["restart", "--", unit])
    }

    /// Forgets that a unit failed.
    ///
    /// # Errors
    /// What systemctl says.
    pub fn reset_failed(&self, unit: &str) -> Result<()> {
        self.systemctl(&["reset-failed", "--", unit])
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<()> {
        Command::new("systemctl")
            .arg("--no-ask-password")
            .args(arguments)
            .deadline(Duration::from_secs(120))
            .run()
            .map(drop)
    }

    /// Runs a verb of an app as a person or cron would: the installed program, in a process of its own. It
    /// gives up root by itself. `script` is how many seconds the deploy script may take.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn run_verb(
        &self,
        program: &Path,
        verb: &[&str],
        app: &str,
        script: u64,
    ) -> Result<super::Outcome> {
        Command::new(program)
            .args(verb)
            .arg(app)
            .deadline(Duration::from_secs(script + 900))
            .outcome()
    }

    /// Has the app's account fetch the repository and look at it; gives what it prints.
    ///
    /// # Errors
    /// What it says.
    pub fn run_inspect(&self, program: &Path, app: &str) -> Result<String> {
        let said = Command::new(program)
            .args(["inspect", app])
            .deadline(Duration::from_secs(900))
            .run()?;
        Ok(said.stdout)
    }

    /// Runs systemctl through sudo, as the rule in the app's sudoers drop-in permits: these very
    /// arguments and no others.
    ///
    /// # Errors
    /// What sudo or systemctl says.
    pub fn sudo_systemctl(&self, systemctl: &Path, arguments: &[&str]) -> Result<()> {
        Command::new("sudo")
            .args(["-n", "--"])
            .arg(systemctl)
            .args(arguments)
            .deadline(Duration::from_secs(120))
            .run()
            .map(drop)
    }
}

fn parse(shown: &str) -> UnitState {
    let mut state = UnitState::default();
    for line in shown.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let text = value.to_owned();
        match key {
            "LoadState" => state.load = text,
            "ActiveState" => state.active = text,
            "SubState" => state.sub = text,
            "UnitFileState" => state.enabled = text,
            "MainPID" => state.main_pid = value.parse().unwrap_or(0),
            "Result" => state.result = text,
            "NRestarts" => state.restarts = value.parse().unwrap_or(0),
            "DropInPaths" => state.drop_ins = value.split_whitespace().map(str::to_owned).collect(),
            "User" => state.user = text,
            "NeedDaemonReload" => state.needs_reload = value == "yes",
            _ => {}
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_read() {
        let state = parse(
            "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nMainPID=42\nResult=success\nNRestarts=1\nDropInPaths=/a /b\nNeedDaemonReload=no\n",
        );
        assert!(state.is_active() && state.is_enabled() && state.main_pid == 42);
        assert_eq!(state.drop_ins, ["/a", "/b"]);
        assert_eq!(parse("LoadState=not-found\n").load, "not-found");
    }
}
