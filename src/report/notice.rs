//! The words of a notice: what somebody reads who is not at the server.

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::app::App;
use crate::decide::Verdict;
use crate::decide::notices::Observed;
use crate::exit::Exit;
use crate::state::ledger::Release;
use crate::state::notices::{Event, Notice};
use crate::state::refusal::Why;
use crate::text::{for_terminal, short};

use super::PollOutcome;
use super::poll::title;

/// The event that a poll reports, and its commit.
#[must_use]
pub fn event(outcome: &PollOutcome) -> Option<(Event, Option<&str>)> {
    match outcome {
        PollOutcome::Deployed { to, .. } => Some((Event::Live, Some(&to.commit))),
        PollOutcome::TimersFailed(_, then) => event(then).or(Some((Event::Failed, None))),
        PollOutcome::Failed(report) => Some((Event::Failed, Some(&report.release.commit))),
        PollOutcome::Skipped(Verdict::Refused {
            refusal,
            report: true,
        }) => Some((Event::Refused, Some(&refusal.commit))),
        PollOutcome::Unreachable { report: true, .. } => Some((Event::Unreachable, None)),
        PollOutcome::Reachable(_, then) => event(then).or(Some((Event::Recovered, None))),
        PollOutcome::Recovered(recovery, then) => {
            event(then).or(Some((Event::Recovered, Some(&recovery.live.commit))))
        }
        PollOutcome::Redeployed(_, _, then)
        | PollOutcome::StateRebuilt(_, then)
        | PollOutcome::StillDown(then) => event(then),
        PollOutcome::Skipped(_) | PollOutcome::Busy | PollOutcome::Unreachable { .. } => None,
    }
}

/// What a poll that ended with this code showed of the app's state.
#[must_use]
pub fn observed(outcome: &PollOutcome, exit: Exit) -> Observed {
    match outcome {
        _ if exit == Exit::RestoreFailed => Observed::Trouble(Event::Down),
        PollOutcome::StillDown(_) => Observed::Trouble(Event::Down),
        PollOutcome::Skipped(Verdict::Paused(_)) | PollOutcome::Busy => Observed::Nothing,
        PollOutcome::Skipped(Verdict::UpToDate) | PollOutcome::Deployed { .. } => Observed::Good,
        // Somebody went back from that commit.
        PollOutcome::Skipped(Verdict::Waiting(failure)) if failure.is_rollback() => Observed::Good,
        PollOutcome::Skipped(Verdict::Waiting(_)) | PollOutcome::Failed(_) => {
            Observed::Trouble(Event::Failed)
        }
        PollOutcome::Skipped(Verdict::Refused { refusal, .. }) => match &refusal.why {
            Why::OtherPaths => Observed::Good,
            why if why.is_transient() => Observed::Nothing,
            _ => Observed::Trouble(Event::Refused),
        },
        PollOutcome::Unreachable { outage, report } if *report || outage.reported => {
            Observed::Trouble(Event::Unreachable)
        }
        PollOutcome::Unreachable { .. } => Observed::Nothing,
        PollOutcome::Reachable(_, then) => observed(then, exit).or_over(Event::Unreachable),
        PollOutcome::Recovered(_, then) => observed(then, exit).or_over(Event::Down),
        PollOutcome::TimersFailed(_, then) | PollOutcome::StateRebuilt(_, then) => {
            observed(then, exit)
        }
        // The site is up again; what the poll itself met may last.
        PollOutcome::Redeployed(_, first, then) => match observed(then, exit) {
            Observed::Good => observed(first, exit).or_over(Event::Down),
            other => other,
        },
    }
}

/// What to report of a poll besides the state that it showed.
#[must_use]
pub fn once(app: &App, outcome: &PollOutcome) -> Option<Event> {
    match outcome {
        PollOutcome::TimersFailed(..) => Some(Event::Failed),
        PollOutcome::Deployed { .. } => app.limits.notify_live.then_some(Event::Live),
        PollOutcome::Recovered(_, then) => once(app, then).or(Some(Event::Recovered)),
        PollOutcome::StateRebuilt(_, then) | PollOutcome::Reachable(_, then) => once(app, then),
        PollOutcome::Redeployed(_, _, then) => {
            let live = matches!(**then, PollOutcome::Deployed { .. });
            live.then_some(Event::Recovered)
        }
        _ => None,
    }
}

