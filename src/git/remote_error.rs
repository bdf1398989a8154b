//! Errors of requests to a git host.
//!
//! An error here means *unknown*, never "no new commit": a hidden stderr once turned "git refused" into "no update"
//! for weeks. So every variant carries the original message, without control characters, because a remote could
//! otherwise send escape sequences to the administrator's terminal.

use std::fmt;
use std::time::Duration;

use crate::state::remote::{RemoteErrorKind, RemoteFailure};

/// Why a request to a git host failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteError {
    /// ssh failed or could not be started: no connection, or no access.
    Ssh {
        /// Last lines of its stderr.
        stderr: String,
        /// Its exit status, normally 255; `None` if it was killed or never started.
        exit: Option<i32>,
    },
    /// The connection succeeded, and the remote refused or closed it: no such repository, no permission.
    Refused {
        /// The remote's message.
        message: String,
    },
    /// No data for longer than [`super::SshRemote::idle`]; ssh was terminated.
    TimedOut {
        /// The limit that was reached.
        idle: Duration,
    },
    /// Not finished within [`super::SshRemote::whole`]; ssh was terminated.
    TooSlow {
        /// The limit that was reached.
        whole: Duration,
    },
    /// More data than [`super::SshRemote::most`]; ssh was terminated.
    TooMuch {
        /// The limit that was reached, in bytes.
        most: u64,
    },
    /// Interrupted for another process that took the lock [`super::SshRemote::preempted_by`].
    Preempted,
    /// The response is not git's protocol, or not a supported version.
    Protocol(String),
    /// The remote's settings are invalid; nothing was started.
    Invalid(String),
}

/// Messages of ssh and of git hosts, in lower case, most specific first: further errors follow a rejected host key,
/// and a missing repository often comes with advice about access rights.
const PATTERNS: &[(RemoteErrorKind, &[&str])] = &[
    // What host::tunnel says.
    (RemoteErrorKind::ProxyPassword, &["password for the proxy"]),
    (RemoteErrorKind::ProxySlow, &["no answer from the proxy"]),
    (RemoteErrorKind::ProxyRefuses, &["is refused by the proxy"]),
    (
        RemoteErrorKind::ProxyDown,
        &[
            "cannot reach the proxy",
            "is no http proxy",
            "is no socks 5 proxy",
        ],
    ),
    (
        RemoteErrorKind::HostKey,
        &[
            "host key verification failed",
            "remote host identification has changed",
            "host key is known for",
            "and you have requested strict checking",
            "revoked host key",
            "no matching host key type found",
        ],
    ),
    (
        RemoteErrorKind::NoRepository,
        &[
            "repository not found",
            "does not appear to be a git repository",
            "not a git repository",
            "repository does not exist",
            "could not be found or you don't have permission",
            "project you were looking for could not be found",
            "repository not exported",
            "cannot find repository",
            "or you mis-spelled the reponame",
            "denied by fallthru",
        ],
    ),
    (
        RemoteErrorKind::TooManyKeys,
        &["too many authentication failures"],
    ),
    (
        RemoteErrorKind::Permission,
        &[
            "permission denied",
            "no supported authentication methods",
            "agent refused operation",
            "access denied",
            "not authorized",
        ],
    ),
    (
        RemoteErrorKind::NameResolution,
        &[
            "could not resolve hostname",
            "name or service not known",
            "temporary failure in name resolution",
        ],
    ),
    (RemoteErrorKind::ConnectionRefused, &["connection refused"]),
    (
        RemoteErrorKind::NoRoute,
        &[
            "no route to host",
            "network is unreachable",
            "connection timed out",
            "operation timed out",
        ],
    ),
    (
        RemoteErrorKind::Disconnected,
        &[
            "not responding",
            "connection closed by",
            "connection reset by",
            "closed by remote host",
            "kex_exchange_identification",
            "banner exchange",
            "broken pipe",
        ],
    ),
];

