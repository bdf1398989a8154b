//! The system clock.

use std::time::Instant;

use chrono::{DateTime, Local, Utc};

/// Source of the current time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self {
            started: Instant::now(),
        }
    }
    /// Current time, UTC.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
    /// Current time in the server's time zone.
    #[must_use]
    pub fn local(&self) -> DateTime<Local> {
        self.now().with_timezone(&Local)
    }
    /// Seconds since this program started, by the monotonic clock.
    #[must_use]
    pub fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
