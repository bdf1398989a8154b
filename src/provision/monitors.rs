//! Checks that only doctor runs: what goes wrong later on a server that init set up correctly.

use std::path::Path;

use anyhow::Result;
use chrono::{DateTime, Local, TimeDelta, Utc};

use crate::app::App;
use crate::host::{Clock, Size, View, is_held};
use crate::layout;
use crate::report::remote;
use crate::state::Damaged;
use crate::state::ledger::Ledger;

use crate::text::duration;

use super::audit::{DropIns, Ownership, PrivilegeEscalation};
use super::connections::Connections;
use super::notices::Notices;
use super::receipt::IntactReceipt;
use super::remote_checks::{OnlyThisRepository, PresentedHostKey};
use super::{About, Check, CheckContext, Finding, Step, StepId, check, fix};

struct RecentPoll<'a>(&'a App);
struct Space<'a>(&'a App);
struct ClockSync<'a>(&'a App);

/// The checks that doctor runs in addition to the steps.
#[must_use]
pub fn monitors(app: &App) -> Vec<Step<'_>> {
    vec![
        fix(IntactReceipt(app)),
        fix(Ownership(app)),
        check(PrivilegeEscalation(app)),
        check(DropIns(app)),
        check(PresentedHostKey(app)),
        check(OnlyThisRepository(app)),
        check(Space(app)),
        check(Connections(app)),
        check(ClockSync(app)),
        check(RecentPoll(app)),
        check(Notices(app)),
    ]
}

impl Check for RecentPoll<'_> {
    fn about(&self) -> About {
        About::new(StepId::PollRecent, self.0.schedule.words())
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let Some(ledger) = ledger(context, self.0)? else {
            return Ok(damaged());
        };
        let poll = format!("sudo pullpray poll {} -v", self.0.name);
        if let Some(outage) = ledger.outage() {
            return Ok(Finding::manual(
                format!(
                    "{}, {}, since {}",
                    remote::why(self.0, &outage.failure),
                    outage.polls_in_words(),
                    outage.since
                ),
                poll,
            ));
        }
        let last = ledger
            .last_check()
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let Some(last) = last.map(|time| time.with_timezone(&Utc)) else {
            return Ok(Finding::warning("no poll yet", poll));
        };
        let ago = context.view.clock().now() - last;
        if ago < TimeDelta::minutes(-2) {
            let why = format!("the last poll was at {last}, which is in the future");
            return Ok(Finding::blocked(StepId::ServerClock, why));
        }
        if let Some(why) = overdue(context.view, self.0, &ledger, context.view.clock())? {
            return Ok(Finding::manual(why, self.log(context.view)?));
        }
        let schedule = &self.0.schedule;
        let (ago, who, words) = (duration(ago), schedule.who(), schedule.words());
        Ok(match ledger.last_by_cron() {
            Some(_) => Finding::Ok(format!("{ago} ago; {who} polls {words}")),
            None => Finding::Unknown(format!(
                "{ago} ago, by hand; {who} polls {words} but has not started one yet"
            )),
        })
    }
}

impl RecentPoll<'_> {
    /// The command that shows what stops the polls.
    fn log(&self, view: &View) -> Result<String> {
        let App { name, user, .. } = self.0;
        let units = |of: &str, what| {
            format!(
                "systemctl list-timers '{of}*'; sudo journalctl -u '{of}*'  # shows what stops {what}"
            )
        };
        Ok(if self.0.schedule.timer().is_some() {
            units(&format!("pullpray-poll.{name}."), "the timer")
        } else if view
            .cron_unit()?
            .is_some_and(|(unit, _)| unit == "cron.target")
        {
            // systemd-cron makes a timer of each line.
            units(&format!("cron-pullpray-{name}-"), "systemd-cron")
        } else {
            format!(
                "sudo journalctl -t cron -t CRON -t crond -t CROND -g '{user}|pullpray-{name}'  # shows what stops cron, including PAM errors"
            )
        })
    }
}

/// When the scheduler started, in seconds since 1970; 0 if that is not known. cron's file is older than its unit's state
/// where somebody has it reload, and systemd-cron has none.
fn started(view: &View, app: &App, clock: &Clock) -> Result<i64> {
    let cron = view.stat(Path::new("/run/crond.pid"))?;
    let since = match (app.schedule.timer(), cron) {
        (None, Some(cron)) => return Ok(cron.modified),
        (None, None) => view.cron_unit()?.and_then(|(_, state)| state.since),
        (Some(_), _) => view.unit(&layout::poll_units(&app.name)[1])?.since,
    };
    let ago = (since.zip(clock.since_boot())).map(|(since, now)| now.saturating_sub(since));
    let ago = ago.and_then(|ago| i64::try_from(ago.as_secs()).ok());
    Ok(ago.map_or(0, |ago| clock.now().timestamp() - ago))
}

