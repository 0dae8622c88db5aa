//! DescribeTopicPartitions (key 75, KIP-966): topics by name, in pages of partitions.

use std::collections::BTreeSet;

use kafka_protocol::messages::{
    describe_topic_partitions_request::Cursor as From,
    describe_topic_partitions_response::{
        Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    },
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use norn_core::{
    admin::Pager,
    metadata::{Image, Partition, Topic},
    operations,
};
use norn_protocol::{
    topic,
    types::{NodeId, PartitionIndex},
    ErrorCode,
};

use super::{group::wire, metadata::offline_replicas, Call, Pace, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DescribeTopicPartitionsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let image = call.ctx.controller.image();
    let from = match cursor(&request) {
        Ok(from) => from,
        Err(error) => return call.ready(&refused(&request, error)),
    };
    let first = from.as_ref().map_or_else(String::new, |(name, _)| name.clone());
    let mut pager = Pager::new(from, request.response_partition_limit);
    let (mut topics, mut pace) = (vec![], Pace::default());
    if request.topics.is_empty() {
        for topic in image.topics_by_name_from(&first) {
            pace.next().await;
            if !pager.begin(&topic.name) {
                break;
            }
            topics.push(found(topic, &mut pager, &image, call.ctx.node));
        }
    } else {
        let names: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
        for name in names.range(first.as_str()..) {
            pace.next().await;
            if !pager.begin(name) {
                break;
            }
            topics.push(match image.topic_by_name(name) {
                Some(topic) => found(topic, &mut pager, &image, call.ctx.node),
                None => missing(name),
            });
        }
    }
    let next = pager.next().map(|(name, index)| {
        Cursor::default().with_topic_name(TopicName(wire(&name))).with_partition_index(index as i32)
    });
    call.ready(&DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(next))
}

/// Where the page begins. The cursor must be at one of the topics that are asked for.
fn cursor(request: &DescribeTopicPartitionsRequest) -> Result<Option<(String, usize)>, ErrorCode> {
    let Some(From { topic_name, partition_index, .. }) = &request.cursor else { return Ok(None) };
    let index = usize::try_from(*partition_index).map_err(|_| ErrorCode::InvalidRequest)?;
    let asked = request.topics.is_empty() || request.topics.iter().any(|topic| topic.name == *topic_name);
    match asked {
        true => Ok(Some((topic_name.as_str().to_owned(), index))),
        false => Err(ErrorCode::InvalidRequest),
    }
}

/// The response has no error of its own: each topic that is named has it.
fn refused(request: &DescribeTopicPartitionsRequest, error: ErrorCode) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(topic.name.clone()))
            .with_error_code(error.code())
    });
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}

fn missing(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match topic::validate(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(wire(name))))
        .with_error_code(error.code())
        .with_topic_authorized_operations(operations::TOPIC)
}

fn found(
    topic: &Topic,
    pager: &mut Pager,
    image: &Image,
    here: NodeId,
) -> DescribeTopicPartitionsResponseTopic {
    let range = pager.take(&topic.name, topic.partition_count() as usize);
    let shown = topic.partitions_from(PartitionIndex(range.start as i32)).take(range.len());
    let partitions = shown.map(|(index, shown)| partition(index.0, shown, image, here));
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(wire(&topic.name))))
        .with_topic_id(topic.id.0)
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(operations::TOPIC)
}

fn partition(
    index: i32,
    partition: &Partition,
    image: &Image,
    here: NodeId,
) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(index)
        .with_leader_id(BrokerId(partition.leader.map_or(-1, |node| node.0)))
        .with_leader_epoch(partition.leader_epoch.0)
        .with_replica_nodes(partition.replicas.iter().map(|node| BrokerId(node.0)).collect())
        .with_isr_nodes(partition.isr.iter().map(|node| BrokerId(node.0)).collect())
        // Known, and none: a replica that leaves the ISR is not remembered as eligible.
        .with_eligible_leader_replicas(Some(vec![]))
        .with_last_known_elr(Some(vec![]))
        .with_offline_replicas(offline_replicas(partition, image, here))
}
