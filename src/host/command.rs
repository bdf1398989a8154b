//! Runs programs and captures their output: with an argument list and never a shell, a clean environment, no
//! terminal, and a deadline.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;

use super::spawn::{self, OnOurDeath};
use super::{Identity, Server};

/// Bytes of a program's output to return: the last ones, which contain the error.
const OUTPUT_LIMIT: u64 = 256 * 1024;

/// A program that writes more bytes than this is stopped: output is kept in memory, and a program may never stop.
const TOO_MUCH: u64 = 16 * 1024 * 1024;

/// Where a program finds the files that it inherits.
pub(super) const DESCRIPTORS: &str = "/proc/self/fd/";

/// A program to start.
#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<File>,
    files: Vec<File>,
    run_as: Option<Identity>,
    deadline: Duration,
    survives: bool,
}

/// How a program ended, and its output.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command, as a person would type it.
    pub command: String,
    /// Exit status; `None` if a signal killed it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How it ended, for a sentence that starts with its name.
    pub ended: String,
}

impl Command {
    /// A program by name, found in [`super::PATH`], or by absolute path.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            stdin: None,
            files: Vec::new(),
            run_as: None,
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

    /// Sets an environment variable; none is inherited.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets its standard input, which is empty otherwise.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn stdin(mut self, content: &[u8]) -> Result<Self> {
        self.stdin = Some(memory_of(content)?);
        Ok(self)
    }

    /// Adds the path of a file with this content as an argument. The file is in memory: it needs no directory, and
    /// none is left behind.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn file(mut self, content: &[u8]) -> Result<Self> {
        let file = memory_of(content)?;
        let path = format!("{DESCRIPTORS}{}", file.as_raw_fd());
        self.files.push(file);
        Ok(self.arg(path))
    }

    /// Runs it as another user; only root can.
    #[must_use]
    pub fn run_as(mut self, identity: Option<&Identity>) -> Self {
        self.run_as = identity.cloned();
        self
    }

    /// Lets it run to its end even if this process dies: for programs that leave locks or partial files behind when
    /// killed.
    #[must_use]
    pub fn survives(mut self) -> Self {
        self.survives = true;
        self
    }

    /// Sets the time limit, after which its whole process group is terminated.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it and returns its output, whatever its exit status.
    ///
    /// # Errors
    /// When it cannot be started, does not exit before its deadline, or writes too much.
    pub fn outcome(self) -> Result<Outcome> {
        let command = self.command_line();
        let name = self.program.display().to_string();
        let failed = || format!("failed to run {name}");
        let mut stdout = memory("stdout").with_context(failed)?;
        let mut stderr = memory("stderr").with_context(failed)?;

        let on_death = if self.survives {
            OnOurDeath::Survives
        } else {
            OnOurDeath::Signal(Signal::SIGKILL)
        };
        let mut child = spawn::command(&self.program, self.run_as.as_ref(), on_death);
        child
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(self.stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::from(stdout.try_clone().with_context(failed)?))
            .stderr(Stdio::from(stderr.try_clone().with_context(failed)?));
        spawn::inherit(&mut child, self.files);
        let mut child = child.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => anyhow!("{name} is not installed"),
            _ => anyhow!(error).context(failed()),
        })?;
        let too_much = || {
            [&stdout, &stderr]
                .iter()
                .any(|file| file.metadata().is_ok_and(|file| file.len() > TOO_MUCH))
        };
        let status = spawn::wait(&mut child, self.deadline, too_much).with_context(failed)?;
        let outcome =
            |stdout: &mut File, stderr: &mut File, status: &ExitStatus| -> Result<Outcome> {
                Ok(Outcome {
                    command: command.clone(),
                    code: status.code(),
                    stdout: tail(stdout)?,
                    stderr: tail(stderr)?,
                    ended: describe_exit(*status),
                })
            };
        match status {
            Some(status) => outcome(&mut stdout, &mut stderr, &status).with_context(failed),
            None if too_much() => bail!(
                "{command} wrote more than {} MiB and was stopped",
                TOO_MUCH >> 20
            ),
            None => bail!(
                "{command} did not end within {} s and was stopped: {}",
                self.deadline.as_secs(),
                last_lines(&tail(&mut stderr)?, 3)
            ),
        }
    }

    /// Runs it and copies its output to `out` and `err` as it arrives. It does not inherit our streams, which may be
    /// a terminal, and has no deadline.
    ///
    /// # Errors
    /// When it cannot be started.
    fn relay(self, out: impl Write + Send, err: impl Write) -> std::io::Result<ExitStatus> {
        let on_death = OnOurDeath::Signal(Signal::SIGTERM);
        let mut child = spawn::command(&self.program, self.run_as.as_ref(), on_death)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            scope.spawn(|| copy_output(stdout, out));
            copy_output(stderr, err);
        });
        child.wait()
    }

    /// Runs it and requires exit status 0.
    ///
    /// # Errors
    /// As [`Command::outcome`], and when its exit status is not 0; with the last lines of its output.
    pub fn run(self) -> Result<Outcome> {
        self.outcome()?.ok()
    }

    fn command_line(&self) -> String {
        let mut line = self
            .program
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        for argument in &self.arguments {
            line.push(' ');
            line.push_str(&argument.to_string_lossy());
        }
        line
    }
}

