//! `settings`: what was altered in a topic's settings, and acknowledged, is described from then on, through restarts; and
//! nothing is described that nobody set. A change without an answer may be in force or not, at any time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::CheckContext;
use super::event::{Event, Span};
use super::log::Log;

/// A change of one setting, to a value or back to the default.
struct Change<'a> {
    sent: Duration,
    /// None without an answer.
    done: Option<Duration>,
    refused: bool,
    value: Option<&'a str>,
}

pub fn check(log: &Log<'_>, _: &CheckContext) -> Vec<String> {
    let mut changes: BTreeMap<(&str, &str), Vec<Change<'_>>> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for event in log.events {
        match event {
            Event::SettingSent { change, topic, name, value, at } => {
                let (topic, name, value) = (&**topic, name.as_str(), value.as_deref());
                let of = changes.entry((topic, name)).or_default();
                places.insert(*change, ((topic, name), of.len()));
                of.push(Change { sent: *at, done: None, refused: false, value });
            }
            Event::SettingDone { change, acked, at } => {
                let Some((key, place)) = places.get(change) else { continue };
                let Some(change) = changes.get_mut(key).and_then(|of| of.get_mut(*place)) else { continue };
                (change.done, change.refused) = (Some(*at), !acked);
            }
            _ => {}
        }
    }
    let mut found = vec![];
    for event in log.events {
        let Event::SettingsDescribed { topic, settings, span } = event else { continue };
        let unset = settings.keys().find(|name| !changes.contains_key(&(&**topic, name.as_str())));
        found.extend(unset.map(|name| format!("{topic}: {name} is described, but nobody set it")));
        for ((of, name), changes) in &changes {
            let described = settings.get(*name).map(String::as_str);
            if **of == **topic && !may_be(changes, described, *span) {
                let sent = span.sent.as_secs_f64();
                let last = in_force(changes, *span).map(|change| change.value);
                found.push(format!(
                    "{topic}: asked for at {sent:.3} s, {name} is described as {described:?}, but was set to {last:?}"
                ));
            }
        }
    }
    found
}

/// Whether a setting may have this value for someone who asked then.
fn may_be(changes: &[Change<'_>], value: Option<&str>, span: Span) -> bool {
    let Some(last) = in_force(changes, span) else { return true };
    changes.iter().any(|change| {
        let overlaps = change.sent <= span.done && change.done.is_none_or(|done| done >= last.sent);
        change.value == value && !change.refused && overlaps
    })
}

/// The last change that was acknowledged before someone asked.
fn in_force<'a, 'b>(changes: &'b [Change<'a>], span: Span) -> Option<&'b Change<'a>> {
    let acked = changes.iter().filter(|change| !change.refused);
    acked.filter(|change| change.done.is_some_and(|done| done <= span.sent)).max_by_key(|change| change.sent)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn sent(change: u64, value: Option<&str>, at: u64) -> Event {
        let (topic, name, value) = ("t".into(), "segment.ms".to_owned(), value.map(str::to_owned));
        Event::SettingSent { change, topic, name, value, at: secs(at) }
    }

    fn done(change: u64, acked: bool, at: u64) -> Event {
        Event::SettingDone { change, acked, at: secs(at) }
    }

    fn described(value: Option<&str>, at: u64) -> Event {
        let settings = value.map(|value| ("segment.ms".to_owned(), value.to_owned()));
        Event::SettingsDescribed {
            topic: "t".into(),
            settings: settings.into_iter().collect(),
            span: span(at, at + 1),
        }
    }

    fn verdict(events: &[Event]) -> usize {
        check(&Log::of(events), &ctx()).len()
    }

    #[test]
    fn what_was_acknowledged_is_described() {
        let set = [sent(1, None, 0), done(1, true, 0), sent(2, Some("5"), 1), done(2, true, 2)];
        let then = |event: Event| verdict(&[&set[..], &[event]].concat());
        assert_eq!(then(described(Some("5"), 3)), 0);
        assert_eq!(then(described(Some("6"), 3)), 1);
        assert_eq!(then(described(None, 3)), 1);
        // Not yet acknowledged when it was asked for.
        assert_eq!(then(described(None, 1)), 0);
    }

    #[test]
    fn a_change_without_an_answer_may_be_in_force_and_a_refused_one_not() {
        let open = [sent(1, Some("5"), 1), done(1, true, 2), sent(2, Some("6"), 3)];
        let refused = [&open[..], &[done(2, false, 4)]].concat();
        let then = |set: &[Event], event: Event| verdict(&[set, &[event]].concat());
        assert_eq!((then(&open, described(Some("6"), 5)), then(&open, described(Some("5"), 5))), (0, 0));
        assert_eq!(
            (then(&refused, described(Some("6"), 5)), then(&refused, described(Some("5"), 5))),
            (1, 0)
        );
    }

    #[test]
    fn what_nobody_set_is_not_described() {
        assert_eq!(verdict(&[described(Some("5"), 3)]), 1);
        assert_eq!(verdict(&[described(None, 3)]), 0);
    }

    #[test]
    fn a_change_before_the_last_is_not_in_force_again() {
        let events = [sent(1, Some("5"), 1), done(1, true, 2), sent(2, None, 3), done(2, true, 4)];
        assert_eq!(verdict(&[&events[..], &[described(Some("5"), 5)]].concat()), 1);
        assert_eq!(verdict(&[&events[..], &[described(None, 5)]].concat()), 0);
    }
}
