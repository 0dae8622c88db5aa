//! OffsetFetch (key 9): of one group up to version 7, of several from version 8 on.

use std::sync::Arc;

use kafka_protocol::messages::{
    offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    },
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use norn_core::group::FetchedTopic;
use norn_protocol::{types::PartitionIndex, ErrorCode};

use super::{
    group::{text, wire, ANSWER_MAX},
    Call, Session,
};
use crate::{coordinator::answer_by, server::Reply};

/// The partitions asked for; `None` stands for all that the group has offsets for.
type Asked = Option<Vec<(Arc<str>, Vec<PartitionIndex>)>>;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: OffsetFetchRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, deadline) = (call.answer(), call.received + ANSWER_MAX);
    if call.version < 8 {
        let asked: Asked = request
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|t| (text(&t.name.0), indexes(&t.partition_indexes))).collect());
        let waiting = ask(&call, &text(&request.group_id.0), asked.clone(), deadline).await;
        return Reply::Waiting(Box::pin(async move {
            let (topics, error) = match waiting.answer().await {
                Ok(topics) => (topics, 0),
                Err(error) => (unanswered(&asked), error.code()),
            };
            // Before version 2 there is only a code for each partition.
            let each = if answer.version < 2 { error } else { 0 };
            let topics = topics.iter().map(|topic| topic_response(topic, each)).collect();
            answer.respond(&OffsetFetchResponse::default().with_topics(topics).with_error_code(error))
        }));
    }
    let mut waiting = Vec::with_capacity(request.groups.len());
    for asked_group in &request.groups {
        let asked: Asked = asked_group
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|t| (text(&t.name.0), indexes(&t.partition_indexes))).collect());
        let group_id = text(&asked_group.group_id.0);
        waiting.push((asked_group.group_id.clone(), ask(&call, &group_id, asked, deadline).await));
    }
    Reply::Waiting(Box::pin(async move {
        let mut groups = Vec::with_capacity(waiting.len());
        for (group_id, waiting) in waiting {
            let response = OffsetFetchResponseGroup::default().with_group_id(group_id);
            groups.push(match waiting.answer().await {
                Ok(topics) => response.with_topics(topics.iter().map(group_topic_response).collect()),
                Err(error) => response.with_error_code(error.code()),
            });
        }
        answer.respond(&OffsetFetchResponse::default().with_groups(groups))
    }))
}

fn indexes(from: &[i32]) -> Vec<PartitionIndex> {
    from.iter().copied().map(PartitionIndex).collect()
}

/// A question that is with its coordinator, in the order of the requests.
struct Waiting {
    answered: Result<tokio::sync::oneshot::Receiver<Result<Vec<FetchedTopic>, ErrorCode>>, ErrorCode>,
    deadline: norn_env::clock::Instant,
}

impl Waiting {
    async fn answer(self) -> Result<Vec<FetchedTopic>, ErrorCode> {
        answer_by(self.answered?, self.deadline).await?
    }
}

async fn ask(call: &Call, group_id: &Arc<str>, asked: Asked, deadline: norn_env::clock::Instant) -> Waiting {
    let coordinator = call.ctx.coordinators.of(group_id);
    let answered = match coordinator {
        Ok(coordinator) => {
            let group_id = group_id.clone();
            let read = move |state: &norn_core::group::Coordinator| match &asked {
                Some(topics) => state.fetch_offsets(&group_id, topics),
                None => state.fetch_all_offsets(&group_id),
            };
            coordinator.look(deadline, read).await
        }
        Err(error) => Err(error),
    };
    Waiting { answered, deadline }
}

/// What was asked for, without offsets: for answers that carry an error.
fn unanswered(asked: &Asked) -> Vec<FetchedTopic> {
    let none = |partition: &PartitionIndex| norn_core::group::FetchedOffset {
        partition: *partition,
        offset: norn_protocol::types::Offset::NONE,
        leader_epoch: norn_protocol::types::LeaderEpoch::NONE,
        metadata: Arc::from(""),
    };
    let topics = asked.as_deref().unwrap_or_default();
    topics
        .iter()
        .map(|(topic, partitions)| FetchedTopic {
            topic: topic.clone(),
            partitions: partitions.iter().map(none).collect(),
        })
        .collect()
}

fn topic_response(topic: &FetchedTopic, error: i16) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.iter().map(|p| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(p.partition.0)
            .with_committed_offset(p.offset.0)
            .with_committed_leader_epoch(p.leader_epoch.0)
            .with_metadata(Some(wire(&p.metadata)))
            .with_error_code(error)
    });
    OffsetFetchResponseTopic::default()
        .with_name(TopicName(wire(&topic.topic)))
        .with_partitions(partitions.collect())
}

fn group_topic_response(topic: &FetchedTopic) -> OffsetFetchResponseTopics {
    let partitions = topic.partitions.iter().map(|p| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(p.partition.0)
            .with_committed_offset(p.offset.0)
            .with_committed_leader_epoch(p.leader_epoch.0)
            .with_metadata(Some(wire(&p.metadata)))
    });
    OffsetFetchResponseTopics::default()
        .with_name(TopicName(wire(&topic.topic)))
        .with_partitions(partitions.collect())
}
