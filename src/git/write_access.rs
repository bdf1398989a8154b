//! Is the deploy key really read-only? Proven, not believed.
//!
//! A host is asked for `git-receive-pack`, its first packet is read, and nothing but a flush
//! is sent: no repository is changed by that (contents and mtimes were compared). An
//! advertisement means that a push would be let in. No advertisement is a proof only with
//! words that are known to mean "read-only": a network failure at that moment, or a host
//! that has lost the repository, says nothing about the key.
//!
//! The repository is read first, over the same address and in the same call: gitolite gives
//! the same refusal for a repository that does not exist.

use super::launch::Program;
use super::pktline::Packet;
use super::remote_error::plain;
use super::tip::{Conversation, tip};
use super::{Remote, RemoteError};

/// What the key may do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum WriteAccess {
    /// The host refuses to be written to with this key; its own words.
    ReadOnly(String),
    /// The host would take a push. (A plain sshd says so even where the files' permissions
    /// would forbid it: the key can run programs that write.)
    Writable,
    /// Neither is proven; what was seen instead.
    Unproven(String),
}

/// Asks whether the remote would let us write, without writing.
///
/// # Errors
/// When the repository cannot be read, or the connection fails: nothing is known then.
pub fn write_access(remote: &Remote) -> Result<WriteAccess, RemoteError> {
    // An empty repository has no HEAD; that it answered is enough.
    let _ = tip(remote, "HEAD")?;
    let mut talk = Conversation::open(remote, Program::ReceivePack)?;
    let verdict = match talk.packet() {
        Ok(Packet::Data(data)) => first_packet(data),
        Ok(Packet::Flush | Packet::Delim | Packet::End) => {
            WriteAccess::Unproven("the host answered with an empty packet".into())
        }
        Err(RemoteError::Refused { message }) => refusal(message),
        Err(RemoteError::Protocol(what)) => WriteAccess::Unproven(what),
        Err(error @ RemoteError::Ssh { .. }) => match refusal(error.to_string()) {
            // A proxy or a wrapper may turn the refusal's exit status into 255.
            WriteAccess::ReadOnly(words) => WriteAccess::ReadOnly(words),
            _ => return Err(error),
        },
        Err(error) => return Err(error),
    };
    talk.goodbye();
    Ok(verdict)
}

fn first_packet(data: &[u8]) -> WriteAccess {
    if let Some(message) = data.strip_prefix(b"ERR ") {
        return refusal(plain(message));
    }
    let line = data.split(|byte| *byte == 0).next().unwrap_or_default();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let id = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let advertised = matches!(id.len(), 40 | 64)
        && id.iter().all(u8::is_ascii_hexdigit)
        && line.get(id.len() + 1).is_some();
    if advertised || line == b"version 1" {
        WriteAccess::Writable
    } else {
        WriteAccess::Unproven(plain(&line[..line.len().min(200)]))
    }
}

/// Refusals that mean "this key may only read": GitHub, GitLab, Bitbucket, gitolite.
/// Compared within one line, in lower case.
fn refusal(words: String) -> WriteAccess {
    let known = words.lines().map(str::to_lowercase).any(|line| {
        line.contains("key you are authenticating with has been marked as read only")
            || line.contains("deploy key does not have write access to this project")
            || line.contains("access via a deployment key is read-only")
            || (line.contains("fatal: w ") && line.contains(" denied by "))
    });
    if known {
        WriteAccess::ReadOnly(words)
    } else {
        WriteAccess::Unproven(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_refusals_and_others() {
        for (words, proven) in [
            (
                "ERROR: The key you are authenticating with has been marked as read only.",
                true,
            ),
            (
                "remote: \nERROR: This deploy key does not have write access to this project.",
                true,
            ),
            (
                "repository access denied. access via a deployment key is read-only.",
                true,
            ),
            (
                "FATAL: W any apps/todo web DENIED by fallthru\n(or you mis-spelled the reponame)",
                true,
            ),
            ("FATAL: R any apps/todo web DENIED by fallthru", false),
            ("ERROR: Repository not found.", false),
            ("Permission denied (publickey).", false),
            ("", false),
        ] {
            assert_eq!(
                matches!(refusal(words.into()), WriteAccess::ReadOnly(_)),
                proven,
                "{words}"
            );
        }
    }

    #[test]
    fn an_advertisement_is_told_from_noise() {
        let zero = "0".repeat(40);
        for line in [
            format!("{zero} capabilities^{{}}\0report-status\n"),
            format!("{zero} refs/heads/main\0x"),
            "version 1\n".into(),
        ] {
            assert_eq!(
                first_packet(line.as_bytes()),
                WriteAccess::Writable,
                "{line}"
            );
        }
        for line in ["hello", "", "12ab refs/heads/main", &zero] {
            assert!(
                matches!(first_packet(line.as_bytes()), WriteAccess::Unproven(_)),
                "{line}"
            );
        }
    }
}
