//! `order`: within a partition the records of one producer stand in the order in which it sent them, none twice, and of
//! an idempotent one without a gap; its sequences are not refused without cause. A reader's offsets rise without a gap,
//! and no position within bounds is called out of range, which would make a consumer start over.

use std::collections::BTreeMap;

use super::context::CheckContext;
use super::event::{Content, Event, Reader, Tp, Trim};
use super::log::Log;

pub fn check(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut found = streams(log, ctx);
    found.extend(readers(log));
    found.extend(refusals(log, ctx));
    found
}

/// Within the final reading, by producer and stream.
fn streams(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    let idempotent = idempotent_streams(log);
    for (tp, read) in &log.read_back {
        let mut last: BTreeMap<(u32, u32), (i64, Content)> = BTreeMap::new();
        let facts = log.facts(&tp.topic);
        // A batch that cannot be read is a gap to its reader, and the broker may have lost count over it.
        let flipped = ctx.flipped(&tp.topic, tp.partition);
        // Where bytes may be lost, so may the sequence that a producer had come to.
        let forgets = !facts.sync && !ctx.losses.is_empty();
        for (offset, content) in &read.records {
            let stream = (content.client, content.stream);
            let previous = last.insert(stream, (*offset, *content));
            let gapless =
                idempotent.contains_key(&(*tp, content.client, content.stream)) && !flipped && !forgets;
            let problem = match previous {
                Some((_, before)) if before.counter == content.counter && !flipped => "stands twice",
                Some((_, before)) if before.counter > content.counter && !flipped => {
                    "stands behind a later one"
                }
                Some((_, before)) if gapless && before.counter + 1 != content.counter => {
                    "follows a gap in an idempotent stream"
                }
                None if gapless
                    && facts.trim == Trim::Never
                    && idempotent.get(&(*tp, content.client, content.stream)) != Some(&content.counter) =>
                {
                    "is not the first of its idempotent stream, but the first that is left"
                }
                _ => continue,
            };
            let before =
                previous.map(|(at, before)| format!(" ({before} is at offset {at})")).unwrap_or_default();
            found.push(format!("{tp}: {content} at offset {offset} {problem}{before}"));
        }
    }
    found
}

/// The streams without gaps, and the first counter of each.
fn idempotent_streams<'a>(log: &Log<'a>) -> BTreeMap<(&'a Tp, u32, u32), u64> {
    let mut streams = BTreeMap::new();
    for event in log.events {
        if let Event::Produced { tp, first, idempotent: true, .. } = event {
            let lowest = streams.entry((tp, first.client, first.stream)).or_insert(first.counter);
            *lowest = (*lowest).min(first.counter);
        }
    }
    streams
}

/// Each reader's pass over a partition. Readers move on by what they got, so a gap shows between position and record.
fn readers(log: &Log<'_>) -> Vec<String> {
    let mut found = vec![];
    let mut last: BTreeMap<(Reader, &Tp), i64> = BTreeMap::new();
    for event in log.events {
        let Event::Read { reader, tp, position, records, span, .. } = event else { continue };
        let mut next = *position;
        let who = format!("reader {}/{}", reader.client, reader.pass);
        let at = span.done.as_secs_f64();
        if let Some(before) = last.get(&(*reader, tp)).filter(|before| *before > position) {
            found.push(format!("{tp}: {who} went back from {before} to {position} at {at:.3} s"));
        }
        for (offset, _, _) in records {
            if *offset != next {
                found.push(format!("{tp}: {who} stood at {next} and got offset {offset} at {at:.3} s"));
                break;
            }
            next = offset + 1;
        }
        last.insert((*reader, tp), next);
    }
    found
}

/// Refused positions and sequences.
fn refusals(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    for event in log.events {
        match event {
            Event::OutOfRange { reader, tp, position, span } => {
                let facts = log.facts(&tp.topic);
                let let_go = match facts.trim {
                    Trim::Never => false,
                    Trim::Records => *position < log.trimmed_below(tp),
                    Trim::Retention => true,
                };
                let lost = !facts.sync && ctx.lost_between(std::time::Duration::ZERO, span.done);
                if !let_go && !lost && !log.was_deleted(tp) {
                    let who = format!("reader {}/{}", reader.client, reader.pass);
                    let at = span.done.as_secs_f64();
                    found.push(format!(
                        "{tp}: {who} was told at {at:.3} s that its position {position} is out of range"
                    ));
                }
            }
            Event::SequenceRefused { tp, first, error, at } => {
                let facts = log.facts(&tp.topic);
                let lost = !facts.sync && ctx.lost_between(std::time::Duration::ZERO, *at);
                let excused =
                    facts.trim != Trim::Never || ctx.flipped(&tp.topic, tp.partition) || log.was_deleted(tp);
                if !lost && !excused {
                    let at = at.as_secs_f64();
                    found.push(format!(
                        "{tp}: {first}, next in its sequence, was refused at {at:.3} s with {error}"
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn verdict(events: Vec<Event>) -> usize {
        check(&Log::of(&events), &ctx()).len()
    }

    fn written(counters: &[u64]) -> usize {
        let end = counters.len() as i64;
        verdict(vec![topic(true, Trim::Never), produced(0, 9), final_read(0, counters), read_back(0, end)])
    }

    #[test]
    fn an_idempotent_stream_stands_whole_and_once() {
        assert_eq!(written(&[0, 1, 2, 3]), 0);
        assert_eq!(written(&[0, 1, 1, 2]), 1);
        assert_eq!(written(&[0, 2, 1, 3]), 3);
        assert_eq!(written(&[0, 2, 3]), 1);
        assert_eq!(written(&[1, 2, 3]), 1);
    }

    #[test]
    fn a_plain_stream_may_have_gaps_and_nothing_else() {
        let written = |counters: &[u64]| {
            verdict(vec![topic(true, Trim::Never), final_read(0, counters), read_back(0, 3)])
        };
        assert_eq!(written(&[1, 3, 4]), 0);
        assert_eq!(written(&[1, 4, 3]), 1);
        assert_eq!(written(&[1, 1]), 1);
    }

    #[test]
    fn a_reader_moves_on_without_gaps() {
        assert_eq!(verdict(vec![read(2, 5, &[0, 1]), read(2, 7, &[2])]), 0);
        assert_eq!(verdict(vec![read_at(2, 5, 6, &[0, 1])]), 1);
        assert_eq!(verdict(vec![read(2, 5, &[0, 1]), read(2, 5, &[0])]), 1);
    }

    #[test]
    fn a_position_within_bounds_is_in_range() {
        let out = |position| {
            let reader = Reader { client: 2, pass: 0 };
            Event::OutOfRange { reader, tp: tp(), position, span: span(5, 6) }
        };
        assert_eq!(verdict(vec![topic(true, Trim::Never), out(3)]), 1);
        let asked = || Event::DeleteRecordsAsked { tp: tp(), before: 4 };
        assert_eq!(verdict(vec![topic(true, Trim::Records), asked(), out(3)]), 0);
        assert_eq!(verdict(vec![topic(true, Trim::Records), asked(), out(4)]), 1);
    }

    #[test]
    fn the_next_sequence_is_not_refused() {
        let refused =
            || Event::SequenceRefused { tp: tp(), first: content(3), error: "45".to_owned(), at: secs(9) };
        assert_eq!(verdict(vec![topic(true, Trim::Never), refused()]), 1);
        assert_eq!(verdict(vec![topic(true, Trim::Records), refused()]), 0);
    }
}
