//! Short ways to write histories down, for the checkers' tests. Everything happens to one partition.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::context::{CheckContext, Flip};
use super::event::{Content, Event, Reader, Seen, Span, TopicFacts, Tp, Trim};
use super::log::FINAL_READER;

pub fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub fn span(sent: u64, done: u64) -> Span {
    Span { sent: secs(sent), done: secs(done) }
}

pub fn tp() -> Tp {
    Tp::new(&"t".into(), 0)
}

pub fn content(counter: u64) -> Content {
    Content { client: 1, stream: 1, counter }
}

pub fn topic(sync: bool, trim: Trim) -> Event {
    Event::Topic { topic: tp().topic, facts: TopicFacts { sync, trim, append_time: false } }
}

/// Acked between seconds 1 and 2.
pub fn acked(first: u64, count: u32, base: i64) -> Event {
    let (first, base, append_time) = (content(first), Some(base), None);
    Event::Acked { tp: tp(), first, count, base, append_time, span: span(1, 2) }
}

pub fn produced(first: u64, count: u32) -> Event {
    Event::Produced { tp: tp(), first: content(first), count, idempotent: true, at: secs(1) }
}

/// A record of epoch 0, whose timestamp is its counter.
pub fn seen(offset: i64, counter: u64) -> Seen {
    let timestamp = counter as i64;
    let (appended, created, odd) = (false, timestamp, None);
    Seen { offset, epoch: 0, content: content(counter), timestamp, appended, created, odd }
}

fn records(base: i64, counters: &[u64]) -> Vec<Seen> {
    (base..).zip(counters).map(|(offset, counter)| seen(offset, *counter)).collect()
}

pub fn read(client: u32, base: i64, counters: &[u64]) -> Event {
    read_at(client, base, base, counters)
}

pub fn read_at(client: u32, position: i64, base: i64, counters: &[u64]) -> Event {
    let reader = Reader { client, pass: 0 };
    Event::Read { reader, tp: tp(), position, hw: 100, records: records(base, counters), span: span(3, 4) }
}

pub fn final_read(base: i64, counters: &[u64]) -> Event {
    read(FINAL_READER, base, counters)
}

pub fn read_back(start: i64, end: i64) -> Event {
    Event::ReadBack { tp: tp(), start, end, at: secs(100) }
}

pub fn corrupt(offset: i64) -> Event {
    let reader = Reader { client: FINAL_READER, pass: 0 };
    Event::Corrupt { reader, tp: tp(), offset, span: span(90, 91) }
}

pub fn bounds(client: u32, hw: i64, sent: u64, done: u64) -> Event {
    Event::Bounds { client, tp: tp(), start: None, hw, span: span(sent, done) }
}

/// One broker, nothing went wrong.
pub fn ctx() -> CheckContext {
    CheckContext { single_broker: true, ..CheckContext::default() }
}

/// A bit of the batch with these offsets was flipped at second 5.
pub fn flipped(offsets: RangeInclusive<i64>) -> CheckContext {
    let flip = Flip { topic: "t".to_owned(), topic_id: String::new(), partition: 0, offsets, at: secs(5) };
    CheckContext { flips: vec![flip], ..ctx() }
}
