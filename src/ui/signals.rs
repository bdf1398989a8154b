//! Ctrl-C, SIGTERM and SIGHUP set a flag; everything that waits looks at it.
//!
//! signal-hook installs its handlers with `SA_RESTART`, so a plain blocking `read`
//! would go on after the signal. `poll` is never restarted, and nothing here
//! blocks in anything else: our own reading polls in slices ([`wait_for_input`]),
//! and `console`, which reads the keys of choices, polls before it reads. The rest of
//! the program keeps the restart and need not expect EINTR.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::os::fd::AsFd as _;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// How long a signal may go unnoticed when it arrives between looking at the flag
/// and starting to wait: too short to feel, too long to cost anything.
const SLICE: Duration = Duration::from_millis(100);
const SLICE_MS: u8 = 100;

/// From now on SIGINT, SIGTERM and SIGHUP make [`interrupted`] true instead of
/// ending the process. Calling it again does nothing. A signal that was ignored
/// when the program started (`nohup`) stays ignored.
///
/// # Errors
/// When the system refuses a handler.
pub fn install_signal_handlers() -> io::Result<()> {
    if INSTALLED.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let ignored = ignored_signals();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if ignored & (1 << (signal - 1)) == 0 {
            flag::register(signal, &INTERRUPTED)?;
        }
    }
    Ok(())
}

/// Whether one of the signals has arrived since the start. It stays true: who
/// sees it finishes the current step, undoes nothing, and ends with 130.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Sleeps, and returns true at once when a signal comes (or came before).
#[must_use]
pub fn sleep(duration: Duration) -> bool {
    let start = Instant::now();
    loop {
        if interrupted() {
            return true;
        }
        let left = duration.saturating_sub(start.elapsed());
        if left.is_zero() {
            return false;
        }
        thread::sleep(left.min(SLICE));
    }
}

/// Returns when stdin has something to read (or was hung up), or with
/// `ErrorKind::Interrupted` after a signal.
pub(super) fn wait_for_input() -> io::Result<()> {
    let stdin = io::stdin();
    loop {
        if interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(SLICE_MS)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Runs `wait`, which blocks in `poll` without looking at our flag first. A
/// signal just before that `poll` would go unnoticed until the next key, so it is
/// repeated to this thread until `wait` returns.
pub(super) fn repeating_signals<T>(wait: impl FnOnce() -> T) -> T {
    let waiting = AtomicBool::new(true);
    let thread_waiting = pthread_self();
    thread::scope(|scope| {
        let repeater = scope.spawn(|| {
            while waiting.load(Ordering::SeqCst) {
                if interrupted() {
                    // Fails only for a thread that is gone; this one waits for us.
                    let _ = pthread_kill(thread_waiting, Signal::SIGTERM);
                }
                thread::park_timeout(SLICE);
            }
        });
        let _end = End(&waiting, repeater.thread().clone());
        wait()
    })
}

/// Ends the repeater also when `wait` panics: the scope joins it either way.
struct End<'a>(&'a AtomicBool, thread::Thread);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
        self.1.unpark();
    }
}

/// The mask of ignored signals, read from /proc because asking `sigaction` takes
/// unsafe code. Nothing readable means nothing ignored.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_ignored(&status).unwrap_or(0)
}

fn parse_ignored(status: &str) -> Option<u64> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_mask_of_ignored_signals() {
        // nohup: SIGHUP is 1, so bit 0.
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(parse_ignored(status), Some(0x1001));
        assert_eq!(parse_ignored("Name:\tx\n"), None);
    }

    #[test]
    fn sleeping_no_time_returns() {
        assert!(!sleep(Duration::ZERO));
    }

    #[test]
    fn the_repeater_ends_with_the_wait() {
        assert_eq!(repeating_signals(|| 7), 7);
    }
}
