//! OffsetCommit (key 8). Partitions that do not exist are answered here; the others go to the group's coordinator.

use std::collections::BTreeMap;

use kafka_protocol::messages::{
    offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
    OffsetCommitRequest, OffsetCommitResponse,
};
use norn_core::group::{CommitRequest, Event, PartitionCommit, Response, TopicCommits};
use norn_protocol::{
    types::{LeaderEpoch, Offset, PartitionIndex},
    ErrorCode,
};

use super::{group, Answer, Call, Session};
use crate::server::{self, Reply};

/// OffsetCommit names a group that does not exist as such from this version on.
const GROUP_ID_NOT_FOUND_SINCE: i16 = 9;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: OffsetCommitRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let answer = call.answer();
    let image = call.ctx.controller.image();
    let mut topics = vec![];
    for asked in &request.topics {
        let Some(topic) = image.topic_by_name(asked.name.as_str()) else { continue };
        let known =
            asked.partitions.iter().filter(|p| topic.partition(PartitionIndex(p.partition_index)).is_some());
        let partitions: Vec<PartitionCommit> = known
            .map(|p| PartitionCommit {
                partition: PartitionIndex(p.partition_index),
                offset: Offset(p.committed_offset),
                leader_epoch: LeaderEpoch(p.committed_leader_epoch),
                metadata: group::maybe_text(&p.committed_metadata),
            })
            .collect();
        if !partitions.is_empty() {
            topics.push(TopicCommits { topic: group::text(&asked.name.0), topic_id: topic.id, partitions });
        }
    }
    if topics.is_empty() && !request.topics.is_empty() {
        return Reply::Ready(encode(answer, &request, Ok(&[])));
    }
    let commit = CommitRequest {
        group_id: group::text(&request.group_id.0),
        generation: request.generation_id_or_member_epoch,
        member_id: group::text(&request.member_id),
        instance_id: group::maybe_text(&request.group_instance_id),
        retention_ms: (call.version <= 4 && request.retention_time_ms >= 0)
            .then_some(request.retention_time_ms),
        knows_group_id_not_found: call.version >= GROUP_ID_NOT_FOUND_SINCE,
        topics,
    };
    let group_id = commit.group_id.clone();
    let event = |slot| Event::CommitOffsets { slot, request: commit };
    group::step(&call, &group_id, call.received + group::ANSWER_MAX, event, move |answered| match answered {
        Ok(Response::CommitOffsets(response)) => encode(answer, &request, Ok(&response.topics)),
        Ok(_) => encode(answer, &request, Err(ErrorCode::UnknownServerError)),
        Err(error) => encode(answer, &request, Err(error)),
    })
    .await
}

type Outcomes = [(std::sync::Arc<str>, Vec<norn_core::group::PartitionOutcome>)];

/// Answers in the request's order; what the coordinator was not asked about does not exist.
fn encode(
    answer: Answer,
    request: &OffsetCommitRequest,
    outcome: Result<&Outcomes, ErrorCode>,
) -> server::Response {
    let outcome = outcome.map(|outcomes| {
        let each = outcomes.iter().flat_map(|(name, partitions)| partitions.iter().map(move |p| (name, p)));
        each.map(|(name, p)| ((&**name, p.partition.0), p.error)).collect::<BTreeMap<_, _>>()
    });
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let error = match &outcome {
                Err(error) => Some(*error),
                Ok(outcomes) => {
                    let unknown = Some(ErrorCode::UnknownTopicOrPartition);
                    outcomes.get(&(topic.name.as_str(), p.partition_index)).copied().unwrap_or(unknown)
                }
            };
            OffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(error.map_or(0, |error| error.code()))
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    answer.respond(&OffsetCommitResponse::default().with_topics(topics.collect()))
}
