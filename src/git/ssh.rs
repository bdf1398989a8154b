//! One conversation with a program on a git host, over the system's ssh.
//!
//! Why it looks the way it does (each of these was met, see the table of traps in the
//! project's notes):
//!
//! * Reading never blocks for longer than the idle limit, writing neither: `poll()` first,
//!   then at most 4096 bytes, which a pipe that reports room always takes.
//! * stderr is read in the same loop, without a thread. A multiplexing master keeps our
//!   stderr open for hours, so its end is never waited for: what ssh has said is in the
//!   pipe when ssh is gone.
//! * ssh has its own session (a `ProxyCommand` dies with it) and a parent-death signal, bound to
//!   the thread that started it: a [`Session`] must not outlive the thread that opened it.
//! * Every child is reaped, on every way out.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::launch::{Program, command};
use super::remote_error::plain;
use super::{Remote, RemoteError};
use crate::host::is_held;
use crate::host::spawn;

/// At most this much is written at once: `PIPE_BUF`, which fits whenever `POLLOUT` is set.
const PIECE: usize = 4096;
/// How much of stderr is kept: ssh's banner of a changed host key has about 1 kB.
const KEPT_WORDS: usize = 8 * 1024;
/// How often a silent pipe is checked for an ssh that has gone and left it open to others.
const LOOK: Duration = Duration::from_millis(500);

/// A running ssh. Dropping it ends it: politely, then not.
#[derive(Debug)]
pub(super) struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    words: Vec<u8>,
    idle: Duration,
    /// When the conversation must be over.
    until: Instant,
    whole: Duration,
    /// How many bytes may still come.
    left: u64,
    most: u64,
    way: Way,
    /// ssh is not reaped yet.
    running: bool,
    /// Its exit status once it is; `None` if a signal ended it.
    exit: Option<i32>,
}

/// Whether to give way to somebody, looked at every now and then.
#[derive(Debug)]
pub(super) struct Way {
    dir: Option<PathBuf>,
    next: Instant,
}

impl Way {
    pub(super) fn of(remote: &Remote) -> Self {
        Self {
            dir: remote.gives_way.clone(),
            next: Instant::now(),
        }
    }

    pub(super) fn is_wanted(&mut self) -> bool {
        let due = Instant::now() >= self.next;
        if due {
            self.next = Instant::now() + LOOK;
        }
        due && self.dir.as_deref().is_some_and(is_held)
    }
}

/// What is being waited for.
#[derive(Clone, Copy)]
enum Want {
    Bytes,
    Room,
}

