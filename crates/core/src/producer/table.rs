//! The producers of one partition.

use std::collections::btree_map::{BTreeMap, Entry};
use std::ops::Bound;

use norn_protocol::batch::BatchHeader;
use norn_protocol::types::{Offset, ProducerEpoch, ProducerId, Sequence};
use norn_protocol::ErrorCode;

use super::entry::ProducerEntry;
use crate::Millis;

/// How many batches of a producer are remembered. Clients have at most as many in flight
/// (`max.in.flight.requests.per.connection`), so whatever they may send again is remembered.
pub const BATCHES_KEPT: usize = 5;

/// What becomes of a batch that a client sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// To be appended.
    New,
    /// In the log already, at these offsets. To be answered as the original is: not before that is
    /// durable or below the high watermark, whichever its `acks` asks for.
    Duplicate { first: Offset, last: Offset, timestamp: Millis },
    /// To be answered with this error; nothing has changed.
    Refused(ErrorCode),
}

/// What a truncation has left of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Rollback {
    /// All that is left is right.
    Complete,
    /// Some producers lost a batch and are forgotten, since the batches before it are not known any
    /// more. The caller decodes a snapshot at or below the new end (or starts with an empty table) and
    /// visits the log from there, before it checks another batch.
    Rebuild,
}

/// A producer as DescribeProducers tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerState {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    /// The sequence number of its last record.
    pub last_sequence: Sequence,
    /// The largest timestamp of its last batch.
    pub last_timestamp: Millis,
}

/// Who wrote what to one partition, as far as sequences must be checked.
///
/// Holds one entry for each producer id seen within `producer.id.expiration.ms`; nothing else bounds it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProducerTable {
    pub(super) producers: BTreeMap<ProducerId, ProducerEntry>,
    /// The offset after the last batch that was taken in, of whichever producer.
    pub(super) end: Offset,
}

impl ProducerTable {
    /// The table of an empty log.
    pub fn new() -> ProducerTable {
        ProducerTable::default()
    }

    /// The offset after the last batch that was taken in: a snapshot is named by it, and a replay
    /// continues there.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// How many producers are remembered.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Judges a batch from a client (Kafka's `ProducerAppendInfo`). `log_end` is the log's end now.
    ///
    /// A sequence older than the window is OUT_OF_ORDER_SEQUENCE_NUMBER, as in Kafka since 1.1:
    /// clients take DUPLICATE_SEQUENCE_NUMBER for success, and that the original was acknowledged is
    /// not known here.
    pub fn check(&self, batch: &BatchHeader, log_end: Offset) -> Verdict {
        if !batch.producer_id.is_some() {
            return Verdict::New;
        }
        if batch.base_sequence < Sequence(0) || batch.producer_epoch.0 < 0 {
            return Verdict::Refused(ErrorCode::InvalidRecord);
        }
        let Some(entry) = self.producers.get(&batch.producer_id) else {
            // Forgotten, by expiry or because its records are gone: any sequence starts it (KIP-360).
            return Verdict::New;
        };
        if batch.producer_epoch < entry.epoch {
            return Verdict::Refused(ErrorCode::InvalidProducerEpoch);
        }
        let expected = if batch.producer_epoch > entry.epoch {
            Sequence(0)
        } else {
            if let Some(original) = entry.duplicate(batch) {
                assert!(original.last_offset < log_end, "a remembered batch is in the log");
                return Verdict::Duplicate {
                    first: original.first_offset,
                    last: original.last_offset,
                    timestamp: original.timestamp,
                };
            }
            entry.newest().last_sequence.plus(1)
        };
        if batch.base_sequence == expected || entry.may_lack_some && batch.base_sequence.is_after(expected) {
            Verdict::New
        } else {
            Verdict::Refused(ErrorCode::OutOfOrderSequenceNumber)
        }
    }

    /// Takes in a batch that was appended, with its final base offset. Batches without a producer
    /// count too: they move the end.
    ///
    /// # Panics
    /// If the batch lies below what was taken in before: offsets of a log rise.
    pub fn record(&mut self, batch: &BatchHeader, now: Millis) {
        assert!(batch.base_offset >= self.end, "offsets rise");
        self.end = batch.next_offset();
        // Control batches carry no sequence.
        if !batch.producer_id.is_some() || batch.base_sequence < Sequence(0) {
            return;
        }
        match self.producers.entry(batch.producer_id) {
            Entry::Occupied(mut known) => known.get_mut().record(batch, now),
            Entry::Vacant(unknown) => {
                unknown.insert(ProducerEntry::new(batch, now));
            }
        }
    }

    /// Takes in a batch that recovery found in the log; one that the table knows already is passed
    /// over, so a replay may start below [`ProducerTable::end`]. `now` counts as its append time: a
    /// producer whose last append is not known lives a full expiry from here.
    pub fn visit(&mut self, batch: &BatchHeader, now: Millis) {
        if batch.base_offset >= self.end {
            self.record(batch, now);
        }
    }

    /// Batches that cannot be read follow what was taken in. Whose they are is not known, so that of every producer the
    /// next batch may be a later one than its newest would have it.
    pub fn visit_damaged(&mut self) {
        self.producers.values_mut().for_each(|entry| entry.may_lack_some = true);
    }

    /// Follows a truncation of the log: what lay at or above `offset` is gone and must not be taken
    /// for a duplicate's original.
    pub fn truncate_to(&mut self, offset: Offset) -> Rollback {
        self.end = self.end.min(offset);
        let before = self.producers.len();
        self.producers.retain(|_, entry| entry.newest().last_offset < offset);
        if self.producers.len() == before {
            Rollback::Complete
        } else {
            Rollback::Rebuild
        }
    }

    /// The states of so many producers at most, by rising id above `after`.
    pub fn states(&self, after: Option<ProducerId>, most: usize) -> Vec<ProducerState> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let states = self.producers.range((from, Bound::Unbounded)).map(|(id, entry)| {
            let newest = entry.newest();
            ProducerState {
                id: *id,
                epoch: entry.epoch,
                last_sequence: newest.last_sequence,
                last_timestamp: newest.timestamp,
            }
        });
        states.take(most).collect()
    }

    /// Forgets producers that appended nothing for `ttl_ms`, and says how many.
    pub fn expire(&mut self, now: Millis, ttl_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, entry| now.since(entry.appended_at) < ttl_ms);
        before - self.producers.len()
    }
}
