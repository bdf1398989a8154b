//! What is remembered: the receipt of init, the ledger of polls.
//!
//! Both are written before the thing they tell of, so that whoever comes after a crash knows at
//! least as much as happened.

pub mod data;
mod fields;
pub mod ledger;
pub mod receipt;
pub mod refusal;
