//! The log as raft-rs reads it: entries since the last snapshot in memory, hard state, voters.
//!
//! It is owned by the driver through its `RawNode`, so it needs no lock. What is here may not be
//! durable yet: raft-rs is told of that by `on_persist_ready`. Its size is bounded by the snapshot
//! limits of the config, as entries under a durable snapshot are dropped.

use crate::replay::Replayed;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use raft::{GetEntriesContext, RaftState, StorageError};
use std::collections::VecDeque;

/// Raft's log in memory.
#[derive(Debug)]
pub struct Storage {
    hard_state: HardState,
    conf_state: ConfState,
    /// Index and term of the entry before the first one held.
    base: (u64, u64),
    entries: VecDeque<Entry>,
}

impl Storage {
    pub fn new(replayed: Replayed) -> Storage {
        let Replayed { snapshot, hard_state, conf_state, entries } = replayed;
        Storage { hard_state, conf_state, base: (snapshot.index, snapshot.term), entries: entries.into() }
    }

    /// Makes entries visible; they replace what is held from their first index on.
    ///
    /// # Panics
    /// If they leave a gap or reach under the last snapshot, which raft-rs never does.
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.0, "raft overwrote compacted entry {}", first.index);
        let keep = (first.index - self.base.0 - 1) as usize;
        assert!(keep <= self.entries.len(), "raft left a gap before entry {}", first.index);
        self.entries.truncate(keep);
        self.entries.extend(entries.iter().cloned());
    }

    pub fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    pub fn set_hard_state(&mut self, state: HardState) {
        self.hard_state = state;
    }

    /// Metadata of a snapshot of the state at `index`, which was applied.
    ///
    /// # Panics
    /// If the entry is not held and is not the base.
    pub fn snapshot_at(&self, index: u64) -> SnapshotMetadata {
        let term = raft::Storage::term(self, index).expect("an applied index is held or is the base");
        let mut metadata = SnapshotMetadata { index, term, ..SnapshotMetadata::default() };
        metadata.set_conf_state(self.conf_state.clone());
        metadata
    }

    /// Drops the entries up to and including the index of a durable snapshot.
    pub fn compact(&mut self, snapshot: &SnapshotMetadata) {
        while self.entries.front().is_some_and(|entry| entry.index <= snapshot.index) {
            self.entries.pop_front();
        }
        self.base = (snapshot.index, snapshot.term);
    }

    fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }
}

impl raft::Storage for Storage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        assert!(high <= self.last() + 1, "raft asked for entry {high}, the last is {}", self.last());
        let position = |index: u64| (index - self.base.0 - 1) as usize;
        let mut entries: Vec<Entry> = self.entries.range(position(low)..position(high)).cloned().collect();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        let Some(position) = index.checked_sub(self.base.0 + 1) else {
            return Err(StorageError::Compacted.into());
        };
        self.entries
            .get(position as usize)
            .map(|entry| entry.term)
            .ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Asked only for a voter that lags behind the log; the one voter there is never does.
    fn snapshot(&self, _: u64, _: u64) -> raft::Result<Snapshot> {
        Err(StorageError::SnapshotTemporarilyUnavailable.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::Storage as _;

    fn entries(range: std::ops::Range<u64>, term: u64) -> Vec<Entry> {
        range.map(|index| Entry { index, term, ..Entry::default() }).collect()
    }

    fn held(storage: &Storage, low: u64, high: u64) -> Vec<(u64, u64)> {
        let found = storage.entries(low, high, None, GetEntriesContext::empty(false)).unwrap();
        found.iter().map(|entry| (entry.index, entry.term)).collect()
    }

    #[test]
    fn an_append_replaces_the_suffix_it_overlaps() {
        let mut storage = Storage::new(Replayed::default());
        storage.append(&entries(1..5, 1));
        storage.append(&entries(3..4, 2));
        assert_eq!(held(&storage, 1, 4), [(1, 1), (2, 1), (3, 2)]);
        assert_eq!(storage.last_index().unwrap(), 3);
    }

    #[test]
    fn compacted_entries_are_answered_so_but_the_base_keeps_its_term() {
        let mut storage = Storage::new(Replayed::default());
        storage.append(&entries(1..5, 7));
        storage.compact(&storage.snapshot_at(3));
        assert_eq!((storage.first_index().unwrap(), storage.term(3).unwrap()), (4, 7));
        assert_eq!(storage.term(2), Err(StorageError::Compacted.into()));
        assert_eq!(storage.term(5), Err(StorageError::Unavailable.into()));
        let low = storage.entries(3, 5, None, GetEntriesContext::empty(false));
        assert_eq!(low, Err(StorageError::Compacted.into()));
        assert_eq!(held(&storage, 4, 5), [(4, 7)]);
    }
}
