//! From a snapshot and the records of the WAL to the state that Raft starts with. Pure.
//!
//! The WAL is append-only, so a later entry replaces an earlier one of the same index and all after
//! it, as Raft's log does when a leader overwrites a suffix.

use crate::record::Record;
use raft::eraftpb::{ConfState, Entry, HardState, SnapshotMetadata};

/// What Raft starts with.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Replayed {
    /// The snapshot that the state machine was restored from; index 0 for none.
    pub snapshot: SnapshotMetadata,
    pub hard_state: HardState,
    /// The voters as the first mark or the snapshot says; empty in a directory that is new.
    pub conf_state: ConfState,
    /// Entries after the snapshot, without a gap.
    pub entries: Vec<Entry>,
}

/// Why the records do not fit together: the index at which, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Misfit {
    pub index: u64,
    pub what: &'static str,
}

/// Takes the records in order.
#[derive(Debug, Default)]
pub struct Replay {
    state: Replayed,
    /// Highest mark seen: a snapshot at least as new must exist.
    marked: u64,
    records: u64,
}

impl Replay {
    /// Begins after the newest snapshot file, or at nothing.
    pub fn new(snapshot: Option<SnapshotMetadata>) -> Replay {
        let snapshot = snapshot.unwrap_or_default();
        let conf_state = snapshot.get_conf_state().clone();
        Replay { state: Replayed { snapshot, conf_state, ..Replayed::default() }, marked: 0, records: 0 }
    }

    /// Takes the next record.
    pub fn record(&mut self, record: Record) -> Result<(), Misfit> {
        self.records += 1;
        match record {
            Record::Entry(entry) => return self.entry(entry),
            Record::HardState(state) => {
                if state.term < self.state.hard_state.term {
                    return Err(Misfit { index: state.commit, what: "the term falls" });
                }
                self.state.hard_state = state;
            }
            Record::Snapshot(mark) => {
                self.marked = self.marked.max(mark.index);
                if self.state.snapshot.index == 0 {
                    self.state.conf_state = mark.get_conf_state().clone();
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry) -> Result<(), Misfit> {
        let base = self.state.snapshot.index;
        let index = entry.index;
        let Some(after) = index.checked_sub(base + 1) else { return Ok(()) };
        if after > self.state.entries.len() as u64 {
            return Err(Misfit { index, what: "entries are missing before it" });
        }
        self.state.entries.truncate(after as usize);
        if self.state.entries.last().is_some_and(|last| last.term > entry.term) {
            return Err(Misfit { index, what: "the term of the entries falls" });
        }
        self.state.entries.push(entry);
        Ok(())
    }

    /// Ends the replay and checks the whole.
    pub fn finish(mut self) -> Result<Replayed, Misfit> {
        let snapshot = &self.state.snapshot;
        if self.marked > snapshot.index {
            return Err(Misfit {
                index: self.marked,
                what: "the snapshot that the WAL goes on from is missing",
            });
        }
        let last = snapshot.index + self.state.entries.len() as u64;
        let hard_state = &mut self.state.hard_state;
        if hard_state.commit > last {
            return Err(Misfit { index: hard_state.commit, what: "committed entries are missing" });
        }
        // A crash between the snapshot's rename and its mark leaves an older hard state behind it.
        hard_state.commit = hard_state.commit.max(snapshot.index);
        hard_state.term = hard_state.term.max(snapshot.term);
        if self.records == 0 && snapshot.index > 0 {
            return Err(Misfit { index: snapshot.index, what: "the WAL is missing beside its snapshot" });
        }
        Ok(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(index: u64, term: u64) -> Record {
        Record::Entry(Entry { index, term, ..Entry::default() })
    }

    fn mark(index: u64) -> SnapshotMetadata {
        let mut mark = SnapshotMetadata { index, term: 1, ..SnapshotMetadata::default() };
        mark.mut_conf_state().voters.push(4);
        mark
    }

    fn replay(snapshot: Option<SnapshotMetadata>, records: &[Record]) -> Result<Replayed, Misfit> {
        let mut replay = Replay::new(snapshot);
        records.iter().cloned().try_for_each(|record| replay.record(record))?;
        replay.finish()
    }

    fn log(replayed: &Replayed) -> Vec<(u64, u64)> {
        replayed.entries.iter().map(|entry| (entry.index, entry.term)).collect()
    }

    #[test]
    fn a_later_entry_replaces_the_suffix() {
        let found = replay(None, &[entry(1, 1), entry(2, 1), entry(3, 1), entry(2, 2)]).unwrap();
        assert_eq!(log(&found), [(1, 1), (2, 2)]);
    }

    #[test]
    fn entries_under_the_snapshot_are_skipped() {
        let records = [Record::Snapshot(mark(0)), entry(1, 1), entry(2, 1), entry(3, 1)];
        let found = replay(Some(mark(2)), &records).unwrap();
        assert_eq!((log(&found), found.hard_state.commit), (vec![(3, 1)], 2));
        assert_eq!(found.conf_state.voters, [4]);
    }

    #[test]
    fn a_gap_a_missing_snapshot_and_lost_committed_entries_are_named() {
        assert_eq!(replay(None, &[entry(1, 1), entry(3, 1)]).unwrap_err().index, 3);
        assert_eq!(replay(None, &[Record::Snapshot(mark(9))]).unwrap_err().index, 9);
        let state = HardState { commit: 2, ..HardState::default() };
        assert_eq!(replay(None, &[entry(1, 1), Record::HardState(state)]).unwrap_err().index, 2);
        assert!(replay(Some(mark(3)), &[]).is_err());
    }

    #[test]
    fn the_last_hard_state_rules_and_its_term_never_falls() {
        let state = |term| Record::HardState(HardState { term, vote: term, ..HardState::default() });
        assert_eq!(replay(None, &[state(1), state(4)]).unwrap().hard_state.vote, 4);
        assert!(replay(None, &[state(4), state(1)]).is_err());
    }

    proptest! {
        #[test]
        fn replay_equals_a_model_that_overwrites_suffixes(
            writes in prop::collection::vec((any::<prop::sample::Index>(), 1..5usize), 1..20), snapshot in 0..6u64,
        ) {
            let mut model: Vec<(u64, u64)> = Vec::new();
            let mut records = vec![Record::Snapshot(mark(0))];
            for (term, (from, count)) in writes.into_iter().enumerate() {
                // As Raft: what a snapshot covers is committed and never overwritten.
                let low = (snapshot as usize).min(model.len());
                let from = low + from.index(model.len() - low + 1);
                model.truncate(from);
                for n in 0..count {
                    model.push(((from + n + 1) as u64, term as u64 + 1));
                    records.push(entry((from + n + 1) as u64, term as u64 + 1));
                }
            }
            prop_assume!(model.len() as u64 >= snapshot);
            let base = (snapshot > 0).then(|| mark(snapshot));
            let found = replay(base, &records).unwrap();
            prop_assert_eq!(log(&found), &model[snapshot as usize..]);
        }
    }
}
