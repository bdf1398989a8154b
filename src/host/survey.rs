//! Surveys the server once, before planning: operating system, required programs, Python.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::app::environment::{self, Dialect};

use super::{Identity, Kind, UnitState, View, effective_uid};

/// Where interpreters of other versions are, each in a directory.
const PYTHONS: &str = "/opt/python";

/// Result of the survey.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// Version of systemd, if it is the running init.
    pub systemd: Option<String>,
    /// Version of Python, if the interpreter exists.
    pub python: Option<String>,
    /// Path of uv, if it is installed.
    pub uv: Option<PathBuf>,
    /// Whether nginx is installed; it is not required, only reported.
    pub nginx: bool,
    /// Missing requirements.
    pub missing: Vec<Missing>,
}

/// A missing requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Name and purpose.
    pub what: &'static str,
    /// Debian package that contains it.
    pub package: &'static str,
}

impl Survey {
    /// Describes what is missing, with the command that installs it; `None` if nothing is.
    #[must_use]
    pub fn lacks(&self) -> Option<(String, String)> {
        let what: Vec<&str> = self.missing.iter().map(|missing| missing.what).collect();
        let mut packages: Vec<&str> = self.missing.iter().map(|missing| missing.package).collect();
        packages.sort_unstable();
        packages.dedup();
        let install = format!("sudo apt-get install {}", packages.join(" "));
        (!what.is_empty()).then(|| (format!("missing: {}", what.join("; ")), install))
    }
}

/// Programs that init and poll start: name, description, Debian package.
const NEEDED: &[(&str, &str, &str)] = &[
    ("systemctl", "systemd, which runs the app", "systemd"),
    (
        "sudo",
        "sudo, which lets the app's account restart its own service",
        "sudo",
    ),
    ("visudo", "visudo, which checks the sudoers drop-in", "sudo"),
    ("ssh", "the ssh client", "openssh-client"),
    (
        "ssh-agent",
        "ssh-agent, which holds the deploy key",
        "openssh-client",
    ),
    ("useradd", "useradd", "passwd"),
    ("groupadd", "groupadd", "passwd"),
    ("gpasswd", "gpasswd", "passwd"),
];

/// Programs that read /etc/cron.d: cron, cronie (which calls cron(8) crond), bcron, and systemd-cron's generator.
const CRONS: [&str; 4] = [
    "cron",
    "crond",
    "bcron-sched",
    "/usr/lib/systemd/system-generators/systemd-crontab-generator",
];

/// State of clock synchronisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeService {
    /// Whether a service that systemd knows is enabled.
    pub enabled: bool,
    /// Whether the kernel considers the clock synchronised, by any service.
    pub synchronised: bool,
}

impl View {
    /// Returns the state of clock synchronisation (`timedatectl show`).
    ///
    /// # Errors
    /// When timedatectl fails.
    pub fn time_service(&self) -> Result<TimeService> {
        let output = self
            .command("timedatectl")
            .args(["show", "--property=NTP", "--property=NTPSynchronized"])
            .deadline(Duration::from_secs(20))
            .run()?;
        let is = |name: &str| {
            output
                .stdout
                .lines()
                .any(|line| line == format!("{name}=yes"))
        };
        Ok(TimeService {
            enabled: is("NTP"),
            synchronised: is("NTPSynchronized"),
        })
    }

    /// Surveys the server for an app with this account and interpreter. Root runs the interpreter as the account, or as
    /// nobody if it does not exist yet, since other users may be able to modify what the interpreter loads.
    ///
    /// # Errors
    /// When a file cannot be read or a program cannot be run.
    pub fn survey(&self, python: &Path, user: &str) -> Result<Survey> {
        let run_as = match effective_uid() {
            0 => Some(self.identity(user).or_else(|_| self.identity("nobody"))?),
            _ => None,
        };
        let mut survey = Survey {
            os: self.os_name()?,
            uv: self.which("uv"),
            nginx: self.which("nginx").is_some(),
            ..Survey::default()
        };
        for (program, what, package) in NEEDED {
            if self.which(program).is_none() {
                survey.missing.push(Missing { what, package });
            }
        }
        if self.has_systemd()? {
            survey.systemd = self.outside.units.version()?;
        }
        if self.stat_target(python)?.is_some() {
            survey.python = self.python_version(python, run_as.as_ref()).ok();
            let venv = self
                .command(python)
                .args(["-I", "-c", "import venv, ensurepip"])
                .run_as(run_as.as_ref())
                .deadline(Duration::from_secs(20))
                .outcome()?;
            if !venv.success() && survey.uv.is_none() {
                survey.missing.push(Missing {
                    what: "Python's venv module, for virtual environments",
                    package: "python3-venv",
                });
            }
        } else {
            survey.missing.push(Missing {
                what: "the Python interpreter",
                package: "python3",
            });
        }
        Ok(survey)
    }

