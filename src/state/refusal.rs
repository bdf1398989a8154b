//! Refused commits, and why, as the ledger records them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fields;

const MIB: u64 = 1024 * 1024;

/// A refused commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The commit.
    #[serde(deserialize_with = "fields::commit")]
    pub commit: String,
    /// The object that the git host listed: the commit, or the annotated tag that points to it.
    #[serde(deserialize_with = "fields::commit")]
    pub object: String,
    /// Since when, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
    pub since: String,
    /// Why.
    pub why: Why,
    /// The digest of all other inputs: settings, signers, the live commit.
    pub inputs_digest: String,
}

/// Why a commit is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Why {
    /// It has no valid signature of an allowed signer.
    NotTrusted {
        /// What is wrong with the signature, or with the list of signers.
        words: String,
    },
    /// The live commit is not its ancestor, and `allow_rewind = false`.
    NotDescendant {
        /// The live commit.
        #[serde(deserialize_with = "fields::commit")]
        live: String,
    },
    /// The disk has too little space.
    NoRoom {
        /// Where.
        dir: PathBuf,
        /// Bytes or inodes.
        what: Scarce,
        /// How much is needed.
        needed: u64,
        /// How much was free at the last check.
        free: u64,
    },
    /// A file system is mounted read-only.
    ReadOnly {
        /// Where.
        dir: PathBuf,
    },
    /// Its dependencies cannot be installed on this server.
    Dependencies {
        /// Which file, and what it needs.
        words: String,
        /// What to do.
        fix: String,
    },
    /// sudo refuses to let the app's account control its units.
    SudoRefuses {
        /// What sudo said.
        words: String,
    },
    /// It exceeds the limits, or cannot be read.
    Unfit {
        /// Which limit, or what is unreadable.
        words: String,
    },
    /// It changes nothing below the paths of the settings.
    OtherPaths,
    /// The deploy window is closed.
    OutsideWindow {
        /// When it opens next, in local time: `2026-11-23 08:00`.
        opens: Option<String>,
    },
}

/// What a file system runs out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scarce {
    /// Bytes.
    Bytes,
    /// Inodes: the number of files, however small.
    Inodes,
}

impl Why {
    /// Whether a report of the other covers this one: free space changes all the time.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::NoRoom { dir, what, .. },
                Self::NoRoom {
                    dir: known_dir,
                    what: known_what,
                    ..
                },
            ) => dir == known_dir && what == known_what,
            _ => self == other,
        }
    }
    /// Whether nobody has to act, so that nothing is reported.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.is_transient() || matches!(self, Self::OtherPaths)
    }

    /// Whether it passes by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::OutsideWindow { .. })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTrusted { words }
            | Self::Unfit { words }
            | Self::Dependencies { words, .. } => f.write_str(words),
            Self::SudoRefuses { words } => write!(f, "its units cannot be restarted: {words}"),
            Self::NotDescendant { live } => write!(
                f,
                "history was rewritten (live commit {} is not an ancestor), and allow_rewind = false",
                crate::text::short(live)
            ),
            Self::NoRoom {
                dir,
                what: Scarce::Bytes,
                needed,
                free,
            } => write!(
                f,
                "not enough disk space: {} MiB are needed at {}, and {} MiB are free",
                needed.div_ceil(MIB),
                dir.display(),
                free / MIB
            ),
            Self::NoRoom {
                dir,
                what: Scarce::Inodes,
                needed,
                free,
            } => write!(
                f,
                "not enough disk space: {needed} inodes (files) are needed at {}, and {free} are free",
                dir.display()
            ),
            Self::ReadOnly { dir } => {
                write!(
                    f,
                    "the file system of {} is mounted read-only",
                    dir.display()
                )
            }
            Self::OtherPaths => f.write_str("nothing changed below the paths of the settings"),
            Self::OutsideWindow { opens: Some(opens) } => {
                write!(f, "the deploy window opens {opens}")
            }
            Self::OutsideWindow { opens: None } => f.write_str("the deploy window is closed"),
        }
    }
}
