//! A log that cannot be opened: what the metrics say of it, and what it leaves at the end.

use crate::support::{Node, PATIENCE};
use norn_env::{
    clock,
    disk::{Disk, Open},
    testing::run,
};

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
        let told = |name: &str| node.metric(&format!("kafka_server_replicamanager_{name}"));
        let deadline = clock::now() + PATIENCE;
        let wanted = [Some(3), Some(2), Some(1)];
        let counts = || ["partitioncount", "leadercount", "offlinereplicacount"].map(told);
        while counts() != wanted && clock::now() < deadline {
            clock::sleep(clock::Duration::from_millis(10)).await;
        }
        assert_eq!(counts(), wanted);
        node.stop().await;
        assert!(disk.open_file(".norn-clean-shutdown", Open::Read).await.is_ok());
    });
}
