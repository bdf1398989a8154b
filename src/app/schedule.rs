//! The schedule of the polls.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Local, TimeDelta};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use sha2::{Digest, Sha256};

use super::Invalid;

/// The five time fields of a crontab line (crontab(5)), or the interval of a systemd timer.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    by: By,
    /// The second of the minute; of a timer, how long after its start its first poll comes.
    second: u64,
}

/// What starts the polls.
#[derive(Debug, Clone)]
enum By {
    /// cron, and the fields in the crontab: those of the text, begun at another minute.
    Cron { cron: Box<Cron>, fields: String },
    /// A timer, every so many seconds.
    Timer(u64),
}

/// A question every second would be one ssh handshake after another.
const SHORTEST: u64 = 5;
const LONGEST: u64 = 24 * 3600;
/// The first poll after a boot comes within so many seconds, however long the interval is.
const FIRST_WITHIN: u64 = 300;

impl Schedule {
    /// The next time after `now` at which cron starts a poll; `None` if there is none. A timer counts from its last poll.
    #[must_use]
    pub fn next_after(&self, now: &DateTime<Local>) -> Option<DateTime<Local>> {
        match &self.by {
            By::Cron { cron, .. } => cron.find_next_occurrence(now, false).ok(),
            By::Timer(every) => {
                now.checked_add_signed(TimeDelta::try_seconds(i64::try_from(*every).ok()?)?)
            }
        }
    }

    /// The interval of the timer, in seconds; `None` if cron polls.
    #[must_use]
    pub fn timer(&self) -> Option<u64> {
        match self.by {
            By::Cron { .. } => None,
            By::Timer(every) => Some(every),
        }
    }

