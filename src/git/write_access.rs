//! Verifies that the deploy key is read-only.
//!
//! It starts `git-receive-pack` on the host, reads the first packet and sends only a flush packet, which does not
//! change the repository (contents and mtimes were compared). An advertisement means that the host would accept a
//! push. A refusal proves a read-only key only if its message is known to mean that: a network failure, or a missing
//! repository, says nothing about the key.
//!
//! The repository is read first, in the same call: gitolite sends the same refusal for a repository that does not
//! exist.

use super::launch::Program;
use super::pktline::Packet;
use super::remote_error::sanitize;
use super::tip::{Conversation, tip};
use super::{RemoteError, SshRemote};

/// Whether the key can write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum WriteAccess {
    /// The host refuses writes with this key; its message.
    ReadOnly(String),
    /// The host would accept a push. (A plain sshd reports this even if file permissions forbid it: the key can run
    /// programs that write.)
    Writable,
    /// Neither is proven; what the host sent.
    Unproven(String),
}

/// Checks whether the remote would accept a push, without pushing.
///
/// # Errors
/// When the repository cannot be read or the connection fails; then nothing is known.
pub fn write_access(remote: &SshRemote) -> Result<WriteAccess, RemoteError> {
    // An empty repository has no HEAD; a successful request is enough.
    let _ = tip(remote, "HEAD")?;
    let mut talk = Conversation::open(remote, Program::ReceivePack)?;
    let verdict = match talk.packet() {
        Ok(Packet::Data(data)) => first_packet(data),
        Ok(Packet::Flush | Packet::Delim | Packet::End) => {
            WriteAccess::Unproven("the host sent an empty packet".into())
        }
        Err(RemoteError::Refused { message }) => refusal(message),
        Err(RemoteError::Protocol(what)) => WriteAccess::Unproven(what),
        Err(error @ RemoteError::Ssh { .. }) => match refusal(error.to_string()) {
            // A proxy or a wrapper may turn the refusal's exit status into 255.
            WriteAccess::ReadOnly(message) => WriteAccess::ReadOnly(message),
            _ => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let _ = talk.finish();
    Ok(verdict)
}

fn first_packet(data: &[u8]) -> WriteAccess {
    if let Some(message) = data.strip_prefix(b"ERR ") {
        return refusal(sanitize(message));
    }
    let mut parts = data.split(|byte| *byte == 0);
    let line = parts.next().unwrap_or_default();
    // A forced command in authorized_keys(5) that only reads: it answers with what only git-upload-pack can do
    // (gitprotocol-capabilities(5)).
    let abilities = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let is = |name: &str| abilities.split_whitespace().any(|is| is == name);
    if is("multi_ack") && !is("report-status") || line == b"version 2\n" {
        return WriteAccess::ReadOnly("it runs git-upload-pack, whatever is requested".into());
    }
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let id = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let advertised = matches!(id.len(), 40 | 64)
        && id.iter().all(u8::is_ascii_hexdigit)
        && line.get(id.len() + 1).is_some();
    if advertised || line == b"version 1" {
        WriteAccess::Writable
    } else {
        WriteAccess::Unproven(sanitize(&line[..line.len().min(200)]))
    }
}

/// Recognises the refusals of GitHub, GitLab, Bitbucket, Gitea, Forgejo and gitolite that mean "this key is read-only". Compares
/// single lines, in lower case.
fn refusal(message: String) -> WriteAccess {
    let known = message.lines().map(str::to_lowercase).any(|line| {
        line.contains("key you are authenticating with has been marked as read only")
            || line.contains("deploy key does not have write access to this project")
            || line.contains("access via a deployment key is read-only")
            || (line.contains("deploy key: ") && line.contains(" is not authorized to write"))
            || (line.contains("fatal: w ") && line.contains(" denied by "))
    });
    if known {
        WriteAccess::ReadOnly(message)
    } else {
        WriteAccess::Unproven(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_refusals_prove_read_only() {
        for (message, proven) in [
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
            (
                "Gitea: Deploy Key: 3:pullpray todo@web is not authorized to write to acme/todo.",
                true,
            ),
            (
                "Forgejo: Deploy Key: 3:x is not authorized to read acme/todo.",
                false,
            ),
            ("FATAL: R any apps/todo web DENIED by fallthru", false),
            ("ERROR: Repository not found.", false),
            ("Permission denied (publickey).", false),
            ("", false),
        ] {
            assert_eq!(
                matches!(refusal(message.into()), WriteAccess::ReadOnly(_)),
                proven,
                "{message}"
            );
        }
    }

    #[test]
    fn an_advertisement_is_recognised() {
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
        for line in [
            format!("{zero} HEAD\0multi_ack thin-pack side-band ofs-delta agent=git/2.39"),
            "version 2\n".into(),
        ] {
            let access = first_packet(line.as_bytes());
            assert!(matches!(access, WriteAccess::ReadOnly(_)), "{line}");
        }
        for line in ["hello", "", "12ab refs/heads/main", &zero] {
            assert!(
                matches!(first_packet(line.as_bytes()), WriteAccess::Unproven(_)),
                "{line}"
            );
        }
    }
}
