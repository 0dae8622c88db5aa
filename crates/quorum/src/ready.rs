//! What the driver does with a Ready of raft-rs, in the order that makes it safe: records to the
//! writer, entries visible to Raft, committed entries to the state machine, results to their callers.
//! A Ready counts as persisted only when the writer says so.

use crate::driver::{Driver, Stage};
use crate::error::{Fatal, QuorumError};
use crate::record::Record;
use crate::snapshot::{self, Snapshot};
use crate::writer::Job;
use crate::StateMachine;
use bytes::Bytes;
use norn_env::task;
use raft::eraftpb::{Entry, EntryType, Message};
use raft::{Ready, StateRole};

/// Readies that one turn takes: each may bring 4 MiB of commands to apply, and the clock must not wait for many.
const READIES_PER_TURN_MAX: usize = 4;

impl<S: StateMachine> Driver<S> {
    /// Takes some of the Readies that there are and that the writer has room for.
    pub(crate) fn drive(&mut self) -> Result<(), QuorumError> {
        self.mark_stored();
        for _ in 0..READIES_PER_TURN_MAX {
            if !self.has_ready() {
                break;
            }
            let ready = self.node.ready();
            self.handle(ready)?;
        }
        if self.node.raft.state != StateRole::Leader && self.pending.len() > 0 {
            self.pending.fail_all(crate::config::node_id(self.node.raft.leader_id));
        }
        Ok(())
    }

    /// Whether there is a Ready that can be taken now.
    pub(crate) fn has_ready(&self) -> bool {
        self.channels.jobs.capacity() > 0 && self.node.has_ready()
    }

    fn handle(&mut self, mut ready: Ready) -> Result<(), QuorumError> {
        // The only voter is its own majority: it has nobody to write to and nobody sends it a snapshot.
        assert_alone(&ready.take_messages());
        assert_alone(&ready.take_persisted_messages());
        assert!(ready.snapshot().is_empty(), "a snapshot arrived from nowhere");

        let records = self.records(&ready);
        let number = ready.number();
        tracing::debug!(number, entries = ready.entries().len(), records = records.len(), "ready to persist");
        if let Some(state) = ready.hs() {
            self.node.mut_store().set_hard_state(state.clone());
        }
        self.node.mut_store().append(ready.entries());
        let committed = ready.take_committed_entries();
        // A writer that is gone takes nothing; its own end says why, and this Ready never counts.
        let _ = self.channels.jobs.try_send(Job::Persist { number, records });
        self.in_flight += 1;
        self.node.advance_append_async(ready);
        self.apply(committed)?;
        self.snapshot_if_due();
        Ok(())
    }

    /// What of a Ready must be durable. A commit index that moved by itself is not written: it is a lower
    /// bound that an election finds again, and would cost each proposal a second fdatasync. It goes along
    /// with the next entries.
    fn records(&mut self, ready: &Ready) -> Vec<norn_log::wal::Record> {
        let entries = ready.entries().iter().cloned().map(Record::Entry);
        let mut records: Vec<_> = entries.map(|entry| entry.encode()).collect();
        let state = ready.hs().unwrap_or(self.node.store().hard_state());
        if ready.must_sync() && *state != self.written {
            records.push(Record::HardState(state.clone()).encode());
            self.written = state.clone();
        }
        self.snapshots.bytes += records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
        records
    }

    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), QuorumError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut results = Vec::new();
        for entry in entries {
            assert_eq!(entry.index, self.applied.0 + 1, "an entry was applied twice or skipped");
            let result = self
                .apply_one(&entry)
                .map_err(|reason| QuorumError::Halted { index: entry.index, reason })?;
            self.applied = (entry.index, entry.term);
            if let Some(reply) = self.pending.take(entry.index, entry.term) {
                results.push((reply, result));
            }
        }
        // A caller that has its result sees it in what is published.
        self.machine.publish();
        self.publish();
        for (reply, result) in results {
            let _ = reply.send(Ok(result));
        }
        self.node.advance_apply_to(self.applied.0);
        Ok(())
    }

    fn apply_one(&mut self, entry: &Entry) -> Result<Bytes, Fatal> {
        match entry.get_entry_type() {
            // A new leader's first entry is empty.
            EntryType::EntryNormal if entry.data.is_empty() => Ok(Bytes::new()),
            EntryType::EntryNormal => self.machine.apply(entry.index, &entry.data),
            _ => Err(Fatal(
                "a change of voters, which this build does not know; start a newer Norn".to_owned(),
            )),
        }
    }

    /// Begins a snapshot of the state as applied, if the WAL has grown enough since the last.
    fn snapshot_if_due(&mut self) {
        let progress = &mut self.snapshots;
        let entries = self.applied.0 - progress.last_index;
        let due = entries > 0
            && (entries >= self.config.snapshot_entries || progress.bytes >= self.config.snapshot_bytes);
        if !due || !matches!(progress.stage, Stage::Idle) {
            return;
        }
        let metadata = self.node.store().snapshot_at(self.applied.0);
        progress.last_index = metadata.index;
        progress.bytes = 0;
        let small = norn_env::buggify!("a metadata snapshot is written in small chunks");
        let chunks = self.machine.snapshot(if small { 64 } else { snapshot::CHUNK_BYTES });
        let disk = self.disk.clone();
        let store = snapshot::store(disk, self.config.dir.clone(), Snapshot { metadata, chunks });
        progress.stage = Stage::Storing(task::spawn("metadata-snapshot", store));
    }

    /// Hands the writer the record of a snapshot that is durable, as soon as it has room.
    fn mark_stored(&mut self) {
        let Stage::Stored(metadata) = &self.snapshots.stage else { return };
        let Ok(permit) = self.channels.jobs.try_reserve() else { return };
        let hard_state = self.node.store().hard_state().clone();
        self.written = hard_state.clone();
        permit.send(Job::Snapshot { metadata: metadata.clone(), hard_state });
        self.snapshots.stage = Stage::Recording;
    }
}

fn assert_alone(messages: &[Message]) {
    assert!(messages.is_empty(), "the only voter has a message for another: {:?}", messages.first());
}
