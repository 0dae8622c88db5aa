//! What clients can make a broker hold, and whom it keeps waiting: one that never reads, and one that writes to a disk that
//! hangs.

use std::path::Path;

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        metadata_request::MetadataRequestTopic,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        DescribeLogDirsRequest, FetchRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
        MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest,
    },
    protocol::Request,
};
use norn_env::{
    clock::{self, Duration},
    task,
    testing::{run, run_on_hanging_disk},
};
use norn_protocol::{
    batch::{build_batch, BatchOptions, Record},
    client::{encode_request, topic_name},
};

use crate::support::{batch, fetch_request, produce_request, text, Client, Node, PATIENCE};

const REQUEST_TIMED_OUT: i16 = 7;

fn used(node: &Node, class: &str, dir: &str) -> i64 {
    let name = format!("norn_budget_used_bytes{{class=\"{class}\",log_directory=\"{dir}\"}}");
    node.metric(&name).expect("a budget is told")
}

async fn wait_until(mut is_so: impl FnMut() -> bool, what: &str) {
    let deadline = clock::now() + PATIENCE;
    while !is_so() {
        assert!(clock::now() < deadline, "{what}");
        clock::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends many requests and reads no answer until all are sent and as many as may be are made.
async fn ask_and_not_read<R: Request>(node: &Node, version: i16, request: &R) {
    const ASKED: usize = 500;
    let mut other = node.connect().await;
    other.send(version, request).await;
    let len = other.receive_frame().await.unwrap().len() as i64;
    assert!(len > 10_000, "{len} bytes fill nothing");
    let mut mute = node.connect().await;
    for _ in 0..ASKED {
        mute.send(version, request).await;
    }
    wait_until(|| used(node, "responses", "") >= len, "its responses are charged").await;
    // What may be queued, what is gathered behind it, and what does not fit and waits.
    let bound = (2 << 20) + 3 * len;
    for _ in 0..100 {
        let held = used(node, "responses", "");
        assert!(held <= bound, "{held} bytes, responses have {len}");
        clock::sleep(Duration::from_millis(5)).await;
    }
    // Nobody else notices, and nothing is lost.
    other.ask(version, request).await;
    for _ in 0..ASKED {
        mute.receive::<R>(version).await.unwrap();
    }
    wait_until(|| used(node, "responses", "") == 0, "all is given back").await;
}

#[test]
fn a_client_that_never_reads_holds_one_bounded_amount() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    run(move || async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        client.create_topic("t", 1000, &[]).await;
        // Answered at once, and when a coordinator has answered.
        ask_and_not_read(&node, 12, &MetadataRequest::default().with_topics(None)).await;
        commit_all(&mut client).await;
        let all = OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics(None);
        ask_and_not_read(&node, 5, &all).await;
        node.stop().await;
    });
}

/// Commits an offset for each partition of the topic `t`, as the group `g`.
async fn commit_all(client: &mut Client) {
    let partitions = (0..1000).map(|index| {
        let partition = OffsetCommitRequestPartition::default().with_partition_index(index);
        partition.with_committed_offset(7).with_committed_metadata(Some(text("some metadata")))
    });
    let topic =
        OffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(partitions.collect());
    let request = OffsetCommitRequest::default().with_group_id(GroupId(text("g"))).with_topics(vec![topic]);
    let find = FindCoordinatorRequest::default().with_key(text("g"));
    let deadline = clock::now() + PATIENCE;
    loop {
        client.ask(3, &find).await;
        let response = client.ask(8, &request).await;
        if response.topics[0].partitions.iter().all(|partition| partition.error_code == 0) {
            return;
        }
        assert!(clock::now() < deadline, "{:?}", response.topics[0].partitions[0]);
        clock::sleep(Duration::from_millis(50)).await;
    }
}

/// A Produce with one batch of about `len` bytes.
fn large(topic: &str, partition: i32, len: usize) -> ProduceRequest {
    let record = Record { value: Some(Bytes::from(vec![7; len])), ..Record::default() };
    produce_request(topic, partition, 1, build_batch(&[record], BatchOptions::default()).unwrap())
}

fn error_of(response: &kafka_protocol::messages::ProduceResponse) -> i16 {
    response.responses[0].partition_responses[0].error_code
}

/// A topic's partition in each of two directories, and the path of the second.
async fn start_on_two(path: &Path) -> (Node, Client, std::path::PathBuf) {
    let dirs = [path.join("a"), path.join("b")];
    let log_dirs = format!("{},{}", dirs[0].display(), dirs[1].display());
    // 256 KiB for the records of each.
    let settings = [("log.dirs", log_dirs.as_str()), ("queued.max.request.bytes", "1048576")];
    let node = Node::start(path, &settings).await;
    let mut client = node.connect().await;
    client.create_topic("t", 2, &[]).await;
    (node, client, dirs[1].clone())
}

