//! `order`: within a partition the records of one producer stand in the order in which it sent them, none twice, and of
//! an idempotent one without a gap; its sequences are not refused without cause. A reader's offsets rise without a gap,
//! and no position within bounds is called out of range, which would make a consumer start over.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

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
        // Where bytes were lost, so may be the sequence that a producer had come to.
        let forgets = |since: Duration| !facts.sync && ctx.lost_between(since, Duration::MAX);
        // What lies below the start was let go while it was read, and with it what followed.
        let kept = read.records.iter().filter(|record| *record.0 >= read.start);
        for (offset, content) in kept {
            let stream = (content.client, content.stream);
            let previous = last.insert(stream, (*offset, *content));
            let of_stream = idempotent.get(&(*tp, content.client, content.stream));
            let first = of_stream.filter(|stream| !forgets(stream.since)).map(|stream| stream.first);
            // What was in batches that cannot be read any more is missing to the reader.
            let unread = |from: i64| ctx.count_flipped(tp, from..*offset);
            let problem = match (previous, first) {
                (Some((_, before)), _) if before.counter == content.counter => "stands twice",
                (Some((_, before)), _) if before.counter > content.counter => "stands behind a later one",
                (Some((at, before)), Some(_)) if content.counter - before.counter > unread(at + 1) + 1 => {
                    "follows a gap in an idempotent stream"
                }
                (None, Some(first))
                    if facts.trim == Trim::Never && content.counter.abs_diff(first) > unread(read.start) =>
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

/// A stream without gaps.
struct Stream {
    /// The first counter.
    first: u64,
    since: Duration,
}

/// The streams without gaps, by partition, client and number.
fn idempotent_streams<'a>(log: &Log<'a>) -> BTreeMap<(&'a Tp, u32, u32), Stream> {
    let mut streams = BTreeMap::new();
    for event in log.events {
        if let Event::Produced { tp, first, idempotent: true, at, .. } = event {
            let new = || Stream { first: first.counter, since: *at };
            let stream = streams.entry((tp, first.client, first.stream)).or_insert_with(new);
            stream.first = stream.first.min(first.counter);
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
        for offset in records.iter().map(|seen| seen.offset) {
            if offset != next {
                found.push(format!("{tp}: {who} stood at {next} and got offset {offset} at {at:.3} s"));
                break;
            }
            next = offset + 1;
        }
        last.insert((*reader, tp), next);
    }
    found
}

/// What was told of where partitions start, by when it was asked for.
struct Starts<'a>(BTreeMap<&'a Tp, Vec<(Duration, i64)>>);

impl<'a> Starts<'a> {
    fn of(log: &Log<'a>) -> Self {
        let mut starts: BTreeMap<&Tp, Vec<(Duration, i64)>> = BTreeMap::new();
        for event in log.events {
            if let Event::Start { tp, start, span } | Event::Bounds { tp, start: Some(start), span, .. } =
                event
            {
                starts.entry(tp).or_default().push((span.sent, *start));
            }
        }
        starts.values_mut().for_each(|told| told.sort_unstable());
        Self(starts)
    }

    /// What was told to the first who asked after that.
    fn after(&self, tp: &Tp, at: Duration) -> Option<i64> {
        let told = self.0.get(tp)?;
        told.get(told.partition_point(|(sent, _)| *sent < at)).map(|(_, start)| *start)
    }
}

/// Refused positions and sequences.
fn refusals(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    let starts = Starts::of(log);
    let streams = idempotent_streams(log);
    // When each reader last got something, which was before its position could be lost.
    let mut got: BTreeMap<(Reader, &Tp), Duration> = BTreeMap::new();
    for event in log.events {
        match event {
            Event::Read { reader, tp, span, .. } => drop(got.insert((*reader, tp), span.sent)),
            Event::OutOfRange { reader, tp, position, span } => {
                let facts = log.facts(&tp.topic);
                let let_go = match facts.trim {
                    Trim::Never => false,
                    Trim::Records => *position < log.trimmed_below(tp),
                    // Starts only rise: it was not above what anyone was told who asked later.
                    Trim::Retention => starts.after(tp, span.done).is_none_or(|start| *position < start),
                };
                let since = got.get(&(*reader, tp)).copied().unwrap_or_default();
                let lost = !facts.sync && ctx.lost_between(since, span.done);
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
                let stream = streams.get(&(tp, first.client, first.stream));
                let since = stream.map_or(Duration::ZERO, |stream| stream.since);
                let lost = !facts.sync && ctx.lost_between(since, *at);
                let excused =
                    facts.trim != Trim::Never || forgotten(log, ctx, tp, *first, *at) || log.was_deleted(tp);
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

/// Whether the broker may have lost count of a stream: it started anew after a bit was flipped in a batch of that stream,
/// or in one of which nobody knows whose it is.
fn forgotten(log: &Log<'_>, ctx: &CheckContext, tp: &Tp, refused: Content, at: Duration) -> bool {
    let mut since = ctx.flips.iter().filter(|flip| flip.is_of(tp) && ctx.restarted_between(flip.at, at));
    since.any(|flip| writer(log, tp, &flip.offsets).is_none_or(|client| client == refused.client))
}

/// The client that wrote the batch with these offsets, if any client saw a record of it.
fn writer(log: &Log<'_>, tp: &Tp, offsets: &RangeInclusive<i64>) -> Option<u32> {
    log.events.iter().find_map(|event| match event {
        Event::Acked { tp: of, first, base: Some(base), .. } if of == tp && base == offsets.start() => {
            Some(first.client)
        }
        Event::Read { tp: of, records, .. } if of == tp => {
            records.iter().find(|seen| offsets.contains(&seen.offset)).map(|seen| seen.content.client)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn verdict(events: Vec<Event>) -> usize {
        check(&Log::of(&events), &ctx()).len()
    }

    fn verdict_in(events: Vec<Event>, ctx: &CheckContext) -> usize {
        check(&Log::of(&events), ctx).len()
    }

    /// What is read at these offsets and counters, where a batch was flipped.
    fn left(records: &[(i64, u64)], ctx: &CheckContext) -> usize {
        let mut events = vec![topic(true, Trim::Never), produced(0, 9)];
        events.extend(records.iter().map(|(offset, counter)| final_read(*offset, &[*counter])));
        events.push(read_back(0, 9));
        verdict_in(events, ctx)
    }

    #[test]
    fn a_flipped_batch_excuses_gaps_that_it_may_have_made() {
        let flipped = flipped(2..=3);
        assert_eq!(left(&[(0, 0), (1, 1), (4, 4)], &flipped), 0);
        assert_eq!(left(&[(0, 0), (1, 1), (4, 5)], &flipped), 1);
        assert_eq!(left(&[(0, 0), (2, 1), (3, 2), (4, 4)], &flipped), 1);
        assert_eq!(left(&[(4, 2)], &flipped), 0);
        assert_eq!(left(&[(4, 3)], &flipped), 1);
        assert_eq!(left(&[(1, 1)], &flipped), 1);
    }

    #[test]
    fn a_flipped_batch_excuses_nothing_that_stands_twice_or_late() {
        assert_eq!(left(&[(0, 0), (1, 1), (4, 1)], &flipped(2..=3)), 1);
        assert_eq!(left(&[(0, 0), (1, 1), (4, 0)], &flipped(2..=3)), 1);
    }

    #[test]
    fn a_flipped_batch_excuses_a_refusal_of_its_own_writer_after_a_restart() {
        let refused = |client| {
            let first = Content { client, ..content(3) };
            let error = "45".to_owned();
            let refused = Event::SequenceRefused { tp: tp(), first, error, at: secs(9) };
            vec![topic(true, Trim::Never), acked(0, 2, 2), refused]
        };
        let restarted = CheckContext { restarts: vec![secs(7)], ..flipped(2..=3) };
        assert_eq!(verdict_in(refused(1), &restarted), 0);
        assert_eq!(verdict_in(refused(2), &restarted), 1);
        assert_eq!(verdict_in(refused(1), &flipped(2..=3)), 1);
        let of_nobody = CheckContext { restarts: vec![secs(7)], ..flipped(5..=6) };
        assert_eq!(verdict_in(refused(2), &of_nobody), 0);
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
    fn retention_lets_go_of_what_is_below_the_start_and_of_nothing_else() {
        let reader = Reader { client: 2, pass: 0 };
        let out = |position| Event::OutOfRange { reader, tp: tp(), position, span: span(5, 6) };
        let start = |start, sent| Event::Start { tp: tp(), start, span: span(sent, sent + 1) };
        let with = |position| {
            verdict(vec![topic(true, Trim::Retention), start(3, 1), out(position), start(4, 7), start(9, 9)])
        };
        assert_eq!((with(3), with(4), with(8)), (0, 1, 1));
        assert_eq!(verdict(vec![topic(true, Trim::Retention), out(8)]), 0);
    }

    #[test]
    fn a_loss_excuses_positions_and_sequences_from_before_it_only() {
        let reader = Reader { client: 2, pass: 0 };
        let out = Event::OutOfRange { reader, tp: tp(), position: 6, span: span(8, 9) };
        let refused = Event::SequenceRefused { tp: tp(), first: content(3), error: "45".into(), at: secs(9) };
        let events =
            |event: &Event| vec![topic(false, Trim::Never), produced(0, 3), read(2, 5, &[0]), event.clone()];
        let lost = |at| CheckContext { losses: vec![secs(at)..=secs(at)], ..ctx() };
        for event in [out, refused] {
            assert_eq!(verdict_in(events(&event), &lost(7)), 0);
            assert_eq!(verdict_in(events(&event), &lost(0)), 1);
        }
    }

    #[test]
    fn the_next_sequence_is_not_refused() {
        let refused =
            || Event::SequenceRefused { tp: tp(), first: content(3), error: "45".to_owned(), at: secs(9) };
        assert_eq!(verdict(vec![topic(true, Trim::Never), refused()]), 1);
        assert_eq!(verdict(vec![topic(true, Trim::Records), refused()]), 0);
    }
}
