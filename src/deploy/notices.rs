//! Sends notices and heartbeats. A poll does that when it has ended and holds no lock any more, so nothing of it changes
//! how a deployment ends.

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};

use crate::app::{App, Channel, Means};
use crate::decide::notices::{self, Observed};
use crate::error;
use crate::exit::Exit;
use crate::host::{Locked, Server, effective_uid};
use crate::layout;
use crate::report::PollOutcome;
use crate::report::notice::{self, Facts};
use crate::state::ledger::Ledger;
use crate::state::notices::{Event, Notice, Notices};
use crate::state::sha256;

/// At most one heartbeat in this time.
const BETWEEN_HEARTBEATS: TimeDelta = TimeDelta::seconds(60);

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
        let event =
            |state: &mut Notices| notices::report(&mut state.trouble, self.observed(), once, now);
        let mut state = Notices::load(server, name);
        if event(&mut state).is_none() && state.undelivered.is_empty() {
            return Ok(());
        }
        // Another poll may have begun meanwhile.
        let dir = layout::notices(name);
        server.make_own_dirs(&dir)?;
        let Locked::Held(_lock) = server.lock(&dir)? else {
            return Ok(());
        };
        let mut state = Notices::load(server, name);
        let mut event = event(&mut state);
        // Recorded first: what cannot be recorded would be sent by each poll.
        let recorded = state.save(server, name);
        if recorded.is_err() && self.was_sent_unrecorded(now)? {
            event = None;
        }
        let ledger = Ledger::load(server, name).unwrap_or_default();
        let new =
            event.map(|(event, reminder)| self.facts(ledger.live(), now).compose(event, reminder));
        deliver(server, self.app, &mut state, new.as_ref());
        recorded.and(state.save(server, name))
    }

    fn facts<'a>(
        &'a self,
        live: Option<&'a crate::state::ledger::Release>,
        now: DateTime<Utc>,
    ) -> Facts<'a> {
        Facts {
            app: self.app,
            server: self.server.hostname(),
            live,
            now,
            outcome: self.outcome,
            report: self.report,
        }
    }

    /// Whether a notice was sent within a day whose record could not be written, as on a full disk; from now on it was.
    fn was_sent_unrecorded(&self, now: DateTime<Utc>) -> Result<bool> {
        let mark = layout::notified(&self.app.name);
        let stat = self.server.stat(&mark)?;
        let own = stat.filter(|stat| stat.uid == effective_uid());
        let sent = own.and_then(|stat| DateTime::from_timestamp(stat.modified, 0));
        if sent.is_some_and(|sent| (now - sent).abs() < TimeDelta::hours(24)) {
            return Ok(true);
        }
        self.server.touch(&mark, now)?;
        Ok(false)
    }

    /// Sends a heartbeat, if one is set and due. Whether that succeeds is for the service to notice.
    fn beat(&self) {
        let Some(heartbeat) = &self.app.limits.heartbeat else {
            return;
        };
        let well = match self.observed() {
            Observed::Good => true,
            Observed::Trouble(_) => false,
            // A poll that found deployments paused did its duty; one that did not reach the git host has two more attempts.
            Observed::Nothing if self.exit == Exit::Success => true,
            Observed::Nothing => return,
        };
        let (server, now) = (self.server, self.server.clock().now());
        let mark = layout::heartbeat(&self.app.name);
        let last = server.stat(&mark).ok().flatten();
        let last = last.and_then(|stat| DateTime::from_timestamp(stat.modified, 0));
        // Half a second less: cron's minutes are not exact.
        if last.is_some_and(|last| (now - last).abs() < BETWEEN_HEARTBEATS - TimeDelta::seconds(5))
        {
            return;
        }
        drop(server.touch(&mark, now));
        let environment = environment(server, self.app);
        drop(server.request(&heartbeat.secret(well), None, &environment));
    }
}

/// Delivers a notice, and what waits, to all channels.
fn deliver(server: &Server, app: &App, state: &mut Notices, new: Option<&Notice>) {
    let channels: Vec<String> = (app.notify.iter())
        .map(|channel| sha256(channel.secret().as_bytes()))
        .collect();
    let environment = environment(server, app);
    let now = server.clock().now();
    notices::deliver(state, &channels, new, now, |number, notice| {
        send(server, &app.notify[number], notice, &environment)
    });
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
        Means::Apprise => server.apprise(address, &notice.title, &notice.body),
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