impl Session {
    /// Starts ssh. It has not connected yet when this returns.
    ///
    /// # Errors
    /// [`RemoteError::Invalid`] for a remote that is refused, [`RemoteError::Ssh`] when ssh cannot
    /// be started, or not as the user that it should be.
    pub(super) fn open(remote: &Remote, program: Program) -> Result<Self, RemoteError> {
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
            child,
            words: Vec::new(),
            idle: remote.idle,
            until: Instant::now() + remote.whole,
            whole: remote.whole,
            left: remote.most,
            most: remote.most,
            way: Way::of(remote),
            running: true,
            exit: None,
        })
    }

    /// Reads what has come; 0 at the end.
    ///
    /// # Errors
    /// [`RemoteError::TimedOut`] after the idle limit, [`RemoteError::TooSlow`] after the limit for the whole,
    /// [`RemoteError::TooMuch`], [`RemoteError::GaveWay`]; ssh is gone then.
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

    /// Writes all of it.
    ///
    /// # Errors
    /// [`RemoteError::TimedOut`] when the remote takes nothing for the idle limit; ssh's own
    /// words when it has gone.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), RemoteError> {
        while !bytes.is_empty() {
            let there = self.wait(Want::Room, self.idle)?;
            let Some(stdin) = self.stdin.as_mut().filter(|_| there) else {
                return Err(self.failure());
            };
            let piece = &bytes[..bytes.len().min(PIECE)];
            match retry(|| stdin.write(piece)) {
                Ok(count) if count > 0 => bytes = &bytes[count..],
                _ => return Err(self.failure()),
            }
        }
        Ok(())
    }

    /// Why the answer ended before it was complete. Waits a moment for ssh to leave, since
    /// its exit status and last words tell whose fault it was: 255 is ssh's own, anything
    /// else is the program on the host.
    pub(super) fn failure(&mut self) -> RemoteError {
        let exit = self.close();
        let words = self.words();
        match exit {
            None | Some(255) => RemoteError::Ssh {
                stderr: words,
                exit,
            },
            Some(_) if !words.is_empty() => RemoteError::Refused { message: words },
            Some(0) => RemoteError::Protocol("the connection ended in the middle".into()),
            Some(code) => RemoteError::Refused {
                message: format!("it hung up without a word (exit status {code})"),
            },
        }
    }

    /// The last lines of what was said on stderr, fit for a terminal.
    pub(super) fn words(&self) -> String {
        plain(&self.words)
    }

    /// Says goodbye, waits a moment for ssh to leave, ends it if it does not, and reaps it.
    /// Its exit status; `None` if a signal ended it.
    pub(super) fn close(&mut self) -> Option<i32> {
        if !self.running {
            return self.exit;
        }
        self.stdin = None;
        let deadline = Instant::now() + spawn::TERM_GRACE;
        let mut waste = [0; PIECE];
        while !self.has_exited() && Instant::now() < deadline {
            // Somebody who still has much to say would otherwise never notice that we left.
            if self.look(Want::Bytes, Duration::from_millis(20)).0
                && let Some(stdout) = self.stdout.as_mut()
                && !matches!(retry(|| stdout.read(&mut waste)), Ok(1..))
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
        // An error means that nobody is left to be ended, which is what is wanted.
        drop(spawn::terminate_group(&mut self.child));
        self.reap()
    }

    fn reap(&mut self) -> Option<i32> {
        self.running = false;
        self.exit = self.child.wait().ok().and_then(|status| {
            // A shell in between (a wrapper) reports a signal as 128 + n; ssh itself does not.
            status.signal().map_or_else(|| status.code(), |_| None)
        });
        // ssh is gone, so all that it said is in the pipe already, and a pipe holds 64 kB.
        self.stdin = None;
        for _ in 0..16 {
            if !self.look(Want::Room, Duration::ZERO).1 {
                break;
            }
        }
        self.stdout = None;
        self.stderr = None;
        self.exit
    }

    /// Has ssh left? It stays unreaped.
    fn has_exited(&self) -> bool {
        !self.running || spawn::has_exited(&self.child)
    }

    /// Waits for bytes or for room. `false`: there will be none, ssh has gone.
    fn wait(&mut self, want: Want, limit: Duration) -> Result<bool, RemoteError> {
        if !self.running {
            return Ok(false);
        }
        let deadline = (Instant::now() + limit).min(self.until);
        loop {
            let gone = self.has_exited();
            let left = deadline.saturating_duration_since(Instant::now());
            let (ready, said) = self.look(want, left.min(LOOK));
            if self.way.is_wanted() {
                self.kill();
                return Err(RemoteError::GaveWay);
            }
            if ready && Instant::now() < self.until {
                return Ok(true);
            }
            if gone && !said {
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

    /// One look at the pipes, taking in what stands on stderr. (what is wanted is there,
    /// something was said). A word on stderr is no sign of life: whoever holds it may
    /// chatter for ever.
    fn look(&mut self, want: Want, limit: Duration) -> (bool, bool) {
        let mut fds = Vec::with_capacity(2);
        if let Some(stderr) = &self.stderr {
            fds.push(PollFd::new(stderr.as_fd(), PollFlags::POLLIN));
        }
        let watched = fds.len();
        match (want, &self.stdout, &self.stdin) {
            (Want::Bytes, Some(pipe), _) => fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
            (Want::Room, _, Some(pipe)) => fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)),
            _ => {}
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
        let spoken = watched == 1 && happened(fds.first());
        (ready, spoken && self.hear())
    }

    /// Takes in one piece of stderr; `false` at its end.
    fn hear(&mut self) -> bool {
        let mut piece = [0; PIECE];
        let Some(stderr) = self.stderr.as_mut() else {
            return false;
        };
        let Ok(count @ 1..) = retry(|| stderr.read(&mut piece)) else {
            self.stderr = None;
            return false;
        };
        self.words.extend_from_slice(&piece[..count]);
        let over = self.words.len().saturating_sub(KEPT_WORDS);
        self.words.drain(..over);
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
