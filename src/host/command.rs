//! Running programs to their end: an argument list and never a shell, a clean environment, no terminal, a
//! deadline, and what they said.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;

use super::Identity;
use super::spawn::{self, OnOurDeath};

/// What is kept of what a program said; the end, since that is where the reason stands.
const KEPT: u64 = 256 * 1024;

/// Who says more than this is stopped: it is kept in memory, and a host or a program may never end.
const TOO_MUCH: u64 = 16 * 1024 * 1024;

/// A program to start.
#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    run_as: Option<Identity>,
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
    /// A program by name, looked for in [`super::PATH`], or by absolute path.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
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

        let on_death = if self.survives {
            OnOurDeath::GoesOn
        } else {
            OnOurDeath::Signal(Signal::SIGKILL)
        };
        let mut child = spawn::command(&self.program, self.run_as.as_ref(), on_death);
        child
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::from(stdout.try_clone().with_context(failed)?))
            .stderr(Stdio::from(stderr.try_clone().with_context(failed)?));
        let mut child = child.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => anyhow!("{name} is not installed"),
            _ => anyhow!(error).context(failed()),
        })?;
        let too_much = || {
            [&stdout, &stderr]
                .iter()
                .any(|said| said.metadata().is_ok_and(|said| said.len() > TOO_MUCH))
        };
        let status = spawn::wait(&mut child, self.deadline, too_much).with_context(failed)?;
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
            None if too_much() => bail!(
                "{command} said more than {} MiB and was stopped",
                TOO_MUCH >> 20
            ),
            None => bail!(
                "{command} did not end within {} s and was stopped: {}",
                self.deadline.as_secs(),
                last_lines(&tail(&mut stderr)?, 3)
            ),
        }
    }

    /// Runs it to its end and passes on what it says as it says it, to `out` and `err`, without giving it our
    /// streams, which may be a terminal; it has its own deadlines. Gives how it ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn relay(self, out: impl Write + Send, err: impl Write) -> std::io::Result<ExitStatus> {
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
            scope.spawn(|| pass_on(stdout, out));
            pass_on(stderr, err);
        });
        child.wait()
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

/// All that comes, as it comes. Whoever speaks is not stopped by nobody listening any more.
fn pass_on(from: Option<impl Read>, mut to: impl Write) {
    if let Some(mut from) = from
        && std::io::copy(&mut from, &mut to).is_err()
    {
        drop(std::io::copy(&mut from, &mut std::io::sink()));
    }
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
    use std::time::Instant;

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
        Ok(())
    }

    #[test]
    fn a_child_has_a_session_of_its_own_and_no_terminal() -> Result<()> {
        let said = Command::new("sh")
            .args(["-c", "cut -d' ' -f1,6,7 /proc/$$/stat; ls -l /proc/$$/fd"])
            .run()?;
        let first = said.stdout.lines().next().unwrap_or_default();
        let [pid, session, terminal] = first.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{first}");
        };
        assert_eq!((session, terminal), (pid, "0"));
        // The one more is ls reading the directory.
        assert_eq!(said.stdout.matches(" -> ").count(), 3, "{}", said.stdout);
        assert_eq!(said.stdout.matches(" -> /memfd:").count(), 2);
        assert_eq!(said.stdout.matches(" -> /dev/null").count(), 1);
        Ok(())
    }

    #[test]
    fn who_never_stops_talking_is_stopped() {
        let error = Command::new("yes").run().err();
        assert!(error.is_some_and(|e| e.to_string().contains("said more than 16 MiB")));
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
