//! `record-facts`: a record has the key, the headers and the timestamp that its producer gave it; where the broker's time
//! counts (`message.timestamp.type=LogAppendTime`) it has that, the same for whoever is told. The value is not judged
//! here: without it nobody knows which record it is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::CheckContext;
use super::event::{Event, Seen, Tp};
use super::log::Log;

/// Times that the broker gave, by offset and epoch; without the epoch (-1) if nothing was lost since.
type Given = BTreeMap<(i64, i32), i64>;

pub fn check(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    let mut given: BTreeMap<&Tp, Given> = BTreeMap::new();
    for event in log.events {
        let Event::Read { reader, tp, records, span, .. } = event else { continue };
        if !log.knows(&tp.topic) {
            continue;
        }
        let facts = log.facts(&tp.topic);
        let at = || format!("client {} at {:.3} s", reader.client, span.done.as_secs_f64());
        let wrong = records.iter().find_map(|seen| Some((seen, wrong(seen, facts.append_time)?)));
        found.extend(wrong.map(|(seen, problem)| {
            format!("{tp}: {} at offset {}, for {}: {problem}", seen.content, seen.offset, at())
        }));
        if facts.append_time {
            // Where unsynced bytes may be lost, their offsets are given out again in another epoch.
            let may_lose = !facts.sync && ctx.lost_between(span.sent, Duration::MAX);
            let known = given.entry(tp).or_default();
            found.extend(records.iter().find_map(|seen| {
                let (offset, time) = (seen.offset, seen.timestamp);
                let epoch = if may_lose { seen.epoch } else { -1 };
                let first = *known.entry((offset, epoch)).or_insert(time);
                let other = (first != time).then_some(first)?;
                Some(format!("{tp}: offset {offset} has time {other}, and {time} for {}", at()))
            }));
        }
    }
    found.extend(log.events.iter().filter_map(|event| untold(log, ctx, &given, event)));
    found
}

/// What is wrong with a record by itself.
fn wrong(seen: &Seen, append_time: bool) -> Option<String> {
    let Seen { timestamp, appended, created, odd, .. } = seen;
    if let Some(odd) = odd {
        return Some(odd.to_string());
    }
    let kind = |appended| if appended { "when it was appended" } else { "its producer's" };
    if *appended != append_time {
        return Some(format!("its time is called {}, not {}", kind(*appended), kind(append_time)));
    }
    (!append_time && timestamp != created).then(|| format!("its time is {timestamp}, not {created}"))
}

/// A time that an acknowledgement told and that the records do not have.
fn untold(log: &Log<'_>, ctx: &CheckContext, given: &BTreeMap<&Tp, Given>, event: &Event) -> Option<String> {
    let Event::Acked { tp, base: Some(base), append_time, span, .. } = event else { return None };
    let facts = log.facts(&tp.topic);
    let lost = !facts.sync && ctx.lost_between(span.sent, Duration::MAX);
    if lost || !log.knows(&tp.topic) {
        return None;
    }
    let done = span.done.as_secs_f64();
    let Some(told) = append_time else {
        return facts
            .append_time
            .then(|| format!("{tp}: the answer at {done:.3} s tells no time for offset {base}"));
    };
    if !facts.append_time {
        return Some(format!(
            "{tp}: the answer at {done:.3} s tells the time {told} for offset {base}, whose producer's counts"
        ));
    }
    // What had this offset before and was lost is none of this.
    let has = given.get(tp)?.get(&(*base, -1))?;
    if has == told {
        return None;
    }
    Some(format!("{tp}: the answer at {done:.3} s tells the time {told} for offset {base}, which has {has}"))
}

#[cfg(test)]
mod tests {
    use super::super::event::{Reader, TopicFacts, Trim};
    use super::super::testing::*;
    use super::*;

    fn topic_with(append_time: bool) -> Event {
        Event::Topic { topic: tp().topic, facts: TopicFacts { sync: true, trim: Trim::Never, append_time } }
    }

    /// A topic that promises nothing across a loss of power.
    fn async_topic() -> Event {
        Event::Topic {
            topic: tp().topic,
            facts: TopicFacts { sync: false, trim: Trim::Never, append_time: true },
        }
    }

    fn read_of(seen: Seen) -> Event {
        let reader = Reader { client: 2, pass: 0 };
        Event::Read {
            reader,
            tp: tp(),
            position: seen.offset,
            hw: 100,
            records: vec![seen],
            span: span(3, 4),
        }
    }

    fn acked_with(append_time: Option<i64>) -> Event {
        let (first, base) = (content(0), Some(5));
        Event::Acked { tp: tp(), first, count: 1, base, append_time, span: span(1, 2) }
    }

    fn verdict(events: &[Event]) -> usize {
        check(&Log::of(events), &ctx()).len()
    }

    #[test]
    fn a_record_is_as_its_producer_made_it() {
        let read = |change: fn(&mut Seen)| {
            let mut seen = seen(5, 0);
            change(&mut seen);
            verdict(&[topic_with(false), acked_with(None), read_of(seen)])
        };
        assert_eq!(read(|_| {}), 0);
        assert_eq!(read(|seen| seen.timestamp += 1), 1);
        assert_eq!(read(|seen| seen.appended = true), 1);
        assert_eq!(read(|seen| seen.odd = Some("the key is missing".into())), 1);
    }

    #[test]
    fn where_the_brokers_time_counts_all_are_told_the_same() {
        let at = |timestamp| Seen { timestamp, appended: true, created: 9, ..seen(5, 0) };
        let read = |told, seen: &[Seen]| {
            let events = seen.iter().cloned().map(read_of);
            verdict(&[topic_with(true), acked_with(told)].into_iter().chain(events).collect::<Vec<_>>())
        };
        assert_eq!(read(Some(70), &[at(70), at(70)]), 0);
        assert_eq!(read(Some(70), &[at(71)]), 1);
        assert_eq!(read(Some(70), &[at(70), at(71)]), 1);
        assert_eq!(read(None, &[at(70)]), 1);
        assert_eq!(read(Some(70), &[Seen { appended: false, ..at(70) }]), 1);
        assert_eq!(verdict(&[topic_with(false), acked_with(Some(70))]), 1);
    }

    #[test]
    fn a_record_that_was_lost_says_nothing_of_the_next_at_its_offset() {
        let at = |timestamp| Seen { timestamp, appended: true, created: 9, ..seen(5, 0) };
        let told = |lost: u64| {
            let ctx = CheckContext { losses: vec![secs(lost)..=secs(lost)], ..ctx() };
            let acked = match acked_with(Some(80)) {
                Event::Acked { tp, first, count, base, append_time, .. } => {
                    Event::Acked { tp, first, count, base, append_time, span: span(6, 7) }
                }
                other => other,
            };
            check(&Log::of(&[async_topic(), read_of(at(70)), acked]), &ctx).len()
        };
        // Read from 3 to 4, acknowledged from 6 to 7.
        assert_eq!(told(5), 0);
        assert_eq!(told(2), 1);
    }
}
