//! Runs the deploy script with a deadline, writes its output to a log of bounded size, and kills every process that
//! it leaves.
//!
//! Background children, and children in a session of their own, become children of this process when their parents
//! exit (PR_SET_CHILD_SUBREAPER, prctl(2)), so this process can find and kill all of them.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::Server;
use super::command::describe_exit;
use super::spawn::{self, OnOurDeath, terminate_group};

/// Bytes of output that go to the log at once; of the rest, the log gets only the last [`TAIL`] bytes.
const HEAD: u64 = 4 * 1024 * 1024;
const TAIL: usize = 64 * 1024;

/// A script to run for an app.
#[derive(Debug, Clone)]
pub struct ScriptRunner {
    /// The script.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Working directory.
    pub directory: PathBuf,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Time limit.
    pub deadline: Duration,
}

/// The log of a deployment, open for writing.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Adds a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, text: &str) -> Result<()> {
        Ok(writeln!(self.0, "{text}")?)
    }
}

/// How a script ended.
#[derive(Debug)]
pub struct ScriptOutcome {
    /// Whether it exited with 0 in time, and its log could be written.
    pub success: bool,
    /// Whether it was stopped at the deadline.
    pub timed_out: bool,
    /// Whether somebody, or the kernel, killed it.
    pub killed: bool,
    /// How it ended, for a sentence that starts with its name.
    pub ended: String,
    /// The end of its output, at most 64 KiB.
    pub output: String,
}

impl ScriptRunner {
    /// Sets an environment variable.
    pub fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
    }

    /// Runs it and writes its output to `log`.
    ///
    /// # Errors
    /// When it cannot be started or its output cannot be read.
    pub fn run(self, server: &Server, log: &mut Log) -> Result<ScriptOutcome> {
        let failed = || format!("failed to run {}", self.program.display());
        nix::sys::prctl::set_child_subreaper(true).with_context(failed)?;
        let (mut output, theirs) = std::io::pipe().with_context(failed)?;
        let program = server.program(&self.program);
        let (program, interpreted) = through_interpreter(&program).with_context(failed)?;
        let mut command = spawn::command(&program, None, OnOurDeath::Signal(Signal::SIGKILL));
        command
            .args(interpreted)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .current_dir(server.real(&self.directory))
            .stdin(Stdio::null())
            .stdout(theirs.try_clone().with_context(failed)?)
            .stderr(theirs);
        let mut child = command.spawn().with_context(failed)?;
        let flags = OFlag::from_bits_truncate(fcntl(output.as_fd(), FcntlArg::F_GETFL)?);
        fcntl(output.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;

        let until = Instant::now() + self.deadline;
        let end = spawn::End::of(&child);
        let mut captured = BoundedLog::new(&mut log.0);
        let mut status = None;
        let result = (|| -> Result<()> {
            let mut open = true;
            while status.is_none() && Instant::now() < until {
                if open {
                    let mut ready = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
                    poll(&mut ready, PollTimeout::from(20_u8))?;
                    open = captured.drain(&mut output)?;
                } else {
                    end.wait(until.saturating_duration_since(Instant::now()));
                }
                status = child.try_wait()?;
            }
            captured.drain(&mut output).map(drop)
        })();
        if status.is_none() {
            terminate_group(&mut child)?;
        }
        server.kill_descendants();
        result.with_context(failed)?;
        captured.drain(&mut output)?;
        let (output, log_error) = captured.finish();
        let mut how = status.map_or_else(
            || {
                format!(
                    "did not end within {} s and was stopped",
                    self.deadline.as_secs()
                )
            },
            describe_exit,
        );
        if let Some(error) = &log_error {
            how.push_str(&format!(", and its output could not be logged: {error}"));
        }
        Ok(ScriptOutcome {
            // If the log cannot be written, neither can the release.
            success: status.is_some_and(|status| status.success()) && log_error.is_none(),
            timed_out: status.is_none(),
            killed: status.is_some_and(|status| status.signal().is_some()),
            ended: how,
            output,
        })
    }
}

/// What to start for a program, and its first arguments: a script's interpreter (execve(2)), which also runs a script
/// on a file system mounted noexec.
fn through_interpreter(program: &Path) -> Result<(PathBuf, Vec<OsString>)> {
    let mut head = Vec::new();
    File::open(program)?.take(256).read_to_end(&mut head)?;
    let line = head
        .strip_prefix(b"#!")
        .and_then(|rest| rest.split(|&byte| byte == b'\n').next());
    let Some(line) = line else {
        return Ok((program.to_owned(), Vec::new()));
    };
    if line.ends_with(b"\r") {
        bail!("it has Windows line ends (CRLF), with which no shell runs it");
    }
    let mut words = line.trim_ascii().splitn(2, u8::is_ascii_whitespace);
    let interpreter = OsStr::from_bytes(words.next().unwrap_or_default());
    let argument = words
        .next()
        .map(|rest| OsStr::from_bytes(rest.trim_ascii()));
    let arguments = argument.into_iter().chain([program.as_os_str()]);
    Ok((interpreter.into(), arguments.map(OsStr::to_owned).collect()))
}

