//! What DescribeLogDirs tells is what lies on the disks.

use std::collections::BTreeMap;

use crate::support::{batch, Client, Node};
use kafka_protocol::messages::{
    describe_log_dirs_response::DescribeLogDirsResult, ApiKey, DescribeLogDirsRequest,
};
use norn_protocol::versions;

const KAFKA_STORAGE_ERROR: i16 = 56;

async fn describe(client: &mut Client) -> Vec<DescribeLogDirsResult> {
    let version = versions::range(ApiKey::DescribeLogDirs).unwrap().max;
    let response = client.ask(version, &DescribeLogDirsRequest::default().with_topics(None)).await;
    assert_eq!(response.error_code, 0);
    response.results
}

fn told(dir: &DescribeLogDirsResult) -> BTreeMap<String, i64> {
    let mut sizes = BTreeMap::new();
    for topic in &dir.topics {
        for partition in &topic.partitions {
            assert_eq!((partition.offset_lag, partition.is_future_key), (0, false));
            let name = format!("{}-{}", topic.name.as_str(), partition.partition_index);
            assert!(sizes.insert(name, partition.partition_size).is_none(), "told twice");
        }
    }
    sizes
}

#[test]
fn sizes_are_those_of_the_logs_and_each_is_told_in_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let dirs = [root.path().join("a"), root.path().join("b")];
    let log_dirs = format!("{},{}", dirs[0].display(), dirs[1].display());
    let path = dirs[0].clone();
    norn_env::testing::run(move || async move {
        let node = Node::start(&path, &[("log.dirs", &log_dirs)]).await;
        let mut client = node.connect().await;
        client.create_topic("t", 4, &[]).await;
        let records = batch(&["some value", "another"]);
        for (partition, count) in [(0, 1), (1, 3)] {
            for _ in 0..count {
                client.produce("t", partition, records.clone()).await;
            }
        }
        let described = describe(&mut client).await;
        let paths: Vec<&str> = described.iter().map(|dir| dir.log_dir.as_str()).collect();
        assert_eq!(paths, dirs.each_ref().map(|dir| dir.to_str().unwrap()));
        for dir in &described {
            assert_eq!((dir.error_code, told(dir).len()), (0, 2), "{dir:?}");
            assert!(dir.usable_bytes > 0 && dir.total_bytes >= dir.usable_bytes, "{dir:?}");
        }
        let sizes: BTreeMap<String, i64> = described.iter().flat_map(told).collect();
        let len = records.len() as i64;
        let expected = [("t-0", len), ("t-1", 3 * len), ("t-2", 0), ("t-3", 0)];
        assert_eq!(sizes, expected.map(|(name, size)| (name.to_owned(), size)).into());
        node.stop().await;
    });
}

#[test]
#[allow(clippy::disallowed_methods, reason = "breaks the real disk")]
fn a_directory_that_is_gone_is_a_storage_error_and_the_other_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_owned();
    norn_env::testing::run_on_real_disk(move || async move {
        let (kept, lost) = (path.join("kept"), path.join("lost"));
        let dirs = format!("{},{}", kept.display(), lost.display());
        let settings = [("log.dirs", dirs.as_str())];
        let node = Node::start(&path, &settings).await;
        node.connect().await.create_topic("t", 4, &[]).await;
        node.stop().await;
        std::fs::rename(&lost, path.join("elsewhere")).unwrap();
        std::fs::write(&lost, b"").unwrap();
        let node = Node::start(&path, &settings).await;
        let described = describe(&mut node.connect().await).await;
        let [kept_now, lost_now] = described.as_slice() else { panic!("{described:?}") };
        assert_eq!((kept_now.error_code, told(kept_now).len()), (0, 2));
        assert_eq!(
            (lost_now.error_code, lost_now.log_dir.as_str()),
            (KAFKA_STORAGE_ERROR, lost.to_str().unwrap())
        );
        assert_eq!((lost_now.topics.len(), lost_now.total_bytes, lost_now.usable_bytes), (0, -1, -1));
        node.stop().await;
    });
}
