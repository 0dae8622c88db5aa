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
use norn_protocol::{
    batch::{produced_batch, BatchError},
    produce::TopicRef,
    types::TopicId,
    ErrorCode,
};
use tokio::sync::oneshot;

use super::{group::wire, topics, Call, Context, Pace, Session};
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
    let mut pace = Pace::default();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let (name, id) = match &topic.topic {
            TopicRef::Name(name) => (Some(name.as_str()), TopicId::NONE),
            TopicRef::Id(id) => (None, *id),
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for data in topic.partitions {
            pace.next().await;
            let outcome = match (acks, transactional) {
                (Err(error), _) => Pending::Done(Err(error.into())),
                // Transactions are a room of their own; InitProducerId hands out no transactional id.
                (_, true) => Pending::Done(Err(ErrorCode::InvalidTxnState.into())),
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
            first_error(&response).map_or(Ok(()), Err)
        }));
    }
    Reply::Waiting(Box::pin(async move { answer.respond(&collect(topics, deadline + GRACE, &ctx).await) }))
}

struct Topic {
    topic: TopicRef,
    partitions: Vec<(i32, Pending)>,
}

enum Pending {
    Done(Result<Produced, Refused>),
    Waiting(oneshot::Receiver<Result<Produced, ErrorCode>>),
}

/// Why records are not taken: a code, and what a client's log should say beside its own text for that code.
struct Refused {
    code: ErrorCode,
    message: Option<String>,
}

impl From<BatchError> for Refused {
    fn from(error: BatchError) -> Self {
        Refused { code: error.error_code(), message: Some(error.to_string()) }
    }
}

/// What partitions refuse by their topic's settings, or for want of replicas. Other codes say enough.
impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        let message = match code {
            ErrorCode::InvalidTimestamp => {
                "a record's timestamp is further from the broker's clock than message.timestamp.before.max.ms or \
                 message.timestamp.after.max.ms of the topic allow"
            }
            ErrorCode::InvalidRecord => "a compacted topic takes no record without a key",
            ErrorCode::CorruptMessage => "the records of the batch cannot be read",
            ErrorCode::MessageTooLarge => "the batch is larger than max.message.bytes of the topic",
            ErrorCode::NotEnoughReplicas => "fewer replicas are in sync than min.insync.replicas asks for",
            ErrorCode::NotEnoughReplicasAfterAppend => {
                "the records are written, but fewer replicas are in sync than min.insync.replicas asks for"
            }
            ErrorCode::InvalidTxnState => "transactions are not served",
            _ => return Refused { code, message: None },
        };
        Refused { code, message: Some(message.to_owned()) }
    }
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
    let accepted = partition.map_err(Refused::from).and_then(|partition| {
        let batch = produced_batch(records, call.version)?;
        Ok((partition, batch))
    });
    let (partition, batch) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return Pending::Done(Err(error)),
    };
    if partition.is_internal() {
        return Pending::Done(Err(ErrorCode::InvalidTopicException.into()));
    }
    if batch.header.is_transactional() {
        return Pending::Done(Err(ErrorCode::InvalidTxnState.into()));
    }
    let (reply, answered) = oneshot::channel();
    let origin = Origin::Client { _memory: call.memory.clone() };
    let produce = Produce { batch, acks, deadline, origin, reply };
    match partition.produce(produce, deadline).await {
        Ok(()) => Pending::Waiting(answered),
        Err(error) => Pending::Done(Err(error.into())),
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
                        Ok(Ok(result)) => result.map_err(Refused::from),
                        // The partition's task ended: it no longer leads here.
                        Ok(Err(_)) => Err(ErrorCode::NotLeaderOrFollower.into()),
                        Err(_) => Err(ErrorCode::RequestTimedOut.into()),
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

/// The first error of a response that nobody is sent.
fn first_error(response: &ProduceResponse) -> Option<String> {
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let failed = partitions.find(|partition| partition.error_code != 0)?;
    let message = failed.error_message.as_ref().map(|message| format!(": {}", message.as_str()));
    let (code, index) = (failed.error_code, failed.index);
    Some(format!(
        "Produce with acks=0 failed with error {code} at partition {index}{}",
        message.unwrap_or_default()
    ))
}

fn partition_response(index: i32, result: Result<Produced, Refused>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match result {
        Ok(done) => response
            .with_base_offset(done.base_offset.0)
            .with_log_append_time_ms(done.log_append_time.unwrap_or(-1))
            .with_log_start_offset(done.log_start.0),
        Err(refused) => response
            .with_error_code(refused.code.code())
            .with_error_message(refused.message.as_deref().map(wire))
            .with_base_offset(-1)
            .with_log_append_time_ms(-1),
    }
}
