//! OffsetCommit (key 8). Partitions that do not exist are answered here; the others go to the group's coordinator, in parts
//! that each fit into one batch. A part is committed as a whole or not at all.

use kafka_protocol::messages::{
    offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
    OffsetCommitRequest, OffsetCommitResponse,
};
use norn_core::{
    group::{CommitRequest, Event, PartitionCommit, Response, TopicCommits},
    metadata::Image,
};
use norn_protocol::{
    types::{LeaderEpoch, Offset, PartitionIndex},
    ErrorCode,
};

use super::{group, Answer, Call, Pace, Session};
use crate::{
    coordinator::answer_by,
    server::{self, Reply},
};

/// OffsetCommit names a group that does not exist as such from this version on.
const GROUP_ID_NOT_FOUND_SINCE: i16 = 9;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: OffsetCommitRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, deadline) = (call.answer(), call.received + group::ANSWER_MAX);
    let image = call.ctx.controller.image();
    let parts = parts(&request, &image).await;
    let commit = CommitRequest {
        group_id: group::text(&request.group_id.0),
        generation: request.generation_id_or_member_epoch,
        member_id: group::text(&request.member_id),
        instance_id: group::maybe_text(&request.group_instance_id),
        retention_ms: (call.version <= 4 && request.retention_time_ms >= 0)
            .then_some(request.retention_time_ms),
        knows_group_id_not_found: call.version >= GROUP_ID_NOT_FOUND_SINCE,
        topics: vec![],
    };
    let event = |topics| {
        let request = CommitRequest { topics, ..commit.clone() };
        move |slot| Event::CommitOffsets { slot, request }
    };
    let events = parts.into_iter().map(event).collect();
    let handed_over = group::step_each(&call, &commit.group_id, events).await;
    Reply::Waiting(Box::pin(async move {
        let mut outcomes = group::Outcomes::default();
        for answered in handed_over {
            let answer = match answered {
                Ok(answered) => answer_by(answered, deadline).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(Response::CommitOffsets(response)) => outcomes.add(response).await,
                Ok(_) => outcomes.failed = Some(ErrorCode::UnknownServerError),
                Err(error) => outcomes.failed = Some(error),
            }
        }
        encode(answer, &request, &image, outcomes).await
    }))
}

/// The commits for partitions that exist. At least one part, unless none of the partitions does: the coordinator judges the
/// member also where there is nothing to commit.
async fn parts(request: &OffsetCommitRequest, image: &Image) -> Vec<Vec<TopicCommits>> {
    let mut parts = group::Parts::default();
    let mut pace = Pace::default();
    for asked in &request.topics {
        pace.next().await;
        let Some(topic) = image.topic_by_name(asked.name.as_str()) else { continue };
        let name = group::text(&asked.name.0);
        let mut begins = true;
        for asked in &asked.partitions {
            pace.next().await;
            let partition = PartitionIndex(asked.partition_index);
            if topic.partition(partition).is_none() {
                continue;
            }
            let metadata = group::maybe_text(&asked.committed_metadata);
            let bytes = name.len() + request.group_id.len() + metadata.as_ref().map_or(0, |text| text.len());
            let commit = PartitionCommit {
                partition,
                offset: Offset(asked.committed_offset),
                leader_epoch: LeaderEpoch(asked.committed_leader_epoch),
                metadata,
            };
            let none = || TopicCommits { topic: name.clone(), topic_id: topic.id, partitions: vec![] };
            if let Some(commits) = parts.share(&mut begins, bytes, none) {
                commits.partitions.push(commit);
            }
        }
    }
    let mut parts = parts.finish();
    if parts.is_empty() && request.topics.is_empty() {
        parts.push(vec![]);
    }
    parts
}

/// Answers in the request's order.
async fn encode(
    answer: Answer,
    request: &OffsetCommitRequest,
    image: &Image,
    outcomes: group::Outcomes,
) -> server::Response {
    let mut pace = Pace::default();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        pace.next().await;
        let indexes = asked.partitions.iter().map(|asked| asked.partition_index);
        let codes = outcomes.codes(image, asked.name.as_str(), indexes, &mut pace).await;
        let response = |(index, code)| {
            OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
        };
        let partitions = codes.into_iter().map(response).collect();
        topics.push(
            OffsetCommitResponseTopic::default().with_name(asked.name.clone()).with_partitions(partitions),
        );
    }
    answer.respond(&OffsetCommitResponse::default().with_topics(topics))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use kafka_protocol::messages::{
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        ApiKey,
    };

    use super::*;

    #[test]
    fn very_many_partitions_are_not_handed_over_or_answered_in_one_go() {
        norn_env::testing::run(|| async {
            let partitions = vec![OffsetCommitRequestPartition::default()];
            let topics = vec![OffsetCommitRequestTopic::default().with_partitions(partitions); 1000];
            let (request, image) = (OffsetCommitRequest::default().with_topics(topics), Image::default());
            assert!(parts(&request, &image).now_or_never().is_none());
            let answer = Answer { key: ApiKey::OffsetCommit, version: 8, correlation: 1 };
            let answered = encode(answer, &request, &image, group::Outcomes::default());
            assert!(answered.now_or_never().is_none());
        });
    }
}