    /// Returns the hostname; empty if the kernel does not say.
    #[must_use]
    pub fn hostname(&self) -> String {
        let name = self.read_text(Path::new("/proc/sys/kernel/hostname"));
        let name = name.ok().flatten().unwrap_or_default();
        name.trim().to_owned()
    }

    /// Returns the hostname if this server cannot resolve it, or not within five seconds.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn unresolved_hostname(&self) -> Result<Option<String>> {
        let name = self.hostname();
        let hosts = self.read_text(Path::new("/etc/hosts")).ok().flatten();
        let listed = hosts.is_some_and(|text| text.split_whitespace().any(|word| word == name));
        if listed || self.which("getent").is_none() {
            return Ok(None);
        }
        let lookup = self.command("getent").args(["ahosts", &name]);
        let found = lookup.deadline(Duration::from_secs(5)).outcome();
        Ok((!found.is_ok_and(|outcome| outcome.success())).then_some(name))
    }

    /// Returns why a user cannot start a program (with `--version`); `None` if it succeeds.
    #[must_use]
    pub fn cannot_start(&self, program: &Path, identity: &Identity) -> Option<String> {
        let command = self
            .command(program)
            .arg("--version")
            .run_as(Some(identity));
        match command.outcome() {
            Ok(outcome) if outcome.success() => None,
            Ok(outcome) => Some(outcome.failure()),
            Err(error) => Some(format!("{error:#}")),
        }
    }

    /// Returns the version of a Python interpreter, such as `3.11.2`, run as this account.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn python_version(&self, python: &Path, run_as: Option<&Identity>) -> Result<String> {
        let output = self.command(python)
            .args(["-I", "-c", "import platform; print(platform.python_implementation(), platform.python_version())"])
            .run_as(run_as)
            .deadline(Duration::from_secs(20))
            .run()?;
        Ok(output.stdout.trim().replace("CPython ", ""))
    }

    /// The interpreter of a version, such as 3.13: among the programs, or below /opt/python, where uv puts it for all
    /// accounts (`UV_PYTHON_INSTALL_DIR`).
    ///
    /// # Errors
    /// When that directory cannot be read.
    pub fn find_python(&self, version: &str) -> Result<Option<PathBuf>> {
        let name = format!("python{version}");
        if let Some(path) = self.which(&name) {
            return Ok(Some(path));
        }
        let all = Path::new(PYTHONS);
        // The link for all its patch releases comes first.
        let names: BTreeSet<_> = self.list(all)?.into_iter().collect();
        let paths = names
            .into_iter()
            .map(|dir| all.join(dir).join("bin").join(&name));
        for path in paths {
            if self.stat_target(&path)?.is_some() {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    fn os_name(&self) -> Result<String> {
        // os-release(5) has the same syntax.
        let text = self.read(Path::new("/etc/os-release"))?.unwrap_or_default();
        let fields = environment::parse(&text, Dialect::Since254).unwrap_or_default();
        let field = |name: &str| {
            fields
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        Ok(field("PRETTY_NAME").unwrap_or_else(|| "an unknown system".to_owned()))
    }

    /// Whether this server has a cron that reads /etc/cron.d.
    #[must_use]
    pub fn has_cron(&self) -> bool {
        CRONS.iter().any(|program| self.which(program).is_some())
    }

    /// Returns the unit of cron that is active, and its state; `None` if none is.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn cron_unit(&self) -> Result<Option<(&'static str, UnitState)>> {
        // systemd-cron has a target instead of a service.
        for unit in [
            "cron.service",
            "crond.service",
            "cronie.service",
            "bcron-sched.service",
            "cron.target",
        ] {
            let state = self.unit(unit)?;
            if state.is_active() && state.enabled != "disabled" {
                return Ok(Some((unit, state)));
            }
        }
        Ok(None)
    }

    /// Returns the error for which cron ignores a system crontab, such as an unknown account. cron reads the file again
    /// only when it has changed, or when cron restarts (cron(8)).
    ///
    /// # Errors
    /// When journalctl fails.
    pub fn cron_complaint(&self, file: &Path) -> Result<Option<String>> {
        let output = self
            .command("journalctl")
            .args(["--quiet", "--no-pager", "--boot", "--output=short-unix"])
            .args(["--identifier=cron", "--lines=1000"])
            .outcome()?;
        // To the microsecond: the fix may be written within the same second.
        let written = match std::fs::symlink_metadata(self.real(file)) {
            Ok(meta) => meta.mtime() * 1_000_000 + meta.mtime_nsec() / 1_000,
            Err(_) => return Ok(None),
        };
        Ok(complaint(&output.stdout, file, written))
    }

    /// Returns the first part of a path, the file or one of its parent directories, that users other than root can
    /// modify. Write access by an ACL entry shows in the group bits, which are the ACL's mask (acl(5)). For a link, it
    /// checks both the target and the directory of the link.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn first_changeable(&self, path: &Path) -> Result<Option<PathBuf>> {
        let mut paths = vec![path.to_owned()];
        if let Some(target) = self.link_target(path)? {
            paths.push(target);
        }
        for part in paths.iter().flat_map(|path| path.ancestors()) {
            let Some(stat) = self.stat_target(part)? else {
                continue;
            };
            if stat.uid != 0 || stat.mode & 0o022 != 0 {
                return Ok(Some(part.to_owned()));
            }
        }
        Ok(None)
    }

    /// Returns the first part of a path, the file or one of its parent directories, that does not exist, that users
    /// other than root can modify, or that others cannot search.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn first_untrusted(&self, path: &Path) -> Result<Option<PathBuf>> {
        for part in path.ancestors() {
            let Some(stat) = self.stat_target(part)? else {
                return Ok(Some(part.to_owned()));
            };
            // Even in a sticky directory such as /tmp other users can create a name first.
            if stat.uid != 0 || stat.mode & 0o022 != 0 {
                return Ok(Some(part.to_owned()));
            }
            if stat.kind == Kind::Directory && stat.mode & 0o001 == 0 {
                return Ok(Some(part.to_owned()));
            }
        }
        Ok(None)
    }
}

