//! Settings of the quorum, each with the reason for its default.

use norn_env::clock::Duration;
use norn_log::{dir::METADATA_DIR, wal::WalConfig};

/// How a node takes part in the metadata quorum.
#[derive(Debug, Clone)]
pub struct QuorumConfig {
    /// `node.id` of this node.
    pub node_id: u64,
    /// Directory of WAL and snapshots, under the disk's root.
    pub dir: String,
    /// Least time without a leader before a voter stands for election.
    pub election_timeout: Duration,
    /// Raft's clock; heartbeats leave every second tick.
    pub tick: Duration,
    /// Proposals that may wait for the driver, and as many again that it has proposed and that are not
    /// applied yet; beyond, callers hear Busy.
    pub proposals_max: usize,
    /// Largest command. Commands are metadata: a CreateTopics of thousands of partitions fits well.
    pub proposal_bytes_max: usize,
    /// A snapshot is taken when this many entries were applied since the last one ...
    pub snapshot_entries: u64,
    /// ... or when the WAL has grown by this many bytes. Both bound memory and the time of a start.
    pub snapshot_bytes: u64,
    pub wal: WalConfig,
}

impl QuorumConfig {
    /// The defaults of DESIGN: election timeout 300 ms, tick 50 ms.
    pub fn new(node_id: u64) -> QuorumConfig {
        QuorumConfig {
            node_id,
            dir: METADATA_DIR.to_owned(),
            election_timeout: Duration::from_millis(300),
            tick: Duration::from_millis(50),
            proposals_max: 1024,
            proposal_bytes_max: 8 << 20,
            snapshot_entries: 50_000,
            snapshot_bytes: 32 << 20,
            wal: WalConfig { segment_bytes: 8 << 20 },
        }
    }

    /// Election timeout in ticks; raft-rs wants more than the heartbeat's two.
    pub(crate) fn election_ticks(&self) -> usize {
        let ticks = self.election_timeout.as_millis().div_ceil(self.tick.as_millis().max(1));
        usize::try_from(ticks).unwrap_or(usize::MAX).max(HEARTBEAT_TICKS + 1)
    }
}

/// Ticks between a leader's heartbeats.
pub(crate) const HEARTBEAT_TICKS: usize = 2;

/// raft-rs reserves id 0; Kafka does not.
pub(crate) fn raft_id(node_id: u64) -> u64 {
    node_id + 1
}

/// The node behind a raft id; `None` for "nobody".
pub(crate) fn node_id(raft_id: u64) -> Option<u64> {
    raft_id.checked_sub(1)
}
