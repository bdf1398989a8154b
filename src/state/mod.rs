//! Types and formats of the records: the receipt of init and the ledger of polls.
//!
//! Both are written before the change they describe, so that after a crash nothing has happened that they do not
//! record.

mod fields;
pub mod history;
pub mod ledger;
pub mod notices;
pub mod receipt;
pub mod refusal;
pub mod remote;

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};

/// A state file has invalid content: which, and how it is rebuilt. Not for missing permissions or disk errors.
#[derive(Debug)]
pub struct Damaged(pub String);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A time as records write it: RFC 3339, UTC, whole seconds.
#[must_use]
pub fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}
