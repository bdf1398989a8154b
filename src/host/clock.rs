//! The time, and how it is written.

use std::time::Instant;

use chrono::{DateTime, Local, Utc};

/// Where the time comes from; tests bring their own.
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
    /// Now.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now()
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
