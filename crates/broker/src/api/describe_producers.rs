//! DescribeProducers (key 61, KIP-664): the producers that a partition remembers, asked from its task, a part at a time so
//! that the task appends in between.

use std::{collections::BTreeSet, sync::Arc};

use kafka_protocol::messages::{
    describe_producers_request::TopicRequest,
    describe_producers_response::{PartitionResponse, ProducerState, TopicResponse},
    DescribeProducersRequest, DescribeProducersResponse, ProducerId,
};
use norn_env::clock::{Duration, Instant};
use norn_protocol::{layout::ELEMENTS_MAX, topic, types::TopicId, ErrorCode};

use super::{group::wire, Call, Context, Pace, Session};
use crate::{partition::Partition, server::Reply};

/// The request has no timeout of its own; Kafka's clients wait 30 s by default.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);

/// Producers in one response at most: as many things as a request may name.
const PRODUCERS_MAX: usize = ELEMENTS_MAX;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DescribeProducersRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, ctx) = (call.answer(), call.ctx.clone());
    let deadline = call.received + ANSWER_TIMEOUT;
    Reply::Waiting(Box::pin(async move {
        let mut described = Described { ctx, deadline, room: PRODUCERS_MAX, seen: BTreeSet::new() };
        let (mut topics, mut pace) = (Vec::with_capacity(request.topics.len()), Pace::default());
        for topic in request.topics {
            topics.push(described.topic(topic, &mut pace).await);
        }
        answer.respond(&DescribeProducersResponse::default().with_topics(topics))
    }))
}

/// What one request has been told.
struct Described {
    ctx: Arc<Context>,
    deadline: Instant,
    /// How many producers the response has room for.
    room: usize,
    /// Partitions that it has already: each is told once, however often it is named.
    seen: BTreeSet<(TopicId, i32)>,
}

impl Described {
    async fn topic(&mut self, asked: TopicRequest, pace: &mut Pace) -> TopicResponse {
        let name = asked.name.as_str();
        let refused = match topic::validate(name) {
            Err(error) => Some((ErrorCode::InvalidTopicException, error.to_string())),
            Ok(()) if self.ctx.controller.image().topic_by_name(name).is_none() => {
                let message = "This server does not host this topic-partition.".to_owned();
                Some((ErrorCode::UnknownTopicOrPartition, message))
            }
            Ok(()) => None,
        };
        let table = self.ctx.partitions();
        let mut partitions = vec![];
        for index in asked.partition_indexes {
            pace.next().await;
            let response = PartitionResponse::default().with_partition_index(index);
            let found = match &refused {
                Some((error, message)) => {
                    let message = Some(wire(message));
                    partitions.push(response.with_error_code(error.code()).with_error_message(message));
                    continue;
                }
                None => table.resolve(Some(name), TopicId::NONE, index),
            };
            let producers = match found {
                Ok(partition) if !self.seen.insert((partition.topic_id(), index)) => continue,
                Ok(partition) => self.producers(&partition).await,
                Err(error) => Err((error, None)),
            };
            partitions.push(match producers {
                Ok(producers) => response.with_active_producers(producers),
                Err((error, message)) => {
                    response.with_error_code(error.code()).with_error_message(message.map(wire))
                }
            });
        }
        TopicResponse::default().with_name(asked.name).with_partitions(partitions)
    }

    async fn producers(
        &mut self,
        partition: &Partition,
    ) -> Result<Vec<ProducerState>, (ErrorCode, Option<&'static str>)> {
        let (mut all, mut after) = (vec![], None);
        loop {
            let part = partition.producers(after, self.deadline).await.map_err(|error| (error, None))?;
            let Some(last) = part.last() else { break };
            after = Some(last.id);
            if all.len() + part.len() > self.room {
                let message =
                    "There are more producers than one response may name; ask for fewer partitions.";
                return Err((ErrorCode::PolicyViolation, Some(message)));
            }
            all.extend(part.iter().map(|producer| {
                // No transactions: no coordinator has written a marker, and none is open.
                ProducerState::default()
                    .with_producer_id(ProducerId(producer.id.0))
                    .with_producer_epoch(i32::from(producer.epoch.0))
                    .with_last_sequence(producer.last_sequence.0)
                    .with_last_timestamp(producer.last_timestamp.0)
                    .with_coordinator_epoch(-1)
                    .with_current_txn_start_offset(-1)
            }));
        }
        self.room -= all.len();
        Ok(all)
    }
}
