//! Metadata (key 3): brokers and topics as the image has them. A topic that does not exist is created when the client and
//! the broker allow it; the connection reads no further until that is done, so that what follows finds the topic.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kafka_protocol::messages::{
    metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    BrokerId, MetadataRequest, MetadataResponse, TopicName,
};
use norn_core::{
    metadata::{Image, Partition, Topic},
    operations,
};
use norn_env::clock::Duration;
use norn_protocol::{
    topic,
    types::{NodeId, TopicId},
    ErrorCode,
};

use super::{group::wire, topics, Call, Pace, Session};
use crate::server::Reply;

/// How long creating topics that were asked for may take; the client retries a topic that is not there by then.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

/// A topic of which only the id is known has no name from this version on, and an empty one before.
const NULL_NAME_SINCE: i16 = 12;

/// A topic as it was asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Name(String),
    Id(TopicId),
}

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: MetadataRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let ctx = &call.ctx;
    let all = asks_for_all(&request, call.version);
    let asked = if all { vec![] } else { asked(&request) };
    let may_create = ctx.config.topics.auto_create && (call.version < 4 || request.allow_auto_topic_creation);
    let mut image = ctx.controller.image();
    let mut failed: BTreeMap<String, ErrorCode> = BTreeMap::new();
    if may_create {
        let missing: Vec<String> = asked
            .iter()
            .filter_map(|asked| match asked {
                Asked::Name(name) if topic::validate(name).is_ok() && image.topic_by_name(name).is_none() => {
                    Some(name.clone())
                }
                _ => None,
            })
            .collect();
        if !missing.is_empty() {
            failed =
                topics::auto_create(ctx, missing, call.received + CREATE_TIMEOUT).await.into_iter().collect();
            image = ctx.controller.image();
        }
    }
    let (mut topics, mut pace) = (vec![], Pace::default());
    if all {
        for topic in image.topics_by_name() {
            pace.next().await;
            topics.push(found(topic, &image, ctx.node));
        }
    }
    for asked in asked {
        pace.next().await;
        topics.push(describe(asked, &image, &failed, &call));
    }
    let of_topic = operations::if_asked(request.include_topic_authorized_operations, operations::TOPIC);
    for topic in topics.iter_mut().filter(|topic| topic.error_code != ErrorCode::UnknownTopicId.code()) {
        topic.topic_authorized_operations = of_topic;
    }
    let of_cluster = operations::if_asked(request.include_cluster_authorized_operations, operations::CLUSTER);
    let brokers = image.brokers().filter(|broker| !broker.fenced).map(|broker| {
        let endpoint = if broker.node == ctx.node { &call.endpoint } else { &broker.endpoint };
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(broker.node.0))
            .with_host(wire(&endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(broker.rack.as_deref().map(wire))
    });
    call.ready(
        &MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(wire(&ctx.cluster_id)))
            .with_controller_id(BrokerId(ctx.node.0))
            .with_topics(topics)
            .with_cluster_authorized_operations(of_cluster),
    )
}

/// Version 0 asks for all topics by an empty list, later ones by null.
fn asks_for_all(request: &MetadataRequest, version: i16) -> bool {
    request.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty())
}

/// The topics that are asked for. As by Kafka each is answered once, however often it is named.
fn asked(request: &MetadataRequest) -> Vec<Asked> {
    let mut seen = BTreeSet::new();
    let each = request.topics.iter().flatten().map(|topic| match &topic.name {
        Some(name) => Asked::Name(name.0.as_str().to_owned()),
        None => Asked::Id(TopicId(topic.topic_id)),
    });
    each.filter(|asked| seen.insert(asked.clone())).collect()
}

fn describe(
    asked: Asked,
    image: &Image,
    failed: &BTreeMap<String, ErrorCode>,
    call: &Call,
) -> MetadataResponseTopic {
    let known = match &asked {
        Asked::Name(name) => image.topic_by_name(name),
        Asked::Id(id) => image.topic(*id),
    };
    if let Some(topic) = known {
        return found(topic, image, call.ctx.node);
    }
    let response = MetadataResponseTopic::default();
    match asked {
        Asked::Name(name) => {
            let error = match failed.get(&name) {
                Some(error) => *error,
                None if topic::validate(&name).is_err() => ErrorCode::InvalidTopicException,
                None => ErrorCode::UnknownTopicOrPartition,
            };
            response.with_name(Some(TopicName(wire(&name)))).with_error_code(error.code())
        }
        Asked::Id(id) => {
            let name = (call.version < NULL_NAME_SINCE).then(TopicName::default);
            let response = response.with_name(name).with_topic_id(id.0);
            response.with_error_code(ErrorCode::UnknownTopicId.code())
        }
    }
}

fn found(topic: &Arc<Topic>, image: &Image, node: NodeId) -> MetadataResponseTopic {
    let partitions = topic.partitions().map(|(index, p)| partition(index.0, p, image, node));
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(wire(&topic.name))))
        .with_topic_id(topic.id.0)
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
}

/// The replicas of a partition that cannot be used.
pub(super) fn offline_replicas(partition: &Partition, image: &Image, here: NodeId) -> Vec<BrokerId> {
    // A replica here without a leader anywhere has given the leadership up: its disk failed.
    let failed = |node: NodeId| node == here && partition.leader.is_none();
    let offline = partition.replicas.iter().filter(|node| !image.is_alive(**node) || failed(**node));
    offline.map(|node| BrokerId(node.0)).collect()
}

fn partition(index: i32, partition: &Partition, image: &Image, here: NodeId) -> MetadataResponsePartition {
    let error = if partition.leader.is_none() { ErrorCode::LeaderNotAvailable.code() } else { 0 };
    MetadataResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(index)
        .with_leader_id(BrokerId(partition.leader.map_or(-1, |node| node.0)))
        .with_leader_epoch(partition.leader_epoch.0)
        .with_replica_nodes(partition.replicas.iter().map(|node| BrokerId(node.0)).collect())
        .with_isr_nodes(partition.isr.iter().map(|node| BrokerId(node.0)).collect())
        .with_offline_replicas(offline_replicas(partition, image, here))
}
