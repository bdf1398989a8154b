//! What kind of server this is: asked once, before anything is planned.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::app::environment::{self, Dialect};

use super::{Command, Identity, Kind, View, effective_uid};

/// What was found on the server.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// systemd's version, if it is the running init.
    pub systemd: Option<String>,
    /// Python's version, if the interpreter is there.
    pub python: Option<String>,
    /// uv's path, if it is there.
    pub uv: Option<PathBuf>,
    /// Whether nginx is there; it is not needed, only told.
    pub nginx: bool,
    /// What must be there and is not.
    pub missing: Vec<Missing>,
    /// Directories that nothing can be written to.
    pub read_only: Vec<PathBuf>,
}

/// Something that pullpray needs and does not find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What it is, with what it is needed for.
    pub what: &'static str,
    /// Debian's package that has it.
    pub package: &'static str,
}

impl Survey {
    /// What is missing, in words, and the command that installs it; `None` if nothing is.
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

/// Programs that init and poll start, and the packages that bring them.
const NEEDED: &[(&str, &str, &str)] = &[
    ("systemctl", "systemd, which runs the app", "systemd"),
    ("cron", "cron, which starts the polls", "cron"),
    (
        "sudo",
        "sudo, with which the app's account restarts its own service",
        "sudo",
    ),
    ("visudo", "visudo, which checks the sudoers drop-in", "sudo"),
    ("ssh", "the ssh client", "openssh-client"),
    (
        "ssh-agent",
        "ssh-agent, which holds the deploy key",
        "openssh-client",
    ),
    (
        "ssh-keyscan",
        "ssh-keyscan, which reads the git host's key",
        "openssh-client",
    ),
    ("useradd", "useradd", "passwd"),
    ("groupadd", "groupadd", "passwd"),
    ("gpasswd", "gpasswd", "passwd"),
];

/// Who keeps the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeService {
    /// One that systemd knows is enabled.
    pub enabled: bool,
    /// The kernel holds the clock for right, whoever set it.
    pub synchronised: bool,
}

impl View {
    /// Asks who keeps the clock (timedatectl(1), "show").
    ///
    /// # Errors
    /// When timedatectl cannot be asked.
    pub fn time_service(&self) -> Result<TimeService> {
        let said = Command::new("timedatectl")
            .args(["show", "--property=NTP", "--property=NTPSynchronized"])
            .deadline(Duration::from_secs(20))
            .run()?;
        let is = |name: &str| {
            said.stdout
                .lines()
                .any(|line| line == format!("{name}=yes"))
        };
        Ok(TimeService {
            enabled: is("NTP"),
            synchronised: is("NTPSynchronized"),
        })
    }

    /// Looks around, for an app that is to run as this account and use this interpreter. Root never starts the
    /// interpreter as itself, since what it loads may be others': the account does, or nobody while it is missing.
    ///
    /// # Errors
    /// When the server cannot be looked at.
    pub fn survey(&self, python: &Path, user: &str) -> Result<Survey> {
        let starts = match effective_uid() {
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
            // cron(8) of other distributions is crond.
            let there = self.which(program).is_some()
                || (*program == "cron" && self.which("crond").is_some());
            if !there {
                survey.missing.push(Missing { what, package });
            }
        }
        if self.has_systemd()? {
            survey.systemd = systemd_version()?;
        }
        if self.stat_target(python)?.is_some() {
            survey.python = self.python_version(python, starts.as_ref()).ok();
            let venv = Command::new(python)
                .args(["-I", "-c", "import venv, ensurepip"])
                .run_as(starts.as_ref())
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
        for dir in ["/etc", "/var", "/opt", "/usr/local"] {
            if self.is_read_only(Path::new(dir))? {
                survey.read_only.push(dir.into());
            }
        }
        Ok(survey)
    }

    /// Why somebody cannot start a program that knows `--version`; `None` if it was started.
    #[must_use]
    pub fn cannot_start(&self, program: &Path, identity: &Identity) -> Option<String> {
        let command = Command::new(program)
            .arg("--version")
            .run_as(Some(identity));
        match command.outcome() {
            Ok(said) if said.success() => None,
            Ok(said) => Some(said.failure()),
            Err(error) => Some(format!("{error:#}")),
        }
    }

    /// The version of a Python interpreter, started as this account: `3.11.2`.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn python_version(&self, python: &Path, starts: Option<&Identity>) -> Result<String> {
        let said = Command::new(python)
            .args(["-I", "-c", "import platform; print(platform.python_implementation(), platform.python_version())"])
            .run_as(starts)
            .deadline(Duration::from_secs(20))
            .run()?;
        Ok(said.stdout.trim().replace("CPython ", ""))
    }

    /// What a unit gets of an `EnvironmentFile=`, as the systemd of this server reads it; of one that is
    /// missing, nothing.
    ///
    /// # Errors
    /// When it cannot be read, or systemd would not start a unit with it.
    pub fn environment(&self, path: &Path) -> Result<Vec<(String, String)>> {
        let text = self.read(path)?.unwrap_or_default();
        let version = systemd_version()?.and_then(|version| version.parse::<u32>().ok());
        let dialect = match version {
            Some(version) if version < 254 => Dialect::Before254,
            _ => Dialect::Since254,
        };
        environment::parse(&text, dialect).map_err(|error| {
            anyhow!(
                "{} cannot be used: {error}\nhint: no unit starts with it either; save it as UTF-8",
                path.display()
            )
        })
    }

