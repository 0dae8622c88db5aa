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
    let (mut parts, mut pace) = (group::Parts::default(), Pace::default());
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
            let bytes = name.len() + request.group_id.len();
            if let Some((_, partitions)) = parts.share(&mut begins, bytes, || (name.clone(), vec![])) {
                partitions.push(partition);
            }
        }
    }
    parts.finish()
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
        let indexes = asked.partitions.iter().map(|asked| asked.partition_index);
        let codes = outcomes.codes(image, asked.name.as_str(), indexes, &mut pace).await;
        let response = |(index, code)| {
            OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code)
        };
        let partitions = codes.into_iter().map(response).collect();
        topics.push(
            OffsetDeleteResponseTopic::default().with_name(asked.name.clone()).with_partitions(partitions),
        );
    }
    answer.respond(&OffsetDeleteResponse::default().with_topics(topics))
}
