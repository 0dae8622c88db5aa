//! CreatePartitions (key 37).

use kafka_protocol::messages::{
    create_partitions_request::CreatePartitionsTopic,
    create_partitions_response::CreatePartitionsTopicResult, CreatePartitionsRequest,
    CreatePartitionsResponse,
};
use norn_core::metadata::controller::{create_partitions, CreatePartitions, Placement};
use norn_env::clock::Instant;
use norn_protocol::{types::NodeId, ErrorCode};

use super::{
    group::wire,
    repeated,
    room::{Room, Turn},
    topics::{protect_internal, wait_until_open, Failure},
    Call, Context, Pace, Session,
};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: CreatePartitionsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let deadline = call.deadline(request.timeout_ms);
    let mut grown: Vec<Result<(), Failure>> = Vec::with_capacity(request.topics.len());
    let repeated = repeated(request.topics.iter().map(|topic| topic.name.as_str()));
    let mut placement = Placement::of(&call.ctx.controller.image());
    let mut pace = Pace::default();
    for topic in &request.topics {
        pace.next().await;
        grown.push(if repeated.contains(topic.name.as_str()) {
            let message = "Duplicate topic in request.".to_owned();
            Err(Failure { code: ErrorCode::InvalidRequest, message })
        } else {
            grow(&call.ctx, &mut placement, topic, request.validate_only, deadline).await
        });
    }
    if !request.validate_only {
        // Only now, so that the partitions of all topics open together.
        for (topic, _) in request.topics.iter().zip(&grown).filter(|(_, grown)| grown.is_ok()) {
            wait_until_open(&call.ctx, topic.name.as_str(), deadline).await;
        }
    }
    let results = request.topics.iter().zip(grown).map(|(topic, grown)| {
        let answer = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        match grown {
            Ok(()) => answer,
            Err(failure) => {
                answer.with_error_code(failure.code.code()).with_error_message(Some(wire(&failure.message)))
            }
        }
    });
    call.ready(&CreatePartitionsResponse::default().with_results(results.collect()))
}

async fn grow(
    ctx: &Context,
    placement: &mut Placement,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
    deadline: Instant,
) -> Result<(), Failure> {
    let name = topic.name.as_str();
    let assignments: Option<Vec<Vec<NodeId>>> = topic
        .assignments
        .as_ref()
        .map(|all| all.iter().map(|a| a.broker_ids.iter().map(|id| NodeId(id.0)).collect()).collect());
    let turn = Turn::of(ctx, deadline).await?;
    let image = ctx.controller.image();
    if image.topic_by_name(name).is_none() {
        let message = "This server does not host this topic-partition.".to_owned();
        return Err(Failure { code: ErrorCode::UnknownTopicOrPartition, message });
    }
    let asked = CreatePartitions { name, total: topic.count, assignments: assignments.as_deref() };
    let command = create_partitions(&image, placement, &asked)?;
    protect_internal(ctx, &image, &command)?;
    Room::of(ctx, &image).take(&command)?;
    if !validate_only {
        turn.change(command, deadline).await?;
    }
    Ok(())
}
