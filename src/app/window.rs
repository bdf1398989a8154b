//! The deploy window: `Mon-Fri 08:00-18:00`.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::Invalid;

/// Minutes per day.
const DAY: u16 = 24 * 60;
/// Bits of Monday (lowest) to Sunday.
const EVERY_DAY: u8 = 0b0111_1111;
const NAMES: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// The hours in which deployments may start, in this server's local time.
///
/// Spans separated by commas, each a day, a range of days, `*` or `daily`, and two times of day:
/// `Mon-Thu 08:00-18:00, Fri 08:00-12:00`. Days without times use the next times given:
/// `Mon,Wed 08:00-18:00`. The end is exclusive; an end before the start is on the next day, so
/// `Fri 22:00-04:00` ends on Saturday.
///
/// Times are wall-clock times. An hour that is skipped when daylight saving time starts does not
/// exist that day; an hour that is repeated when it ends is open twice.
#[derive(Debug, Clone)]
pub struct Window {
    text: String,
    spans: Vec<Span>,
}

/// One span of time on some days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// The days on which it starts, Monday the lowest bit.
    days: u8,
    /// The start, in minutes after midnight.
    from: u16,
    /// The end, in minutes after the midnight before the start: more than [`DAY`] if it ends on the next day.
    to: u16,
}

impl Span {
    /// Whether it starts on this date.
    fn starts_on(self, date: NaiveDate) -> bool {
        self.days & (1 << date.weekday().num_days_from_monday()) != 0
    }
}

impl Window {
    /// Whether it is open at this local time.
    #[must_use]
    pub fn contains(&self, local: NaiveDateTime) -> bool {
        let minute = minute(local);
        let date = local.date();
        let yesterday = date.pred_opt();
        self.spans.iter().any(|span| {
            let today = span.starts_on(date) && (span.from..span.to).contains(&minute);
            let over_midnight = yesterday.is_some_and(|date| span.starts_on(date))
                && (span.from..span.to).contains(&(minute + DAY));
            today || over_midnight
        })
    }

    /// The next start of a span after this local time. `None` only at the end of the calendar.
    #[must_use]
    pub fn opens_next(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        // Day 7 is the same weekday again, for its earlier hours.
        (0..=7)
            .filter_map(|ahead| local.date().checked_add_days(Days::new(ahead)))
            .flat_map(|date| {
                self.spans
                    .iter()
                    .filter(move |span| span.starts_on(date))
                    .filter_map(move |span| {
                        let (hour, minute) = (u32::from(span.from / 60), u32::from(span.from % 60));
                        Some(date.and_time(NaiveTime::from_hms_opt(hour, minute, 0)?))
                    })
            })
            .filter(|opens| *opens > local)
            .min()
    }
}

/// Minutes after midnight: 0 to 1439.
fn minute(local: NaiveDateTime) -> u16 {
    u16::try_from(local.hour() * 60 + local.minute()).unwrap_or(DAY - 1)
}

impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        self.spans == other.spans
    }
}
impl Eq for Window {}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Window {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = text.replace(" - ", "-");
        let mut spans = Vec::new();
        // Days without times so far, and the last of them as text.
        let mut pending: Option<(u8, &str)> = None;
        for part in text.split(',').map(str::trim) {
            let (day_names, times) = match part.rsplit_once(' ') {
                Some((day_names, times)) => (day_names, Some(times)),
                None if part.contains(':') => {
                    return Err(refuse(format!("{part:?} has no days"))
                        .hint(format!("write daily {part}, or for example Mon-Fri {part}")));
                }
                None => (part, None),
            };
            let more = pending.map_or(0, |(earlier, _)| earlier);
            let days = days(day_names)? | more;
            let Some(times) = times else {
                pending = Some((days, part));
                continue;
            };
            pending = None;
            let (from, to) = span(times)?;
            spans.push(Span { days, from, to });
        }
        if let Some((_, part)) = pending {
            return Err(refuse(format!("{part:?} has no times")));
        }
        Ok(Self { text, spans })
    }
}

fn refuse(why: String) -> Invalid {
    Invalid::new(why).hint("for example Mon-Fri 08:00-18:00, Sat 10:00-12:00")
}

