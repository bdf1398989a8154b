//! Schedules of cron and of timers.

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
    assert_eq!(
        parsed("90s"),
        Some(("1m 30s".into(), "every 90 seconds".into()))
    );
    assert_eq!(
        parsed("2 min"),
        Some(("2m".into(), "every 2 minutes".into()))
    );
    assert_eq!(parsed("1h"), Some(("1h".into(), "every hour".into())));
    for bad in [
        "4s",
        "5500ms",
        "25h",
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
fn without_cron_minutes_are_those_of_a_timer() {
    let parsed = |text: &str| text.parse::<Schedule>().unwrap();
    let without = |text: &str| parsed(text).spread("machine", "todo").without_cron();
    for (text, timer) in [("5", "5m"), ("* * * * *", "1m"), ("30s", "30s")] {
        assert_eq!(without(text), parsed(timer), "{text}");
        assert!(without(text).timer().is_some() && parsed("5").timer().is_none());
    }
    assert_eq!(without("0 3 * * *").timer(), None);
    // Fixed, within the interval, and never long after a boot.
    for (text, most) in [("10s", 10), ("1h", 300)] {
        let first = |app: &str| parsed(text).spread("machine", app).second();
        let all: Vec<u64> = (0..50).map(|n| first(&format!("a{n}"))).collect();
        assert!(all.iter().all(|second| *second < most) && all.iter().any(|s| *s != all[0]));
        assert_eq!(first("todo"), first("todo"));
    }
    let after = ["1", "5m", "1m", "10s"].map(|text| parsed(text).report_after());
    assert_eq!(after, [3, 3, 3, 12]);
    let at = Local.with_ymd_and_hms(2026, 11, 22, 14, 2, 3).unwrap();
    let next = parsed("90s").next_after(&at).unwrap();
    assert_eq!((next - at).num_seconds(), 90);
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