impl Server {
    /// Runs this program again, as another account or for another app, and relays its output. The file itself, wherever
    /// it lies: its directory need not be open to the account.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_self<T: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = T>,
        variable: Option<(&str, &str)>,
        run_as: Option<&Identity>,
        out: impl Write + Send,
        err: impl Write,
    ) -> std::io::Result<ExitStatus> {
        let mut command = Command::new("/proc/self/exe")
            .args(arguments)
            .run_as(run_as);
        if let Some((name, value)) = variable {
            command = command.env(name, value);
        }
        command.relay(out, err)
    }
}

/// Ends this process by the signal that ended a child, if one did: whoever waits for this process hears of it.
///
/// # Errors
/// When there is no such signal.
pub fn end_as(child: ExitStatus) -> Result<()> {
    if let Some(signal) = child.signal() {
        nix::sys::signal::raise(Signal::try_from(signal)?)?;
    }
    Ok(())
}

impl Outcome {
    /// Whether its exit status is 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Returns itself if its exit status is 0.
    ///
    /// # Errors
    /// Otherwise, with [`Outcome::failure`].
    pub fn ok(self) -> Result<Self> {
        if self.success() {
            return Ok(self);
        }
        Err(anyhow!("{}", self.failure()))
    }

    /// How it failed, with the last lines of its output.
    #[must_use]
    pub fn failure(&self) -> String {
        let output = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let lines = last_lines(output, 5);
        if lines.is_empty() {
            format!("{} {}", self.command, self.ended)
        } else {
            format!("{} {}: {lines}", self.command, self.ended)
        }
    }
}

/// Joins the last lines of a text in one line.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join(" / ")
}

/// How a process ended, for a sentence that starts with its name.
pub(super) fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!(
            "was killed by {}",
            Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.to_string())
        ),
        (None, None) => "exited".to_owned(),
    }
}

/// Copies all output as it arrives. If `to` fails, it discards the rest, so that the program is not blocked.
fn copy_output(from: Option<impl Read>, mut to: impl Write) {
    if let Some(mut from) = from
        && std::io::copy(&mut from, &mut to).is_err()
    {
        drop(std::io::copy(&mut from, &mut std::io::sink()));
    }
}

fn memory(name: &str) -> Result<File> {
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?))
}

fn memory_of(content: &[u8]) -> Result<File> {
    let mut file = memory("input")?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// Reads the last [`OUTPUT_LIMIT`] bytes of a file in memory.
fn tail(file: &mut File) -> Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_LIMIT)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
