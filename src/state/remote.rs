//! Why a request to the git host failed, as the ledger keeps it.

use serde::{Deserialize, Serialize};

use super::fields;

/// A failed request to the git host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFailure {
    /// The category.
    pub kind: RemoteErrorKind,
    /// What ssh, the host or git said, or what was asked for: a part of the sentence. Not safe for a terminal.
    pub words: String,
}

impl RemoteFailure {
    /// A failure of this category, with these words.
    pub fn new(kind: RemoteErrorKind, words: impl Into<String>) -> Self {
        Self {
            kind,
            words: words.into(),
        }
    }
}

/// The git host could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteOutage {
    /// Since when, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub since: String,
    /// Failed polls in a row.
    pub polls: u32,
    /// The last error.
    #[serde(flatten)]
    pub failure: RemoteFailure,
    /// Whether it was reported.
    pub reported: bool,
}

impl RemoteOutage {
    /// `1 poll`, `3 polls in a row`.
    #[must_use]
    pub fn polls_in_words(&self) -> String {
        match self.polls {
            1 => "1 poll".to_owned(),
            more => format!("{more} polls in a row"),
        }
    }
}

/// Category of a failed request, for its sentence and its hint; the ledger and `status --json` spell it in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteErrorKind {
    /// The host's key is unknown, changed, or not the pinned one.
    HostKey,
    /// The host rejects the key, or the agent does not offer it.
    Permission,
    /// The host closed the connection because ssh offered too many keys.
    TooManyKeys,
    /// Access is granted, but the repository does not exist or is hidden from this key (hosts do not distinguish
    /// the two).
    NoRepository,
    /// The host's name does not resolve.
    NameResolution,
    /// Nothing accepts connections on the port.
    ConnectionRefused,
    /// No route to the host, or no answer: a firewall, or this server is offline.
    NoRoute,
    /// The connection was closed or interrupted.
    Disconnected,
    /// A time limit was exceeded.
    TimedOut,
    /// The proxy does not answer, or is none.
    ProxyDown,
    /// The proxy does not connect in time.
    ProxySlow,
    /// The proxy demands a password, or another one.
    ProxyPassword,
    /// The proxy does not connect to the host.
    ProxyRefuses,
    /// The list of references exceeds its limit.
    TooMuch,
    /// The fetch exceeds half of the free disk space.
    NoSpace,
    /// The repository has no such branch, tag or commit.
    NoReference,
    /// The reference points to something else than a commit.
    NotACommit,
    /// The reference moved while it was fetched.
    Moved,
    /// The host sent objects that git cannot read.
    Unreadable,
    /// The response is not git's protocol, or not a supported version.
    Protocol,
    /// The settings of the connection are invalid; nothing was started.
    Invalid,
    /// None of these; the words say more.
    Other,
}

impl RemoteErrorKind {
    /// Whether the host is reachable and does not let the key read the repository: somebody has to add it there.
    #[must_use]
    pub fn is_no_access(self) -> bool {
        matches!(
            self,
            Self::Permission | Self::TooManyKeys | Self::NoRepository
        )
    }

    /// Whether the host could not be reached, which may pass by itself.
    #[must_use]
    pub fn is_unreachable(self) -> bool {
        matches!(
            self,
            Self::NameResolution
                | Self::ConnectionRefused
                | Self::NoRoute
                | Self::Disconnected
                | Self::TimedOut
        ) || self.is_of_proxy()
    }

    /// Whether it is the proxy's failure, which pullpray says in a sentence of its own.
    #[must_use]
    pub fn is_of_proxy(self) -> bool {
        matches!(
            self,
            Self::ProxyDown | Self::ProxySlow | Self::ProxyPassword | Self::ProxyRefuses
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ledger::RemoteOutage;

    #[test]
    fn an_outage_is_stored_with_its_category_beside_its_time() -> anyhow::Result<()> {
        let outage = RemoteOutage {
            since: "2026-11-25T12:00:00Z".into(),
            polls: 3,
            failure: RemoteFailure::new(RemoteErrorKind::TooManyKeys, "w"),
            reported: true,
        };
        let json = serde_json::json!({
            "since": "2026-11-25T12:00:00Z", "polls": 3, "reported": true, "kind": "too_many_keys", "words": "w"
        });
        assert_eq!(serde_json::to_value(&outage)?, json);
        assert_eq!(serde_json::from_value::<RemoteOutage>(json)?, outage);
        Ok(())
    }
}
