//! How the system's ssh is started: arguments, environment, and as whom.
//!
//! * No shell here, and one quoted word for the shell at the other side.
//! * A clean environment: nothing of cron's, of a `sudo` caller's, or of an attacker's
//!   (`SSH_ASKPASS`, `GIT_SSH_COMMAND`, `LD_PRELOAD`) reaches it.
//! * When we are root, ssh becomes the app's user: the deploy key's agent answers its user only,
//!   and what an `ssh_config` of that user runs must not run as root. The one exception is a key
//!   that only root can read yet, tried while it is rotated: then ssh is root's own, with root's
//!   own configuration.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User, geteuid, getpid, getppid, setgid, setgroups, setuid};

use super::{AskError, Remote};

/// What a program needs to find its helpers (`ProxyCommand`), whatever cron left of ours.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is run on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// Reading. `v2` asks for protocol version 2; the host may not listen.
    UploadPack {
        /// Set `GIT_PROTOCOL=version=2`.
        v2: bool,
    },
    /// Writing; only ever asked whether it would let us.
    ReceivePack,
}

/// ssh, its arguments, its environment, and whom it becomes.
pub(super) fn command(remote: &Remote, program: Program) -> Result<Command, AskError> {
    let (words, protocol) = match program {
        Program::UploadPack { v2 } => ("git-upload-pack", v2),
        Program::ReceivePack => ("git-receive-pack", false),
    };
    let (name, home, become_user) = account(remote)?;
    let mut command = Command::new(&remote.ssh);
    command
        // SendEnv always, even with nothing to send: a multiplexing master that was started
        // without it gives v0 to every later session.
        .args(["-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL"])
        .args(remote.options.iter().flat_map(|option| ["-o", option]))
        // The agent and the display are not for the git host, whatever `Host *` says.
        .args(["-a", "-x", "-T", "--", &remote.host])
        .arg(format!("{words} {}", quote(&remote.path)))
        .env_clear()
        .envs([
            ("PATH", PATH),
            ("LC_ALL", "C"),
            ("USER", &name),
            ("LOGNAME", &name),
        ])
        .env("HOME", home)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if protocol {
        command.env("GIT_PROTOCOL", "version=2");
    }
    let parent = getpid();
    let before_exec = move || {
        if let Some((groups, gid, uid)) = &become_user {
            setgroups(groups)?;
            setgid(*gid)?;
            setuid(*uid)?;
        }
        // After setuid, which would clear it.
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, on values prepared before;
    // nothing is allocated and no lock is taken.
    #[expect(unsafe_code, reason = "becoming a user with its groups needs pre_exec")]
    unsafe {
        command.pre_exec(before_exec);
    }
    Ok(command)
}

type Become = Option<(Vec<Gid>, Gid, Uid)>;

/// Name and home for the environment, and whom to become if that is not ourselves.
fn account(remote: &Remote) -> Result<(String, PathBuf, Become), AskError> {
    let us = geteuid();
    let Some(who) = &remote.run_as else {
        let user = User::from_uid(us).ok().flatten();
        return Ok(user.map_or_else(
            || (us.to_string(), "/".into(), None),
            |u| (u.name, u.dir, None),
        ));
    };
    let uid = Uid::from_raw(who.uid);
    let change = if us.is_root() {
        let groups = who.groups.iter().copied().map(Gid::from_raw).collect();
        Some((groups, Gid::from_raw(who.gid), uid))
    } else if us == uid {
        None
    } else {
        let text = format!(
            "ssh is to run as {}, and only root can become another user",
            who.name
        );
        return Err(AskError::Invalid(text));
    };
    Ok((who.name.clone(), who.home.clone(), change))
}

/// One word for any shell at the other side, quoted as git itself does it: `!` is history in
/// csh even between single quotes.
fn quote(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        if matches!(c, '\'' | '!') {
            out.extend(["'\\", c.encode_utf8(&mut [0; 4]), "'"]);
        } else {
            out.push(c);
        }
    }
    out + "'"
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn quoting_is_that_of_git() {
        assert_eq!(quote("a/b.git"), "'a/b.git'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("a!b"), r"'a'\!'b'");
        assert_eq!(quote("$(x) `y` \\ \""), "'$(x) `y` \\ \"'");
    }
}
