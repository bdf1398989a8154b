//! When somebody hears of an app's state: once when it changes, and again after a day while it lasts.

use chrono::{DateTime, TimeDelta, Utc};

use crate::state::notices::{Event, Notice, Notices, Trouble, Undelivered};

/// What a poll showed of the app's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Nothing: another poll runs, deployments are paused, or the git host did not answer this once.
    Nothing,
    /// Nothing but that this trouble is over.
    Over(Event),
    /// All is well.
    Good,
    /// It is in a state that somebody has to end.
    Trouble(Event),
}

impl Observed {
    /// The same; if it is nothing, that this trouble is over.
    #[must_use]
    pub fn or_over(self, event: Event) -> Self {
        match self {
            Self::Nothing => Self::Over(event),
            other => other,
        }
    }
}

/// After this time somebody is reminded of what lasts.
const REMINDER: TimeDelta = TimeDelta::hours(24);

/// What to report: the event, and whether it is a reminder. `once` is an event of its own, which says nothing of the
/// state: a release that went live, a process that failed by the clock, something that was found broken and restored.
pub fn report(
    state: &mut Notices,
    observed: Observed,
    once: Option<Event>,
    now: DateTime<Utc>,
) -> Option<(Event, bool)> {
    // A clock that was set back by more than that does not silence it.
    let recent = |time: DateTime<Utc>| (now - time).abs() < REMINDER;
    state.restored = state.restored.filter(|time| recent(*time));
    match (observed, state.trouble) {
        // It would be forgotten otherwise; that the trouble is over is for the next poll to say.
        (_, Some(_)) if once == Some(Event::Failed) => once.map(|event| (event, false)),
        (Observed::Good, Some(_)) => {
            state.trouble = None;
            Some((Event::Recovered, false))
        }
        (Observed::Over(event), Some(known)) if known.event == event => {
            state.trouble = None;
            Some((Event::Recovered, false))
        }
        (Observed::Trouble(event), known) => {
            let lasts = known.filter(|known| known.event == event);
            if lasts.is_some_and(|known| recent(known.reported)) {
                return once
                    .filter(|once| *once != Event::Recovered)
                    .map(|event| (event, false));
            }
            state.trouble = Some(Trouble {
                event,
                reported: now,
            });
            Some((event, lasts.is_some()))
        }
        // What is wrong lasts, whatever was restored.
        (_, Some(_)) if once == Some(Event::Recovered) => None,
        // A service that crashes again and again is restored by each poll.
        (_, None) if once == Some(Event::Recovered) => {
            let known = state.restored.is_some();
            state.restored = state.restored.or(Some(now));
            (!known).then_some((Event::Recovered, false))
        }
        _ => once.map(|event| (event, false)),
    }
}

/// A notice is given up after so many attempts: after more than two days.
const MOST_TRIES: u32 = 60;
/// So many notices wait for one channel; older ones are dropped.
const MOST_WAITING: usize = 20;
/// How long to wait for the next attempt: at first until the next poll, later longer.
const PAUSES: [i64; 4] = [0, 5, 15, 60];

/// Lets a notice wait for each channel; `channels` are the digests of their addresses.
pub fn queue(state: &mut Notices, channels: &[String], notice: &Notice, now: DateTime<Utc>) {
    for channel in channels {
        let waiting = |it: &&Undelivered| it.channel == *channel;
        if state.undelivered.iter().filter(waiting).count() >= MOST_WAITING
            && let Some(oldest) = state.undelivered.iter().position(|it| waiting(&it))
        {
            state.undelivered.remove(oldest);
        }
        state.undelivered.push(Undelivered {
            channel: channel.clone(),
            notice: notice.clone(),
            tries: 0,
            next: now,
            why: "it waits for its turn".to_owned(),
        });
    }
}