/// Why cron, or the timer, seems not to poll: no poll by it since the first one that was due after its last poll, after its
/// file was written and after it started. Polls by hand do not count.
///
/// # Errors
/// When the server's state cannot be read.
pub fn overdue(view: &View, app: &App, ledger: &Ledger, clock: &Clock) -> Result<Option<String>> {
    let last = ledger.last_by_cron();
    let last = last.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let mut since = last.map_or(0, |last| last.timestamp());
    let [cron, timer] = app.schedulers();
    let (file, who) = match app.schedule.timer() {
        None => (cron, "cron"),
        Some(_) => (timer, "the timer"),
    };
    since = since.max(view.stat(&file)?.map_or(0, |stat| stat.modified));
    since = since.max(started(view, app, clock)?);
    let Some(since) = DateTime::from_timestamp(since, 0).map(|since| since.with_timezone(&Local))
    else {
        return Ok(None);
    };
    // During a deployment other polls exit at once and record nothing.
    // What a killed poll left in the ledger is no deployment: only a running poll holds the lock.
    let busy = ledger
        .in_progress()
        .filter(|_| is_held(&view.real(&layout::state(&app.name))))
        .map_or(0, |_| app.limits.script_timeout());
    let grace = TimeDelta::minutes(10) + TimeDelta::seconds(busy.try_into().unwrap_or(0));
    let due = app.schedule.next_after(&since);
    Ok(due.filter(|due| clock.local() > *due + grace).map(|due| {
        format!(
            "{who} has started no poll since {}, though one was due at {} (it polls {})",
            since.format("%Y-%m-%d %H:%M"),
            due.format("%Y-%m-%d %H:%M"),
            app.schedule.words()
        )
    }))
}

impl Check for ClockSync<'_> {
    fn about(&self) -> About {
        About::new(StepId::ServerClock, "time of day")
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let now = context.view.clock().local().format("%Y-%m-%d %H:%M %Z");
        // Earlier timestamps in the ledger and the receipt are the only evidence that needs no network.
        let Some(ledger) = ledger(context, self.0)? else {
            return Ok(damaged());
        };
        let written = ledger
            .last_check()
            .into_iter()
            .chain(
                context
                    .receipt
                    .entries()
                    .last()
                    .map(|entry| entry.time.as_str()),
            )
            .filter_map(|text| DateTime::parse_from_rfc3339(text).ok())
            .max();
        if let Some(written) = written.map(|time| time.with_timezone(&Utc))
            && written - context.view.clock().now() > TimeDelta::minutes(2)
        {
            return Ok(Finding::warning(
                format!(
                    "it is {now}, but a record has the time {written}: the clock was set back, or was ahead then"
                ),
                "timedatectl",
            ));
        }
        let service = context.view.time_service()?;
        Ok(match (service.enabled, service.synchronised) {
            (_, true) => Finding::Ok(format!("{now}, synchronised")),
            (true, false) => Finding::warning(
                format!("{now}; a time service is enabled but has not synchronised the clock"),
                "timedatectl timesync-status",
            ),
            (false, false) => Finding::Ok(format!("{now}, no time service enabled")),
        })
    }
}

/// The ledger; `None` if it is damaged.
fn ledger(context: &CheckContext<'_>, app: &App) -> Result<Option<Ledger>> {
    match Ledger::load(context.view, &app.name) {
        Err(error) if error.is::<Damaged>() => Ok(None),
        ledger => ledger.map(Some),
    }
}

fn damaged() -> Finding {
    Finding::blocked(StepId::AppRelease, "its ledger is damaged")
}

/// Minimum for building a release: a small virtual environment with Django.
const MIN_BYTES: u64 = 256 * 1024 * 1024;
/// Below this even the smallest release is refused.
const TOO_FEW_BYTES: u64 = 32 * 1024 * 1024;
const MIN_INODES: u64 = 10_000;

impl Space<'_> {
    /// What a poll requires to be free before it builds a release as large as the live one, in bytes.
    fn next_release(&self, context: &CheckContext<'_>) -> Result<u64> {
        let ledger = ledger(context, self.0)?;
        let Some(live) = ledger.as_ref().and_then(Ledger::live) else {
            return Ok(0);
        };
        let tree = self.0.releases().join(&live.id);
        let on_disk = context.view.tree_size(&tree)?;
        // Its bytes on disk are whole blocks already.
        Ok(Size {
            files: 0,
            ..on_disk
        }
        .of_a_release(None)
        .bytes)
    }
}

impl Check for Space<'_> {
    fn about(&self) -> About {
        About::new(StepId::ServerSpace, &self.0.project_dir)
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let mut words = Vec::new();
        let state = layout::state(&self.0.name);
        let next = self.next_release(context)?;
        for path in [self.0.project_dir.as_path(), &state] {
            let dir = path.display();
            if context.view.stat(path)?.is_none() {
                let why = format!("{dir} does not exist");
                return Ok(Finding::blocked(StepId::ProjectDirectories, why));
            }
            let (bytes, files) = context.view.free_space(path)?;
            let few = files.is_some_and(|files| files < MIN_INODES);
            let inodes = files.map_or_else(String::new, |files| format!(" and {files} inodes"));
            let text = format!("{} MiB{inodes} free at {dir}", bytes / 1024 / 1024);
            if path != state && bytes < next {
                let why = format!(
                    "{text}, and a release as large as the live one needs {} MiB: the next one will be refused",
                    next.div_ceil(1 << 20)
                );
                return Ok(Finding::manual(
                    why,
                    format!("df -h {dir}; du -xsh {dir}/*"),
                ));
            }
            if bytes < MIN_BYTES || few {
                let remedy = format!("df -h {dir}; df -i {dir}; du -xsh {dir}/*");
                if bytes < TOO_FEW_BYTES {
                    let why = format!("{text}: polls deploy nothing until there is more");
                    return Ok(Finding::manual(why, remedy));
                }
                return Ok(Finding::warning(text, remedy));
            }
            words.push(text);
        }
        Ok(Finding::Ok(words.swap_remove(0)))
    }
}
