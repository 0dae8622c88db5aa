//! Produce (key 0), versions 3 to 13.
//!
//! Each partition's batch is validated here, on the connection's task, and handed to the partition's owner; only the
//! acknowledgements are waited for. Record batches stay slices of the request's frame. As in Kafka 4 an unknown topic is
//! not created by Produce, message formats before v2 are refused, and an error with `acks=0` closes the connection.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{
    produce_response::{PartitionProduceResponse, TopicProduceResponse},
    ProduceResponse, TopicName,
};
use norn_env::{
    clock::{self, Duration, Instant},
    task,
};
use norn_protocol::{batch::produced_batch, produce::TopicRef, types::TopicId, ErrorCode};
use tokio::sync::oneshot;

use super::{topics, Call, Context, Session};
use crate::{
    partition::{Acks, Origin, Partition, PartitionTable, Produce, Produced},
    server::Reply,
};

/// The partition's task answers at the request's deadline; this much later the handler stops waiting for it.
const GRACE: Duration = Duration::from_secs(2);

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request = match call.head.decode_produce() {
        Ok(request) => request,
        Err(error) => return Reply::Close(error.to_string()),
    };
    let deadline = call.deadline(request.timeout_ms);
    let acks = Acks::try_from(request.acks);
    let transactional = request.transactional_id.is_some();
    let mut table = call.ctx.partitions();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let (name, id) = match &topic.topic {
            TopicRef::Name(name) => (Some(name.as_str()), TopicId::NONE),
            TopicRef::Id(id) => (None, *id),
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for data in topic.partitions {
            let outcome = match (acks, transactional) {
                (Err(error), _) => Pending::Done(Err(error)),
                // Transactions are a room of their own; InitProducerId hands out no transactional id.
                (_, true) => Pending::Done(Err(ErrorCode::InvalidTxnState)),
                (Ok(acks), false) => {
                    let partition = resolve(&call.ctx, &mut table, name, id, data.index.0, deadline).await;
                    hand_over(&call, partition, data.records, acks, deadline).await
                }
            };
            partitions.push((data.index.0, outcome));
        }
        topics.push(Topic { topic: topic.topic, partitions });
    }
    let (answer, ctx) = (call.answer(), call.ctx.clone());
    if acks == Ok(Acks::None) {
        return Reply::Unanswered(Box::pin(async move {
            let response = collect(topics, deadline + GRACE, &ctx).await;
            let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
            match partitions.map(|partition| partition.error_code).find(|error| *error != 0) {
                Some(error) => Err(format!("Produce with acks=0 failed with error {error}")),
                None => Ok(()),
            }
        }));
    }
    Reply::Waiting(Box::pin(async move { answer.respond(&collect(topics, deadline + GRACE, &ctx).await) }))
}

struct Topic {
    topic: TopicRef,
    partitions: Vec<(i32, Pending)>,
}

enum Pending {
    Done(Result<Produced, ErrorCode>),
    Waiting(oneshot::Receiver<Result<Produced, ErrorCode>>),
}

/// Finds a partition. One that is led here and whose log is still being opened is waited for: were the first of several
/// batches in flight refused and the next one taken, an idempotent producer's records would begin with a gap.
async fn resolve(
    ctx: &Context,
    table: &mut Arc<PartitionTable>,
    name: Option<&str>,
    id: TopicId,
    index: i32,
    deadline: Instant,
) -> Result<Arc<Partition>, ErrorCode> {
    let found = table.resolve(name, id, index);
    if found.is_err() && topics::wait_until_led(ctx, name, id, index, deadline).await {
        *table = ctx.partitions();
        return table.resolve(name, id, index);
    }
    found
}

/// Validates one partition's batch and gives it to the owner. Waits while the owner's queue is full.
async fn hand_over(
    call: &Call,
    partition: Result<Arc<Partition>, ErrorCode>,
    records: Option<Bytes>,
    acks: Acks,
    deadline: Instant,
) -> Pending {
    let accepted = partition.and_then(|partition| {
        let batch = produced_batch(records, call.version).map_err(|error| error.error_code())?;
        Ok((partition, batch))
    });
    let (partition, batch) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return Pending::Done(Err(error)),
    };
    if partition.is_internal() {
        return Pending::Done(Err(ErrorCode::InvalidTopicException));
    }
    if batch.header.is_transactional() {
        return Pending::Done(Err(ErrorCode::InvalidTxnState));
    }
    let (reply, answered) = oneshot::channel();
    let origin = Origin::Client { _memory: call.memory.clone() };
    let produce = Produce { batch, acks, deadline, origin, reply };
    match partition.produce(produce, deadline).await {
        Ok(()) => Pending::Waiting(answered),
        Err(error) => Pending::Done(Err(error)),
    }
}

async fn collect(topics: Vec<Topic>, deadline: Instant, ctx: &Context) -> ProduceResponse {
    let mut failed = false;
    let mut responses = Vec::with_capacity(topics.len());
    for topic in topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (index, pending) in topic.partitions {
            let result = match pending {
                Pending::Done(result) => result,
                Pending::Waiting(answered) => {
                    let name = || format!("the acknowledgement of {:?}, partition {index}", topic.topic);
                    match task::wait(name, clock::timeout_at(deadline, answered)).await {
                        Ok(Ok(result)) => result,
                        // The partition's task ended: it no longer leads here.
                        Ok(Err(_)) => Err(ErrorCode::NotLeaderOrFollower),
                        Err(_) => Err(ErrorCode::RequestTimedOut),
                    }
                }
            };
            failed |= result.is_err();
            partitions.push(partition_response(index, result));
        }
        let response = TopicProduceResponse::default().with_partition_responses(partitions);
        responses.push(match topic.topic {
            TopicRef::Name(name) => response.with_name(TopicName(name)),
            TopicRef::Id(id) => response.with_topic_id(id.0),
        });
    }
    if failed {
        ctx.metrics.produce_failed();
    }
    ProduceResponse::default().with_responses(responses)
}

fn partition_response(index: i32, result: Result<Produced, ErrorCode>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match result {
        Ok(done) => response
            .with_base_offset(done.base_offset.0)
            .with_log_append_time_ms(done.log_append_time.unwrap_or(-1))
            .with_log_start_offset(done.log_start.0),
        Err(error) => response.with_error_code(error.code()).with_base_offset(-1).with_log_append_time_ms(-1),
    }
}
