//! OffsetDelete (key 47): a group forgets what it has committed for partitions that nobody of it reads (KIP-496).

use std::sync::Arc;

use kafka_protocol::messages::{
    offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
    OffsetDeleteRequest, OffsetDeleteResponse,
};
use norn_core::{
    group::{DeleteOffsetsRequest, Event, Response},
    metadata::Image,
};
use norn_protocol::{types::PartitionIndex, ErrorCode};

use super::{group, Answer, Call, Pace, Session};
use crate::{
    coordinator::answer_by,
    server::{self, Reply},
};

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: OffsetDeleteRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, deadline) = (call.answer(), call.received + group::ANSWER_MAX);
    let image = call.ctx.controller.image();
    let group_id = group::text(&request.group_id.0);
    let event = |topics| {
        let request = DeleteOffsetsRequest { group_id: group_id.clone(), topics };
        move |slot| Event::DeleteOffsets { slot, request }
    };
    let events = parts(&request, &image).await.into_iter().map(event).collect();
    let handed_over = group::step_each(&call, &group_id, events).await;
    Reply::Waiting(Box::pin(async move {
        let mut outcomes = group::Outcomes::default();
        for answered in handed_over {
            let result = match answered {
                Ok(answered) => answer_by(answered, deadline).await,
                Err(error) => Err(error),
            };
            let error = match result {
                Ok(Response::DeleteOffsets(Ok(response))) => {
                    outcomes.add(response).await;
                    continue;
                }
                Ok(Response::DeleteOffsets(Err(error))) => error,
                Ok(_) => ErrorCode::UnknownServerError,
                Err(error) => error,
            };
            // An error of the group stands alone.
            return answer.respond(&OffsetDeleteResponse::default().with_error_code(error.code()));
        }
        encode(answer, &request, &image, outcomes).await
    }))
}

/// The partitions that exist, in parts that the coordinator is given at once; none if none does.
async fn parts(request: &OffsetDeleteRequest, image: &Image) -> Vec<Vec<(Arc<str>, Vec<PartitionIndex>)>> {
    let mut parts: Vec<Vec<(Arc<str>, Vec<PartitionIndex>)>> = vec![];
    let (mut room, mut pace) = (0, Pace::default());
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
            if room == 0 {
                parts.push(vec![]);
                (room, begins) = (group::PARTITIONS_AT_ONCE, true);
            }
            room -= 1;
            let Some(part) = parts.last_mut() else { continue };
            if std::mem::take(&mut begins) {
                part.push((name.clone(), vec![]));
            }
            if let Some((_, partitions)) = part.last_mut() {
                partitions.push(partition);
            }
        }
    }
    parts
}

/// Answers in the request's order.
async fn encode(
    answer: Answer,
    request: &OffsetDeleteRequest,
    image: &Image,
    outcomes: group::Outcomes,
) -> server::Response {
    let mut pace = Pace::default();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        pace.next().await;
        let topic = image.topic_by_name(asked.name.as_str());
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for asked_partition in &asked.partitions {
            pace.next().await;
            let partition = PartitionIndex(asked_partition.partition_index);
            let exists = topic.is_some_and(|topic| topic.partition(partition).is_some());
            let error = if exists {
                outcomes.get(asked.name.as_str(), partition)
            } else {
                Some(ErrorCode::UnknownTopicOrPartition)
            };
            let response = OffsetDeleteResponsePartition::default().with_partition_index(partition.0);
            partitions.push(response.with_error_code(error.map_or(0, |error| error.code())));
        }
        topics.push(
            OffsetDeleteResponseTopic::default().with_name(asked.name.clone()).with_partitions(partitions),
        );
    }
    answer.respond(&OffsetDeleteResponse::default().with_topics(topics))
}
