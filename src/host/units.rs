//! Queries and controls systemd units through systemctl.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Command, Server, View};

/// State of a unit (`systemctl show`).
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
    /// Id of the main process; 0 if there is none.
    pub main_pid: u32,
    /// Result of its last run: `success`, `exit-code`, `trigger-limit-hit` …
    pub result: String,
    /// Number of automatic restarts.
    pub restarts: u32,
    /// Paths of its drop-ins.
    pub drop_ins: Vec<String>,
    /// Whether its file changed since systemd loaded it.
    pub needs_reload: bool,
    /// What keeps it from starting a deployment if it is cron: settings such as `NoNewPrivileges`.
    pub confines: Vec<String>,
    /// What its processes use, in bytes; `None` if systemd does not count it.
    pub memory: Option<u64>,
    /// When it became active, in the time of CLOCK_MONOTONIC (clock_gettime(2)); `None` if it never was.
    pub since: Option<Duration>,
    /// User that it runs as, including drop-ins; empty for root, and for units that are not services.
    pub user: String,
}

impl UnitState {
    /// Whether it is running or listening.
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

const PROPERTIES: &str = "LoadState,ActiveState,SubState,UnitFileState,MainPID,Result,NRestarts,DropInPaths,NeedDaemonReload,MemoryCurrent,ActiveEnterTimestampMonotonic,User,NoNewPrivileges,RestrictSUIDSGID,ProtectSystem";

/// systemd, as pullpray uses it: through systemctl and journalctl; in tests a table of units.
pub trait Units: fmt::Debug + Send + Sync {
    /// The version, such as `252`; `None` if it does not report one.
    ///
    /// # Errors
    /// When systemctl cannot be run.
    fn version(&self) -> Result<Option<String>>;
    /// The state of a unit.
    ///
    /// # Errors
    /// When systemctl fails.
    fn show(&self, unit: &str) -> Result<UnitState>;
    /// The last lines of a unit in the journal; empty if it cannot be read.
    fn log(&self, unit: &str, lines: u32) -> String;
    /// What systemctl or journalctl prints through sudo, with these arguments; empty if sudo refuses.
    fn status(&self, systemctl: &Path, arguments: &[&str]) -> String;
    /// Runs systemctl with these arguments; through sudo if it gets the path of the systemctl that sudoers names.
    ///
    /// # Errors
    /// When systemctl or sudo fails.
    fn control(&self, arguments: &[&str], sudo: Option<&Path>) -> Result<()>;
}

/// The systemd of this machine.
#[derive(Debug)]
pub(super) struct Systemd;

impl Units for Systemd {
    fn version(&self) -> Result<Option<String>> {
        let output = Command::new("systemctl").arg("--version").outcome()?;
        Ok(output.stdout.split_whitespace().nth(1).map(str::to_owned))
    }

    fn show(&self, unit: &str) -> Result<UnitState> {
        let ask = || {
            Command::new("systemctl")
                .args(["show", "--no-pager", "--property", PROPERTIES, "--", unit])
                .deadline(Duration::from_secs(30))
                .run()
        };
        // systemd drops connections while somebody has it reload its units.
        let dropped = |error: &anyhow::Error| {
            let text = format!("{error:#}");
            text.contains("endpoint is not connected") || text.contains("reset by peer")
        };
        let mut answer = ask();
        for _ in 0..5 {
            if !answer.as_ref().is_err_and(dropped) {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
            answer = ask();
        }
        let output = answer?;
        Ok(parse(&output.stdout))
    }

    fn log(&self, unit: &str, lines: u32) -> String {
        let outcome = Command::new("journalctl")
            .args(["--no-pager", "--quiet", "--output=cat", "--unit", unit])
            .args(["--lines", &lines.to_string()])
            .deadline(Duration::from_secs(10))
            .outcome();
        outcome
            .map(|outcome| outcome.stdout.trim().to_owned())
            .unwrap_or_default()
    }

    fn status(&self, systemctl: &Path, arguments: &[&str]) -> String {
        let sudo = Command::new("sudo").args(["-n", "--"]).arg(systemctl);
        let outcome = sudo.args(arguments).outcome();
        outcome.map(|outcome| outcome.stdout).unwrap_or_default()
    }

    fn control(&self, arguments: &[&str], sudo: Option<&Path>) -> Result<()> {
        let command = match sudo {
            Some(systemctl) => Command::new("sudo").args(["-n", "--"]).arg(systemctl),
            None => Command::new("systemctl").arg("--no-ask-password"),
        };
        let command = command.args(arguments).deadline(Duration::from_secs(120));
        command.run().map(drop)
    }
}

impl View {
    /// Whether systemd is the running init (sd_booted(3)).
    ///
    /// # Errors
    /// When /run cannot be read.
    pub fn has_systemd(&self) -> Result<bool> {
        Ok(self.stat(Path::new("/run/systemd/system"))?.is_some())
    }

