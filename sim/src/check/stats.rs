//! The figures of a history.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::log::FINAL_READER;

/// How much a world did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    pub acked_records: u64,
    /// By consumers; the final reading is not counted.
    pub fetched_records: u64,
    /// Acknowledged commits.
    pub commits: u64,
    /// How long acknowledgements took, by topic; those that come and go are left out.
    pub acks: BTreeMap<String, AckTimes>,
    /// What has not ended.
    pub ops_unfinished: Vec<String>,
}

/// How long acknowledgements took, in milliseconds of virtual time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AckTimes {
    pub count: usize,
    pub p50: f64,
    pub p99: f64,
}

impl AckTimes {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let quantile = |percent: usize| {
            times.get(times.len() * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Self { count: times.len(), p50: quantile(50), p99: quantile(99) }
    }
}

impl Stats {
    /// Counts.
    pub fn of(events: &[Event]) -> Self {
        let mut stats = Self::default();
        let mut open = BTreeMap::new();
        let mut acks: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        for event in events {
            match event {
                Event::Acked { tp, count, span, .. } => {
                    stats.acked_records += u64::from(*count);
                    if !tp.topic.starts_with("own-") {
                        acks.entry(&tp.topic).or_default().push(span.done.saturating_sub(span.sent));
                    }
                }
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
        stats.acks = acks.into_iter().map(|(topic, times)| (topic.to_owned(), AckTimes::of(times))).collect();
        stats.ops_unfinished = open.into_values().collect();
        stats
    }
}
