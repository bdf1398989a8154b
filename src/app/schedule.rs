//! The schedule of the polls.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Local, TimeDelta};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use sha2::{Digest, Sha256};

use super::Invalid;

/// The five time fields of a crontab line (crontab(5)).
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    cron: Cron,
    /// The fields in the crontab: those of `text`, begun at another minute.
    fields: String,
    /// The second of the minute.
    second: u64,
}

impl Schedule {
    /// The next time after `now` at which cron starts a poll; `None` if there is none.
    #[must_use]
    pub fn next_after(&self, now: &DateTime<Local>) -> Option<DateTime<Local>> {
        self.cron.find_next_occurrence(now, false).ok()
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
        let second = number(0) % 60;
        let interval = self.text.strip_prefix("*/").and_then(|rest| {
            let (minutes, others) = rest.split_once(' ')?;
            Some((minutes.parse::<u64>().ok().filter(|n| *n > 1)?, others))
        });
        let Some((minutes, others)) = interval else {
            return Self { second, ..self };
        };
        let fields = match number(4) % minutes {
            0 => self.text.clone(),
            first => format!("{first}-59/{minutes} {others}"),
        };
        Self {
            cron: parse(&fields).unwrap_or(self.cron),
            text: self.text,
            fields,
            second,
        }
    }

    /// The fields of the crontab line.
    #[must_use]
    pub fn fields(&self) -> &str {
        &self.fields
    }

    /// How long a poll by cron waits first, in seconds.
    #[must_use]
    pub fn second(&self) -> u64 {
        self.second
    }

    /// The schedule in words: `every 5 minutes`, or else the quoted fields.
    #[must_use]
    pub fn words(&self) -> String {
        let minutes = match self.text.as_str() {
            "* * * * *" => Some(1),
            text => text
                .strip_prefix("*/")
                .and_then(|rest| rest.strip_suffix(" * * * *"))
                .and_then(|minutes| minutes.parse::<u32>().ok())
                .filter(|minutes| 60 % minutes == 0),
        };
        match minutes {
            Some(1) => "every minute".to_owned(),
            Some(minutes) => format!("every {minutes} minutes"),
            None => format!("at \"{}\"", self.text),
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
                        .hint("1, 2, 3, 4, 5, 6, 10, 12, 15, 20 or 30, or five crontab fields"),
                );
            }
            Err(_) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        let refuse = |why: String| {
            Invalid::new(why).hint("five fields as in crontab(5), for example */5 * * * *")
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
            fields: text.clone(),
            text,
            cron,
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
mod tests {
    use super::*;
    use chrono::TimeZone;

    #[test]
    fn parses_minutes_and_crontab_fields() {
        let parsed = |text: &str| {
            text.parse::<Schedule>()
                .map(|s| (s.to_string(), s.words()))
                .ok()
        };
        assert_eq!(
            parsed("5"),
            Some(("*/5 * * * *".into(), "every 5 minutes".into()))
        );
        assert_eq!(
            parsed(" * *  * * * "),
            Some(("* * * * *".into(), "every minute".into()))
        );
        assert_eq!(
            parsed("0 7-18 * * mon-fri").map(|r| r.1),
            Some("at \"0 7-18 * * mon-fri\"".into())
        );
        for bad in [
            "",
            "7",
            "0",
            "61 * * * *",
            "* * * *",
            "* * * * * *",
            "@reboot",
            "* * * * L",
            "* * * * %",
            "* * L * *",
            "x",
        ] {
            assert_eq!(parsed(bad), None, "{bad:?} should be refused");
        }
    }

    #[test]
    fn computes_the_next_poll() {
        let schedule = "*/5 * * * *".parse::<Schedule>().ok();
        let now = Local.with_ymd_and_hms(2026, 11, 22, 14, 2, 3).single();
        let next = schedule
            .zip(now)
            .and_then(|(schedule, now)| schedule.next_after(&now));
        assert_eq!(
            next.map(|t| t.format("%H:%M:%S").to_string()).as_deref(),
            Some("14:05:00")
        );
    }

    #[test]
    fn apps_and_servers_begin_at_their_own_minute_and_second() {
        let spread = |text: &str, machine: &str, app: &str| {
            let schedule = text.parse::<Schedule>().unwrap();
            let spread = schedule.clone().spread(machine, app);
            assert_eq!(
                (&spread, spread.to_string()),
                (&schedule, schedule.to_string())
            );
            assert_eq!(spread.words(), schedule.words());
            spread
        };
        let mut slots = std::collections::BTreeSet::new();
        for number in 0..300 {
            let it = spread("5", &format!("machine {number}"), "todo");
            let first = it.next_after(&Local.with_ymd_and_hms(2026, 11, 22, 14, 59, 59).unwrap());
            let minute = first
                .unwrap()
                .format("%M")
                .to_string()
                .parse::<u64>()
                .unwrap();
            let fields = match minute {
                0 => "*/5 * * * *".to_owned(),
                first => format!("{first}-59/5 * * * *"),
            };
            assert!(
                minute < 5 && it.second() < 60 && it.fields() == fields,
                "{}",
                it.fields()
            );
            let each = it
                .longest_pause(&Local::now())
                .map(|pause| pause.num_minutes());
            assert_eq!(each, Some(5));
            slots.insert((minute, it.second()));
        }
        // Of 300 slots, 300 throws hit about 190.
        assert!(slots.len() > 160, "{} slots", slots.len());
        // Fifty apps of one server, of names that are alike.
        let mut each_minute = std::collections::BTreeMap::new();
        let mut seconds = std::collections::BTreeSet::new();
        for number in 0..50 {
            let it = spread("5", "machine", &format!("a{number}"));
            *each_minute.entry(it.fields().to_owned()).or_insert(0) += 1;
            seconds.insert(it.second());
        }
        let most = each_minute.values().max();
        assert!(most < Some(&20) && seconds.len() > 25, "{each_minute:?}");
        let one = |app| spread("5", "machine", app);
        assert_eq!(one("todo").fields(), one("todo").fields());
        assert_ne!(one("todo").second(), one("notes").second());
        for text in ["* * * * *", "17 3 * * *", "*/7 * * * *", "2-58/7 * * * *"] {
            let it = spread(text, "machine", "todo");
            assert!(
                it.fields() == text || text.starts_with("*/"),
                "{}",
                it.fields()
            );
        }
        assert_eq!(
            (
                spread("5", "", "todo").second(),
                spread("5", "", "todo").fields()
            ),
            (0, "*/5 * * * *")
        );
    }
}
