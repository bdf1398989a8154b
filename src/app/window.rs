//! When deployments may begin: `Mon-Fri 08:00-18:00`.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::Invalid;

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Days from Monday to Sunday, as bits from the lowest on.
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

/// The hours in which deployments may begin, by the clock on this server's wall.
///
/// Spans with commas between, each a day, a range of days, `*` or `daily`, and two times of day:
/// `Mon-Thu 08:00-18:00, Fri 08:00-12:00`. Days without times of their own share those that follow:
/// `Mon,Wed 08:00-18:00`. The end is not a part of it; an end before the beginning lies on the next
/// day, so `Fri 22:00-04:00` ends on Saturday.
///
/// Everything is reckoned on the wall clock. An hour that the change to summer time skips does not
/// exist that day, and one that it repeats in autumn is open twice.
#[derive(Debug, Clone)]
pub struct Window {
    text: String,
    spans: Vec<Span>,
}

/// One stretch on each of some days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// The days on which it begins, Monday the lowest bit.
    days: u8,
    /// Minutes after midnight.
    from: u16,
    /// Minutes after the midnight before it begins: more than a day's if it ends on the next.
    to: u16,
}

impl Span {
    /// Whether it begins on that date.
    fn begins_on(self, date: NaiveDate) -> bool {
        self.days & (1 << date.weekday().num_days_from_monday()) != 0
    }
}

impl Window {
    /// Whether it is open at that time of this server's wall clock.
    #[must_use]
    pub fn contains(&self, local: NaiveDateTime) -> bool {
        let minute = minute(local);
        let date = local.date();
        let yesterday = date.pred_opt();
        self.spans.iter().any(|span| {
            let today = span.begins_on(date) && (span.from..span.to).contains(&minute);
            let over_midnight = yesterday.is_some_and(|date| span.begins_on(date))
                && (span.from..span.to).contains(&(minute + DAY));
            today || over_midnight
        })
    }

    /// When a span begins next after that time, by the same clock. `None` only where the calendar
    /// ends.
    #[must_use]
    pub fn opens_next(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        // A week ahead is the same day again, and its earlier hours.
        (0..=7)
            .filter_map(|ahead| local.date().checked_add_days(Days::new(ahead)))
            .flat_map(|date| {
                self.spans
                    .iter()
                    .filter(move |span| span.begins_on(date))
                    .filter_map(move |span| {
                        let (hour, minute) = (u32::from(span.from / 60), u32::from(span.from % 60));
                        Some(date.and_time(NaiveTime::from_hms_opt(hour, minute, 0)?))
                    })
            })
            .filter(|opens| *opens > local)
            .min()
    }
}

/// Minutes after midnight: at most 1439.
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
        // Days that wait for the times which follow them.
        let mut waiting: Option<(u8, &str)> = None;
        for part in text.split(',').map(str::trim) {
            let (said_days, times) = match part.rsplit_once(' ') {
                Some((said, times)) => (said, Some(times)),
                None if part.contains(':') => {
                    return Err(refuse(format!("{part:?} names no days"))
                        .hint(format!("write daily {part}, or for example Mon-Fri {part}")));
                }
                None => (part, None),
            };
            let more = waiting.map_or(0, |(known, _)| known);
            let said_days = days(said_days)? | more;
            let Some(times) = times else {
                waiting = Some((said_days, part));
                continue;
            };
            waiting = None;
            let (from, to) = span(times)?;
            spans.push(Span {
                days: said_days,
                from,
                to,
            });
        }
        if let Some((_, part)) = waiting {
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

/// Days after Monday.
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

/// `08:00-18:00` as minutes, the end after the beginning.
fn span(text: &str) -> Result<(u16, u16), Invalid> {
    let (from, to) = text
        .split_once('-')
        .ok_or_else(|| refuse(format!("{text:?} is not two times with - between")))?;
    let (from, to) = (time(from)?, time(to)?);
    if from == DAY {
        return Err(refuse(
            "24:00 is an end and no beginning; 00:00 begins a day".to_owned(),
        ));
    }
    if from == to {
        return Err(
            Invalid::new(format!("{text:?} is empty")).hint("for the whole day write 00:00-24:00")
        );
    }
    Ok((from, if to < from { to + DAY } else { to }))
}

/// `8:00`, `08:00`, `24:00` as minutes.
fn time(text: &str) -> Result<u16, Invalid> {
    let number = |digits: &str, most: u16| {
        let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        digits
            .parse::<u16>()
            .ok()
            .filter(|number| plain && *number <= most)
    };
    let read = || {
        let (hours, minutes) = text.split_once(':')?;
        let minutes = number(minutes, 59).filter(|_| minutes.len() == 2)?;
        let time = number(hours, 24)? * 60 + minutes;
        (time <= DAY).then_some(time)
    };
    read().ok_or_else(|| {
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
            "open just now"
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
    fn nonsense_is_named() {
        for (text, words) in [
            ("", "is not a day"),
            ("Mon-Fri", "\"Mon-Fri\" has no times"),
            ("08:00-18:00", "write daily 08:00-18:00"),
            (
                "Mon 08:00-18:00,20:00-21:00",
                "\"20:00-21:00\" names no days",
            ),
            ("Mo 08:00-18:00", "\"Mo\" is not a day"),
            ("Mon-Fry 08:00-18:00", "\"Fry\" is not a day"),
            ("Mon 08:00", "is not two times"),
            ("Mon 8-18", "\"8\" is not a time of day"),
            ("Mon 08:60-18:00", "\"08:60\" is not a time of day"),
            ("Mon 08:00-24:01", "\"24:01\" is not a time of day"),
            ("Mon 24:00-08:00", "24:00 is an end"),
            ("Mon 08:00-08:00", "for the whole day write 00:00-24:00"),
            ("Mon 08:00-18:00,", "is not a day"),
            ("Mon +8:00-18:00", "is not a time of day"),
        ] {
            let said = text.parse::<Window>().err().map(|e| e.to_string());
            assert!(
                said.as_ref().is_some_and(|said| said.contains(words)),
                "{text:?}: {said:?}"
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
        fn what_it_says_of_its_opening_is_true(window in any_window(), minutes in 0i64..14 * 24 * 60) {
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
        fn no_time_and_no_text_is_too_odd(window in any_window(), seconds in any::<i64>(), text in ".{0,40}") {
            let odd = chrono::DateTime::from_timestamp(seconds, 0).map(|t| t.naive_utc());
            for time in odd.into_iter().chain([NaiveDateTime::MIN, NaiveDateTime::MAX]) {
                let _ = (window.contains(time), window.opens_next(time));
            }
            if let Ok(read) = text.parse::<Window>() {
                prop_assert_eq!(read.to_string().parse::<Window>(), Ok(read));
            }
        }
    }
}
