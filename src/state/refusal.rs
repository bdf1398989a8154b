//! What was not let through, and why, as the ledger remembers it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fields;

const MIB: u64 = 1024 * 1024;

/// A commit that the gate does not let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The commit.
    #[serde(deserialize_with = "fields::commit")]
    pub commit: String,
    /// The object that the remote showed: the commit, or the annotated tag that leads to it.
    #[serde(deserialize_with = "fields::commit")]
    pub object: String,
    /// Since when, RFC 3339.
    #[serde(deserialize_with = "fields::time")]
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
        #[serde(deserialize_with = "fields::commit")]
        live: String,
    },
    /// The disk has too little room for it.
    NoRoom {
        /// Where.
        dir: PathBuf,
        /// Of what.
        what: Scarce,
        /// How much is needed at least.
        needed: u64,
        /// How much there was when it was looked at last.
        free: u64,
    },
    /// Nothing can be written where it is to be.
    ReadOnly {
        /// Where.
        dir: PathBuf,
    },
    /// It is larger or deeper than is let in, or cannot be read.
    Unfit {
        /// What of it.
        words: String,
    },
    /// Deployments may not begin at this time.
    OutsideWindow {
        /// When they may next, by this server's clock: `2026-11-23 08:00`.
        opens: Option<String>,
    },
}

/// What a file system runs out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scarce {
    /// Space for content.
    Bytes,
    /// Space for names, however small the files are.
    Inodes,
}

impl Why {
    /// Whether who was told the other knows this one too: how much room there is changes all the time.
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
    /// Whether only the time is wrong: nobody has to do anything, and nobody is told.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::OutsideWindow { .. })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTrusted { words } | Self::Unfit { words } => f.write_str(words),
            Self::NotDescendant { live } => write!(
                f,
                "{}, which is live, is not an ancestor of it: history was rewritten or went back, and allow_rewind = false",
                crate::text::short(live)
            ),
            Self::NoRoom {
                dir,
                what: Scarce::Bytes,
                needed,
                free,
            } => write!(
                f,
                "there is not enough room for it: {} MiB are needed at {}, and {} MiB are free",
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
                "there is not enough room for it: {needed} inodes (files) are needed at {}, and {free} are free",
                dir.display()
            ),
            Self::ReadOnly { dir } => {
                write!(
                    f,
                    "the file system of {} is mounted read-only",
                    dir.display()
                )
            }
            Self::OutsideWindow { opens: Some(opens) } => {
                write!(f, "the deploy window opens {opens}")
            }
            Self::OutsideWindow { opens: None } => f.write_str("the deploy window is closed"),
        }
    }
}
