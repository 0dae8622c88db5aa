//! What clients saw of one offset of a partition, in the order in which they saw it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::check::{Content, Event, Seen, Span, Tp};
use crate::names;

/// An offset of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    topic: String,
    partition: i32,
    offset: i64,
}

impl Place {
    /// Reads `topic-partition@offset`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected TOPIC-PARTITION@OFFSET, as in t0-3@17".to_owned();
        let (partition, offset) = text.rsplit_once('@').ok_or_else(wrong)?;
        let (topic, partition) = partition.rsplit_once('-').ok_or_else(wrong)?;
        let (partition, offset) =
            (partition.parse().map_err(|_| wrong())?, offset.parse().map_err(|_| wrong())?);
        Ok(Self { topic: topic.to_owned(), partition, offset })
    }

    /// Tells what `events` say of it.
    pub fn tell(&self, events: &[Event]) -> Vec<String> {
        let contents = events.iter().flat_map(|event| self.contents(event)).collect();
        let mut teller = Teller {
            place: self,
            contents,
            now: Duration::ZERO,
            below_hw: None,
            above_start: None,
            lines: vec![],
        };
        events.iter().for_each(|event| teller.take(event));
        if teller.lines.is_empty() {
            teller
                .lines
                .push(format!("no client saw anything of {}-{}@{}", self.topic, self.partition, self.offset));
        }
        teller.lines
    }

    fn is_of(&self, tp: &Tp) -> bool {
        *tp.topic == *self.topic && tp.partition == self.partition
    }

    /// The records that were acknowledged or read here. Not one, if something is wrong.
    fn contents(&self, event: &Event) -> Vec<Content> {
        match event {
            Event::Acked { tp, first, count, base: Some(base), .. } if self.is_of(tp) => {
                let nth = self.offset - base;
                let here = (0..i64::from(*count)).contains(&nth);
                here.then(|| Content { counter: first.counter + nth as u64, ..*first }).into_iter().collect()
            }
            Event::Read { tp, records, .. } if self.is_of(tp) => {
                let here = records.iter().filter(|seen| seen.offset == self.offset);
                here.map(|seen| seen.content).collect()
            }
            _ => vec![],
        }
    }
}

struct Teller<'a> {
    place: &'a Place,
    contents: BTreeSet<Content>,
    /// When the last event was whose time is known.
    now: Duration,
    /// Whether the offset was below the high watermark when a client last saw that.
    below_hw: Option<bool>,
    /// Whether it was above the start of the log.
    above_start: Option<bool>,
    lines: Vec<String>,
}

