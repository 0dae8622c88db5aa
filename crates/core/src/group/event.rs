//! What happens to a coordinator: requests, the end of its appends, passing time.

use std::sync::Arc;

use bytes::Bytes;
use norn_protocol::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};
use uuid::Uuid;

/// The place where the reply to one request is awaited. Given out by the caller, answered exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

/// Names one [`Action::Append`](super::Action::Append) until its outcome is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendToken(pub u64);

/// A fact that the coordinator is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Join {
        slot: Slot,
        request: JoinRequest,
    },
    Sync {
        slot: Slot,
        request: SyncRequest,
    },
    Heartbeat {
        slot: Slot,
        request: HeartbeatRequest,
    },
    Leave {
        slot: Slot,
        request: LeaveRequest,
    },
    CommitOffsets {
        slot: Slot,
        request: CommitRequest,
    },
    DeleteOffsets {
        slot: Slot,
        request: DeleteOffsetsRequest,
    },
    DeleteGroup {
        slot: Slot,
        group_id: Arc<str>,
    },
    /// Topics are gone from the metadata image: so are the offsets that groups committed for them.
    TopicsDeleted,
    /// The records of an append are committed (the high watermark passed them), or were refused and are
    /// not in the log. If neither is known, because the partition lost its epoch or its disk, the
    /// coordinator is to be unloaded instead.
    Appended {
        token: AppendToken,
        result: Result<(), ErrorCode>,
    },
    /// `Coordinator::next_deadline` has come.
    DeadlineReached,
}

impl Event {
    /// Its name in trace lines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Sync { .. } => "sync",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Leave { .. } => "leave",
            Self::CommitOffsets { .. } => "commit-offsets",
            Self::DeleteOffsets { .. } => "delete-offsets",
            Self::DeleteGroup { .. } => "delete-group",
            Self::TopicsDeleted => "topics-deleted",
            Self::Appended { .. } => "appended",
            Self::DeadlineReached => "deadline-reached",
        }
    }

    /// The group that it is about; none if that is several or none.
    pub fn group(&self) -> Option<&str> {
        match self {
            Self::Join { request, .. } => Some(&request.group_id),
            Self::Sync { request, .. } => Some(&request.group_id),
            Self::Heartbeat { request, .. } => Some(&request.group_id),
            Self::Leave { request, .. } => Some(&request.group_id),
            Self::CommitOffsets { request, .. } => Some(&request.group_id),
            Self::DeleteOffsets { request, .. } => Some(&request.group_id),
            Self::DeleteGroup { group_id, .. } => Some(group_id),
            Self::TopicsDeleted | Self::Appended { .. } | Self::DeadlineReached => None,
        }
    }
}

/// JoinGroup. What the request's version cannot say is said by the two booleans.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinRequest {
    pub group_id: Arc<str>,
    /// Empty if the client has none yet.
    pub member_id: Arc<str>,
    /// Names a static member (KIP-345).
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout_ms: i32,
    /// Negative (JoinGroup 0) means as the session timeout.
    pub rebalance_timeout_ms: i32,
    pub protocol_type: Arc<str>,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    /// A new dynamic member is first given its id and asked to join again with it (JoinGroup 4 and up,
    /// KIP-394).
    pub requires_known_member_id: bool,
    /// The leader can be told to leave the assignment as it is (JoinGroup 9 and up, KIP-814).
    pub knows_skip_assignment: bool,
    /// Randomness for the id of a new member.
    pub fresh_id: Uuid,
}

/// A way to assign partitions that a member supports, with what it tells the leader for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncRequest {
    pub group_id: Arc<str>,
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub generation: i32,
    /// From SyncGroup 5 on.
    pub protocol_type: Option<Arc<str>>,
    pub protocol_name: Option<Arc<str>>,
    /// (member id, assignment); only the leader's counts.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// Heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatRequest {
    pub group_id: Arc<str>,
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub generation: i32,
}

/// LeaveGroup; before version 3 of exactly one member.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaveRequest {
    pub group_id: Arc<str>,
    pub members: Vec<LeavingMember>,
}

/// A member to be removed: by id, or, with an empty id, by instance id (by an administrator).
#[derive(Clone, Debug, PartialEq)]
pub struct LeavingMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
}

/// OffsetCommit. The caller has checked that the partitions exist; the coordinator, that the topic still does.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitRequest {
    pub group_id: Arc<str>,
    /// Negative if the client assigns its partitions itself.
    pub generation: i32,
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    /// How long to keep the offsets (OffsetCommit 2 to 4); `None` leaves it to the broker.
    pub retention_ms: Option<i64>,
    /// A group that does not exist is named as such (OffsetCommit 9 and up), else ILLEGAL_GENERATION.
    pub knows_group_id_not_found: bool,
    pub topics: Vec<TopicCommits>,
}

/// The offsets to commit for one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicCommits {
    pub topic: Arc<str>,
    /// From the metadata image; it tells this topic from a later one of the same name.
    pub topic_id: TopicId,
    pub partitions: Vec<PartitionCommit>,
}

/// The offset to commit for one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionCommit {
    pub partition: PartitionIndex,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Option<Arc<str>>,
}

/// OffsetDelete.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteOffsetsRequest {
    pub group_id: Arc<str>,
    pub topics: Vec<(Arc<str>, Vec<PartitionIndex>)>,
}
