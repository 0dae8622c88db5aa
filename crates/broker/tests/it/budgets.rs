//! What clients can make a broker hold, and whom it keeps waiting: one that never reads, and one that writes to a disk that
//! hangs.

use std::path::Path;

use bytes::Bytes;
use kafka_protocol::messages::{DescribeLogDirsRequest, MetadataRequest, ProduceRequest};
use norn_env::{
    clock::{self, Duration},
    testing::{run, run_on_hanging_disk},
};
use norn_protocol::batch::{build_batch, BatchOptions, Record};

use crate::support::{batch, produce_request, Client, Node, PATIENCE};

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

#[test]
fn a_client_that_never_reads_holds_one_bounded_amount() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    run(move || async move {
        const ASKED: usize = 500;
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        client.create_topic("t", 1000, &[]).await;
        let all = MetadataRequest::default().with_topics(None);
        let len = {
            client.send(12, &all).await;
            client.receive_frame().await.unwrap().len() as i64
        };
        let mut mute = node.connect().await;
        for _ in 0..ASKED {
            mute.send(12, &all).await;
        }
        wait_until(|| used(&node, "responses", "") > 1 << 19, "its responses are charged").await;
        // What may be queued, what is gathered behind it, and what does not fit and waits.
        let bound = (2 << 20) + 3 * len;
        for _ in 0..100 {
            let held = used(&node, "responses", "");
            assert!(held <= bound, "{held} bytes, responses have {len}");
            clock::sleep(Duration::from_millis(5)).await;
        }
        // Nobody else notices, and nothing is lost.
        client.ask(12, &all).await;
        for _ in 0..ASKED {
            mute.receive::<MetadataRequest>(12).await.unwrap();
        }
        wait_until(|| used(&node, "responses", "") == 0, "all is given back").await;
        node.stop().await;
    });
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
            let mut producer = node.connect().await;
            // Small ones, large ones, and one larger than all the room.
            let len = [1000, 100_000, 300_000][at % 3];
            producer.send(9, &large("t", b, len)).await;
            producers.push(producer);
        }
        wait_until(|| used(&node, "data", &label) > 100_000, "records wait for the disk").await;
        // Who asks for anything else is answered meanwhile, also with large records for the other disk.
        let before = clock::now();
        for _ in 0..20 {
            assert_eq!(client.metadata("t").await.topics.len(), 1);
            let answer = client.ask(9, &large("t", a, 5000)).await;
            assert_eq!(error_of(&answer), 0);
        }
        assert!(clock::now() - before < Duration::from_secs(1), "{:?}", clock::now() - before);
        assert!(used(&node, "data", &label) <= 256 << 10);
        // Producers for the disk that hangs are told when there is no room; the first then wait for it no longer.
        let mut refused = 0;
        for producer in &mut producers {
            let answer = producer.receive::<ProduceRequest>(9).await.unwrap();
            refused += i32::from(error_of(&answer) == REQUEST_TIMED_OUT);
        }
        assert_eq!(refused, 20);
        let mut late = node.connect().await;
        let before = clock::now();
        assert_eq!(error_of(&late.ask(9, &large("t", b, 100_000)).await), REQUEST_TIMED_OUT);
        assert!(clock::now() - before < Duration::from_secs(1), "it is known by now that nothing moves");
        assert_eq!(error_of(&client.ask(9, &large("t", a, 100_000)).await), 0);
        disk.go_on();
        wait_until(|| used(&node, "data", &label) == 0, "all is given back").await;
        assert_eq!(error_of(&late.produce("t", b, batch(&["v"])).await), 0);
        node.stop().await;
    });
}

fn partition_in(described: &kafka_protocol::messages::DescribeLogDirsResponse, dir: &str) -> i32 {
    let dir = described.results.iter().find(|one| one.log_dir.as_str() == dir).unwrap();
    dir.topics[0].partitions[0].partition_index
}
