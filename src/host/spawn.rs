//! Starts and terminates child processes; no other module starts a program.
//!
//! Every child, and above all one that becomes another account:
//!
//! * runs in its own session. A child with the caller's controlling terminal allows privilege escalation: another
//!   process of its account traces it, opens `/dev/tty` and types into root's shell (`TIOCSTI`, ioctl_tty(2)),
//!   or reads what root types. After setsid(2) `/dev/tty` cannot be opened. No descriptor is inherited: the three
//!   standard ones are always set, all others are closed, including those that a shell left open, except the files
//!   that [`inherit`] gets.
//! * drops privileges in the order groups, group, user, and verifies that it cannot regain root, before it executes
//!   anything of that account.
//! * dies with its parent, unless it should survive (`PR_SET_PDEATHSIG`, set after the change of identity, which
//!   clears it; getppid(2) shows whether the parent died before that).
//! * inherits nothing of our environment.
//! * is terminated with its whole process group, whose id is that of its session: TERM, [`TERM_GRACE`], KILL.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid, setsid};
use rustix::process::{PidfdFlags, pidfd_open};

use super::{Identity, PATH, effective_uid};

/// Time between TERM and KILL for a process group.
pub const TERM_GRACE: Duration = Duration::from_secs(2);

/// Time between two looks whether a wait was cancelled.
const CANCELLATION: Duration = Duration::from_millis(50);

/// What happens to a child when this process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOurDeath {
    /// It gets this signal. The signal is bound to the *thread* that starts the child: the thread must live as
    /// long (prctl(2)).
    Signal(Signal),
    /// It survives: for programs that leave locks or partial files behind when killed.
    Survives,
}

/// Prepares a program to be started. The caller adds arguments and variables, and must set all three standard
/// streams. Only root can run it as another account.
pub fn command(program: &Path, run_as: Option<&Identity>, on_death: OnOurDeath) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/");
    let becomes = run_as
        .filter(|identity| identity.uid != effective_uid())
        .cloned();
    if let Some(identity) = run_as {
        command
            .env("HOME", &identity.home)
            .env("USER", &identity.name)
            .env("LOGNAME", &identity.name);
    }
    let parent = getpid();
    // SAFETY: between fork and exec the closure makes only async-signal-safe calls: plain system calls on memory
    // prepared before the fork. It allocates nothing and takes no lock.
    #[expect(unsafe_code, reason = "the only way to act between fork and exec")]
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            close_descriptors_on_exec();
            if let Some(identity) = &becomes {
                become_account(identity)?;
            }
            if let OnOurDeath::Signal(signal) = on_death {
                set_pdeathsig(signal)?;
                if getppid() != parent {
                    return Err(Errno::ESRCH.into());
                }
            }
            Ok(())
        });
    }
    command
}

/// Marks every descriptor except the three standard ones close-on-exec: with close_range(2) (`CLOSE_RANGE_CLOEXEC`,
/// Linux 5.11), or one by one.
#[expect(unsafe_code, reason = "system calls that allocate nothing")]
fn close_descriptors_on_exec() {
    use nix::libc;
    // SAFETY: plain numbers; a call for a descriptor that is not open fails without effect.
    unsafe {
        let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
        if libc::close_range(3, libc::c_uint::MAX, flags) != 0 {
            for descriptor in 3..65_536 {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// Keeps these files open in the child, under the same descriptors.
pub fn inherit(command: &mut Command, files: Vec<File>) {
    // SAFETY: as in `command`: fcntl(2) on descriptors that the closure owns.
    #[expect(unsafe_code, reason = "the only way to act between fork and exec")]
    unsafe {
        command.pre_exec(move || {
            for file in &files {
                fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
}

/// Changes this process, between fork and exec, to that account irrevocably (setgroups(2), setresgid(2),
/// setresuid(2)).
///
/// # Errors
/// EPERM if the process could regain root.
#[expect(unsafe_code, reason = "system calls that allocate nothing")]
fn become_account(identity: &Identity) -> std::io::Result<()> {
    use nix::libc;
    let (uid, gid) = (identity.uid, identity.gid);
    // SAFETY: pointer and length come from a live vector; the other calls take plain numbers.
    let changed = unsafe {
        libc::setgroups(identity.groups.len(), identity.groups.as_ptr()) == 0
            && libc::setresgid(gid, gid, gid) == 0
            && libc::setresuid(uid, uid, uid) == 0
    };
    if !changed {
        return Err(std::io::Error::last_os_error());
    }
    // Verify: a kernel or sandbox that ignored one of the calls would leave us root.
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: pointers to three live numbers, and plain numbers.
    let still_root = unsafe {
        libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) != 0
            || [real, effective, saved] != [uid; 3]
            || (uid != 0 && libc::setuid(0) == 0)
            || (gid != 0 && libc::setgid(0) == 0)
    };
    if still_root {
        return Err(Errno::EPERM.into());
    }
    Ok(())
}

/// A child's end, without reaping it (pidfd_open(2)).
#[derive(Debug)]
pub struct End(Option<OwnedFd>);

impl End {
    /// That of this child.
    pub fn of(child: &Child) -> Self {
        let child = rustix::process::Pid::from_child(child);
        Self(pidfd_open(child, PidfdFlags::empty()).ok())
    }

    /// To be polled for `POLLIN`; `None` where the system refuses it.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }

    /// Waits for it, at most that long.
    pub fn wait(&self, most: Duration) {
        let Some(fd) = self.fd() else {
            return std::thread::sleep(most.min(Duration::from_millis(2)));
        };
        let millis = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        // An error, such as a signal, only ends it early.
        let _ = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], millis);
    }
}

/// Waits for a child to exit. At the deadline, or when `cancelled` returns true, terminates its process group and
/// returns `None`.
pub fn wait(
    child: &mut Child,
    deadline: Duration,
    cancelled: impl Fn() -> bool,
) -> std::io::Result<Option<ExitStatus>> {
    let until = Instant::now() + deadline;
    let end = End::of(child);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let now = Instant::now();
        if now >= until || cancelled() {
            terminate_group(child)?;
            return Ok(None);
        }
        end.wait(CANCELLATION.min(until - now));
    }
}

/// Terminates a child's process group and reaps the child: TERM, [`TERM_GRACE`], KILL. The child is reaped last:
/// until then its pid, which is the group's id, cannot be reused.
pub fn terminate_group(child: &mut Child) -> std::io::Result<ExitStatus> {
    let group = Pid::from_raw(child.id().cast_signed());
    let signal = |signal| match killpg(group, signal) {
        // EPERM: the group contains only processes of other accounts, such as those that sudo started.
        Ok(()) | Err(Errno::ESRCH | Errno::EPERM) => Ok(()),
        Err(error) => Err(std::io::Error::from(error)),
    };
    signal(Signal::SIGTERM)?;
    let until = Instant::now() + TERM_GRACE;
    let end = End::of(child);
    while !has_exited(child) && Instant::now() < until {
        end.wait(until.saturating_duration_since(Instant::now()));
    }
    signal(Signal::SIGKILL)?;
    child.wait()
}

/// Whether a child has exited; does not reap it.
pub fn has_exited(child: &Child) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // An error means that the child no longer exists.
    !matches!(
        waitid(Id::Pid(Pid::from_raw(child.id().cast_signed())), flags),
        Ok(WaitStatus::StillAlive)
    )
}
