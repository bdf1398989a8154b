//! The time, and how it is written.

use std::time::Instant;

use chrono::{DateTime, Local, SecondsFormat, Utc};

/// Where the time comes from; tests bring their own.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    fixed: Option<DateTime<Utc>>,
    started: Instant,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self {
            fixed: None,
            started: Instant::now(),
        }
    }
    /// A clock that stands.
    #[must_use]
    pub fn at(time: DateTime<Utc>) -> Self {
        Self {
            fixed: Some(time),
            started: Instant::now(),
        }
    }
    /// Now.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.fixed.unwrap_or_else(Utc::now)
    }
    /// Now, as people on this server read it.
    #[must_use]
    pub fn local(&self) -> DateTime<Local> {
        self.now().with_timezone(&Local)
    }
    /// Seconds since this program began, whatever happens to the time of day.
    #[must_use]
    pub fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

/// A time as records write it: RFC 3339, UTC, whole seconds.
#[must_use]
pub fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