/// `Mon`, `Mon-Fri`, `Sat-Mon`, `*`, `daily`.
fn days(text: &str) -> Result<u8, Invalid> {
    if text == "*" || text.eq_ignore_ascii_case("daily") {
        return Ok(EVERY_DAY);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (day(first.trim())?, day(last.trim())?);
    let mut days = 0;
    let mut at = first;
    loop {
        days |= 1 << at;
        if at == last {
            return Ok(days);
        }
        at = (at + 1) % 7;
    }
}

/// The number of days after Monday.
fn day(text: &str) -> Result<usize, Invalid> {
    let lower = text.to_ascii_lowercase();
    NAMES
        .iter()
        .position(|name| lower == *name || Some(lower.as_str()) == name.get(..3))
        .ok_or_else(|| {
            Invalid::new(format!("{text:?} is not a day"))
                .hint("Mon, Tue, Wed, Thu, Fri, Sat or Sun; daily for all of them")
        })
}

/// `08:00-18:00` as minutes after midnight; the end is after the start.
fn span(text: &str) -> Result<(u16, u16), Invalid> {
    let (from, to) = text
        .split_once('-')
        .ok_or_else(|| refuse(format!("{text:?} is not two times separated by -")))?;
    let (from, to) = (time(from)?, time(to)?);
    if from == DAY {
        return Err(refuse(
            "24:00 can only be an end; a day starts at 00:00".to_owned(),
        ));
    }
    if from == to {
        return Err(
            Invalid::new(format!("{text:?} is empty")).hint("for the whole day write 00:00-24:00")
        );
    }
    Ok((from, if to < from { to + DAY } else { to }))
}

/// `8:00`, `08:00`, `24:00` as minutes after midnight.
fn time(text: &str) -> Result<u16, Invalid> {
    let number = |digits: &str, max: u16| {
        let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        digits
            .parse::<u16>()
            .ok()
            .filter(|number| plain && *number <= max)
    };
    let parse = || {
        let (hours, minutes) = text.split_once(':')?;
        let minutes = number(minutes, 59).filter(|_| minutes.len() == 2)?;
        let time = number(hours, 24)? * 60 + minutes;
        (time <= DAY).then_some(time)
    };
    parse().ok_or_else(|| {
        Invalid::new(format!("{text:?} is not a time of day")).hint("00:00 to 24:00")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }
    /// Mon 23 to Sun 29 November 2026.
    fn at(day: u32, hour: u32, minute: u32) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2026, 11, day)
            .and_then(|date| date.and_hms_opt(hour, minute, 0))
            .unwrap()
    }

    #[test]
    fn office_hours() {
        let office = window("Mon-Fri 08:00-18:00");
        assert!(office.contains(at(23, 8, 0)) && office.contains(at(27, 17, 59)));
        assert!(!office.contains(at(23, 7, 59)) && !office.contains(at(27, 18, 0)));
        assert!(!office.contains(at(28, 12, 0)), "Saturday");
        assert_eq!(office.opens_next(at(23, 3, 0)), Some(at(23, 8, 0)));
        assert_eq!(office.opens_next(at(23, 18, 0)), Some(at(24, 8, 0)));
        let monday = at(23, 8, 0) + chrono::TimeDelta::days(7);
        assert_eq!(office.opens_next(at(27, 18, 0)), Some(monday));
        assert_eq!(
            office.opens_next(at(27, 8, 0)),
            Some(monday),
            "already open"
        );
    }

    #[test]
    fn over_midnight_and_over_the_weekend() {
        let night = window("Fri 22:00-04:00");
        for open in [at(27, 22, 0), at(27, 23, 59), at(28, 0, 0), at(28, 3, 59)] {
            assert!(night.contains(open), "{open}");
        }
        for closed in [at(27, 3, 0), at(27, 21, 59), at(28, 4, 0), at(28, 22, 0)] {
            assert!(!night.contains(closed), "{closed}");
        }
        let weekend = window("Sat-Mon 00:00-24:00");
        assert!(weekend.contains(at(23, 23, 59)) && weekend.contains(at(29, 0, 0)));
        assert!(!weekend.contains(at(24, 0, 0)) && !weekend.contains(at(27, 23, 59)));
        let sunday = window("Sun 22:00-02:00");
        assert!(sunday.contains(at(23, 1, 0)), "Monday morning");
    }

    #[test]
    fn several_spans_and_every_spelling() {
        let several = window(" mon-thu  8:00-18:00 ,FRIDAY 08:00-12:00,sat,Sun 10:00-11:30");
        assert!(several.contains(at(26, 17, 0)) && !several.contains(at(27, 17, 0)));
        assert!(several.contains(at(28, 11, 29)) && several.contains(at(29, 10, 0)));
        assert_eq!(several.opens_next(at(27, 12, 0)), Some(at(28, 10, 0)));
        assert_eq!(window("* 01:00-02:00"), window("daily 1:00 - 02:00"));
        assert_eq!(
            window("Mon,Wed 08:00-09:00").to_string(),
            "Mon,Wed 08:00-09:00"
        );
    }

    #[test]
    fn errors_name_the_invalid_part() {
        for (text, words) in [
            ("", "is not a day"),
            ("Mon-Fri", "\"Mon-Fri\" has no times"),
            ("08:00-18:00", "write daily 08:00-18:00"),
            ("Mon 08:00-18:00,20:00-21:00", "\"20:00-21:00\" has no days"),
            ("Mo 08:00-18:00", "\"Mo\" is not a day"),
            ("Mon-Fry 08:00-18:00", "\"Fry\" is not a day"),
            ("Mon 08:00", "is not two times"),
            ("Mon 8-18", "\"8\" is not a time of day"),
            ("Mon 08:60-18:00", "\"08:60\" is not a time of day"),
            ("Mon 08:00-24:01", "\"24:01\" is not a time of day"),
            ("Mon 24:00-08:00", "24:00 can only be an end"),
            ("Mon 08:00-08:00", "for the whole day write 00:00-24:00"),
            ("Mon 08:00-18:00,", "is not a day"),
            ("Mon +8:00-18:00", "is not a time of day"),
        ] {
            let error = text.parse::<Window>().err().map(|e| e.to_string());
            assert!(
                error.as_ref().is_some_and(|error| error.contains(words)),
                "{text:?}: {error:?}"
            );
        }
    }

    fn any_window() -> impl Strategy<Value = Window> {
        let span = (0usize..7, 0usize..7, 0u16..DAY, 0u16..=DAY)
            .prop_filter("empty", |(_, _, from, to)| from != to);
        prop::collection::vec(span, 1..4).prop_map(|spans| {
            let text: Vec<String> = spans
                .iter()
                .map(|(first, last, from, to)| {
                    format!(
                        "{}-{} {:02}:{:02}-{:02}:{:02}",
                        NAMES[*first],
                        NAMES[*last],
                        from / 60,
                        from % 60,
                        to / 60,
                        to % 60
                    )
                })
                .collect();
            window(&text.join(","))
        })
    }

    proptest! {
        #[test]
        fn opens_next_is_the_first_open_minute(window in any_window(), minutes in 0i64..14 * 24 * 60) {
            let now = at(16, 0, 0) + chrono::TimeDelta::minutes(minutes);
            let opens = window.opens_next(now).unwrap();
            prop_assert!(opens > now && opens - now <= chrono::TimeDelta::days(7));
            prop_assert!(window.contains(opens));
            if !window.contains(now) {
                let mut between = now;
                while between < opens {
                    prop_assert!(!window.contains(between), "{between} is open before {opens}");
                    between += chrono::TimeDelta::minutes(1);
                }
            }
        }

        #[test]
        fn accepts_any_time_and_any_text(window in any_window(), seconds in any::<i64>(), text in ".{0,40}") {
            let odd = chrono::DateTime::from_timestamp(seconds, 0).map(|t| t.naive_utc());
            for time in odd.into_iter().chain([NaiveDateTime::MIN, NaiveDateTime::MAX]) {
                let _ = (window.contains(time), window.opens_next(time));
            }
            if let Ok(window) = text.parse::<Window>() {
                prop_assert_eq!(window.to_string().parse::<Window>(), Ok(window));
            }
        }
    }
}