    fn os_name(&self) -> Result<String> {
        // os-release(5): the same syntax. Nothing depends on its comments.
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

    /// Whether the file system that a path lies on is mounted read-only.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn is_read_only(&self, dir: &Path) -> Result<bool> {
        let stat = nix::sys::statvfs::statvfs(&self.real(dir))
            .with_context(|| format!("failed to look at the file system of {}", dir.display()))?;
        Ok(stat.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
    }

    /// Whether a file's setuid and setgid bits count for nothing, because of how its file system is
    /// mounted.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn ignores_setgid(&self, path: &Path) -> Result<bool> {
        let stat = nix::sys::statvfs::statvfs(&self.real(path))
            .with_context(|| format!("failed to look at the file system of {}", path.display()))?;
        Ok(stat.flags().contains(nix::sys::statvfs::FsFlags::ST_NOSUID))
    }

    /// Free bytes and free inodes for ordinary users where a path lies; some file systems count no
    /// inodes, which is not the same as having none left.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn free_space(&self, path: &Path) -> Result<(u64, Option<u64>)> {
        let stat = nix::sys::statvfs::statvfs(&self.real(path))
            .with_context(|| format!("failed to look at the file system of {}", path.display()))?;
        Ok((
            stat.blocks_available() * stat.fragment_size(),
            (stat.files() > 0).then(|| stat.files_available()),
        ))
    }

    /// Whether cron runs: its unit is active.
    ///
    /// # Errors
    /// When systemd cannot be asked.
    pub fn cron_runs(&self) -> Result<bool> {
        for unit in ["cron.service", "crond.service"] {
            let state = self.unit(unit)?;
            if state.is_active() && state.enabled != "disabled" {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Why cron passes a crontab of the system over, by its own words. Having complained of one, it looks at it again
    /// only when it has changed, or when cron starts (cron(8)); so also of an account that was not known yet.
    ///
    /// # Errors
    /// When the journal cannot be asked.
    pub fn cron_complaint(&self, file: &Path) -> Result<Option<String>> {
        let said = Command::new("journalctl")
            .args(["--quiet", "--no-pager", "--boot", "--output=short-unix"])
            .args(["--identifier=cron", "--lines=1000"])
            .outcome()?;
        // To the microsecond: what mends it may come in the same second.
        let written = match std::fs::symlink_metadata(self.real(file)) {
            Ok(meta) => meta.mtime() * 1_000_000 + meta.mtime_nsec() / 1_000,
            Err(_) => return Ok(None),
        };
        Ok(complaint(&said.stdout, file, written))
    }

    /// The first part of a path, the file itself or a directory on the way, that others than root
    /// can change. A named entry of an ACL that may write shows in the group's bits, since they are
    /// its mask (acl(5)); a link counts by where it leads, and the directory it lies in is a part.
    ///
    /// # Errors
    /// When a part cannot be looked at.
    pub fn first_changeable(&self, path: &Path) -> Result<Option<PathBuf>> {
        let mut ways = vec![path.to_owned()];
        if let Some(target) = self.link_target(path)? {
            ways.push(target);
        }
        for part in ways.iter().flat_map(|way| way.ancestors()) {
            let Some(stat) = self.stat_target(part)? else {
                continue;
            };
            if stat.uid != 0 || stat.mode & 0o022 != 0 {
                return Ok(Some(part.to_owned()));
            }
        }
        Ok(None)
    }

    /// Whether every directory on the way to a file, and the file, are root's and nobody else's to
    /// write; gives the first that is not.
    ///
    /// # Errors
    /// When one of them cannot be looked at.
    pub fn first_untrusted(&self, path: &Path) -> Result<Option<PathBuf>> {
        for part in path.ancestors() {
            let Some(stat) = self.stat_target(part)? else {
                return Ok(Some(part.to_owned()));
            };
            // A sticky directory such as /tmp is still one where others can put a name first.
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

fn complaint(journal: &str, file: &Path, written: i64) -> Option<String> {
    let file = file.display();
    let (of_it, again) = (
        format!("; while reading {file}"),
        format!("RELOAD ({file})"),
    );
    let mut complaint = None;
    for line in journal.lines() {
        if line.contains("INFO (pidfile fd") || line.ends_with(&again) {
            complaint = None;
        } else if let Some(said) = line.strip_suffix(&of_it) {
            let at = line.split(' ').next().unwrap_or_default().replace('.', "");
            let words = said.split_once("]: ").map_or(said, |(_, words)| words);
            complaint = (at.parse::<i64>().is_ok_and(|at| at > written)).then(|| words.to_owned());
        }
    }
    complaint
}

/// `252`; `None` where systemctl does not tell.
fn systemd_version() -> Result<Option<String>> {
    let said = Command::new("systemctl").arg("--version").outcome()?;
    Ok(said.stdout.split_whitespace().nth(1).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_stands_until_cron_reads_the_file_again() {
        let said = |lines: &[&str]| {
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
        assert_eq!(said(&[other, ignored]), None);
        assert_eq!(said(&[bad, ignored, other]), known);
        let again = "(*system*a) RELOAD (/etc/cron.d/a)";
        assert_eq!(said(&[bad, ignored, again]), None);
        assert_eq!(said(&[bad, ignored, again, bad]), known);
        assert_eq!(said(&[bad, "(CRON) INFO (pidfile fd = 3)"]), None);
        let old = format!("100.000001 web cron[33]: {bad}\n");
        assert_eq!(
            complaint(&old, Path::new("/etc/cron.d/a"), 100_000_001),
            None
        );
    }
}