    /// Returns the state of a unit.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn unit(&self, name: &str) -> Result<UnitState> {
        self.outside.units.show(name)
    }

    /// The memory that can be used without swapping, in bytes (`MemAvailable`, proc_meminfo(5)); `None` if the kernel
    /// does not say.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn available_memory(&self) -> Result<Option<u64>> {
        let text = self.read_text(Path::new("/proc/meminfo"))?;
        let line = text.as_deref().unwrap_or_default().lines();
        let mut value = line.filter_map(|line| line.strip_prefix("MemAvailable:"));
        let kib = value
            .next()
            .and_then(|rest| rest.trim().strip_suffix(" kB"));
        Ok(kib
            .and_then(|kib| kib.parse::<u64>().ok())
            .map(|kib| kib << 10))
    }

    /// Returns the last lines of a unit in the journal; empty if it cannot be read.
    #[must_use]
    pub fn unit_log(&self, name: &str, lines: u32) -> String {
        self.outside.units.log(name, lines)
    }
}

/// Whether a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// It does, or is being started for the first time.
    Yes,
    /// systemd restarted it lately because it had crashed: it may work again, or crash again and again.
    Crashed,
    /// It does not; between two attempts to start it, either.
    No,
}

/// A start that is older than this succeeded: systemd gives up on one after 90 s (systemd-system.conf(5),
/// `DefaultTimeoutStartSec=`).
const START: i64 = 120;

impl Server {
    /// Whether a service runs.
    ///
    /// systemd keeps a link while it runs, also during each attempt to start it: one lstat, where systemctl costs a
    /// process. systemctl is asked only shortly after a start. Its `active` proves nothing then: gunicorn reports that
    /// it has started before it imports the app.
    ///
    /// # Errors
    /// When neither /run nor systemd answers.
    pub fn running(&self, unit: &str) -> Result<Running> {
        let mark = Path::new("/run/systemd/units").join(format!("invocation:{unit}"));
        let Some(mark) = self.stat(&mark)? else {
            return Ok(Running::No);
        };
        let settled = mark.modified + START < self.clock().now().timestamp();
        Ok(if settled || self.unit(unit)?.restarts == 0 {
            Running::Yes
        } else {
            Running::Crashed
        })
    }

