//! What pullpray keeps on the server: settings, ledger, receipt, and the marks of the data directories.
//!
//! [`crate::state`] has their types and formats and is pure; here they are read and written.

mod apps;
#[cfg(test)]
mod fuzz;
mod ledger;
pub mod marks;
mod receipt;
