//! What the quorum writes to the WAL: entries, hard states and marks of snapshots, each as
//! `version: u8 | kind: u8 | protobuf`. Entries are raft-rs's own messages, so that what is
//! replicated and what is stored are the same bytes.

use bytes::Bytes;
use norn_log::wal;
use protobuf::Message as _;
use raft::eraftpb::{Entry, HardState, SnapshotMetadata};

const VERSION: u8 = 1;
const ENTRY: u8 = 1;
const HARD_STATE: u8 = 2;
const SNAPSHOT: u8 = 3;

/// One record of the metadata WAL.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Entry(Entry),
    /// Term, vote and a lower bound of the commit index.
    HardState(HardState),
    /// A snapshot with this metadata is durable: what came before may be gone from the WAL. The first
    /// record of a new WAL is a mark at index 0, which carries the first voter set.
    Snapshot(SnapshotMetadata),
}

impl Record {
    /// The bytes for the WAL, and the index by which its old segments may go: a hard state is written
    /// again with each mark, so that it may go at any time.
    pub fn encode(&self) -> wal::Record {
        let (kind, index, message): (u8, u64, &dyn protobuf::Message) = match self {
            Record::Entry(entry) => (ENTRY, entry.index, entry),
            Record::HardState(state) => (HARD_STATE, 0, state),
            Record::Snapshot(mark) => (SNAPSHOT, mark.index, mark),
        };
        let mut out = vec![VERSION, kind];
        message.write_to_vec(&mut out).expect("writing a message to memory cannot fail");
        wal::Record { index, payload: out.into() }
    }

    /// Reads a record; the error says what is wrong with it.
    pub fn decode(payload: &Bytes) -> Result<Record, &'static str> {
        let [version, kind, body @ ..] = payload.as_ref() else { return Err("a record without a header") };
        if *version != VERSION {
            return Err("a record of a newer version: start a newer Norn");
        }
        let record = match *kind {
            ENTRY => Entry::parse_from_bytes(body).map(Record::Entry),
            HARD_STATE => HardState::parse_from_bytes(body).map(Record::HardState),
            SNAPSHOT => SnapshotMetadata::parse_from_bytes(body).map(Record::Snapshot),
            _ => return Err("a record of an unknown kind: start a newer Norn"),
        };
        record.map_err(|_| "a record that does not decode")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_read_back_as_written() {
        let entry = Entry { index: 7, term: 3, data: Bytes::from_static(b"command"), ..Entry::default() };
        let state = HardState { term: 3, vote: 1, commit: 6, ..HardState::default() };
        let mut mark = SnapshotMetadata { index: 5, term: 2, ..SnapshotMetadata::default() };
        mark.mut_conf_state().voters.push(1);
        for record in [Record::Entry(entry), Record::HardState(state), Record::Snapshot(mark)] {
            assert_eq!(Record::decode(&record.encode().payload), Ok(record));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Record::decode(&bytes.into());
        }
    }
}