/// The processes that failed by the clock.
fn failed_timers(outcome: &PollOutcome) -> Option<String> {
    match outcome {
        PollOutcome::TimersFailed(failures, _) => {
            let names = failures.iter().map(|failure| failure.process.as_str());
            Some(names.collect::<Vec<_>>().join(", "))
        }
        PollOutcome::StateRebuilt(_, then) => failed_timers(then),
        _ => None,
    }
}

/// What a notice is made of, beside its event.
pub struct Facts<'a> {
    /// The app.
    pub app: &'a App,
    /// The server's name.
    pub server: String,
    /// What is live.
    pub live: Option<&'a Release>,
    /// The time.
    pub now: DateTime<Utc>,
    /// What was deployed or refused, if the event is about that.
    pub outcome: Option<&'a PollOutcome>,
    /// The poll's report.
    pub report: &'a str,
}

impl Facts<'_> {
    /// Composes the notice of an event.
    #[must_use]
    pub fn compose(&self, event: Event, reminder: bool) -> Notice {
        let commit = self.outcome.and_then(|outcome| self::event(outcome)?.1);
        Notice {
            event,
            app: self.app.name.to_string(),
            server: self.server.clone(),
            commit: commit.map(str::to_owned),
            live: self.live.map(|live| live.commit.clone()),
            time: self.now,
            reminder,
            title: self.title(event, reminder, commit),
            body: self.body(event),
        }
    }

    fn title(&self, event: Event, reminder: bool, commit: Option<&str>) -> String {
        let live = self.live.map(|live| short(&live.commit));
        let still = live.map_or_else(
            || "nothing is live yet".to_owned(),
            |live| format!("{live} still live"),
        );
        let what = match event {
            Event::Failed => match self.timers() {
                Some(names) => format!("{names} FAILED"),
                None => format!("deploy FAILED, {still}"),
            },
            Event::Down => "DOWN, the previous release could not be restored".to_owned(),
            Event::Refused => {
                let commit = commit.map_or("new commit", short);
                format!("{commit} REFUSED, {still}")
            }
            Event::Unreachable => format!("cannot reach {}", self.app.repo.host()),
            Event::Recovered => match live {
                Some(live) => format!("recovered, {live} is live"),
                None => "recovered".to_owned(),
            },
            Event::Live => format!("{} is live", live.unwrap_or_default()),
            Event::Test => "test".to_owned(),
        };
        let lasts = if reminder { "still: " } else { "" };
        let (server, name) = (&self.server, &self.app.name);
        for_terminal(&format!("[pullpray {server}] {name}: {lasts}{what}"))
    }

    /// The names of the processes that failed by the clock, if that is what failed.
    fn timers(&self) -> Option<String> {
        let outcome = self.outcome?;
        let more = matches!(observed(outcome, Exit::Success), Observed::Trouble(_));
        failed_timers(outcome).filter(|_| !more)
    }

    /// Whether this poll saw the live release answer.
    fn saw_it_up(&self) -> bool {
        match self.outcome {
            Some(PollOutcome::Failed(report)) => report.restore_error.is_none(),
            Some(PollOutcome::Deployed { .. }) => true,
            Some(PollOutcome::Recovered(recovery, _)) => recovery.unhealthy.is_none(),
            _ => false,
        }
    }

    fn body(&self, event: Event) -> String {
        let (app, server) = (self.app, &self.server);
        let name = &app.name;
        let live = self.live.map(title);
        let up = match &live {
            None => "Nothing is live yet.".to_owned(),
            Some(live) if self.saw_it_up() => format!("The site is UP on {live}."),
            Some(live) => format!("The live release is {live}."),
        };
        let what = match self.outcome {
            Some(PollOutcome::Failed(report)) => title(&report.release),
            _ => "a commit".to_owned(),
        };
        let follows = app.track.words();
        let first = match event {
            Event::Failed if self.timers().is_some() => {
                format!("A process of {name} on {server} failed. {up}")
            }
            Event::Failed => format!("{name} on {server} could not deploy {what}; {follows}. {up}"),
            Event::Down => {
                format!("{name} on {server} is DOWN: no release passes its health check.")
            }
            Event::Refused => format!("{name} on {server} does not deploy a commit. {up}"),
            Event::Unreachable => {
                let host = app.repo.host();
                format!("{name} on {server} gets no new commits from {host}. {up}")
            }
            Event::Recovered => format!("{name} on {server} is well again. {up}"),
            Event::Live => format!("{name} on {server} has a new release. {up}"),
            Event::Test => format!(
                "{name} on {server} reports failures here. Somebody tested it; nothing is wrong."
            ),
        };
        let last = match event {
            Event::Failed if self.timers().is_some() => "",
            Event::Failed | Event::Down | Event::Refused | Event::Unreachable => {
                "\nThe next message comes when this has changed, or else in a day.\n"
            }
            Event::Recovered | Event::Live | Event::Test => "",
        };
        let now = match event {
            Event::Failed | Event::Down if self.timers().is_none() => format!(
                "  now   sudo pullpray poll {name} --now | sudo pullpray pause {name} | sudo pullpray doctor {name}\n"
            ),
            _ => String::new(),
        };
        format!("{first}\n\n{}{now}{last}", self.report)
            .trim_end()
            .to_owned()
            + "\n"
    }
}