/// Finds cron's last error about a file that is newer than the file's last change, `written` (microseconds since 1970).
fn complaint(journal: &str, file: &Path, written: i64) -> Option<String> {
    let file = file.display();
    let (error_suffix, reload) = (
        format!("; while reading {file}"),
        format!("RELOAD ({file})"),
    );
    let mut complaint = None;
    for line in journal.lines() {
        if line.contains("INFO (pidfile fd") || line.ends_with(&reload) {
            complaint = None;
        } else if let Some(entry) = line.strip_suffix(&error_suffix) {
            let at = line.split(' ').next().unwrap_or_default().replace('.', "");
            let message = entry
                .split_once("]: ")
                .map_or(entry, |(_, message)| message);
            complaint =
                (at.parse::<i64>().is_ok_and(|at| at > written)).then(|| message.to_owned());
        }
    }
    complaint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_cron_applies_until_cron_reads_the_file_again() {
        let found = |lines: &[&str]| {
            let lines: Vec<String> = (100..)
                .zip(lines)
                .map(|(at, line)| format!("{at}.123456 web cron[33]: {line}\n"))
                .collect();
            complaint(&lines.concat(), Path::new("/etc/cron.d/a"), 100_000_000)
        };
        let (bad, other) = (
            "Error: bad username; while reading /etc/cron.d/a",
            "Error: bad username; while reading /etc/cron.d/a2",
        );
        let known = Some("Error: bad username".to_owned());
        let ignored = "(*system*a) ERROR (Syntax error, this crontab file will be ignored)";
        assert_eq!(found(&[other, ignored]), None);
        assert_eq!(found(&[bad, ignored, other]), known);
        let reload = "(*system*a) RELOAD (/etc/cron.d/a)";
        assert_eq!(found(&[bad, ignored, reload]), None);
        assert_eq!(found(&[bad, ignored, reload, bad]), known);
        assert_eq!(found(&[bad, "(CRON) INFO (pidfile fd = 3)"]), None);
        let old = format!("100.000001 web cron[33]: {bad}\n");
        assert_eq!(
            complaint(&old, Path::new("/etc/cron.d/a"), 100_000_001),
            None
        );
    }
}