/// One attempt for each channel whose time has come, with its notices in their order. A channel that fails gets nothing more
/// in this poll, so that a dead one costs one deadline.
///
/// `deliver` gets the number of the channel and returns why it failed.
pub fn deliver(
    state: &mut Notices,
    channels: &[String],
    now: DateTime<Utc>,
    mut deliver: impl FnMut(usize, &Notice) -> Result<(), String>,
) {
    // One that is no longer in the settings gets nothing.
    state
        .undelivered
        .retain(|it| channels.contains(&it.channel));
    for (number, channel) in channels.iter().enumerate() {
        let (mut waiting, others): (Vec<_>, Vec<_>) = std::mem::take(&mut state.undelivered)
            .into_iter()
            .partition(|it| it.channel == *channel);
        state.undelivered = others;
        let due = waiting
            .first()
            .is_some_and(|first| first.next <= now || first.next - now > TimeDelta::hours(2));
        while due && !waiting.is_empty() {
            let Err(why) = deliver(number, &waiting[0].notice) else {
                waiting.remove(0);
                continue;
            };
            let first = &mut waiting[0];
            let pause = PAUSES[(first.tries as usize).min(PAUSES.len() - 1)];
            first.tries += 1;
            (first.next, first.why) = (now + TimeDelta::minutes(pause), why);
            if first.tries >= MOST_TRIES {
                waiting.remove(0);
            }
            break;
        }
        state.undelivered.extend(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn notice(number: i64) -> Notice {
        Notice {
            event: Event::Failed,
            app: "todo".into(),
            server: "web".into(),
            commit: None,
            live: None,
            time: at(number),
            reminder: false,
            title: number.to_string(),
            body: String::new(),
        }
    }

    #[test]
    fn a_state_is_reported_once_and_after_a_day_again() {
        use Event::{Down, Failed, Live, Recovered, Unreachable};
        use Observed::{Good, Nothing};
        let failed = Observed::Trouble(Failed);
        let mut state = Notices::default();
        for (minute, observed, once, expected) in [
            (0, Good, None, None),
            (1, Good, Some(Live), Some((Live, false))),
            (2, failed, None, Some((Failed, false))),
            (3, failed, None, None),
            (4, Nothing, None, None),
            (1441, failed, None, None),
            (1442, failed, None, Some((Failed, true))),
            (1443, Observed::Trouble(Down), None, Some((Down, false))),
            (1444, failed, None, Some((Failed, false))),
            (1445, failed, Some(Recovered), None),
            (1446, failed, Some(Failed), Some((Failed, false))),
            (
                1447,
                Observed::Trouble(Unreachable),
                None,
                Some((Unreachable, false)),
            ),
            (1448, Good, Some(Live), Some((Recovered, false))),
            (1449, Good, None, None),
            (1450, Nothing, Some(Recovered), Some((Recovered, false))),
            (1450, Good, Some(Recovered), None),
            // A process of the clock fails while something else is wrong, and that is over.
            (1450, Observed::Trouble(Down), None, Some((Down, false))),
            (1450, Nothing, Some(Recovered), None),
            (1450, Observed::Over(Unreachable), None, None),
            (1450, Good, Some(Failed), Some((Failed, false))),
            (
                1450,
                Observed::Over(Down),
                Some(Recovered),
                Some((Recovered, false)),
            ),
            (1450, Good, None, None),
            (1451, failed, None, Some((Failed, false))),
            // The clock was set back by two days.
            (-1440, failed, None, Some((Failed, true))),
        ] {
            assert_eq!(
                report(&mut state, observed, once, at(minute)),
                expected,
                "{minute}"
            );
        }
    }

    #[test]
    fn a_dead_channel_costs_one_attempt_and_gets_all_in_order_later() {
        let mut state = Notices::default();
        let channels = ["a".to_owned(), "b".to_owned()];
        let mut sent = Vec::new();
        for minute in 0..3 {
            let mut attempts = 0;
            queue(&mut state, &channels, &notice(minute), at(minute));
            deliver(&mut state, &channels, at(minute), |to, notice| {
                attempts += usize::from(to == 0);
                sent.push((to, notice.title.clone()));
                if to == 0 { Err("dead".into()) } else { Ok(()) }
            });
            assert!(attempts <= 1);
        }
        let waiting: Vec<&str> = (state.undelivered.iter())
            .map(|it| it.notice.title.as_str())
            .collect();
        assert_eq!(waiting, ["0", "1", "2"]);
        assert_eq!(sent.iter().filter(|(to, _)| *to == 1).count(), 3);
        sent.clear();
        // Its time has not come.
        deliver(&mut state, &channels, at(2), |_, _| Err("early".into()));
        assert_eq!(state.undelivered[0].why, "dead");
        deliver(&mut state, &channels, at(20), |to, notice| {
            sent.push((to, notice.title.clone()));
            Ok(())
        });
        assert_eq!(
            sent,
            [
                (0, "0".to_owned()),
                (0, "1".to_owned()),
                (0, "2".to_owned())
            ]
        );
        assert_eq!(state, Notices::default());
    }

    proptest! {
        #[test]
        fn what_is_delivered_is_in_order_and_bounded(fails in proptest::collection::vec(any::<(bool, bool)>(), 0..200)) {
            let (mut state, mut sent) = (Notices::default(), Vec::new());
            for (minute, (fail, new)) in (0_i64..).zip(fails) {
                let channels = ["a".to_owned()];
                if new {
                    queue(&mut state, &channels, &notice(minute), at(minute * 7));
                }
                deliver(&mut state, &channels, at(minute * 7), |_, notice| {
                    if fail { return Err("dead".into()); }
                    sent.push(notice.time);
                    Ok(())
                });
                prop_assert!(state.undelivered.len() <= MOST_WAITING);
            }
            prop_assert!(sent.is_sorted());
            // A channel that is taken out of the settings gets nothing any more.
            deliver(&mut state, &[], at(9999), |_, _| Ok(()));
            prop_assert_eq!(state, Notices::default());
        }
    }
}
