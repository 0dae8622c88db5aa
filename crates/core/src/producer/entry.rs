//! One producer: its epoch and the last batches that it wrote in it.

use std::collections::VecDeque;

use norn_protocol::batch::BatchHeader;
use norn_protocol::types::{Offset, ProducerEpoch, Sequence};

use super::table::BATCHES_KEPT;
use crate::codec::wire_structs;
use crate::Millis;

/// What is remembered of a batch in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BatchSpan {
    pub first_sequence: Sequence,
    pub last_sequence: Sequence,
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// The largest of its records' timestamps.
    pub timestamp: Millis,
}

impl BatchSpan {
    pub fn of(batch: &BatchHeader) -> BatchSpan {
        BatchSpan {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            first_offset: batch.base_offset,
            last_offset: batch.last_offset(),
            timestamp: Millis(batch.max_timestamp),
        }
    }
}

/// A producer's state; `batches` is never empty, oldest first, all of `epoch`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ProducerEntry {
    pub epoch: ProducerEpoch,
    pub batches: VecDeque<BatchSpan>,
    /// When the broker appended its newest batch, by the broker's clock: expiry by the records' own
    /// timestamps would forget a live producer that writes old records (KAFKA-9144).
    pub appended_at: Millis,
    /// Some of its batches behind the newest may be among damaged ones, which nobody can tell.
    pub may_lack_some: bool,
}

impl ProducerEntry {
    pub fn new(batch: &BatchHeader, now: Millis) -> ProducerEntry {
        ProducerEntry {
            epoch: batch.producer_epoch,
            batches: VecDeque::from([BatchSpan::of(batch)]),
            appended_at: now,
            may_lack_some: false,
        }
    }

    /// Takes in a batch that the log took in.
    pub fn record(&mut self, batch: &BatchHeader, now: Millis) {
        if batch.producer_epoch != self.epoch {
            self.epoch = batch.producer_epoch;
            self.batches.clear();
        } else if self.batches.len() == BATCHES_KEPT {
            self.batches.pop_front();
        }
        self.batches.push_back(BatchSpan::of(batch));
        self.may_lack_some = false;
        // The clock may have been set back; a producer must not seem idle for longer because of it.
        self.appended_at = self.appended_at.max(now);
    }

    pub fn newest(&self) -> &BatchSpan {
        self.batches.back().expect("a producer is known by a batch")
    }

    /// The remembered batch with exactly this batch's sequences.
    pub fn duplicate(&self, batch: &BatchHeader) -> Option<&BatchSpan> {
        let span = BatchSpan::of(batch);
        self.batches.iter().find(|kept| {
            (kept.first_sequence, kept.last_sequence) == (span.first_sequence, span.last_sequence)
        })
    }
}

wire_structs! {
    BatchSpan { first_sequence, last_sequence, first_offset, last_offset, timestamp }
    ProducerEntry { epoch, batches, appended_at, may_lack_some }
}
