//! Produce (key 0), versions 3 to 13.
//!
//! Each partition's batch is validated here, in the order of the connection's requests, and handed to the partition's
//! owner; only the acknowledgements are waited for. Record batches stay slices of the request's frame. As in Kafka 4 an
//! unknown topic is not created by Produce, message formats before v2 are refused, and an error with `acks=0` closes the
//! connection.

mod refusal;

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{
    produce_response::{PartitionProduceResponse, TopicProduceResponse},
    ProduceResponse, TopicName,
};
use norn_core::{record_rules::Invalid, Millis};
use norn_env::{
    clock::{self, Duration, Instant},
    task,
};
use norn_protocol::{
    batch::{produced_batch, Batch, BatchError, UNPACKED_MAX},
    compression::Compression,
    produce::TopicRef,
    types::TopicId,
    ErrorCode,
};
use tokio::sync::oneshot;

use super::{topics, Call, Context, Memory, Pace, Session};
use refusal::Refused;

use crate::{
    partition::{Acks, Origin, Partition, PartitionTable, Produce, Produced},
    server::Reply,
};

/// The partition's task answers at the request's deadline; this much later the handler stops waiting for it.
const GRACE: Duration = Duration::from_secs(2);

/// Faulty records that one response names at most. A few kilobytes of compressed records may hold millions of them.
const NAMED_MAX: usize = 1000;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request = match call.head.decode_produce() {
        Ok(request) => request,
        Err(error) => return Reply::Close(error.to_string()),
    };
    let deadline = call.deadline(request.timeout_ms);
    let acks = Acks::try_from(request.acks);
    let transactional = request.transactional_id.is_some();
    let mut table = call.ctx.partitions();
    let (mut pace, mut named) = (Pace::default(), NAMED_MAX);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let (name, id) = topic.topic.name_or_id();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for data in topic.partitions {
            pace.next().await;
            let found = match acks {
                Err(error) => Err(error),
                // Transactions are not served; InitProducerId hands out no transactional id.
                Ok(_) if transactional => Err(ErrorCode::InvalidTxnState),
                Ok(acks) => resolve(&call.ctx, &mut table, name, id, data.index.0, deadline)
                    .await
                    .map(|partition| (partition, acks)),
            };
            let (partition, handed_over) = match found {
                Err(error) => (None, Err(error.into())),
                Ok((partition, acks)) => {
                    let handed_over = hand_over(&call, &partition, data.records, acks, deadline, named).await;
                    (Some(partition), handed_over)
                }
            };
            let outcome = handed_over.map_or_else(Pending::Refused, Pending::Waiting);
            if let Pending::Refused(refused) = &outcome {
                named = named.saturating_sub(refused.named());
            }
            partitions.push(Share { index: data.index.0, partition, outcome });
        }
        // What waits for the acknowledgements holds nothing of the frame, whose memory is free once its records are.
        topics.push(Topic { topic: topic.topic.into_owned(), partitions });
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
    partitions: Vec<Share>,
}

/// One partition's share of a request.
struct Share {
    index: i32,
    /// `None` if it is not known here.
    partition: Option<Arc<Partition>>,
    outcome: Pending,
}

enum Pending {
    Refused(Refused),
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

/// Validates one partition's batch and gives it to the owner. Waits while the log directory has no room for it or the
/// owner's queue is full. At most `named` faulty records are named.
async fn hand_over(
    call: &Call,
    partition: &Arc<Partition>,
    records: Option<Bytes>,
    acks: Acks,
    deadline: Instant,
    named: usize,
) -> Result<oneshot::Receiver<Result<Produced, ErrorCode>>, Refused> {
    let batch = produced_batch(records, call.version)?;
    if partition.is_internal() {
        return Err(ErrorCode::InvalidTopicException.into());
    }
    if batch.header.is_transactional() {
        return Err(ErrorCode::InvalidTxnState.into());
    }
    let batch = validate(&call.ctx, partition, batch, deadline, named).await?;
    let bytes = match call.memory {
        Memory::Frame => batch.bytes,
        Memory::Call { .. } => {
            let charged = call.ctx.budgets.charge(partition.dir(), batch.bytes);
            clock::timeout_at(deadline, charged).await.map_err(|_| ErrorCode::RequestTimedOut)?
        }
    };
    let batch = Batch { bytes, ..batch };
    let (reply, answered) = oneshot::channel();
    let produce = Produce { batch, acks, deadline, origin: Origin::Client, reply };
    partition.produce(produce, deadline).await?;
    Ok(answered)
}

/// Goes through the records of a batch, by its topic's settings as they are now. Compressed ones are decompressed for it,
/// in memory that does not grow with them. The connection reads no further meanwhile, so that its requests keep their
/// order.
async fn validate(
    ctx: &Context,
    partition: &Partition,
    batch: Batch,
    deadline: Instant,
    named: usize,
) -> Result<Batch, Refused> {
    let (rules, now) = (partition.view().record_rules, Millis(clock::wall_ms()));
    if batch.bytes.len() > rules.batch_bytes_max {
        return Err(ErrorCode::MessageTooLarge.into());
    }
    let compressed = batch.header.compression() != Ok(Compression::None);
    let validated = if compressed && ctx.config.producers.trust_compressed_batches {
        rules.trust(batch, now)
    } else {
        let records = batch.clone();
        let validating =
            ctx.budgets.decoding().run(&batch, move |limit| rules.validate(&records, now, named, limit));
        let validated = clock::timeout_at(deadline + GRACE, validating).await;
        let validated = validated.map_err(|_| ErrorCode::RequestTimedOut)?;
        validated.unwrap_or(Err(Invalid::Batch(BatchError::Oversized(UNPACKED_MAX))))
    };
    validated.map_err(|invalid| Refused::invalid(invalid, partition))
}

async fn collect(topics: Vec<Topic>, deadline: Instant, ctx: &Context) -> ProduceResponse {
    let mut failed = false;
    let mut responses = Vec::with_capacity(topics.len());
    for topic in topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for Share { index, partition, outcome } in topic.partitions {
            let result = match outcome {
                Pending::Refused(refused) => Err(refused),
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
            partitions.push(partition_response(index, partition.as_deref(), result));
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

fn partition_response(
    index: i32,
    partition: Option<&Partition>,
    result: Result<Produced, Refused>,
) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match result {
        Ok(done) => response
            .with_base_offset(done.base_offset.0)
            .with_log_append_time_ms(done.log_append_time.unwrap_or(-1))
            .with_log_start_offset(done.log_start.0),
        Err(refused) => refused.tell(response, partition),
    }
}
