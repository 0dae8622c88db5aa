//! Consumer groups: the classic group protocol as a pure state machine.
//!
//! A [`Coordinator`] keeps all groups of one partition of `__consumer_offsets`. It is told [`Event`]s and
//! gives back [`Action`]s: those two enums, `step` and `next_deadline` are the interface. A reply that
//! depends on records leaves only when they are committed, and an offset is visible only from then on.
//! The rules are Kafka's (`ClassicGroup`, `GroupMetadataManager`, `OffsetMetadataManager` of 4.3); where
//! Norn differs, the code says why.

mod action;
mod append;
mod cleanup;
mod commit;
mod config;
mod coordinator;
mod error;
mod event;
mod join;
mod load;
mod member;
mod membership;
mod offsets;
mod partition;
mod read;
mod rebalance;
mod records;
mod state;
mod subscription;
mod timers;
mod topics;
mod turn;

#[cfg(test)]
mod tests;

pub use action::{
    Action, JoinResponse, JoinedMember, LeftMember, OffsetsResponse, PartitionOutcome, Response, SyncResponse,
};
pub use config::{CleanupLimits, GroupConfig, NAME_LEN_MAX, NEW_MEMBER_JOIN_TIMEOUT, PENDING_MEMBERS_MAX};
pub use coordinator::Coordinator;
pub use event::{
    AppendToken, CommitRequest, DeleteOffsetsRequest, Event, HeartbeatRequest, JoinRequest, LeaveRequest,
    LeavingMember, PartitionCommit, Protocol, Slot, SyncRequest, TopicCommits,
};
pub use load::Loader;
pub use partition::partition_for;
pub use read::{
    DescribedGroup, DescribedMember, FetchedOffset, FetchedPart, FetchedTopic, ListedGroup, StateFilter,
};
pub use records::{GroupValue, MemberValue, OffsetValue, Record, RecordError, RecordKey};
pub use topics::Topics;
