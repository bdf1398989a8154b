//! What is reported: how a poll ended, as a value and in words. Pure.

pub mod poll;

pub use poll::{FailureReport, PollOutcome, Recovery};