/// Writes output to a log of bounded size. If the log cannot be written (the script may have filled the disk), it
/// still keeps the end for the report.
struct BoundedLog<'a> {
    log: &'a mut File,
    error: Option<std::io::Error>,
    written: u64,
    seen: u64,
    tail: VecDeque<u8>,
}

impl<'a> BoundedLog<'a> {
    fn new(log: &'a mut File) -> Self {
        Self {
            log,
            error: None,
            written: 0,
            seen: 0,
            tail: VecDeque::with_capacity(TAIL),
        }
    }

    /// Reads what is available; `false` when the other end is closed.
    fn drain(&mut self, output: &mut impl Read) -> Result<bool> {
        let mut piece = [0; 16 * 1024];
        // Limited, so that endless output does not delay the check of the deadline.
        for _ in 0..256 {
            match output.read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(count) => self.take(&piece[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn take(&mut self, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        let room = usize::try_from(HEAD.saturating_sub(self.written))
            .unwrap_or(0)
            .min(bytes.len());
        if room > 0 {
            self.write(&bytes[..room]);
            self.written += room as u64;
        }
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.error = self.log.write_all(bytes).err();
        }
    }

    /// Finishes the log; returns the end of the output, and the error if the log could not be written.
    fn finish(mut self) -> (String, Option<std::io::Error>) {
        let left_out = self.seen - self.written;
        let tail: Vec<u8> = std::mem::take(&mut self.tail).into();
        if left_out > 0 {
            let shown = tail
                .len()
                .min(usize::try_from(left_out).unwrap_or(usize::MAX));
            let gap = format!("\n[… {} bytes left out …]\n", left_out - shown as u64);
            self.write(gap.as_bytes());
            self.write(&tail[tail.len() - shown..]);
        }
        (String::from_utf8_lossy(&tail).into_owned(), self.error)
    }
}

impl Server {
    /// Creates a log that must not exist yet.
    ///
    /// # Errors
    /// When it exists or cannot be created.
    pub fn create_log(&self, path: &Path) -> Result<Log> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(self.changing(path))
            .with_context(|| format!("failed to create the log {}", path.display()))?;
        Ok(Log(file))
    }

    /// Kills the processes that a script left in this release after its poll was killed. They are no longer descendants
    /// of a poll, but each has the release in its environment.
    pub fn end_leftovers(&self, release: &Path) {
        let mut mark = OsString::from("PULLPRAY_RELEASE=");
        mark.push(release);
        let belongs = |pid: i32| {
            // The environment of other accounts' processes is not readable.
            let path = format!("/proc/{pid}/environ");
            let environment = self.read(Path::new(&path)).ok().flatten();
            environment.is_some_and(|environment| {
                let mut variables = environment.split(|&byte| byte == 0);
                variables.any(|variable| variable == mark.as_bytes())
            })
        };
        for _ in 0..200 {
            let mut found = self.processes();
            found.retain(|pid| belongs(*pid) && kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok());
            if found.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills and reaps every descendant of this process.
    fn kill_descendants(&self) {
        for _ in 0..200 {
            let found = self.descendants(std::process::id());
            if found.is_empty() {
                return;
            }
            for pid in found {
                // It may have exited by itself.
                let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            loop {
                match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(status) if status.pid().is_some() => {}
                    Err(Errno::EINTR) => {}
                    _ => break,
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The ids of all processes.
    fn processes(&self) -> Vec<i32> {
        let names = self.list(Path::new("/proc")).unwrap_or_default();
        let pids = names.iter().filter_map(|name| name.to_str()?.parse().ok());
        pids.collect()
    }

    fn descendants(&self, of: u32) -> Vec<i32> {
        // The name in parentheses may contain anything, so fields are counted from its end (proc_pid_stat(5)).
        let parent = |pid: i32| -> Option<i32> {
            let stat = self.read(Path::new(&format!("/proc/{pid}/stat"))).ok()??;
            let stat = String::from_utf8_lossy(&stat);
            let (_, rest) = stat.rsplit_once(')')?;
            rest.split_whitespace().nth(1)?.parse().ok()
        };
        let parents: Vec<(i32, i32)> = self
            .processes()
            .into_iter()
            .filter_map(|pid| Some((pid, parent(pid)?)))
            .collect();
        let mut found: Vec<i32> = Vec::new();
        let mut edge = vec![i32::try_from(of).unwrap_or(0)];
        while let Some(parent) = edge.pop() {
            for (pid, its_parent) in &parents {
                if *its_parent == parent && !found.contains(pid) {
                    found.push(*pid);
                    edge.push(*pid);
                }
            }
        }
        found
    }
}
