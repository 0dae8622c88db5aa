//! DescribeQuorum (key 55, KIP-595): the metadata quorum as its driver last published it. Offsets are those of Raft: the
//! record at an offset is the entry of that index.

use kafka_protocol::messages::{
    describe_quorum_response::{Node, PartitionData, ReplicaState, TopicData},
    BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, TopicName,
};
use norn_env::clock;
use norn_protocol::ErrorCode;
use uuid::Uuid;

use super::{group::wire, Call, Context, Session};
use crate::server::Reply;

/// What Kafka calls the metadata log, and its one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";
const METADATA_PARTITION: i32 = 0;

/// Directory ids and nodes are known from this version on (KIP-853).
const IDS_SINCE: i16 = 2;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DescribeQuorumRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let asked = match request.topics.as_slice() {
        [topic] => match topic.partitions.as_slice() {
            [partition] => Some((topic.topic_name.as_str(), partition.partition_index)),
            _ => None,
        },
        _ => None,
    };
    if asked != Some((METADATA_TOPIC, METADATA_PARTITION)) {
        return call.ready(&unknown(&request));
    }
    let (partition, nodes) = described(&call.ctx, call.version);
    let topic = TopicData::default()
        .with_topic_name(TopicName(wire(METADATA_TOPIC)))
        .with_partitions(vec![partition.with_partition_index(METADATA_PARTITION)]);
    let response = DescribeQuorumResponse::default().with_error_message(None).with_topics(vec![topic]);
    call.ready(&response.with_nodes(nodes))
}

/// Each partition that is named, with the error of one that is not there.
fn unknown(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            PartitionData::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
                .with_error_message(None)
        });
        TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions.collect())
    });
    DescribeQuorumResponse::default().with_error_message(None).with_topics(topics.collect())
}

/// The metadata partition, and its controllers where the version has them.
fn described(ctx: &Context, version: i16) -> (PartitionData, Vec<Node>) {
    let here = ctx.node.0;
    let quorum = ctx.controller.quorum();
    if quorum.leader != u64::try_from(here).ok() {
        let error = ErrorCode::NotLeaderOrFollower.code();
        return (PartitionData::default().with_error_code(error).with_error_message(None), vec![]);
    }
    let tells_ids = version >= IDS_SINCE;
    let directory = ctx.data_dirs.metadata_id().filter(|_| tells_ids).unwrap_or(Uuid::nil());
    let id = |voter: u64| BrokerId(i32::try_from(voter).unwrap_or(-1));
    let now = clock::wall_ms();
    // The one voter is this node, which leads: what it knows of itself is of this moment.
    let voters = ctx.controller.voters().iter().map(|voter| {
        let state = ReplicaState::default().with_replica_id(id(*voter));
        match id(*voter).0 == here {
            true => state
                .with_replica_directory_id(directory)
                .with_log_end_offset(end(quorum.last))
                .with_last_fetch_timestamp(now)
                .with_last_caught_up_timestamp(now),
            false => {
                state.with_log_end_offset(-1).with_last_fetch_timestamp(-1).with_last_caught_up_timestamp(-1)
            }
        }
    });
    let partition = PartitionData::default()
        .with_error_message(None)
        .with_leader_id(BrokerId(here))
        .with_leader_epoch(i32::try_from(quorum.term).unwrap_or(i32::MAX))
        .with_high_watermark(end(quorum.commit))
        .with_current_voters(voters.collect());
    // No listener is for controllers.
    let nodes = ctx.controller.voters().iter().filter(|_| tells_ids);
    let nodes = nodes.map(|voter| Node::default().with_node_id(id(*voter)));
    (partition, nodes.collect())
}

/// The offset after an index.
fn end(index: u64) -> i64 {
    i64::try_from(index).map_or(i64::MAX, |index| index.saturating_add(1))
}
