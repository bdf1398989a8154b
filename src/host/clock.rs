//! The clock: the system's, or in tests one that stands still and advances only where the program would sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Local, TimeDelta, Utc};

/// Source of the current time. Clones share it.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System(Instant),
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests stop the clock"))]
    /// The time at the start, and the milliseconds since then.
    Fixed(DateTime<Utc>, Arc<AtomicU64>),
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }
    /// A clock that shows this time, and advances only when [`Clock::sleep`] is called.
    #[must_use]
    #[cfg(test)]
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self(Source::Fixed(at, Arc::default()))
    }
    /// Current time, UTC.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::System(_) => Utc::now(),
            Source::Fixed(at, since) => {
                let since = i64::try_from(since.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
                *at + TimeDelta::milliseconds(since)
            }
        }
    }
    /// Current time in the server's time zone.
    #[must_use]
    pub fn local(&self) -> DateTime<Local> {
        self.now().with_timezone(&Local)
    }
    /// Time since this clock was made, by the monotonic clock.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System(started) => started.elapsed(),
            Source::Fixed(_, since) => Duration::from_millis(since.load(Ordering::Relaxed)),
        }
    }
    /// The time of CLOCK_MONOTONIC, as systemd reports when units started; `None` if there is none.
    #[must_use]
    pub fn since_boot(&self) -> Option<Duration> {
        let clock = nix::time::ClockId::CLOCK_MONOTONIC;
        nix::time::clock_gettime(clock).ok().map(Duration::from)
    }
    /// [`Clock::monotonic`], in seconds.
    #[must_use]
    pub fn elapsed(&self) -> f64 {
        self.monotonic().as_secs_f64()
    }
    /// Waits.
    pub fn sleep(&self, time: Duration) {
        match &self.0 {
            Source::System(_) => std::thread::sleep(time),
            Source::Fixed(_, since) => {
                let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                since.fetch_add(time.max(1), Ordering::Relaxed);
            }
        }
    }
}
