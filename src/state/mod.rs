//! What is remembered: the receipt of init, the ledger of polls.
//!
//! Both are written before the thing they tell of, so that whoever comes after a crash knows at
//! least as much as happened.

pub mod data;
mod fields;
#[cfg(test)]
mod fuzz;
pub mod ledger;
pub mod receipt;
pub mod refusal;
pub mod venv;

use std::fmt;

/// What is remembered cannot be read as that: what it is, and what brings it back. Never that it may not be read, or
/// that the disk fails.
#[derive(Debug)]
pub struct Damaged(pub String);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
