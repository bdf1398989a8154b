//! What can go wrong when a remote is asked something.
//!
//! Everything here is outer error: *could not tell*. It must never blur into "no news"
//! (a hidden stderr once turned "git refused" into "no update" for weeks), so every variant
//! carries the words that were said, cleaned of control characters because a remote could
//! otherwise paint on the administrator's terminal.

use std::fmt;
use std::time::Duration;

/// Why a remote could not be asked, or did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteError {
    /// ssh itself failed, or could not be started: no connection, no access.
    Ssh {
        /// The last lines that ssh said.
        stderr: String,
        /// Its exit status: 255 as a rule; `None` when it was killed or never started.
        exit: Option<i32>,
    },
    /// We got in, and the remote refused or hung up: no such repository, no permission.
    Refused {
        /// Its own words.
        message: String,
    },
    /// RemoteOutage for longer than [`super::Remote::idle`]; ssh has been ended.
    TimedOut {
        /// The limit that was reached.
        idle: Duration,
    },
    /// Not done within [`super::Remote::whole`]; ssh has been ended.
    TooSlow {
        /// The limit that was reached.
        whole: Duration,
    },
    /// More came than [`super::Remote::most`]; ssh has been ended.
    TooMuch {
        /// The limit that was reached, in bytes.
        most: u64,
    },
    /// Somebody else wants to work here, and we were asked to let them ([`super::Remote::gives_way`]).
    GaveWay,
    /// The answer is not git's protocol, or not one that we speak.
    Protocol(String),
    /// The remote's settings are refused; nothing was started.
    Invalid(String),
}

/// The kind of trouble, for choosing the hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteErrorKind {
    /// The host's key is unknown, changed, or not the pinned one.
    HostKey,
    /// The host does not accept our key, or the agent does not offer it.
    Permission,
    /// No connection: name, route, port, firewall, or cut off in the middle.
    Unreachable,
    /// We are let in, and there is no such repository, or it is hidden from this key
    /// (hosts do not tell the two apart).
    NoRepository,
    /// RemoteOutage for longer than the limit.
    TimedOut,
    /// None of these: read the words.
    Other,
}

/// Words of ssh and of git hosts, in lower case, most telling first: a refused host key is
/// followed by further complaints, and a missing repository is often wrapped in advice
/// about access rights.
const WORDS: &[(RemoteErrorKind, &[&str])] = &[
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
        RemoteErrorKind::Permission,
        &[
            "permission denied",
            "too many authentication failures",
            "no supported authentication methods",
            "agent refused operation",
            "access denied",
            "not authorized",
        ],
    ),
    (
        RemoteErrorKind::Unreachable,
        &[
            "could not resolve hostname",
            "name or service not known",
            "temporary failure in name resolution",
            "connection refused",
            "no route to host",
            "network is unreachable",
            "connection timed out",
            "operation timed out",
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
    /// What kind of trouble this is, worked out from the words that were said.
    #[must_use]
    pub fn kind(&self) -> RemoteErrorKind {
        match self {
            Self::TimedOut { .. } | Self::TooSlow { .. } => RemoteErrorKind::TimedOut,
            Self::Ssh { stderr: words, .. } | Self::Refused { message: words } => kind_of(words),
            Self::TooMuch { .. } | Self::GaveWay | Self::Protocol(_) | Self::Invalid(_) => {
                RemoteErrorKind::Other
            }
        }
    }
}

fn kind_of(words: &str) -> RemoteErrorKind {
    let words = words.to_lowercase();
    WORDS
        .iter()
        .find(|(_, signs)| signs.iter().any(|sign| words.contains(sign)))
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
                    write!(f, " without a word")
                } else {
                    write!(f, ": {stderr}")
                }
            }
            Self::Refused { message } => write!(f, "the git host refused: {message}"),
            Self::TimedOut { idle } => {
                write!(f, "the git host was silent for {} s", idle.as_secs_f32())
            }
            Self::TooSlow { whole } => {
                write!(
                    f,
                    "the git host was not done after {} s",
                    whole.as_secs_f32()
                )
            }
            Self::TooMuch { most } => {
                write!(f, "the git host sent more than {} MiB", most >> 20)
            }
            Self::GaveWay => f.write_str("broken off for another command"),
            Self::Protocol(what) => write!(f, "not an answer of git: {what}"),
            Self::Invalid(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for RemoteError {}

/// Foreign words made fit for a terminal and a log: control characters (escape sequences,
/// bells, NUL, which git2 cannot carry either) dropped, line ends kept, blank lines and
/// trailing space removed.
pub(super) fn plain(bytes: &[u8]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_kinds() {
        use RemoteErrorKind::{HostKey, NoRepository, Other, Permission, Unreachable};
        for (words, kind) in [
            (
                "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.",
                HostKey,
            ),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @",
                HostKey,
            ),
            (
                "Host key for h has changed and you have requested strict checking.",
                HostKey,
            ),
            ("git@h: Permission denied (publickey).", Permission),
            (
                "Received disconnect from 1.2.3.4: Too many authentication failures",
                Permission,
            ),
            (
                "sign_and_send_pubkey: signing failed for ED25519: agent refused operation",
                Permission,
            ),
            (
                "ssh: Could not resolve hostname h: Name or service not known",
                Unreachable,
            ),
            (
                "ssh: connect to host h port 22: Connection refused",
                Unreachable,
            ),
            (
                "ssh: connect to host h port 22: No route to host",
                Unreachable,
            ),
            (
                "ssh: connect to host h port 22: Network is unreachable",
                Unreachable,
            ),
            (
                "ssh: connect to host h port 22: Connection timed out",
                Unreachable,
            ),
            ("Timeout, server h not responding.", Unreachable),
            (
                "kex_exchange_identification: Connection closed by remote host",
                Unreachable,
            ),
            ("client_loop: send disconnect: Broken pipe", Unreachable),
            ("ERROR: Repository not found.", NoRepository),
            (
                "fatal: '/x' does not appear to be a git repository",
                NoRepository,
            ),
            (
                "ERROR: The project you were looking for could not be found or you don't have permission to view it.",
                NoRepository,
            ),
            (
                "FATAL: R any x bob DENIED by fallthru\n(or you mis-spelled the reponame)",
                NoRepository,
            ),
            ("access denied or repository not exported: /x", NoRepository),
            (
                "/etc/ssh/ssh_config: line 3: Bad configuration option: foo",
                Other,
            ),
            ("", Other),
        ] {
            let ssh = RemoteError::Ssh {
                stderr: words.into(),
                exit: Some(255),
            };
            assert_eq!(ssh.kind(), kind, "{words}");
            assert_eq!(
                RemoteError::Refused {
                    message: words.into()
                }
                .kind(),
                kind,
                "{words}"
            );
        }
        let idle = Duration::from_secs(1);
        assert_eq!(
            RemoteError::TimedOut { idle }.kind(),
            RemoteErrorKind::TimedOut
        );
        assert_eq!(
            RemoteError::Protocol("permission denied".into()).kind(),
            Other
        );
    }

    #[test]
    fn foreign_words_cannot_paint_on_the_terminal() {
        assert_eq!(
            plain(b"\x1b[31mred\x07\0\r\n\n  two \r\n"),
            "[31mred\n  two"
        );
        assert_eq!(plain(b"\xff\n"), "\u{fffd}");
    }
}
