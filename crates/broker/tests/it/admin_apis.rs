//! What administration tools are told is what is so: producers, pages of topics, the quorum, elections of what failed.

use crate::support::{Client, Node};
use kafka_protocol::messages::{
    describe_producers_request::TopicRequest as ProducersOf,
    describe_producers_response::ProducerState,
    describe_quorum_request::{PartitionData, TopicData},
    describe_topic_partitions_request::{Cursor, TopicRequest},
    elect_leaders_request::TopicPartitions,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest, ElectLeadersRequest,
    InitProducerIdRequest,
};
use norn_env::clock;
use norn_protocol::{
    batch::{build_batch, BatchOptions, Record},
    client::topic_name,
    types::{ProducerEpoch, ProducerId, Sequence},
};

const PREFERRED_LEADER_NOT_AVAILABLE: i16 = 80;
const ELIGIBLE_LEADERS_NOT_AVAILABLE: i16 = 83;

async fn producers(client: &mut Client, topic: &str, partitions: &[i32]) -> Vec<Vec<ProducerState>> {
    let topic =
        ProducersOf::default().with_name(topic_name(topic)).with_partition_indexes(partitions.to_vec());
    let response = client.ask(0, &DescribeProducersRequest::default().with_topics(vec![topic])).await;
    let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
    partitions
        .map(|partition| {
            assert_eq!(partition.error_code, 0);
            partition.active_producers
        })
        .collect()
}

#[test]
fn producers_of_a_partition_are_those_that_wrote_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        client.create_topic("t", 2, &[]).await;
        let new = InitProducerIdRequest::default().with_transactional_id(None);
        let mut ids = vec![];
        for _ in 0..3 {
            ids.push(client.ask(4, &new).await.producer_id.0);
        }
        let now = clock::wall_ms();
        for (at, id) in ids.iter().enumerate() {
            let records: Vec<Record> =
                (0..=at as i64).map(|i| Record { timestamp: now + i, ..Record::default() }).collect();
            let options = BatchOptions {
                producer_id: ProducerId(*id),
                producer_epoch: ProducerEpoch(0),
                base_sequence: Sequence(0),
                ..BatchOptions::default()
            };
            client.produce("t", 0, build_batch(&records, options).unwrap()).await;
        }
        // One that is not idempotent is nobody's.
        client.produce("t", 1, crate::support::batch(&["a"])).await;
        let told = producers(&mut client, "t", &[0, 1, 0]).await;
        assert_eq!(told.len(), 2, "each partition once");
        let states: Vec<_> = told[0]
            .iter()
            .map(|p| (p.producer_id.0, p.producer_epoch, p.last_sequence, p.last_timestamp))
            .collect();
        let expected: Vec<_> =
            ids.iter().enumerate().map(|(at, id)| (*id, 0, at as i32, now + at as i64)).collect();
        assert_eq!(states, expected);
        assert!(told[0].iter().all(|p| (p.coordinator_epoch, p.current_txn_start_offset) == (-1, -1)));
        assert!(told[1].is_empty());
        node.stop().await;
    });
}

#[test]
fn topics_are_told_in_pages_that_leave_none_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        for (name, partitions) in [("c", 1), ("a", 3), ("b", 2)] {
            client.create_topic(name, partitions, &[]).await;
        }
        let named = ["b", "a", "c", "a"].map(|name| TopicRequest::default().with_name(topic_name(name)));
        for topics in [vec![], Vec::from(named)] {
            let (mut told, mut cursor) = (vec![], None);
            for _ in 0..4 {
                let request = DescribeTopicPartitionsRequest::default()
                    .with_topics(topics.clone())
                    .with_response_partition_limit(2)
                    .with_cursor(cursor.take());
                let page = client.ask(0, &request).await;
                for topic in &page.topics {
                    let name = topic.name.as_ref().unwrap().as_str();
                    for partition in &topic.partitions {
                        assert_eq!((partition.leader_id.0, partition.isr_nodes.len()), (1, 1));
                        assert_eq!(partition.eligible_leader_replicas, Some(vec![]));
                        told.push(format!("{name}-{}", partition.partition_index));
                    }
                }
                let Some(next) = page.next_cursor else { break };
                cursor = Some(
                    Cursor::default()
                        .with_topic_name(next.topic_name)
                        .with_partition_index(next.partition_index),
                );
            }
            assert_eq!(told, ["a-0", "a-1", "a-2", "b-0", "b-1", "c-0"]);
        }
        node.stop().await;
    });
}

#[test]
fn the_quorum_moves_with_the_metadata_and_its_epoch_with_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let topic = TopicData::default().with_topic_name(topic_name("__cluster_metadata"));
        let topic = topic.with_partitions(vec![PartitionData::default()]);
        let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
        let mut epochs = vec![];
        for name in ["first", "second"] {
            let node = Node::start(&path, &[]).await;
            let mut client = node.connect().await;
            let mut ends = vec![];
            for create in [false, true] {
                if create {
                    client.create_topic(name, 1, &[]).await;
                }
                let response = client.ask(2, &request).await;
                let partition = &response.topics[0].partitions[0];
                assert_eq!(partition.current_voters[0].log_end_offset, partition.high_watermark);
                ends.push(partition.high_watermark);
                epochs.push(partition.leader_epoch);
            }
            assert_eq!(ends[1], ends[0] + 1, "the creation is one entry");
            node.stop().await;
        }
        assert!(epochs[0] == epochs[1] && epochs[1] < epochs[2], "{epochs:?}");
    });
}

#[test]
#[allow(clippy::disallowed_methods, reason = "breaks the real disk")]
fn a_partition_whose_directory_is_gone_can_elect_nobody() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_owned();
    norn_env::testing::run_on_real_disk(move || async move {
        let (kept, lost) = (path.join("kept"), path.join("lost"));
        let dirs = format!("{},{}", kept.display(), lost.display());
        let settings = [("log.dirs", dirs.as_str())];
        let node = Node::start(&path, &settings).await;
        node.connect().await.create_topic("t", 4, &[]).await;
        node.stop().await;
        let in_lost: Vec<i32> = (0..4).filter(|index| lost.join(format!("t-{index}")).exists()).collect();
        std::fs::rename(&lost, path.join("elsewhere")).unwrap();
        std::fs::write(&lost, b"").unwrap();
        let node = Node::start(&path, &settings).await;
        let mut client = node.connect().await;
        for (kind, error) in [(0, PREFERRED_LEADER_NOT_AVAILABLE), (1, ELIGIBLE_LEADERS_NOT_AVAILABLE)] {
            let all = ElectLeadersRequest::default().with_election_type(kind).with_topic_partitions(None);
            let named = TopicPartitions::default().with_topic(topic_name("t"));
            let named = all.clone().with_topic_partitions(Some(vec![named.with_partitions(in_lost.clone())]));
            for request in [all, named] {
                // The leadership is given up soon after the start.
                let mut told = vec![];
                for _ in 0..200 {
                    let response = client.ask(2, &request).await;
                    let results = response.replica_election_results.into_iter();
                    told = results
                        .flat_map(|topic| topic.partition_result)
                        .map(|partition| (partition.partition_id, partition.error_code))
                        .collect();
                    if told.len() == 2 && told.iter().all(|(_, told)| *told == error) {
                        break;
                    }
                    clock::sleep(std::time::Duration::from_millis(20)).await;
                }
                assert_eq!(told, in_lost.iter().map(|index| (*index, error)).collect::<Vec<_>>());
            }
        }
        node.stop().await;
    });
}
