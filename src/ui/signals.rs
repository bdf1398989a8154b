//! Ctrl-C, SIGTERM and SIGHUP set a flag; everything that waits checks it.
//!
//! signal-hook installs its handlers with `SA_RESTART`, so a plain blocking `read`
//! would continue after the signal. `poll` is never restarted, and nothing here blocks in
//! another call: [`wait_for_input`] polls in slices, and `console`, which reads the keys
//! of choices, polls before it reads. The rest of the program keeps the restart and need
//! not handle EINTR.

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

/// The maximum delay for a signal that arrives between the check of the flag and the wait:
/// not noticeable, and rare enough to cost nothing.
const SLICE: Duration = Duration::from_millis(100);
const SLICE_MS: u8 = 100;

/// Makes SIGINT, SIGTERM and SIGHUP set [`interrupted`] instead of ending the process.
/// Further calls do nothing. A signal that was ignored at the start (`nohup`) stays
/// ignored.
///
/// # Errors
/// When a handler cannot be registered.
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

/// Whether one of the signals has arrived. It stays true: callers finish the current step,
/// undo nothing, and exit with 130.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Sleeps; returns true as soon as a signal arrives (or if one arrived before).
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

/// Waits until stdin is readable (or hung up).
///
/// # Errors
/// `ErrorKind::Interrupted` after a signal; any error of `poll`.
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

/// Runs `wait`, which blocks in `poll` without checking the flag first. A signal just
/// before that `poll` would go unnoticed until the next key, so another thread repeats it
/// to this one until `wait` returns.
pub(super) fn repeating_signals<T>(wait: impl FnOnce() -> T) -> T {
    let waiting = AtomicBool::new(true);
    let thread_waiting = pthread_self();
    thread::scope(|scope| {
        let repeater = scope.spawn(|| {
            while waiting.load(Ordering::SeqCst) {
                if interrupted() {
                    // Fails only if the thread has ended; this one waits for the scope.
                    let _ = pthread_kill(thread_waiting, Signal::SIGTERM);
                }
                thread::park_timeout(SLICE);
            }
        });
        let _stop = StopOnDrop(&waiting, repeater.thread().clone());
        wait()
    })
}

/// Stops the repeater, also when `wait` panics: the scope joins it either way.
struct StopOnDrop<'a>(&'a AtomicBool, thread::Thread);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
        self.1.unpark();
    }
}

/// The mask of ignored signals, from /proc because `sigaction` needs unsafe code. If it
/// cannot be read, no signal counts as ignored.
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
    fn a_sleep_of_zero_returns() {
        assert!(!sleep(Duration::ZERO));
    }

    #[test]
    fn the_repeater_stops_after_the_wait() {
        assert_eq!(repeating_signals(|| 7), 7);
    }
}
