//! What was not let through, and why, as the ledger remembers it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A commit that the gate does not let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The commit.
    pub commit: String,
    /// The object that the remote showed: the commit, or the annotated tag that leads to it.
    pub object: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why.
    pub why: Why,
    /// Stands for everything that decided beside the object: settings, signers, what was live.
    pub conditions: String,
}

/// Why a commit is not let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Why {
    /// Nobody whom the settings trust has signed it.
    NotTrusted {
        /// What is wrong with the signature, or with what says whom to trust.
        words: String,
    },
    /// The live commit is not among its ancestors, and `allow_rewind = false`.
    NotDescendant {
        /// The live commit.
        live: String,
    },
    /// Deployments may not begin at this time.
    OutsideWindow {
        /// When they may next, by this server's clock: `2026-11-23 08:00`.
        opens: Option<String>,
    },
}

impl Why {
    /// Whether only the time is wrong: nobody has to do anything, and nobody is told.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::OutsideWindow { .. })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTrusted { words } => f.write_str(words),
            Self::NotDescendant { live } => write!(
                f,
                "{}, which is live, is not an ancestor of it: history was rewritten or went back, and allow_rewind = false",
                live.get(..7).unwrap_or(live)
            ),
            Self::OutsideWindow { opens: Some(opens) } => {
                write!(f, "the deploy window opens {opens}")
            }
            Self::OutsideWindow { opens: None } => f.write_str("the deploy window is closed"),
        }
    }
}
