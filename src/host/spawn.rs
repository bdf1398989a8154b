//! How a child process begins and ends: the one place where a program is started.
//!
//! Every child, and above all one that becomes another account:
//!
//! * has a session of its own. A child with the caller's controlling terminal is a way to root: another
//!   process of its account traces it, opens `/dev/tty` and types into root's shell (`TIOCSTI`, ioctl_tty(2)),
//!   or reads what root types. With setsid(2) `/dev/tty` opens for nobody, and no descriptor is handed down:
//!   the three standard ones are always set, and all others are closed, also those that a shell left us.
//! * becomes its account in the order in which each step still has the right to the next (groups, group,
//!   user), and proves that root cannot be had back, before anything of that account is executed.
//! * dies with its parent (`PR_SET_PDEATHSIG`, which changing identity clears, and which comes too late for a
//!   parent that died before: hence the look at getppid(2)), unless it is to go on.
//! * sees nothing of our environment.
//! * is ended with its whole process group, which is its session's number: TERM, a while, KILL.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid, setsid};

use super::{Identity, PATH, effective_uid};

/// How long a group has between TERM and KILL.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// What becomes of a child when this process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOurDeath {
    /// It is sent this signal. The signal is bound to the *thread* that starts the child: the thread must
    /// live as long (prctl(2)).
    Signal(Signal),
    /// It goes on: for what leaves locks and half a file behind when it is killed.
    GoesOn,
}

/// A program that is about to be started; arguments, streams and more variables are the caller's to add,
/// and all three streams must be set. As another account only root can start it.
pub fn command(program: &Path, run_as: Option<&Identity>, on_death: OnOurDeath) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the module that starts programs"
    )]
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
    // SAFETY: between fork and exec only async-signal-safe calls are made: plain system calls on memory that
    // was prepared before the fork. Nothing is allocated and no lock is taken.
    #[expect(unsafe_code, reason = "the only way to act between fork and exec")]
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            keep_no_descriptor();
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

/// Has every descriptor but the three standard ones closed by exec(2): close_range(2), which Linux has since
/// 5.11, or one by one.
#[expect(unsafe_code, reason = "system calls that allocate nothing")]
fn keep_no_descriptor() {
    use nix::libc;
    // SAFETY: plain numbers; a descriptor that is not open is refused and no harm.
    unsafe {
        let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
        if libc::close_range(3, libc::c_uint::MAX, flags) != 0 {
            for descriptor in 3..65_536 {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// Turns this process, which is between fork and exec, into that account for good (setgroups(2),
/// setresgid(2), setresuid(2)); fails with EPERM if anything of root is left.
#[expect(unsafe_code, reason = "system calls that allocate nothing")]
fn become_account(identity: &Identity) -> std::io::Result<()> {
    use nix::libc;
    let (uid, gid) = (identity.uid, identity.gid);
    // SAFETY: the pointer and the length are those of a live vector; the others take plain numbers.
    let changed = unsafe {
        libc::setgroups(identity.groups.len(), identity.groups.as_ptr()) == 0
            && libc::setresgid(gid, gid, gid) == 0
            && libc::setresuid(uid, uid, uid) == 0
    };
    if !changed {
        return Err(std::io::Error::last_os_error());
    }
    // Trust nothing: a kernel or sandbox that ignored one of the calls would leave us root.
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: three numbers to write to, and plain numbers.
    let left = unsafe {
        libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) != 0
            || [real, effective, saved] != [uid; 3]
            || (uid != 0 && libc::setuid(0) == 0)
            || (gid != 0 && libc::setgid(0) == 0)
    };
    if left {
        return Err(Errno::EPERM.into());
    }
    Ok(())
}

/// Waits for a child until its deadline, or until `enough` says so, then ends its whole group. `None` if it had
/// to be ended.
pub fn wait(
    child: &mut Child,
    deadline: Duration,
    enough: impl Fn() -> bool,
) -> std::io::Result<Option<ExitStatus>> {
    let until = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let now = Instant::now();
        if now >= until || enough() {
            end_group(child)?;
            return Ok(None);
        }
        std::thread::sleep(pause.min(until - now));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Ends a child with its whole group and reaps it: TERM, [`TERM_GRACE`], KILL. The child is reaped last: until
/// then its number, which is the group's, cannot belong to anybody else.
pub fn end_group(child: &mut Child) -> std::io::Result<ExitStatus> {
    let group = Pid::from_raw(child.id().cast_signed());
    let signal = |signal| match killpg(group, signal) {
        // EPERM: only processes of other accounts are left in it, such as those that sudo became.
        Ok(()) | Err(Errno::ESRCH | Errno::EPERM) => Ok(()),
        Err(error) => Err(std::io::Error::from(error)),
    };
    signal(Signal::SIGTERM)?;
    let until = Instant::now() + TERM_GRACE;
    while !has_exited(child) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(Signal::SIGKILL)?;
    child.wait()
}

/// Whether a child has ended; it stays unreaped.
pub fn has_exited(child: &Child) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // An error means that there is no such child any more.
    !matches!(
        waitid(Id::Pid(Pid::from_raw(child.id().cast_signed())), flags),
        Ok(WaitStatus::StillAlive)
    )
}
