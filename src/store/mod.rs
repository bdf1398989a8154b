//! Files of pullpray on the server: settings, ledger, receipt, and the marks of data directories.
//!
//! [`crate::state`] has their types and formats and is pure; this module reads and writes them.

mod apps;
#[cfg(test)]
mod fuzz;
mod ledger;
pub mod marks;
mod notices;
mod receipt;