    /// What polls, in words.
    #[must_use]
    pub fn who(&self) -> &'static str {
        match self.by {
            By::Cron { .. } => "cron",
            By::Timer(_) => "a timer",
        }
    }

    /// An outage is reported after so many polls in a row, and not within two minutes: one that ends by itself is no news.
    #[must_use]
    pub fn report_after(&self) -> u32 {
        let polls = self.timer().map_or(0, |every| 120_u64.div_ceil(every));
        u32::try_from(polls).unwrap_or(u32::MAX).max(3)
    }

    /// The same for a server without cron: minutes are a timer's; other fields need cron.
    #[must_use]
    pub fn without_cron(self) -> Self {
        self.minutes()
            .map_or(self, |minutes| Self::every(minutes * 60))
    }

    fn every(seconds: u64) -> Self {
        Self {
            text: humantime::format_duration(Duration::from_secs(seconds)).to_string(),
            by: By::Timer(seconds),
            second: 0,
        }
    }

    /// The minutes between polls, if cron polls each time that so many have passed.
    fn minutes(&self) -> Option<u64> {
        if self.text == "* * * * *" {
            return Some(1);
        }
        let minutes = self.text.strip_prefix("*/")?.strip_suffix(" * * * *")?;
        minutes.parse().ok().filter(|minutes| 60 % minutes == 0)
    }

    /// The longest interval between consecutive polls among the next 64 after `now`.
    #[must_use]
    pub fn longest_pause(&self, now: &DateTime<Local>) -> Option<TimeDelta> {
        let mut longest = TimeDelta::zero();
        let mut last = self.next_after(now)?;
        for _ in 0..64 {
            let next = self.next_after(&last)?;
            longest = longest.max(next - last);
            last = next;
        }
        Some(longest)
    }

    /// The schedule as one server and app follow it, so that not all of them ask the git host in the same second: `*/5`
    /// begins at another minute, and a poll by cron at another second. Named minutes stay: somebody chose them.
    #[must_use]
    pub fn spread(self, machine: &str, app: &str) -> Self {
        if machine.is_empty() {
            return self;
        }
        // Names like a1 and a2 must not come near each other.
        let digest = Sha256::digest([machine, app].join("\0"));
        let number = |at| {
            digest[at..at + 4]
                .iter()
                .fold(0, |n, &b| n << 8 | u64::from(b))
        };
        let By::Cron { cron, .. } = self.by else {
            let second = number(0) % self.timer().unwrap_or(1).min(FIRST_WITHIN);
            return Self { second, ..self };
        };
        let second = number(0) % 60;
        let interval = self.text.strip_prefix("*/").and_then(|rest| {
            let (minutes, others) = rest.split_once(' ')?;
            Some((minutes.parse::<u64>().ok().filter(|n| *n > 1)?, others))
        });
        let Some((minutes, others)) = interval else {
            let fields = self.text.clone();
            return Self {
                by: By::Cron { cron, fields },
                second,
                ..self
            };
        };
        let fields = match number(4) % minutes {
            0 => self.text.clone(),
            first => format!("{first}-59/{minutes} {others}"),
        };
        let cron = parse(&fields).map_or(cron, Box::new);
        Self {
            by: By::Cron { cron, fields },
            text: self.text,
            second,
        }
    }

    /// The fields of the crontab line; empty for a timer.
    #[must_use]
    pub fn fields(&self) -> &str {
        match &self.by {
            By::Cron { fields, .. } => fields,
            By::Timer(_) => "",
        }
    }

    /// How long a poll by cron, or the first one by a timer, waits, in seconds.
    #[must_use]
    pub fn second(&self) -> u64 {
        self.second
    }

    /// The schedule in words: `every 5 minutes`, or else the quoted fields.
    #[must_use]
    pub fn words(&self) -> String {
        let seconds = self.timer().or(self.minutes().map(|minutes| minutes * 60));
        let Some(seconds) = seconds else {
            return format!("at \"{}\"", self.text);
        };
        let (count, unit) = match seconds {
            hours if hours % 3600 == 0 => (hours / 3600, "hour"),
            minutes if minutes % 60 == 0 => (minutes / 60, "minute"),
            seconds => (seconds, "second"),
        };
        match count {
            1 => format!("every {unit}"),
            _ => format!("every {count} {unit}s"),
        }
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Schedule {}

impl FromStr for Schedule {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        // A bare number means minutes.
        let text = match text.parse::<u32>() {
            Ok(1) => "* * * * *".to_owned(),
            Ok(minutes @ 2..=30) if 60 % minutes == 0 => format!("*/{minutes} * * * *"),
            Ok(_) => {
                return Err(
                    Invalid::new(format!("{text:?} cannot be expressed in cron"))
                        .hint("1, 2, 3, 4, 5, 6, 10, 12, 15, 20 or 30, or five crontab fields; a systemd timer polls at any interval, such as 7m"),
                );
            }
            Err(_) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        if let Ok(every) = humantime::parse_duration(&text) {
            let seconds = every.as_secs();
            if every.subsec_nanos() == 0 && (SHORTEST..=LONGEST).contains(&seconds) {
                return Ok(Self::every(seconds));
            }
            return Err(
                Invalid::new(format!("{text:?} is not an interval between polls"))
                    .hint("whole seconds, from 5s to 24h"),
            );
        }
        let refuse = |why: String| {
            Invalid::new(why).hint(
                "five fields as in crontab(5), for example */5 * * * *, or an interval, for example 30s",
            )
        };
        // croner accepts more than Vixie cron does (L, W, #, ?, nicknames); accept only what both
        // do. In a crontab, `%` would end the command.
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b" */,-".contains(&b))
            && text.split(' ').count() == 5;
        if !plain {
            return Err(refuse(format!("{text:?} is not a cron schedule")));
        }
        let fields: Vec<&str> = text.split(' ').collect();
        // Allow names of months and days only where crontab(5) does.
        let months = "jan feb mar apr may jun jul aug sep oct nov dec";
        let days = "sun mon tue wed thu fri sat";
        for (field, names) in fields.iter().zip(["", "", "", months, days]) {
            let words = field.split(|c: char| !c.is_ascii_alphabetic());
            for word in words.filter(|word| !word.is_empty()) {
                if !names.split(' ').any(|name| name.eq_ignore_ascii_case(word)) {
                    return Err(refuse(format!(
                        "{text:?} has {word:?} where cron expects a number"
                    )));
                }
            }
        }
        let cron = parse(&text)
            .map_err(|error| refuse(format!("{text:?} is not a cron schedule: {error}")))?;
        Ok(Self {
            by: By::Cron {
                cron: Box::new(cron),
                fields: text.clone(),
            },
            text,
            second: 0,
        })
    }
}

fn parse(fields: &str) -> Result<Cron, CronError> {
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    parser.parse(fields)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
