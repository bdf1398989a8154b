//! What is reported: the outcome of a poll and the state of an app, as values and in words. Pure.

pub mod metrics;
pub mod notice;
pub mod poll;
pub mod remote;
pub mod status;

pub use poll::{FailureReport, PollOutcome, Recovery, TimerFailure};