impl RemoteError {
    /// The category of this error, from its message.
    #[must_use]
    pub fn kind(&self) -> RemoteErrorKind {
        match self {
            Self::TimedOut { .. } | Self::TooSlow { .. } => RemoteErrorKind::TimedOut,
            Self::Ssh {
                stderr: message, ..
            }
            | Self::Refused { message } => kind_of(message),
            Self::TooMuch { .. } => RemoteErrorKind::TooMuch,
            Self::Protocol(_) => RemoteErrorKind::Protocol,
            Self::Invalid(_) => RemoteErrorKind::Invalid,
            Self::Preempted => RemoteErrorKind::Other,
        }
    }

    /// Whether the host closed the connection before the key exchange was over: it did not look who asks.
    #[must_use]
    pub fn is_dropped_early(&self) -> bool {
        let text = match self {
            Self::Ssh { stderr, .. } => stderr.as_str(),
            _ => "",
        };
        text.contains("kex_exchange_identification:")
            && (text.contains("reset by peer") || text.contains("closed by remote host"))
    }

    /// What the ledger keeps of it.
    #[must_use]
    pub fn failure(&self) -> RemoteFailure {
        RemoteFailure::new(self.kind(), self.to_string())
    }
}

/// The category of a message.
pub fn kind_of(message: &str) -> RemoteErrorKind {
    let message = message.to_lowercase();
    PATTERNS
        .iter()
        .find(|(_, patterns)| patterns.iter().any(|pattern| message.contains(pattern)))
        .map_or(RemoteErrorKind::Other, |(kind, _)| *kind)
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh { stderr, exit } => {
                match exit {
                    Some(code) => write!(f, "ssh failed (exit status {code})")?,
                    None => write!(f, "ssh failed")?,
                }
                if stderr.is_empty() {
                    write!(f, " without a message")
                } else {
                    write!(f, ": {stderr}")
                }
            }
            Self::Refused { message } => write!(f, "the git host refused: {message}"),
            Self::TimedOut { idle } => {
                write!(f, "the git host sent nothing for {} s", idle.as_secs_f32())
            }
            Self::TooSlow { whole } => {
                write!(
                    f,
                    "the git host did not finish within {} s",
                    whole.as_secs_f32()
                )
            }
            Self::TooMuch { most } => {
                write!(f, "the git host sent more than {} MiB", most >> 20)
            }
            Self::Preempted => f.write_str("interrupted by another command"),
            Self::Protocol(what) => write!(f, "invalid response from the git host: {what}"),
            Self::Invalid(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for RemoteError {}

/// Cleans foreign text for a terminal and a log: drops control characters (escape sequences, bells, NUL, which git2
/// rejects), blank lines and trailing space; keeps line ends.
pub(super) fn sanitize(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split(['\n', '\r']).map(|line| {
        let kept: String = line.chars().filter(|c| !c.is_control()).collect();
        kept.trim_end().to_owned()
    });
    lines
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Leaves out what ssh says about a public key that selects a key of the agent. Root owns it, so ssh as root, without
/// the agent, takes it for a private key that others can read, with a banner that would hide the host's answer.
pub(super) fn without_public_key_warnings(text: &str) -> String {
    if !text.contains(".pub' are too open") {
        return text.to_owned();
    }
    let warning = |line: &&str| {
        line.starts_with("@@@")
            || line.contains("WARNING: UNPROTECTED PRIVATE KEY FILE!")
            || line.ends_with("' are too open.")
            || line.starts_with("It is required that your private key files are NOT accessible")
            || *line == "This private key will be ignored."
            || line.ends_with(": bad permissions")
    };
    let lines: Vec<&str> = text.lines().filter(|line| !warning(line)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_about_a_public_key_does_not_hide_the_answer() {
        let text = "@@@@@@@@@@\n@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @\n@@@@@@@@@@\n\
            Permissions 0644 for '/etc/ssh/x/todo.pub' are too open.\n\
            It is required that your private key files are NOT accessible by others.\n\
            This private key will be ignored.\nLoad key \"/etc/ssh/x/todo.pub\": bad permissions\n\
            git@h: Permission denied (publickey).";
        let answer = "git@h: Permission denied (publickey).";
        assert_eq!(without_public_key_warnings(text), answer);
        for other in [
            &text.replace(".pub", ""),
            "@@@@\n@ WARNING: REMOTE HOST @\n@@@@",
        ] {
            assert_eq!(without_public_key_warnings(other), *other);
        }
    }

    fn both(message: &str) -> [RemoteErrorKind; 2] {
        let message = message.to_owned();
        let ssh = RemoteError::Ssh {
            stderr: message.clone(),
            exit: Some(255),
        };
        [ssh.kind(), RemoteError::Refused { message }.kind()]
    }

    #[test]
    fn every_pattern_is_found_whatever_its_case_and_says_its_own_category() {
        for (kind, patterns) in PATTERNS {
            for pattern in *patterns {
                let message = format!("h: {}.\nmore", pattern.to_uppercase());
                assert_eq!(both(&message), [*kind; 2], "{pattern}");
            }
        }
    }

    #[test]
    fn messages_are_classified() {
        use RemoteErrorKind as Kind;
        for (message, kind) in [
            (
                "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.",
                Kind::HostKey,
            ),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @",
                Kind::HostKey,
            ),
            (
                "Host key for h has changed and you have requested strict checking.",
                Kind::HostKey,
            ),
            ("git@h: Permission denied (publickey).", Kind::Permission),
            (
                "Received disconnect from 1.2.3.4: Too many authentication failures\nDisconnected from h",
                Kind::TooManyKeys,
            ),
            (
                "sign_and_send_pubkey: signing failed for ED25519: agent refused operation\ngit@h: Permission denied",
                Kind::Permission,
            ),
            (
                "ssh: Could not resolve hostname h: Name or service not known",
                Kind::NameResolution,
            ),
            (
                "ssh: connect to host h port 22: Connection refused",
                Kind::ConnectionRefused,
            ),
            (
                "nc: connect failed: Connection refused\nConnection closed by UNKNOWN port 65535",
                Kind::ConnectionRefused,
            ),
            (
                "ssh: connect to host h port 22: No route to host",
                Kind::NoRoute,
            ),
            ("Connection timed out during banner exchange", Kind::NoRoute),
            ("Timeout, server h not responding.", Kind::Disconnected),
            (
                "kex_exchange_identification: Connection closed by remote host",
                Kind::Disconnected,
            ),
            (
                "client_loop: send disconnect: Broken pipe",
                Kind::Disconnected,
            ),
            ("ERROR: Repository not found.", Kind::NoRepository),
            (
                "fatal: '/x' does not appear to be a git repository",
                Kind::NoRepository,
            ),
            (
                "ERROR: The project you were looking for could not be found or you don't have permission to view it.",
                Kind::NoRepository,
            ),
            (
                "FATAL: R any x bob DENIED by fallthru\n(or you mis-spelled the reponame)",
                Kind::NoRepository,
            ),
            (
                "access denied or repository not exported: /x",
                Kind::NoRepository,
            ),
            (
                "/etc/ssh/ssh_config: line 3: Bad configuration option: foo",
                Kind::Other,
            ),
            ("", Kind::Other),
        ] {
            assert_eq!(both(message), [kind; 2], "{message}");
        }
    }

    #[test]
    fn errors_without_a_message_have_a_category_too() {
        use RemoteErrorKind as Kind;
        let second = Duration::from_secs(1);
        for (error, kind) in [
            (RemoteError::TimedOut { idle: second }, Kind::TimedOut),
            (RemoteError::TooSlow { whole: second }, Kind::TimedOut),
            (RemoteError::TooMuch { most: 1 }, Kind::TooMuch),
            (
                RemoteError::Protocol("permission denied".into()),
                Kind::Protocol,
            ),
            (
                RemoteError::Invalid("permission denied".into()),
                Kind::Invalid,
            ),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.failure().words, error.to_string());
        }
    }

    #[test]
    fn control_characters_are_removed() {
        assert_eq!(
            sanitize(b"\x1b[31mred\x07\0\r\n\n  two \r\n"),
            "[31mred\n  two"
        );
        assert_eq!(sanitize(b"\xff\n"), "\u{fffd}");
    }
}
