//! Starts the system's ssh: arguments, environment and user.
//!
//! * No shell on this side, and one quoted word for the remote shell.
//! * A clean environment: it inherits nothing of cron, of a `sudo` caller, or of an attacker (`SSH_ASKPASS`,
//!   `GIT_SSH_COMMAND`, `LD_PRELOAD`).
//! * Root runs ssh as the app's user: the agent of the deploy key serves only its user, and commands in that user's
//!   `ssh_config` must not run as root. The only exception is the test of a new key during rotation, which only root
//!   can read: then ssh runs as root, with root's configuration.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::{RemoteError, SshRemote};
use crate::app::PROXY_VARIABLE;
use crate::host::spawn::{self, OnOurDeath};
use crate::host::{current_identity, effective_uid};

/// Program to run on the git host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// For reading. `v2` requests protocol version 2; the host may ignore it.
    UploadPack {
        /// Sets `GIT_PROTOCOL=version=2`.
        v2: bool,
    },
    /// For writing; only used to check whether the host would allow it.
    ReceivePack,
}

/// Prepares the ssh command, with arguments, environment and user.
///
/// # Errors
/// [`RemoteError::Invalid`] if it should run as another user and this process is not root.
pub(super) fn command(remote: &SshRemote, program: Program) -> Result<Command, RemoteError> {
    let (program, v2) = match program {
        Program::UploadPack { v2 } => ("git-upload-pack", v2),
        Program::ReceivePack => ("git-receive-pack", false),
    };
    let us = effective_uid();
    let run_as = match &remote.run_as {
        Some(who) if us != 0 && us != who.uid => {
            let text = format!(
                "ssh should run as {}, and only root can change the user",
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
        // Always SendEnv, even with nothing to send: a multiplexing master that was started without it uses v0 for
        // every later session.
        .args(["-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL"])
        .args(remote.options.iter().flat_map(|option| ["-o", option]))
        // No forwarding of agent or display to the git host, whatever `Host *` says.
        .args(["-a", "-x", "-T", "--", &remote.host])
        .arg(format!("{program} {}", quote(&remote.path)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(proxy) = &remote.proxy {
        command.env(PROXY_VARIABLE, proxy.setting());
    }
    if v2 {
        command.env("GIT_PROTOCOL", "version=2");
    }
    Ok(command)
}

/// Quotes one word for any remote shell, as git does: csh expands `!` even between single quotes.
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
    fn quoting_matches_git() {
        assert_eq!(quote("a/b.git"), "'a/b.git'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("a!b"), r"'a'\!'b'");
        assert_eq!(quote("$(x) `y` \\ \""), "'$(x) `y` \\ \"'");
    }
}