    /// Reloads systemd's unit files.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn reload_units(&self) -> Result<()> {
        self.systemctl(&["daemon-reload"])
    }

    /// Enables and starts a unit.
    ///
    /// # Errors
    /// When systemctl fails; with the unit's last log lines if it cannot be started.
    pub fn enable_now(&self, unit: &str) -> Result<()> {
        self.enable(unit)?;
        // A unit that failed before may have reached its start limit.
        drop(self.reset_failed(unit));
        let Err(error) = self.systemctl(&["start", "--", unit]) else {
            return Ok(());
        };
        let log = self.unit_log(unit, 5);
        bail!("{error:#}\n{log}")
    }

    /// Has a unit start at boot.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn enable(&self, unit: &str) -> Result<()> {
        self.systemctl(&["enable", "--quiet", "--", unit])
    }

    /// Disables and stops a unit.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn disable_now(&self, unit: &str) -> Result<()> {
        self.systemctl(&["disable", "--quiet", "--now", "--", unit])
    }

    /// Stops a unit.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn stop(&self, unit: &str) -> Result<()> {
        self.systemctl(&["stop", "--", unit])
    }

    /// Restarts a unit.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn restart(&self, unit: &str) -> Result<()> {
        self.systemctl(&["restart", "--", unit])
    }

    /// Resets the failed state of a unit.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn reset_failed(&self, unit: &str) -> Result<()> {
        self.systemctl(&["reset-failed", "--", unit])
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<()> {
        self.outside.units.control(arguments, None)
    }

    /// Runs systemctl through sudo; the app's sudoers drop-in permits exactly these arguments.
    ///
    /// # Errors
    /// When sudo or systemctl fails.
    pub fn sudo_systemctl(&self, systemctl: &Path, arguments: &[&str]) -> Result<()> {
        self.outside.units.control(arguments, Some(systemctl))
    }

    /// What systemctl or journalctl prints through sudo; empty if sudo refuses. The drop-in permits exactly these arguments.
    #[must_use]
    pub fn sudo_status(&self, systemctl: &Path, arguments: &[&str]) -> String {
        self.outside.units.status(systemctl, arguments)
    }

    /// Runs a verb for an app with the installed program, as a person or cron would. It drops privileges itself.
    /// `script` is the time limit of the deploy script, in seconds.
    ///
    /// # Errors
    /// When it cannot be started or does not exit in time.
    pub fn run_verb(
        &self,
        program: &Path,
        verb: &[&str],
        app: &str,
        script: u64,
    ) -> Result<super::Outcome> {
        self.command(program)
            .args(verb)
            .arg(app)
            .deadline(Duration::from_secs(script + 900))
            .outcome()
    }

    /// Fetches and inspects the repository as the app's account; returns the output.
    ///
    /// # Errors
    /// When it fails.
    pub fn run_inspect(&self, program: &Path, arguments: &[&str]) -> Result<String> {
        let command = self.command(program).args(["inspect"]).args(arguments);
        Ok(command.deadline(Duration::from_secs(900)).run()?.stdout)
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
            "ActiveEnterTimestampMonotonic" => {
                let micros = value.parse().ok().filter(|micros| *micros > 0);
                state.since = micros.map(Duration::from_micros);
            }
            // "[not set]", or the highest number in older versions.
            "MemoryCurrent" => {
                state.memory = value.parse().ok().filter(|bytes| *bytes != u64::MAX);
            }
            "User" => state.user = text,
            // sudo cannot become root; directories cannot be setgid; /var is read-only.
            "NoNewPrivileges" | "RestrictSUIDSGID" if value == "yes" => {
                state.confines.push(key.to_owned());
            }
            "ProtectSystem" if value == "strict" => state.confines.push(key.to_owned()),
            "NeedDaemonReload" => state.needs_reload = value == "yes",
            _ => {}
        }
    }
    state
}

impl View {
    /// Whether systemd understands a calendar event (systemd.time(7)).
    ///
    /// # Errors
    /// When systemd-analyze cannot be started.
    pub fn understands_time(&self, text: &str) -> Result<bool> {
        let command = self.command("systemd-analyze");
        let outcome = command.args(["calendar", "--", text]).outcome()?;
        Ok(outcome.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_systemctl_show_is_parsed() {
        let state = parse(
            "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nMainPID=42\nResult=success\nNRestarts=1\nDropInPaths=/a /b\nNeedDaemonReload=no\n",
        );
        assert!(state.is_active() && state.is_enabled() && state.main_pid == 42);
        assert_eq!(state.drop_ins, ["/a", "/b"]);
        assert_eq!(parse("LoadState=not-found\n").load, "not-found");
        for (text, bytes) in [
            ("4096", Some(4096)),
            ("[not set]", None),
            ("18446744073709551615", None),
        ] {
            assert_eq!(parse(&format!("MemoryCurrent={text}\n")).memory, bytes);
        }
    }
}
