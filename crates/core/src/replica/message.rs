//! The whole interface of a replica: what it is told, and what it orders.

use std::sync::Arc;
use std::time::Instant;

use norn_protocol::types::{LeaderEpoch, NodeId, Offset};
use norn_protocol::ErrorCode;

use crate::metadata::{FlushMode, Partition};

/// The caller's name for a request that waits. Never used twice while it waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u64);

/// What a producer waits for (`acks`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// 0: nothing.
    None,
    /// 1: that the leader's log holds the records durably.
    Leader,
    /// -1: that the high watermark has passed the records.
    All,
}

impl TryFrom<i16> for Acks {
    type Error = ErrorCode;

    fn try_from(acks: i16) -> Result<Acks, ErrorCode> {
        match acks {
            0 => Ok(Acks::None),
            1 => Ok(Acks::Leader),
            -1 => Ok(Acks::All),
            _ => Err(ErrorCode::InvalidRequiredAcks),
        }
    }
}

/// The topic settings that a replica goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    pub flush_mode: FlushMode,
    /// `min.insync.replicas`; the replication factor bounds it.
    pub min_insync_replicas: usize,
}

/// A fact that a replica is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The image has this state of the partition. Told after this broker's own registration only; a
    /// state older than one that was told is ignored.
    Assigned(Arc<Partition>),
    /// The topic's or the broker's settings changed.
    Configured(Settings),
    /// Writes have returned: the log ends at `end`. One event for all that was written together.
    Appended { end: Offset },
    /// Syncs have returned: the log is durable up to `end`.
    Synced { end: Offset },
    /// A write or a sync failed. Final: this log does not lead again before it is opened anew.
    StorageFailed,
    /// A follower's log is durable up to `end`, said in `epoch`.
    FollowerAcked { node: NodeId, epoch: LeaderEpoch, end: Offset },
    /// The log's first offset moved up to `start`.
    LogStartMoved { start: Offset },
    /// A request waits for records `first..=last`, which are in the log: its own, just appended, or,
    /// of a duplicate, the original's.
    Await { slot: Slot, acks: Acks, first: Offset, last: Offset, deadline: Instant },
    /// The time is what `now` says; told at [`super::Replica::next_deadline`] or later.
    Tick,
}

/// An order to the replica's owner, to be followed in sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Store that `epoch` starts at `start`, before anything is appended in it.
    StartEpoch { epoch: LeaderEpoch, start: Offset },
    /// Publish the new high watermark.
    AdvanceHighWatermark(Offset),
    /// Answer a waiting request: with the base offset of its records, or an error. Each slot once.
    Answer { slot: Slot, result: Result<Offset, ErrorCode> },
    /// Ask the controller to take the leadership of this epoch away (`ResignLeadership`), until the
    /// image shows a higher one.
    GiveUpEpoch { epoch: LeaderEpoch },
}
