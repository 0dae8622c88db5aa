//! Requests that wait for an offset to be passed, each until its deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use norn_protocol::types::Offset;

use super::message::Slot;

/// Waiting requests, by the last offset that each waits for. Bounded by the bytes in flight that
/// connections permit.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    by_last: BTreeMap<(Offset, Slot), Waiting>,
    by_deadline: BTreeSet<(Instant, Offset, Slot)>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    first: Offset,
    deadline: Instant,
}

impl Waits {
    pub fn push(&mut self, slot: Slot, first: Offset, last: Offset, deadline: Instant) {
        let before = self.by_last.insert((last, slot), Waiting { first, deadline });
        assert!(before.is_none(), "a slot waits once");
        self.by_deadline.insert((deadline, last, slot));
    }

    /// A request all of whose records lie below `end`, and its first offset.
    pub fn pop_below(&mut self, end: Offset) -> Option<(Slot, Offset)> {
        let entry = self.by_last.first_entry().filter(|entry| entry.key().0 < end)?;
        let ((last, slot), waiting) = entry.remove_entry();
        self.by_deadline.remove(&(waiting.deadline, last, slot));
        Some((slot, waiting.first))
    }

    /// A request whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<Slot> {
        let (deadline, last, slot) = *self.by_deadline.first()?;
        if deadline > now {
            return None;
        }
        self.by_deadline.pop_first();
        self.by_last.remove(&(last, slot));
        Some(slot)
    }

    /// Any request, in the order of offsets.
    pub fn pop(&mut self) -> Option<Slot> {
        let ((last, slot), waiting) = self.by_last.pop_first()?;
        self.by_deadline.remove(&(waiting.deadline, last, slot));
        Some(slot)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline.first().map(|(deadline, _, _)| *deadline)
    }

    pub fn len(&self) -> usize {
        self.by_last.len()
    }
}
