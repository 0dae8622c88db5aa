//! The figures of a history.

use std::collections::BTreeMap;

use super::event::Event;
use super::log::FINAL_READER;

/// How much a world did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub acked_records: u64,
    /// By consumers; the final reading is not counted.
    pub fetched_records: u64,
    /// Acknowledged commits.
    pub commits: u64,
    /// What has not ended.
    pub ops_unfinished: Vec<String>,
}

impl Stats {
    /// Counts.
    pub fn of(events: &[Event]) -> Self {
        let mut stats = Self::default();
        let mut open = BTreeMap::new();
        for event in events {
            match event {
                Event::Acked { count, .. } => stats.acked_records += u64::from(*count),
                Event::Read { reader, records, .. } if reader.client != FINAL_READER => {
                    stats.fetched_records += records.len() as u64;
                }
                Event::CommitDone { acked: true, .. } => stats.commits += 1,
                Event::OpBegan { op, client, what, at } => {
                    open.insert(op, format!("client {client}: {what}, since {:.3} s", at.as_secs_f64()));
                }
                Event::OpEnded { op } => {
                    open.remove(op);
                }
                _ => {}
            }
        }
        stats.ops_unfinished = open.into_values().collect();
        stats
    }
}