#[test]
fn a_disk_that_hangs_keeps_only_its_own_producers_waiting() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_owned();
    run_on_hanging_disk(move |disk| async move {
        let (node, mut client, hung) = start_on_two(&path).await;
        let label = hung.display().to_string();
        let b = client.ask(1, &DescribeLogDirsRequest::default().with_topics(None)).await;
        let b = partition_in(&b, &label);
        let a = 1 - b;
        disk.hang(&hung);
        let mut producers = vec![];
        for at in 0..20 {
            let producer = node.connect().await;
            // Small ones, large ones, and one larger than all the room.
            let len = [1000, 100_000, 300_000][at % 3];
            producers.push(task::spawn("producer", producer.ask_or_be_closed(9, large("t", b, len))));
        }
        let bound = 256 << 10;
        wait_until(|| used(&node, "data", &label) == bound, "the disk's room is taken").await;
        // Who asks for anything else is answered meanwhile, also with large records for the other disk, and large requests
        // that are no records.
        let before = clock::now();
        let topics = (0..1000)
            .map(|at| MetadataRequestTopic::default().with_name(Some(topic_name(&format!("none-{at}")))));
        let long = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false);
        for _ in 0..20 {
            assert_eq!(client.metadata("t").await.topics.len(), 1);
            assert_eq!(client.ask(12, &long).await.topics.len(), 1000);
            for len in [5000, 200_000] {
                assert_eq!(error_of(&client.ask(9, &large("t", a, len)).await), 0);
            }
        }
        assert!(clock::now() - before < Duration::from_secs(1), "{:?}", clock::now() - before);
        // Of the producers for the disk that hangs, those with a small request are told in the end, and those that were not
        // read are cut off. Then nothing of theirs is held.
        let mut told = 0;
        for producer in producers {
            let answer = producer.await.unwrap();
            told += i32::from(answer.is_ok_and(|answer| error_of(&answer) == REQUEST_TIMED_OUT));
        }
        assert!(told >= 7, "{told} are told");
        disk.go_on();
        wait_until(|| used(&node, "data", &label) == 0, "all is given back").await;
        let mut late = node.connect().await;
        assert_eq!(error_of(&late.produce("t", b, batch(&["v"])).await), 0);
        node.stop().await;
    });
}

fn partition_in(described: &kafka_protocol::messages::DescribeLogDirsResponse, dir: &str) -> i32 {
    let dir = described.results.iter().find(|one| one.log_dir.as_str() == dir).unwrap();
    dir.topics[0].partitions[0].partition_index
}

#[test]
fn a_produce_holds_nothing_while_its_answer_waits_and_its_records_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    run(move || async move {
        let node = Node::start(&path, &[]).await;
        let label = path.display().to_string();
        let mut client = node.connect().await;
        for topic in ["t", "idle"] {
            client.create_topic(topic, 1, &[]).await;
        }
        // Answers leave in the order of the requests: that to the Produce waits behind the long poll.
        let mut producer = node.connect().await;
        producer.send(12, &fetch_request("idle", 0, 50_000)).await;
        let whole = encode_request(2, 9, Some("test"), &large("t", 0, 200_000)).unwrap();
        producer.send_bytes(whole.slice(..100_000)).await;
        wait_until(|| used(&node, "data", &label) >= 200_000, "the request is charged").await;
        producer.send_bytes(whole.slice(100_000..)).await;
        wait_until(|| used(&node, "data", &label) == 0, "nothing of the request is held").await;
        client.produce("idle", 0, batch(&["v"])).await;
        let polled = producer.receive::<FetchRequest>(12).await.unwrap();
        let records = polled.responses[0].partitions[0].records.as_ref();
        assert!(records.is_some_and(|records| !records.is_empty()), "it was held until the long poll ended");
        assert_eq!(error_of(&producer.receive::<ProduceRequest>(9).await.unwrap()), 0);
        node.stop().await;
    });
}

#[test]
fn a_heartbeat_waits_for_no_other_small_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    run(move || async move {
        // 4 KiB for small requests, 16 KiB for records.
        let node = Node::start(&path, &[("queued.max.request.bytes", "32768")]).await;
        let label = path.display().to_string();
        let mut client = node.connect().await;
        client.create_topic("t", 1, &[]).await;
        // All but the end of a large Produce: it is on pace, so that it keeps the room for records for a minute.
        let mut slow = node.connect().await;
        let whole = encode_request(1, 9, Some("test"), &large("t", 0, 20_000)).unwrap();
        slow.send_bytes(whole.slice(..whole.len() - 1000)).await;
        wait_until(|| used(&node, "data", &label) == 16 << 10, "the room for records is taken").await;
        // One that waits for that room, and takes all of that for small requests meanwhile.
        let mut small = node.connect().await;
        small.send(9, &large("t", 0, 5000)).await;
        let is_taken = || used(&node, "requests", "") >= 4 << 10;
        wait_until(is_taken, "the room for small requests is taken").await;
        client.ask(4, &HeartbeatRequest::default().with_group_id(GroupId(text("g")))).await;
        assert!(is_taken(), "the heartbeat waited until the Produce was given up");
        slow.send_bytes(whole.slice(whole.len() - 1000..)).await;
        for mut producer in [slow, small] {
            assert_eq!(error_of(&producer.receive::<ProduceRequest>(9).await.unwrap()), 0);
        }
        node.stop().await;
    });
}
