//! A session with a program on a git host, over the system's ssh.
//!
//! Rules, each of which avoids a problem that occurred:
//!
//! * Reading and writing never block for longer than the idle limit: `poll()` first, then at most 4096 bytes, which a
//!   writable pipe always accepts.
//! * The same loop reads stderr, without a thread. A multiplexing master keeps our stderr open for hours, so nothing
//!   waits for its end: once ssh has exited, all its output is in the pipe.
//! * ssh has its own session (a `ProxyCommand` dies with it) and a parent-death signal, bound to the thread that
//!   started it: a [`Session`] must not outlive the thread that opened it.
//! * Every child is reaped, on every exit path.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::launch::{Program, command};
use super::remote_error::{sanitize, without_public_key_warnings};
use super::{RemoteError, SshRemote};
use crate::host::is_held;
use crate::host::spawn;

/// Most bytes for one write: `PIPE_BUF`, which fits whenever `POLLOUT` is set.
const CHUNK: usize = 4096;
/// Bytes of stderr to keep: ssh's banner for a changed host key takes about 1 kB.
const STDERR_LIMIT: usize = 8 * 1024;
/// How often to check whether ssh has exited while others keep its pipe open.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// A running ssh. Dropping it closes the session and, if ssh does not exit, terminates it.
#[derive(Debug)]
pub(super) struct Session {
    child: Child,
    end: spawn::End,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    stderr_tail: Vec<u8>,
    idle: Duration,
    /// When the session must be finished.
    until: Instant,
    whole: Duration,
    /// Bytes that may still be received.
    left: u64,
    most: u64,
    preemption: Preemption,
    /// Whether ssh is not reaped yet.
    running: bool,
    /// Exit status once reaped; `None` if a signal killed it.
    exit: Option<i32>,
}

/// Checks at intervals whether another process waits for the lock ([`SshRemote::preempted_by`]).
#[derive(Debug)]
pub(super) struct Preemption {
    dir: Option<PathBuf>,
    next: Instant,
}

impl Preemption {
    pub(super) fn new(remote: &SshRemote) -> Self {
        Self {
            dir: remote.preempted_by.clone(),
            next: Instant::now(),
        }
    }

    pub(super) fn is_wanted(&mut self) -> bool {
        let due = Instant::now() >= self.next;
        if due {
            self.next = Instant::now() + CHECK_INTERVAL;
        }
        due && self.dir.as_deref().is_some_and(is_held)
    }
}

/// What to wait for.
#[derive(Clone, Copy)]
enum Want {
    /// Data to read.
    Bytes,
    /// Space to write.
    Room,
}

