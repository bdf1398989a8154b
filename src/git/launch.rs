//! How the system's ssh is started: arguments, environment, and as whom.
//!
//! * No shell here, and one quoted word for the shell at the other side.
//! * A clean environment: nothing of cron's, of a `sudo` caller's, or of an attacker's
//!   (`SSH_ASKPASS`, `GIT_SSH_COMMAND`, `LD_PRELOAD`) reaches it.
//! * When we are root, ssh becomes the app's user: the deploy key's agent answers its user only,
//!   and what an `ssh_config` of that user runs must not run as root. The one exception is a key
//!   that only root can read yet, tried while it is rotated: then ssh is root's own, with root's
//!   own configuration.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::{Remote, RemoteError};
use crate::host::spawn::{self, OnOurDeath};
use crate::host::{current_identity, effective_uid};

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
pub(super) fn command(remote: &Remote, program: Program) -> Result<Command, RemoteError> {
    let (words, protocol) = match program {
        Program::UploadPack { v2 } => ("git-upload-pack", v2),
        Program::ReceivePack => ("git-receive-pack", false),
    };
    let us = effective_uid();
    let run_as = match &remote.run_as {
        Some(who) if us != 0 && us != who.uid => {
            let text = format!(
                "ssh is to run as {}, and only root can become another user",
                who.name
            );
            return Err(RemoteError::Invalid(text));
        }
        Some(who) => Some(who.clone()),
        None => current_identity(),
    };
    let mut command = spawn::command(
        &remote.ssh,
        run_as.as_ref(),
        OnOurDeath::Signal(Signal::SIGTERM),
    );
    command
        // SendEnv always, even with nothing to send: a multiplexing master that was started
        // without it gives v0 to every later session.
        .args(["-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL"])
        .args(remote.options.iter().flat_map(|option| ["-o", option]))
        // The agent and the display are not for the git host, whatever `Host *` says.
        .args(["-a", "-x", "-T", "--", &remote.host])
        .arg(format!("{words} {}", quote(&remote.path)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if protocol {
        command.env("GIT_PROTOCOL", "version=2");
    }
    Ok(command)
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
