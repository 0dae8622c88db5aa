//! What can go wrong: at start, while running (it ends the quorum), and for one proposal.

use norn_log::wal::WalError;
use std::io;

/// A refusal of the state machine that ends the quorum: a command or snapshot that this build does not
/// know, or one that contradicts the state. It is never skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(pub String);

/// Why the quorum could not start, or ended. The node does not serve metadata without it.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The disk refused while a snapshot was read or written.
    #[error("{operation} of the metadata snapshot {file} failed: {source}")]
    SnapshotDisk { operation: &'static str, file: String, source: io::Error },
    /// A snapshot file whose bytes changed, or that is not one.
    #[error("the metadata snapshot {file} is damaged ({what}); restore it from a copy")]
    SnapshotCorrupt { file: String, what: &'static str },
    /// A snapshot written by a newer Norn.
    #[error("the metadata snapshot {file} has format version {version}; start a newer Norn")]
    SnapshotNewer { file: String, version: u8 },
    /// The WAL's frames are whole, but what they say does not fit together.
    #[error("the metadata WAL in {dir} cannot be replayed at index {index}: {what}")]
    Replay { dir: String, index: u64, what: &'static str },
    /// The directory belongs to another voter set.
    #[error("the metadata in {dir} belongs to voters {found:?}, not to node {node_id}; check node.id and log.dirs")]
    OtherVoters { dir: String, found: Vec<u64>, node_id: u64 },
    /// The state machine refused a committed command.
    #[error("the metadata command at index {index} halts this node: {reason}")]
    Halted { index: u64, reason: Fatal },
    /// The state machine refused a snapshot.
    #[error("the metadata snapshot at index {index} cannot be restored: {reason}")]
    Restore { index: u64, reason: Fatal },
    /// raft-rs refused to go on.
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
    /// The task that writes the WAL ended without saying why.
    #[error("the metadata WAL writer ended unexpectedly")]
    WriterEnded,
}

/// Why a proposal has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead, or lost the lead while the proposal waited: then its outcome is unknown.
    #[error("not the metadata leader (the leader is {leader:?})")]
    NotLeader { leader: Option<u64> },
    /// The caller's deadline passed. The outcome is unknown: it may be applied later.
    #[error("the metadata change was not decided by its deadline")]
    DeadlineExceeded,
    /// The quorum has ended or is closing. The outcome is unknown.
    #[error("the metadata quorum has stopped")]
    Stopped,
    /// Too many proposals wait already. This one was not taken.
    #[error("too many metadata changes wait")]
    Busy,
    /// Over [`crate::QuorumConfig::proposal_bytes_max`]. This one was not taken.
    #[error("a metadata change of {bytes} bytes is over the limit of {max}")]
    TooLarge { bytes: usize, max: usize },
}