impl Session {
    /// Starts ssh. When this returns, it has not connected yet.
    ///
    /// # Errors
    /// [`RemoteError::Invalid`] if the remote is invalid or this process cannot change the user,
    /// [`RemoteError::Ssh`] if ssh cannot be started.
    pub(super) fn open(remote: &SshRemote, program: Program) -> Result<Self, RemoteError> {
        remote.check()?;
        let mut command = command(remote, program)?;
        let mut child = command.spawn().map_err(|error| RemoteError::Ssh {
            stderr: format!("cannot run {}: {error}", remote.ssh.display()),
            exit: None,
        })?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            end: spawn::End::of(&child),
            child,
            stderr_tail: Vec::new(),
            idle: remote.idle,
            until: Instant::now() + remote.whole,
            whole: remote.whole,
            left: remote.most,
            most: remote.most,
            preemption: Preemption::new(remote),
            running: true,
            exit: None,
        })
    }

    /// Reads available data; 0 at the end.
    ///
    /// # Errors
    /// [`RemoteError::TimedOut`] after the idle limit, [`RemoteError::TooSlow`] after the limit for the session,
    /// [`RemoteError::TooMuch`], [`RemoteError::Preempted`]; ssh has been terminated then.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RemoteError> {
        if !self.wait(Want::Bytes, self.idle)? {
            return Ok(0);
        }
        let Some(stdout) = self.stdout.as_mut() else {
            return Ok(0);
        };
        match retry(|| stdout.read(buffer)) {
            Ok(count) if count as u64 > self.left => {
                self.kill();
                Err(RemoteError::TooMuch { most: self.most })
            }
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) => Err(RemoteError::Protocol(format!("reading from ssh: {error}"))),
        }
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// [`RemoteError::TimedOut`] if the remote accepts nothing within the idle limit; [`Session::failure`] if ssh has
    /// exited.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), RemoteError> {
        while !bytes.is_empty() {
            let writable = self.wait(Want::Room, self.idle)?;
            let Some(stdin) = self.stdin.as_mut().filter(|_| writable) else {
                return Err(self.failure());
            };
            let chunk = &bytes[..bytes.len().min(CHUNK)];
            match retry(|| stdin.write(chunk)) {
                Ok(count) if count > 0 => bytes = &bytes[count..],
                _ => return Err(self.failure()),
            }
        }
        Ok(())
    }

    /// Closes the session and returns why the response is incomplete. Waits briefly for ssh's exit status and last
    /// lines: 255 means that ssh failed, anything else that the program on the host did.
    pub(super) fn failure(&mut self) -> RemoteError {
        let exit = self.close();
        let message = self.stderr_text();
        match exit {
            None | Some(255) => RemoteError::Ssh {
                stderr: message,
                exit,
            },
            Some(_) if !message.is_empty() => RemoteError::Refused { message },
            Some(0) => {
                RemoteError::Protocol("the connection closed before the end of the response".into())
            }
            Some(code) => RemoteError::Refused {
                message: format!("it closed the connection without a message (exit status {code})"),
            },
        }
    }

    /// The last lines of stderr, without control characters.
    pub(super) fn stderr_text(&self) -> String {
        without_public_key_warnings(&sanitize(&self.stderr_tail))
    }

    /// Closes stdin, waits briefly for ssh to exit, otherwise terminates it, and reaps it. Returns its exit status;
    /// `None` if a signal killed it.
    pub(super) fn close(&mut self) -> Option<i32> {
        if !self.running {
            return self.exit;
        }
        self.stdin = None;
        let deadline = Instant::now() + spawn::TERM_GRACE;
        let mut discarded = [0; CHUNK];
        while !self.has_exited() && Instant::now() < deadline {
            // A remote that still sends data would otherwise not notice that we closed the session.
            if self.poll_once(Want::Bytes, Duration::from_millis(20)).0
                && let Some(stdout) = self.stdout.as_mut()
                && !matches!(retry(|| stdout.read(&mut discarded)), Ok(1..))
            {
                self.stdout = None;
            }
        }
        if self.has_exited() {
            self.reap()
        } else {
            self.kill()
        }
    }

    fn kill(&mut self) -> Option<i32> {
        // An error means that no process is left.
        drop(spawn::terminate_group(&mut self.child));
        self.reap()
    }

    fn reap(&mut self) -> Option<i32> {
        self.running = false;
        self.exit = self.child.wait().ok().and_then(|status| {
            // A wrapper's shell reports a signal as 128 + n; ssh itself does not.
            status.signal().map_or_else(|| status.code(), |_| None)
        });
        // ssh has exited, so all its output is in the pipe, which holds at most 64 kB.
        self.stdin = None;
        for _ in 0..16 {
            if !self.poll_once(Want::Room, Duration::ZERO).1 {
                break;
            }
        }
        self.stdout = None;
        self.stderr = None;
        self.exit
    }

    /// Whether ssh has exited; does not reap it.
    fn has_exited(&self) -> bool {
        !self.running || spawn::has_exited(&self.child)
    }

    /// Waits for data or space. `false` means that ssh has exited and there will be none.
    fn wait(&mut self, want: Want, limit: Duration) -> Result<bool, RemoteError> {
        if !self.running {
            return Ok(false);
        }
        let deadline = (Instant::now() + limit).min(self.until);
        loop {
            let exited = self.has_exited();
            let left = deadline.saturating_duration_since(Instant::now());
            let (ready, got_stderr) = self.poll_once(want, left.min(CHECK_INTERVAL));
            if self.preemption.is_wanted() {
                self.kill();
                return Err(RemoteError::Preempted);
            }
            if ready && Instant::now() < self.until {
                return Ok(true);
            }
            if exited && !got_stderr {
                return Ok(false);
            }
            if Instant::now() >= deadline {
                self.kill();
                return Err(if Instant::now() >= self.until {
                    RemoteError::TooSlow { whole: self.whole }
                } else {
                    RemoteError::TimedOut { idle: limit }
                });
            }
        }
    }

    /// Polls the pipes once and reads available stderr. Returns whether the wanted pipe is ready, and whether stderr
    /// had data. Data on stderr does not reset the idle limit: a background process may write to it for ever.
    fn poll_once(&mut self, want: Want, limit: Duration) -> (bool, bool) {
        let mut fds = Vec::with_capacity(3);
        if let Some(stderr) = &self.stderr {
            fds.push(PollFd::new(stderr.as_fd(), PollFlags::POLLIN));
        }
        let watched = fds.len();
        match (want, &self.stdout, &self.stdin) {
            (Want::Bytes, Some(pipe), _) => fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
            (Want::Room, _, Some(pipe)) => fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)),
            _ => {}
        }
        if fds.len() == watched {
            // Nothing is wanted but its end.
            fds.extend(self.end.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        let millis = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        if !matches!(poll(&mut fds, millis), Ok(1..)) {
            return (false, false);
        }
        let happened = |fd: Option<&PollFd<'_>>| {
            fd.and_then(PollFd::revents)
                .is_some_and(|events| !events.is_empty())
        };
        let ready = happened(fds.get(watched));
        let has_stderr = watched == 1 && happened(fds.first());
        (ready, has_stderr && self.read_stderr())
    }

    /// Reads one chunk of stderr; `false` at its end.
    fn read_stderr(&mut self) -> bool {
        let mut chunk = [0; CHUNK];
        let Some(stderr) = self.stderr.as_mut() else {
            return false;
        };
        let Ok(count @ 1..) = retry(|| stderr.read(&mut chunk)) else {
            self.stderr = None;
            return false;
        };
        self.stderr_tail.extend_from_slice(&chunk[..count]);
        let excess = self.stderr_tail.len().saturating_sub(STDERR_LIMIT);
        self.stderr_tail.drain(..excess);
        true
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

fn retry<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