/// A text that mentions nobody: a zero width space takes the meaning of <!channel>, of @everyone and of a fence.
#[must_use]
pub fn quiet(text: &str) -> String {
    let text = text.replace('<', "<\u{200b}").replace('@', "@\u{200b}");
    text.replace("```", "`\u{200b}``")
}

/// Discord refuses a longer message (its API, "Create Message").
const LONGEST_CONTENT: usize = 2000;

/// The body of the request to a webhook: the notice's fields, `text` for Slack, Mattermost and Rocket.Chat, and `content` for
/// Discord. Nothing in a commit's subject or a log mentions anybody there.
#[must_use]
pub fn webhook(notice: &Notice) -> String {
    let (title, body) = (quiet(&notice.title), quiet(&notice.body));
    let text = |body: &str| format!("{title}\n```\n{}\n```", body.trim_end());
    let room = LONGEST_CONTENT.saturating_sub(text("").chars().count());
    let content: String = body.chars().take(room).collect();
    let mut json = json!({
        "text": text(&body), "content": text(&content), "allowed_mentions": { "parse": [] },
    });
    if let (Some(json), Ok(serde_json::Value::Object(fields))) =
        (json.as_object_mut(), serde_json::to_value(notice))
    {
        json.extend(fields);
    }
    json.to_string()
}

/// The mail of a notice (RFC 5322). Its sender is that of the mail system.
#[must_use]
pub fn mail(notice: &Notice, to: &str) -> String {
    // RFC 5322 allows 998 bytes in a line.
    const LONGEST_LINE: usize = 240;
    let mut text = format!(
        "To: {to}\nSubject: {}\nDate: {}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n",
        notice.title.replace(|c: char| !c.is_ascii(), "?"),
        notice.time.to_rfc2822()
    );
    for line in notice.body.lines() {
        let line: String = line.chars().take(LONGEST_LINE).collect();
        text.push_str(&for_terminal(&line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_mails_nor_chats_do_what_a_commit_s_subject_says() {
        let notice = Notice {
            event: Event::Failed,
            app: "todo".into(),
            server: "web".into(),
            commit: None,
            live: None,
            time: DateTime::UNIX_EPOCH,
            reminder: false,
            title: "todo: é".into(),
            body: format!("<!channel> @everyone ```\n{}", "ö".repeat(3000)),
        };
        let json: serde_json::Value = serde_json::from_str(&webhook(&notice)).unwrap_or_default();
        for key in ["text", "content"] {
            let text = json[key].as_str().unwrap_or_default();
            assert!(
                text.matches("```").count() == 2 && !text.contains("<!") && !text.contains("@e")
            );
        }
        let content = json["content"].as_str().unwrap_or_default();
        assert!(content.chars().count() <= LONGEST_CONTENT && content.ends_with("```"));
        assert_eq!(json["event"], "failed");
        let mail = mail(&notice, "ops@example.org");
        assert!(mail.lines().all(|line| line.len() < 998) && mail.contains("Subject: todo: ?\n"));
    }
}
