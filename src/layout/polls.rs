//! What may start the polls of an app.

use std::path::PathBuf;

use crate::app::{App, AppName};

use super::unit_file;

/// The service of a poll, and the timer that starts it where cron does not. No process's unit has such a name.
#[must_use]
pub fn poll_units(app: &AppName) -> [String; 2] {
    ["service", "timer"].map(|kind| format!("pullpray-poll.{app}.{kind}"))
}

impl App {
    /// The service and the timer of its polls, if a timer starts them.
    pub fn poll_units(&self) -> impl Iterator<Item = String> {
        let timer = self.schedule.timer().into_iter();
        timer.flat_map(|_| poll_units(&self.name))
    }
    /// What may start its polls, of which init leaves one: the cron entry, the timer.
    #[must_use]
    pub fn schedulers(&self) -> [PathBuf; 2] {
        let [_, timer] = poll_units(&self.name);
        [self.cron(), unit_file(&timer)]
    }
}
