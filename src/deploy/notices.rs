//! Sends notices and heartbeats. A poll does that when it has ended and holds no lock any more, so nothing of it changes
//! how a deployment ends.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};

use crate::app::{App, Channel, Means};
use crate::decide::notices::{self, Observed};
use crate::error;
use crate::exit::Exit;
use crate::host::{Locked, Server};
use crate::layout;
use crate::report::PollOutcome;
use crate::report::notice::{self, Facts, quiet};
use crate::state::ledger::{Ledger, Release};
use crate::state::notices::{Event, Notice, Notices};
use crate::state::sha256;

/// At most one heartbeat in this time.
const BETWEEN_HEARTBEATS: TimeDelta = TimeDelta::seconds(60);

/// How long to wait for another poll that is sending: dead channels take their deadlines.
const PATIENCE: Duration = Duration::from_secs(60);

/// A poll that ended.
pub struct Ended<'a> {
    /// The server.
    pub server: &'a Server,
    /// The app.
    pub app: &'a App,
    /// Its outcome; `None` for an error of this server's.
    pub outcome: Option<&'a PollOutcome>,
    /// Its exit code.
    pub exit: Exit,
    /// Its whole report.
    pub report: &'a str,
}

impl Ended<'_> {
    fn observed(&self) -> Observed {
        match self.outcome {
            Some(outcome) => notice::observed(outcome, self.exit),
            None => Observed::Trouble(Event::Failed),
        }
    }

    /// Sends what is to be sent, and what could not be before. Without channels and heartbeat it does nothing.
    ///
    /// # Errors
    /// When the state of the notices cannot be written. What cannot be delivered is no error: it is kept.
    pub fn tell(&self) -> Result<()> {
        if matches!(self.outcome, Some(PollOutcome::Busy)) {
            return Ok(());
        }
        let sent = self.notify();
        self.beat();
        sent
    }

    fn notify(&self) -> Result<()> {
        let (server, name) = (self.server, &self.app.name);
        if self.app.notify.is_empty() {
            return Ok(());
        }
        let now = server.clock().now();
        let once = self.outcome.and_then(|it| notice::once(self.app, it));
        let event = |state: &mut Notices| notices::report(state, self.observed(), once, now);
        let before = Notices::load(server, name);
        let mut state = before.clone();
        if event(&mut state).is_none() && state == before && state.undelivered.is_empty() {
            return Ok(());
        }
        // Another poll may have begun meanwhile. Without the lock, something may be sent twice.
        let dir = layout::notices_lock(name);
        if server.stat(&dir)?.is_none() {
            drop(server.make_own_dir(&dir));
        }
        let lock = server.lock_in_time(&dir, PATIENCE);
        if matches!(lock, Ok(Locked::Elsewhere)) {
            return Ok(());
        }
        let mut state = Notices::load(server, name);
        let channels = digests(self.app);
        if let Some((event, reminder)) = event(&mut state) {
            let ledger = Ledger::load(server, name).unwrap_or_default();
            let facts = self.facts(ledger.live(), now);
            notices::queue(&mut state, &channels, &facts.compose(event, reminder), now);
        }
        // First: what is not recorded would be lost with this process, or be sent by each poll.
        state.save(server, name)?;
        let environment = environment(server, self.app);
        notices::deliver(&mut state, &channels, now, |number, notice| {
            send(server, &self.app.notify[number], notice, &environment)
        });
        state.save(server, name)
    }

    fn facts<'a>(&'a self, live: Option<&'a Release>, now: DateTime<Utc>) -> Facts<'a> {
        Facts {
            app: self.app,
            server: self.server.hostname(),
            live,
            now,
            outcome: self.outcome,
            report: self.report,
        }
    }

    /// Sends a heartbeat, if one is set and due. Whether that succeeds is for the service to notice.
    fn beat(&self) {
        let Some(heartbeat) = &self.app.limits.heartbeat else {
            return;
        };
        let well = match self.observed() {
            Observed::Good | Observed::Over(_) => true,
            Observed::Trouble(_) => false,
            // A poll that found deployments paused did its duty; one that did not reach the git host has two more attempts.
            Observed::Nothing if self.exit == Exit::Success => true,
            Observed::Nothing => return,
        };
        let (server, now) = (self.server, self.server.clock().now());
        let mark = layout::heartbeat(&self.app.name);
        let last = server.stat(&mark).ok().flatten();
        let last = last.and_then(|stat| DateTime::from_timestamp(stat.modified, 0));
        // Some seconds less: cron's minutes are not exact.
        if last.is_some_and(|last| (now - last).abs() < BETWEEN_HEARTBEATS - TimeDelta::seconds(5))
        {
            return;
        }
        drop(server.touch(&mark, now));
        let environment = environment(server, self.app);
        drop(server.request(&heartbeat.secret(well), None, &environment));
    }
}

/// The digests of the channels' addresses.
fn digests(app: &App) -> Vec<String> {
    let channels = app.notify.iter();
    channels
        .map(|channel| sha256(channel.secret().as_bytes()))
        .collect()
}

/// The app's environment, for its proxy. That it cannot be read may be what is reported.
fn environment(server: &Server, app: &App) -> Vec<(String, String)> {
    let variables = server.environment(&app.environment_file());
    variables.unwrap_or_default()
}

fn send(
    server: &Server,
    channel: &Channel,
    notice: &Notice,
    environment: &[(String, String)],
) -> Result<(), String> {
    let address = channel.secret();
    match channel.means() {
        Means::Mail => server.mail(address, &notice::mail(notice, address)),
        Means::Https => server.request(address, Some(&notice::webhook(notice)), environment),
        Means::Apprise => server.apprise(address, &quiet(&notice.title), &quiet(&notice.body)),
    }
}

/// Sends a test to each channel; returns why it failed, if it did.
#[must_use]
pub fn test<'a>(server: &Server, app: &'a App) -> Vec<(&'a Channel, Result<(), String>)> {
    let ledger = Ledger::load(server, &app.name).unwrap_or_default();
    let facts = Facts {
        app,
        server: server.hostname(),
        live: ledger.live(),
        now: server.clock().now(),
        outcome: None,
        report: "",
    };
    let notice = facts.compose(Event::Test, false);
    let environment = environment(server, app);
    let sent = |channel| (channel, send(server, channel, &notice, &environment));
    app.notify.iter().map(sent).collect()
}

/// The report of an error of this server's.
#[must_use]
pub fn of_error(app: &App, error: &anyhow::Error) -> String {
    let mut text = format!("{}: {}\n", app.name, error::in_one_line(error));
    for hint in error::hints(error) {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}
