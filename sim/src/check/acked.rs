//! `acked-durable`: no record that was acknowledged is missing in the final reading, under the promise it was
//! acknowledged with. A record may be gone if someone asked for that (DeleteRecords, retention, deletion of the topic),
//! if its topic promised only to survive the death of processes and unsynced bytes were lost since, or if a bit of its
//! batch was flipped and the broker says so.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::context::CheckContext;
use super::event::{Content, Event, Tp, Trim};
use super::log::Log;

pub fn check(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    // Asked only where a record is not where it was acked.
    let places = LazyCell::new(|| places(log));
    let mut found = vec![];
    for event in log.events {
        let Event::Acked { tp, first, count, base, span, .. } = event else { continue };
        let facts = log.facts(&tp.topic);
        if log.was_deleted(tp) || !facts.sync && ctx.lost_between(span.sent, Duration::MAX) {
            continue;
        }
        let Some(read) = log.read_back.get(tp).filter(|read| read.is_whole) else {
            if !log.read_back_ended {
                continue;
            }
            let span = span.done.as_secs_f64();
            found.push(format!(
                "{tp}: acked {first} at {span:.3} s, but the partition is not there to be read back"
            ));
            continue;
        };
        // Checked before the batch's records, since it is about all of them.
        let let_go = |offset: i64| match facts.trim {
            Trim::Never => false,
            Trim::Records => offset < log.trimmed_below(tp).min(read.start),
            Trim::Retention => offset < read.start,
        };
        let damaged = |offset: i64| read.corrupt.contains(&offset) && ctx.flipped(tp, offset, Duration::MAX);
        for i in 0..i64::from(*count) {
            let content = Content { counter: first.counter + i as u64, ..*first };
            let at = |offset: i64| read.records.get(&offset);
            let problem = match base.map(|base| base + i) {
                Some(offset) if at(offset) == Some(&content) => continue,
                Some(offset) if let_go(offset) => continue,
                Some(offset) if damaged(offset) => continue,
                Some(offset) => match (at(offset), places.get(&(tp, content))) {
                    (_, Some(other)) => format!("acked at offset {offset}, is at {other:?}"),
                    (Some(other), None) => format!("acked at offset {offset}, where there is {other}"),
                    (None, None) => {
                        format!("acked at offset {offset}, is nowhere in {}..{}", read.start, read.end)
                    }
                },
                // Acknowledged as known already, without saying where.
                None if places.contains_key(&(tp, content)) => continue,
                None if facts.trim != Trim::Never || read.corrupt.iter().any(|at| damaged(*at)) => continue,
                None => "acked as a duplicate, is nowhere".to_owned(),
            };
            found.push(format!("{tp}: {content}, acked at {:.3} s: {problem}", span.done.as_secs_f64()));
            break;
        }
    }
    found
}

/// Where the final reading found each record.
fn places<'a>(log: &Log<'a>) -> BTreeMap<(&'a Tp, Content), BTreeSet<i64>> {
    let mut places: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
    for (tp, read) in &log.read_back {
        for (offset, content) in &read.records {
            places.entry((*tp, *content)).or_default().insert(*offset);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn verdict(events: Vec<Event>, ctx: &CheckContext) -> usize {
        check(&Log::of(&events), ctx).len()
    }

    #[test]
    fn a_record_that_is_read_back_where_it_was_acked_is_fine() {
        let events =
            vec![topic(true, Trim::Never), acked(0, 2, 10), final_read(10, &[0, 1]), read_back(0, 12)];
        assert_eq!(verdict(events, &ctx()), 0);
    }

    #[test]
    fn a_record_that_is_missing_is_found_and_so_is_one_elsewhere() {
        let lost = vec![topic(true, Trim::Never), acked(0, 2, 10), final_read(10, &[0]), read_back(0, 11)];
        assert_eq!(verdict(lost, &ctx()), 1);
        let moved = vec![topic(true, Trim::Never), acked(0, 1, 10), final_read(11, &[0]), read_back(0, 12)];
        assert_eq!(verdict(moved, &ctx()), 1);
        let no_partition = |end| vec![topic(true, Trim::Never), acked(0, 1, 10), end];
        assert_eq!(verdict(no_partition(Event::ReadBackEnded), &ctx()), 1);
        // Nothing is known if the final reading got stuck.
        assert_eq!(verdict(no_partition(final_read(0, &[])), &ctx()), 0);
    }

    #[test]
    fn the_loss_of_power_excuses_async_only() {
        let lost = |sync| vec![topic(sync, Trim::Never), acked(0, 1, 10), read_back(0, 10)];
        let power = CheckContext { losses: vec![secs(50)..=secs(50)], ..ctx() };
        assert_eq!(verdict(lost(true), &power), 1);
        assert_eq!(verdict(lost(false), &power), 0);
        assert_eq!(verdict(lost(false), &ctx()), 1);
        let before = CheckContext { losses: vec![secs(0)..=secs(0)], ..ctx() };
        assert_eq!(verdict(lost(false), &before), 1);
    }

    #[test]
    fn records_may_be_deleted_up_to_where_it_was_asked_for() {
        let asked = |before| {
            vec![
                topic(true, Trim::Records),
                acked(0, 1, 10),
                Event::DeleteRecordsAsked { tp: tp(), before },
                read_back(11, 11),
            ]
        };
        assert_eq!(verdict(asked(11), &ctx()), 0);
        assert_eq!(verdict(asked(10), &ctx()), 1);
    }

    #[test]
    fn a_flipped_bit_excuses_the_offsets_that_are_called_corrupt() {
        let events = || vec![topic(true, Trim::Never), acked(0, 1, 10), corrupt(10), read_back(0, 11)];
        assert_eq!(verdict(events(), &ctx()), 1);
        assert_eq!(verdict(events(), &flipped(8..=10)), 0);
        let silent = vec![topic(true, Trim::Never), acked(0, 1, 10), read_back(0, 11)];
        assert_eq!(verdict(silent, &flipped(8..=10)), 1);
    }

    #[test]
    fn a_flipped_bit_excuses_no_offset_outside_of_its_batch() {
        let events =
            vec![topic(true, Trim::Never), acked(0, 1, 10), corrupt(9), corrupt(10), read_back(0, 11)];
        assert_eq!(verdict(events.clone(), &flipped(8..=9)), 1);
        let mut several = flipped(8..=9);
        several.flips.extend(flipped(10..=10).flips);
        assert_eq!(verdict(events, &several), 0);
    }

    #[test]
    fn a_flipped_bit_excuses_no_other_topic_of_the_name() {
        let of = |mut event: Event| {
            match &mut event {
                Event::Acked { tp, .. } | Event::Corrupt { tp, .. } | Event::ReadBack { tp, .. } => {
                    tp.id = uuid::Uuid::from_u128(1);
                }
                _ => {}
            }
            event
        };
        let events = [topic(true, Trim::Never), acked(0, 1, 10), corrupt(10), read_back(0, 11)].map(of);
        let mut ctx = flipped(10..=10);
        assert_eq!(verdict(events.to_vec(), &ctx), 1);
        ctx.flips[0].topic_id = "AAAAAAAAAAAAAAAAAAAAAQ".to_owned();
        assert_eq!(verdict(events.to_vec(), &ctx), 0);
    }

    #[test]
    fn a_deleted_topic_promises_nothing() {
        let events = vec![
            topic(true, Trim::Never),
            acked(0, 1, 10),
            Event::DeleteTopicAsked { topic: tp().topic, id: uuid::Uuid::nil() },
        ];
        assert_eq!(verdict(events, &ctx()), 0);
    }
}
