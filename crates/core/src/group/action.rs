//! What a coordinator orders: replies, and records to be appended.

use std::sync::Arc;

use bytes::Bytes;
use norn_protocol::{ErrorCode, PartitionIndex};

use super::event::{AppendToken, Event, Slot};
use super::records::Record;

/// An order to the caller, to be carried out in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Answer the request that waits at this slot.
    Reply { slot: Slot, response: Response },
    /// Append these records as one batch to the coordinator's partition, and tell the outcome
    /// ([`Event::Appended`]). The coordinator itself has taken the replies back until then.
    Append { token: AppendToken, records: Vec<Record> },
}

/// An answer, of the kind of the request.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    Join(JoinResponse),
    Sync(SyncResponse),
    Heartbeat(Result<(), ErrorCode>),
    Leave(Result<Vec<LeftMember>, ErrorCode>),
    CommitOffsets(OffsetsResponse),
    DeleteOffsets(Result<OffsetsResponse, ErrorCode>),
    DeleteGroup(Result<(), ErrorCode>),
}

/// The answer to JoinGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinResponse {
    pub error: Option<ErrorCode>,
    /// -1 with an error.
    pub generation: i32,
    pub protocol_type: Option<Arc<str>>,
    pub protocol_name: Option<Arc<str>>,
    /// Empty if there is none.
    pub leader: Arc<str>,
    pub skip_assignment: bool,
    /// With MEMBER_ID_REQUIRED the id to join with.
    pub member_id: Arc<str>,
    /// To the leader only.
    pub members: Vec<JoinedMember>,
}

/// What the leader is told of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub metadata: Bytes,
}

impl JoinResponse {
    /// A refusal; `member_id` is echoed, or empty to make the client forget the one it has.
    pub fn refused(member_id: Arc<str>, error: ErrorCode) -> JoinResponse {
        JoinResponse {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol_name: None,
            leader: Arc::from(""),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

/// The answer to SyncGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncResponse {
    pub error: Option<ErrorCode>,
    pub protocol_type: Option<Arc<str>>,
    pub protocol_name: Option<Arc<str>>,
    pub assignment: Bytes,
}

impl SyncResponse {
    pub fn refused(error: ErrorCode) -> SyncResponse {
        SyncResponse {
            error: Some(error),
            protocol_type: None,
            protocol_name: None,
            assignment: Bytes::new(),
        }
    }
}

/// What became of one member of a LeaveGroup request. Before version 3 the only member's error is the
/// response's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub error: Option<ErrorCode>,
}

/// The outcome for each partition of a request, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsResponse {
    pub topics: Vec<(Arc<str>, Vec<PartitionOutcome>)>,
}

/// The outcome for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOutcome {
    pub partition: PartitionIndex,
    pub error: Option<ErrorCode>,
}

impl OffsetsResponse {
    /// The same outcome for all of a commit's partitions.
    pub(super) fn of_commit(request: &super::CommitRequest, error: ErrorCode) -> OffsetsResponse {
        let topics = request.topics.iter().map(|topic| {
            let outcome = |commit: &super::PartitionCommit| PartitionOutcome {
                partition: commit.partition,
                error: Some(error),
            };
            (topic.topic.clone(), topic.partitions.iter().map(outcome).collect())
        });
        OffsetsResponse { topics: topics.collect() }
    }

    /// Gives `error` to each partition that has none of its own.
    pub(super) fn fail(&mut self, error: ErrorCode) {
        for outcome in self.topics.iter_mut().flat_map(|(_, partitions)| partitions) {
            outcome.error.get_or_insert(error);
        }
    }
}

impl Response {
    /// The same response after its records could not be committed.
    pub(super) fn failed(self, error: ErrorCode) -> Response {
        match self {
            Response::Join(response) => Response::Join(JoinResponse::refused(response.member_id, error)),
            Response::Sync(_) => Response::Sync(SyncResponse::refused(error)),
            Response::Heartbeat(_) => Response::Heartbeat(Err(error)),
            Response::Leave(_) => Response::Leave(Err(error)),
            Response::CommitOffsets(mut response) => {
                response.fail(error);
                Response::CommitOffsets(response)
            }
            Response::DeleteOffsets(Ok(mut response)) => {
                response.fail(error);
                Response::DeleteOffsets(Ok(response))
            }
            Response::DeleteOffsets(Err(first)) => Response::DeleteOffsets(Err(first)),
            Response::DeleteGroup(_) => Response::DeleteGroup(Err(error)),
        }
    }
}

impl Event {
    /// The reply to a request that no loaded coordinator can take: COORDINATOR_LOAD_IN_PROGRESS while its
    /// partition is read, NOT_COORDINATOR after it was lost. `None` for what is not a request.
    ///
    /// A heartbeat during the load succeeds: the member must not give up its partitions for it (Kafka's
    /// `GroupCoordinatorService.heartbeat`).
    pub fn refused(self, error: ErrorCode) -> Option<(Slot, Response)> {
        Some(match self {
            Event::Join { slot, request } => {
                (slot, Response::Join(JoinResponse::refused(request.member_id, error)))
            }
            Event::Sync { slot, .. } => (slot, Response::Sync(SyncResponse::refused(error))),
            Event::Heartbeat { slot, .. } => {
                let loading = error == ErrorCode::CoordinatorLoadInProgress;
                (slot, Response::Heartbeat(if loading { Ok(()) } else { Err(error) }))
            }
            Event::Leave { slot, .. } => (slot, Response::Leave(Err(error))),
            Event::CommitOffsets { slot, request } => {
                (slot, Response::CommitOffsets(OffsetsResponse::of_commit(&request, error)))
            }
            Event::DeleteOffsets { slot, .. } => (slot, Response::DeleteOffsets(Err(error))),
            Event::DeleteGroup { slot, .. } => (slot, Response::DeleteGroup(Err(error))),
            Event::TopicsDeleted | Event::Appended { .. } | Event::DeadlineReached => return None,
        })
    }
}