impl Teller<'_> {
    fn line(&mut self, at: Duration, what: &str) {
        self.now = self.now.max(at);
        self.lines.push(format!("{:11.6}s {what}", at.as_secs_f64()));
    }

    /// One of the records of the place that is among `count` from `first` on.
    fn among(&self, first: &Content, count: u64) -> Option<Content> {
        let of_stream = |c: &&Content| c.client == first.client && c.stream == first.stream;
        let among = |c: &&Content| (first.counter..first.counter.saturating_add(count)).contains(&c.counter);
        self.contents.iter().filter(of_stream).find(among).copied()
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Produced { tp, .. } | Event::Acked { tp, .. } | Event::SequenceRefused { tp, .. }
                if self.place.is_of(tp) =>
            {
                self.written(event);
            }
            Event::Read { tp, position, hw, span, .. } if self.place.is_of(tp) => {
                self.read(event, *position);
                self.bounds(None, *hw, span.done);
            }
            Event::Bounds { tp, start, hw, span, .. } if self.place.is_of(tp) => {
                self.bounds(*start, *hw, span.done);
            }
            Event::ReadBack { tp, .. }
            | Event::BadBytes { tp, .. }
            | Event::Corrupt { tp, .. }
            | Event::OutOfRange { tp, .. }
            | Event::DeleteRecordsAsked { tp, .. }
                if self.place.is_of(tp) =>
            {
                self.gone(event);
            }
            Event::DeleteTopicAsked { topic, .. } if **topic == self.place.topic => {
                self.line(self.now, "somebody asks to delete the topic");
            }
            Event::TopicMissing { topic, at } if **topic == self.place.topic => {
                self.line(*at, "the topic is not there any more");
            }
            Event::Healed { at } => self.line(*at, "the faults have stopped"),
            _ => {}
        }
    }

    fn written(&mut self, event: &Event) {
        match event {
            // It has no time of its own.
            Event::Produced { tp, first, count, idempotent, .. } => {
                if let Some(record) = self.among(first, u64::from(*count)) {
                    let how = if *idempotent { "with sequences" } else { "without sequences" };
                    let topic = id(tp);
                    let last = first.counter + u64::from(*count) - 1;
                    self.line(
                        self.now,
                        &format!("{record} is sent {how}, among records {}..={last}{topic}", first.counter),
                    );
                }
            }
            Event::Acked { tp, first, count, base, span, .. } => {
                let at = base.map(|base| base..base + i64::from(*count));
                let here = at.as_ref().is_some_and(|at| at.contains(&self.place.offset));
                let record = self.among(first, u64::from(*count));
                let what = match (at, record) {
                    (Some(at), Some(record)) if here => {
                        format!("{record} is acknowledged here, in the batch at {at:?}")
                    }
                    (Some(at), Some(record)) => {
                        format!("{record} is acknowledged ELSEWHERE, in the batch at {at:?}")
                    }
                    (None, Some(record)) => format!("{record} is acknowledged as known already"),
                    (_, None) => return,
                };
                self.line(span.done, &format!("{what}{}{}", sent(*span), id(tp)));
            }
            Event::SequenceRefused { first, error, at, .. } => {
                if let Some(record) = self.among(first, u64::MAX) {
                    self.line(
                        *at,
                        &format!("{record}, or one before it, is refused for its sequence: {error}"),
                    );
                }
            }
            _ => {}
        }
    }

    fn read(&mut self, event: &Event, position: i64) {
        let Event::Read { reader, tp, hw, records, span, .. } = event else { return };
        let who = format!("{} (pass {})", names::client(reader.client), reader.pass);
        let offset = self.place.offset;
        for Seen { epoch, content, .. } in records.iter().filter(|seen| seen.offset == offset) {
            let what = format!("{who} reads {content}, leader epoch {epoch}, high watermark {hw}");
            self.line(span.done, &format!("{what}{}{}", sent(*span), id(tp)));
        }
        let (first, last) = (records.first().map(|seen| seen.offset), records.last().map(|seen| seen.offset));
        let past = position <= offset && last.is_some_and(|last| last > offset);
        if past && records.iter().all(|seen| seen.offset != offset) {
            let got = format!("{}..={}", first.unwrap_or_default(), last.unwrap_or_default());
            self.line(
                span.done,
                &format!("{who} reads PAST it: from {position} on, got {got} without it{}", sent(*span)),
            );
        }
    }

    /// Tells when clients first see that the offset is below the high watermark, and each change after that.
    fn bounds(&mut self, start: Option<i64>, hw: i64, at: Duration) {
        let below = self.place.offset < hw;
        if self.below_hw.replace(below) != Some(below) && (below || self.lines.len() > 1) {
            let side = if below { "above" } else { "NOT above" };
            self.line(at, &format!("the high watermark is {side} it: {hw}"));
        }
        if let Some(start) = start {
            let above = self.place.offset >= start;
            if self.above_start.replace(above).is_some_and(|before| before != above)
                || !above && self.lines.is_empty()
            {
                let side = if above { "at or below" } else { "ABOVE" };
                self.line(at, &format!("the log starts {side} it: {start}"));
            }
        }
    }

    fn gone(&mut self, event: &Event) {
        let offset = self.place.offset;
        match event {
            Event::ReadBack { start, end, at, .. } => {
                self.line(*at, &format!("the final reader has read {start}..{end}"));
            }
            Event::BadBytes { reader, offset: bad, detail, span, .. } if *bad == offset => {
                let who = names::client(reader.client);
                self.line(span.done, &format!("{who} gets bytes that nobody wrote: {detail}{}", sent(*span)));
            }
            Event::Corrupt { reader, offset: bad, span, .. } if *bad == offset => {
                let who = names::client(reader.client);
                self.line(span.done, &format!("{who} is told that it is corrupt{}", sent(*span)));
            }
            Event::OutOfRange { reader, position, span, .. } if *position == offset => {
                let who = names::client(reader.client);
                self.line(span.done, &format!("{who} is told that it is out of range{}", sent(*span)));
            }
            Event::DeleteRecordsAsked { before, .. } if *before > offset => {
                self.line(self.now, &format!("somebody asks to delete all records before {before}"));
            }
            _ => {}
        }
    }
}

