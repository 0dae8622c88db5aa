//! A partition's task over a real log and a quorum of its own.

use std::sync::Arc;

use bytes::Bytes;
use norn_core::{
    metadata::{Command, ConfigLayers, ConfigMap, Endpoint, TopicConfig},
    producer::ProducerTable,
};
use norn_env::{
    clock::{self, Duration},
    disk::Disk,
    task,
};
use norn_log::{
    dir::{DirConfig, LogDir},
    LogId,
};
use norn_protocol::{
    batch::{build_batch, Batch, BatchOptions, Record},
    types::{LeaderEpoch, NodeId, Offset, TopicId},
};
use norn_quorum::QuorumConfig;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::{
    actor::{self, Setup},
    handle::{Message, QUEUE_LEN},
    open::log_config,
    published::{Published, View},
};
use crate::{
    api::HANDLED,
    controller::{Controller, MetadataMachine, Registration},
    metrics::Metrics,
};

const NODE: NodeId = NodeId(1);

fn soon() -> clock::Instant {
    clock::now() + Duration::from_secs(60)
}

/// A controller that leads a topic with this id.
async fn controller(dir: &LogDir, id: TopicId) -> Controller {
    let (machine, image) = MetadataMachine::new();
    let config = QuorumConfig::new(NODE.0 as u64);
    let (quorum, task) = norn_quorum::start(config, dir.disk().clone(), machine).await.unwrap();
    let mut status = quorum.status();
    status.wait_for(|status| status.leader.is_some()).await.unwrap();
    let endpoint = Endpoint { host: "localhost".to_owned(), port: 9092 };
    let registration = Registration { node: NODE, directories: vec![], endpoint, rack: None };
    let controller = Controller::register(quorum, image, registration, soon()).await.unwrap();
    let (name, assignments) = ("t".to_owned(), vec![vec![NODE]]);
    controller.change(Command::CreateTopic { name, id, assignments, configs: vec![] }, soon()).await.unwrap();
    // It ends with the test's runtime.
    std::mem::forget(task);
    controller
}

fn config() -> TopicConfig {
    let none = ConfigMap::new();
    let layers = ConfigLayers { topic: &none, broker: &none, cluster: &none, file: &none };
    TopicConfig { retention_bytes: Some(1), segment_bytes: 100, ..TopicConfig::resolve(&layers).unwrap() }
}

#[test]
fn retention_comes_however_full_the_queue_is() {
    norn_env::testing::run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, _task) =
            LogDir::open(Disk::open(root.path()).unwrap(), DirConfig::default()).await.unwrap();
        let id = LogId { topic: "t".into(), partition: 0, topic_id: TopicId(Uuid::from_u128(1)) };
        let controller = controller(&dir, id.topic_id).await;
        let config = config();
        let (mut log, _) = dir.open_log(id.clone(), log_config(&config), &mut |_| {}).await.unwrap();
        for _ in 0..5 {
            let record = Record { value: Some(Bytes::from(vec![7; 200])), ..Record::default() };
            let batch = build_batch(&[record], BatchOptions::default()).unwrap();
            let batch = Batch::split_all(batch).unwrap().remove(0);
            let at = log.end();
            log.append(&[(batch, at)], LeaderEpoch(0), None).await.unwrap();
        }
        log.sync().await.unwrap();
        let end = log.end();
        let rules = norn_core::record_rules::RecordRules::of(&norn_core::metadata::TopicConfig::default());
        let published = Arc::new(Published::new(View::before_start(&log, rules)));
        let (queue, waiting) = mpsc::channel(QUEUE_LEN);
        let retention = watch::Sender::new(Duration::MAX);
        let assigned = controller.image().topic(id.topic_id).unwrap().partitions[0].clone();
        let setup = Setup {
            id,
            node: NODE,
            log,
            dir,
            producers: ProducerTable::new(),
            config: config.clone(),
            assigned,
            queue: waiting,
            published: published.clone(),
            controller,
            metrics: Metrics::new(HANDLED),
            retention: retention.subscribe(),
        };
        let running = task::spawn("partition", actor::run(setup));
        while published.view().high_watermark < end {
            clock::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(published.view().log_start, Offset(0));
        retention.send_replace(Duration::MAX);
        // The first may be taken in the turn that had begun.
        let mut starts = vec![];
        for _ in 0..2 {
            let (reply, start) = oneshot::channel();
            queue.try_send(Message::DeleteRecords { before: Offset(0), reply }).unwrap();
            starts.push(start);
        }
        while queue.try_send(Message::Configured(Box::new(config.clone()))).is_ok() {}
        let start = starts.pop().unwrap().await.unwrap().unwrap();
        assert!(start > Offset(0), "retention waited for the queue");
        drop(queue);
        clock::timeout_at(soon(), running).await.unwrap().unwrap();
    });
}
