//! Starting programs: an argument list and never a shell, a clean environment, no standard input,
//! a deadline, a process group of its own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Identity, PATH};

/// What is kept of what a program said; the end, since that is where the reason stands.
const KEPT: u64 = 256 * 1024;

/// A program to start.
#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    run_as: Option<Identity>,
    input: Vec<u8>,
    deadline: Duration,
    survives: bool,
}

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was started, as a person would type it.
    pub command: String,
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// How it ended, in words, for a sentence that begins with its name.
    pub ended: String,
}

impl Command {
    /// A program by name, looked for in [`PATH`], or by absolute path.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: PathBuf::from("/"),
            run_as: None,
            input: Vec::new(),
            deadline: Duration::from_secs(60),
            survives: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets a variable; nothing is inherited.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it as somebody else; only root can.
    #[must_use]
    pub fn run_as(mut self, identity: Option<&Identity>) -> Self {
        self.run_as = identity.cloned();
        self
    }

    /// What it reads on standard input; secrets go here, never into arguments.
    #[must_use]
    pub fn input(mut self, input: &[u8]) -> Self {
        input.clone_into(&mut self.input);
        self
    }

    /// If this process dies, it goes on to its end instead of dying too: for what leaves locks and
    /// half a file behind when it is killed.
    #[must_use]
    pub fn survives(mut self) -> Self {
        self.survives = true;
        self
    }

    /// When to end it, with its whole process group.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end, whatever exit code it ends with.
    ///
    /// # Errors
    /// When it cannot be started, or did not end before its deadline.
    pub fn outcome(self) -> Result<Outcome> {
        let command = self.words();
        let name = self.program.display().to_string();
        let failed = || format!("failed to run {name}");
        let mut stdout = memory("stdout").with_context(failed)?;
        let mut stderr = memory("stderr").with_context(failed)?;
        let mut stdin = memory("stdin").with_context(failed)?;
        stdin.write_all(&self.input).with_context(failed)?;
        stdin.seek(SeekFrom::Start(0)).with_context(failed)?;

        let mut child = base(&self.program, self.run_as.as_ref(), self.survives)?;
        child
            .process_group(0)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .current_dir(&self.directory)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout.try_clone().with_context(failed)?))
            .stderr(Stdio::from(stderr.try_clone().with_context(failed)?));
        let mut child = child.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => anyhow!("{name} is not installed"),
            _ => anyhow!(error).context(failed()),
        })?;
        let status = wait(&mut child, self.deadline).with_context(failed)?;
        let outcome =
            |stdout: &mut File, stderr: &mut File, status: &ExitStatus| -> Result<Outcome> {
                Ok(Outcome {
                    command: command.clone(),
                    code: status.code(),
                    stdout: tail(stdout)?,
                    stderr: tail(stderr)?,
                    ended: ended(*status),
                })
            };
        match status {
            Some(status) => outcome(&mut stdout, &mut stderr, &status).with_context(failed),
            None => bail!(
                "{command} did not end within {} s and was stopped: {}",
                self.deadline.as_secs(),
                last_lines(&tail(&mut stderr)?, 3)
            ),
        }
    }

    /// Runs it and wants exit code 0.
    ///
    /// # Errors
    /// As [`Command::outcome`], and when it ends otherwise: with what it said last.
    pub fn run(self) -> Result<Outcome> {
        self.outcome()?.ok()
    }

    fn words(&self) -> String {
        let mut words = self
            .program
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        for argument in &self.arguments {
            words.push(' ');
            words.push_str(&argument.to_string_lossy());
        }
        words
    }
}

impl Outcome {
    /// Whether it ended with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Itself, if it ended with 0.
    ///
    /// # Errors
    /// How it ended, and what it said last.
    pub fn ok(self) -> Result<Self> {
        if self.success() {
            return Ok(self);
        }
        Err(anyhow!("{}", self.failure()))
    }

