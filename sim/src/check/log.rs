//! The events of a history with what several checkers look up in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Content, Event, TopicFacts, Tp, Trim};

/// A history, read once.
pub struct Log<'a> {
    pub events: &'a [Event],
    topics: BTreeMap<&'a str, TopicFacts>,
    /// The largest offset that DeleteRecords was asked for.
    trimmed: BTreeMap<&'a Tp, i64>,
    /// What the final reading found: start, end, records by offset.
    pub read_back: BTreeMap<&'a Tp, ReadBack>,
    /// Topics that somebody asked to delete.
    pub deleted: Vec<(&'a Arc<str>, uuid::Uuid)>,
    /// When the faults stopped.
    pub healed: Option<Duration>,
    /// Whether the final reading came to its end.
    pub read_back_ended: bool,
}

/// The final reading of a partition.
#[derive(Default)]
pub struct ReadBack {
    pub start: i64,
    pub end: i64,
    /// Whether all of the partition was read.
    pub is_whole: bool,
    pub records: BTreeMap<i64, Content>,
    /// Offsets that the broker, or the reader, called corrupt.
    pub corrupt: Vec<i64>,
}

/// The client number of the final reader.
pub const FINAL_READER: u32 = u32::MAX;

/// Topics outside of the plan (internal ones) promise nothing.
const NO_PROMISE: TopicFacts = TopicFacts { sync: false, trim: Trim::Retention, append_time: false };

impl<'a> Log<'a> {
    /// Reads the events once.
    pub fn of(events: &'a [Event]) -> Self {
        let mut log = Self {
            events,
            topics: BTreeMap::new(),
            trimmed: BTreeMap::new(),
            read_back: BTreeMap::new(),
            deleted: vec![],
            healed: None,
            read_back_ended: false,
        };
        for event in events {
            match event {
                Event::Topic { topic, facts } => {
                    log.topics.insert(topic, *facts);
                }
                Event::Healed { at } => log.healed = Some(*at),
                Event::ReadBackEnded => log.read_back_ended = true,
                Event::DeleteRecordsAsked { tp, before } => {
                    let most = log.trimmed.entry(tp).or_insert(*before);
                    *most = (*most).max(*before);
                }
                Event::DeleteTopicAsked { topic, id } => log.deleted.push((topic, *id)),
                Event::ReadBack { tp, start, end, .. } => {
                    let read = log.read_back.entry(tp).or_default();
                    (read.start, read.end, read.is_whole) = (*start, *end, true);
                }
                Event::Read { reader, tp, records, .. } if reader.client == FINAL_READER => {
                    let read = log.read_back.entry(tp).or_default();
                    read.records.extend(records.iter().map(|seen| (seen.offset, seen.content)));
                }
                Event::Corrupt { reader, tp, offset, .. } | Event::BadBytes { reader, tp, offset, .. }
                    if reader.client == FINAL_READER =>
                {
                    log.read_back.entry(tp).or_default().corrupt.push(*offset);
                }
                _ => {}
            }
        }
        log
    }

    /// What may happen to the records of a topic.
    pub fn facts(&self, topic: &str) -> TopicFacts {
        self.topics.get(topic).copied().unwrap_or(NO_PROMISE)
    }

    /// The topics whose facts are known.
    pub fn knows(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// The offset below which DeleteRecords may have taken the records.
    pub fn trimmed_below(&self, tp: &Tp) -> i64 {
        self.trimmed.get(tp).copied().unwrap_or(0)
    }

    /// Whether somebody asked to delete this very topic.
    pub fn was_deleted(&self, tp: &Tp) -> bool {
        self.deleted.iter().any(|(topic, id)| **topic == tp.topic && (id.is_nil() || *id == tp.id))
    }
}