fn sent(span: Span) -> String {
    format!(" (asked at {:.6} s)", span.sent.as_secs_f64())
}

/// The topic's id, where one name has several.
fn id(tp: &Tp) -> String {
    if tp.id.is_nil() {
        String::new()
    } else {
        format!(" [{}]", tp.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Reader;

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn tp(partition: i32) -> Tp {
        Tp::new(&"t0".into(), partition)
    }

    fn content(counter: u64) -> Content {
        Content { client: 3, stream: 1, counter }
    }

    fn read(client: u32, position: i64, offsets: &[i64], at: u64) -> Event {
        let seen = |offset: &i64| Seen {
            offset: *offset,
            epoch: 5,
            content: content(*offset as u64),
            timestamp: 0,
            appended: false,
            created: 0,
            odd: None,
        };
        let records = offsets.iter().map(seen).collect();
        let span = Span { sent: secs(at - 1), done: secs(at) };
        Event::Read { reader: Reader { client, pass: 1 }, tp: tp(2), position, hw: 9, records, span }
    }

    fn acked(base: i64, at: u64) -> Event {
        let span = Span { sent: secs(at - 1), done: secs(at) };
        let first = content(base as u64);
        Event::Acked { tp: tp(2), first, count: 4, base: Some(base), append_time: None, span }
    }

    #[test]
    fn a_place_is_read_from_its_name() {
        let place = Place { topic: "own-1".to_owned(), partition: 3, offset: 17 };
        assert_eq!(Place::parse("own-1-3@17"), Ok(place));
        for wrong in ["t0", "t0-1", "t0@3", "t0-x@3", "t0-1@x"] {
            assert!(Place::parse(wrong).is_err());
        }
    }

    #[test]
    fn the_story_of_an_offset_is_told_in_order() {
        let produced =
            Event::Produced { tp: tp(2), first: content(6), count: 4, idempotent: true, at: secs(1) };
        let other = Event::Produced { tp: tp(1), first: content(6), count: 4, idempotent: true, at: secs(1) };
        let events = [
            Event::Healed { at: secs(1) },
            other,
            produced,
            acked(6, 3),
            acked(10, 4),
            read(5, 2, &[2, 3], 5),
            read(5, 4, &[4, 7, 8], 6),
            read(5, 4, &[4, 8], 7),
            Event::Corrupt {
                reader: Reader { client: u32::MAX, pass: 1 },
                tp: tp(2),
                offset: 7,
                span: Span { sent: secs(8), done: secs(9) },
            },
        ];
        let told = Place::parse("t0-2@7").unwrap().tell(&events);
        let expected = [
            "the faults have stopped",
            "client 3 stream 1 record 7 is sent with sequences, among records 6..=9",
            "client 3 stream 1 record 7 is acknowledged here, in the batch at 6..10 (asked at 2.000000 s)",
            "the high watermark is above it: 9",
            "client 5 (pass 1) reads client 3 stream 1 record 7, leader epoch 5, high watermark 9 (asked at 5.000000 s)",
            "client 5 (pass 1) reads PAST it: from 4 on, got 4..=8 without it (asked at 6.000000 s)",
            "the final reader is told that it is corrupt (asked at 8.000000 s)",
        ];
        let words: Vec<&str> = told.iter().map(|line| line.split_once("s ").unwrap().1).collect();
        assert_eq!(words, expected);
        assert!(told[2].starts_with("   3.000000s "), "{}", told[2]);
    }

    #[test]
    fn a_record_that_is_elsewhere_and_a_high_watermark_that_falls_are_shouted() {
        let bounds = |hw, at| Event::Bounds {
            client: 1,
            tp: tp(2),
            start: Some(0),
            hw,
            span: Span { sent: secs(at), done: secs(at) },
        };
        let mut elsewhere = acked(6, 9);
        if let Event::Acked { base, .. } = &mut elsewhere {
            *base = Some(60);
        }
        let told = Place::parse("t0-2@7").unwrap().tell(&[
            acked(6, 3),
            bounds(9, 4),
            bounds(8, 5),
            bounds(7, 6),
            elsewhere,
        ]);
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(told[2].contains("NOT above it: 7"));
        assert!(told[3].contains("ELSEWHERE, in the batch at 60..64"));
    }
}