    /// How it failed, with the last lines of what it said.
    #[must_use]
    pub fn failure(&self) -> String {
        let said = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let said = last_lines(said, 5);
        if said.is_empty() {
            format!("{} {}", self.command, self.ended)
        } else {
            format!("{} {}: {said}", self.command, self.ended)
        }
    }
}

/// The last lines of a text, in one line.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join(" / ")
}

/// How a process ended, for a sentence that begins with its name.
pub(super) fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (None, Some(signal)) => format!(
            "was ended by {}",
            Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.to_string())
        ),
        (None, None) => "ended".to_owned(),
    }
}

/// The part that every child has in common: who it is, its group, a clean environment.
pub(super) fn base(
    program: &Path,
    run_as: Option<&Identity>,
    survives: bool,
) -> Result<std::process::Command> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the module that starts programs"
    )]
    let mut command = std::process::Command::new(program);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C");
    let switch = match run_as {
        Some(identity) if identity.uid != super::effective_uid() => {
            command
                .env("HOME", &identity.home)
                .env("USER", &identity.name)
                .env("LOGNAME", &identity.name);
            Some(identity.clone())
        }
        _ => None,
    };
    // SAFETY: between fork and exec only async-signal-safe calls are made: plain system calls on
    // memory that was prepared before the fork.
    #[expect(unsafe_code, reason = "the only way to act between fork and exec")]
    unsafe {
        command.pre_exec(move || {
            let die_with_us = (!survives).then_some(Signal::SIGKILL);
            nix::sys::prctl::set_pdeathsig(die_with_us)?;
            if let Some(identity) = &switch {
                if nix::libc::setgroups(identity.groups.len(), identity.groups.as_ptr()) != 0
                    || nix::libc::setgid(identity.gid) != 0
                    || nix::libc::setuid(identity.uid) != 0
                {
                    return Err(std::io::Error::last_os_error());
                }
                // Changing identity clears the death signal (prctl(2)).
                nix::sys::prctl::set_pdeathsig(die_with_us)?;
            }
            Ok(())
        });
    }
    Ok(command)
}

/// Waits for a child until its deadline; then ends its whole group. `None` if it had to be ended.
pub(super) fn wait(child: &mut Child, deadline: Duration) -> std::io::Result<Option<ExitStatus>> {
    let until = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let now = Instant::now();
        if now >= until {
            end_group(child)?;
            return Ok(None);
        }
        std::thread::sleep(pause.min(until - now));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// TERM, two seconds, KILL; the child is reaped.
pub(super) fn end_group(child: &mut Child) -> std::io::Result<()> {
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    for (signal, patience) in [(Signal::SIGTERM, 100), (Signal::SIGKILL, 0)] {
        match killpg(group, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
        for _ in 0..patience {
            if child.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    child.wait().map(drop)
}

fn memory(name: &str) -> Result<File> {
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?))
}

/// The end of what was written to a file in memory.
fn tail(file: &mut File) -> Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(KEPT)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_inherited_and_the_end_is_told() -> Result<()> {
        let env = Command::new("env").env("A", "1").run()?;
        let mut names: Vec<&str> = env
            .stdout
            .lines()
            .filter_map(|l| l.split('=').next())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["A", "LC_ALL", "PATH"]);
        let error = Command::new("sh")
            .args(["-c", "echo why >&2; exit 3"])
            .run()
            .err();
        assert_eq!(
            error.map(|e| e.to_string()).as_deref(),
            Some("sh -c echo why >&2; exit 3 ended with 3: why")
        );
        let error = Command::new("no-such-program").run().err();
        assert_eq!(
            error.map(|e| e.to_string()).as_deref(),
            Some("no-such-program is not installed")
        );
        let cat = Command::new("cat").input(b"secret").run()?;
        assert_eq!(cat.stdout, "secret");
        Ok(())
    }

    #[test]
    fn a_deadline_ends_the_whole_group() {
        let started = Instant::now();
        let error = Command::new("sh")
            .args(["-c", "sleep 30 & sleep 30"])
            .deadline(Duration::from_millis(100))
            .run()
            .err();
        assert!(error.is_some_and(|e| e.to_string().contains("did not end")));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
