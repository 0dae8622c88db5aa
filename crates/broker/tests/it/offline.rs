//! A log that cannot be opened or fails later: what the metrics say of it, and what it leaves at the end.

use crate::support::{batch, Node, PATIENCE};
use norn_env::{
    clock,
    disk::{Disk, Open},
    testing::run,
};

const KAFKA_STORAGE_ERROR: i16 = 56;

/// Waits until the metrics count so many partitions, leaders and offline replicas.
async fn wait_for_counts(node: &Node, wanted: [i64; 3]) {
    let told = |name: &str| node.metric(&format!("kafka_server_replicamanager_{name}"));
    let counts = || ["partitioncount", "leadercount", "offlinereplicacount"].map(told);
    let deadline = clock::now() + PATIENCE;
    while counts() != wanted.map(Some) && clock::now() < deadline {
        clock::sleep(clock::Duration::from_millis(10)).await;
    }
    assert_eq!(counts(), wanted.map(Some));
}

#[test]
fn a_log_that_fails_while_it_is_open_is_offline_and_led_no_more() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let node = Node::start(root.path(), &[]).await;
        let mut client = node.connect().await;
        client.create_topic("t", 3, &[("segment.bytes", "1048576")]).await;
        wait_for_counts(&node, [3, 3, 0]).await;
        // The name of the log's next segment is taken.
        let disk = Disk::open(root.path()).unwrap();
        disk.create_dir_all("t-1/00000000000000000001.log").await.unwrap();
        let large = "x".repeat(300_000);
        for error in [0, KAFKA_STORAGE_ERROR] {
            let response = client.produce("t", 1, batch(&[large.as_str()])).await;
            assert_eq!(response.responses[0].partition_responses[0].error_code, error);
        }
        wait_for_counts(&node, [3, 2, 1]).await;
        node.stop().await;
    });
}

#[test]
fn a_log_that_cannot_be_opened_is_counted_once_and_costs_its_directory_no_marker() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let node = Node::start(root.path(), &[]).await;
        node.connect().await.create_topic("t", 3, &[]).await;
        node.stop().await;
        let disk = Disk::open(root.path()).unwrap();
        let segment = "t-1/00000000000000000000.log";
        disk.remove(segment).await.unwrap();
        disk.create_dir_all(segment).await.unwrap();

        let node = Node::start(root.path(), &[]).await;
        wait_for_counts(&node, [3, 2, 1]).await;
        node.stop().await;
        assert!(disk.open_file(".norn-clean-shutdown", Open::Read).await.is_ok());
    });
}
