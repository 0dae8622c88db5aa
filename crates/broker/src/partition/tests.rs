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
    types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId},
    ErrorCode,
};
use norn_quorum::QuorumConfig;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::{
    actor::{self, PartitionEnd, Setup},
    handle::{CoordinatorIncarnation, Message, Origin, Produce, QUEUE_LEN},
    open::log_config,
    published::{Published, View},
    Acks,
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

fn batch() -> Batch {
    let record = Record { value: Some(Bytes::from(vec![7; 200])), ..Record::default() };
    let bytes = build_batch(&[record], BatchOptions::default()).unwrap();
    Batch::split_all(bytes).unwrap().remove(0)
}

/// A partition's task over a log that holds so many batches, and the ways to it.
struct Running {
    queue: mpsc::Sender<Message>,
    published: Arc<Published>,
    retention: watch::Sender<Duration>,
    task: task::Handle<PartitionEnd>,
    _dir: task::Handle<norn_log::dir::DirExit>,
}

/// Starts the task; it leads, and what its log holds is committed.
async fn start(root: &std::path::Path, batches: usize) -> Running {
    let (dir, _dir) = LogDir::open(Disk::open(root).unwrap(), DirConfig::default()).await.unwrap();
    let id = LogId { topic: "t".into(), partition: 0, topic_id: TopicId(Uuid::from_u128(1)) };
    let controller = controller(&dir, id.topic_id).await;
    let config = config();
    let (mut log, _) = dir.open_log(id.clone(), log_config(&config), &mut |_| {}).await.unwrap();
    for _ in 0..batches {
        let at = log.end();
        log.append(&[(batch(), at)], LeaderEpoch(0), None).await.unwrap();
    }
    log.sync().await.unwrap();
    let end = log.end();
    let rules = norn_core::record_rules::RecordRules::of(&norn_core::metadata::TopicConfig::default());
    let published = Arc::new(Published::new(View::before_start(&log, rules)));
    let (queue, waiting) = mpsc::channel(QUEUE_LEN);
    let retention = watch::Sender::new(Duration::MAX);
    let assigned =
        controller.image().topic(id.topic_id).unwrap().partition(PartitionIndex(0)).unwrap().clone();
    let setup = Setup {
        id,
        node: NODE,
        log,
        dir,
        producers: ProducerTable::new(),
        config,
        assigned,
        queue: waiting,
        published: published.clone(),
        controller,
        metrics: Metrics::new(HANDLED),
        retention: retention.subscribe(),
    };
    let task = task::spawn("partition", actor::run(setup));
    while published.view().unavailable.is_some() || published.view().high_watermark < end {
        clock::sleep(Duration::from_millis(1)).await;
    }
    Running { queue, published, retention, task, _dir }
}

#[test]
fn appends_of_a_coordinator_are_rejected_once_a_later_one_has_announced_itself() {
    norn_env::testing::run(|| async {
        let root = tempfile::tempdir().unwrap();
        let Running { queue, published, task, _dir, .. } = start(root.path(), 0).await;
        let epoch = published.view().epoch;
        let announce = |incarnation| {
            let (reply, end) = oneshot::channel();
            queue.try_send(Message::Announce { epoch, incarnation, reply }).unwrap();
            end
        };
        let append = |incarnation| {
            let (reply, answer) = oneshot::channel();
            let origin = Origin::Coordinator { epoch, incarnation };
            let (batch, deadline) = (batch(), soon());
            let produce = Produce { batch, acks: Acks::All, deadline, origin, reply };
            queue.try_send(Message::Produce(produce)).unwrap();
            async move { answer.await.unwrap().map(|produced| produced.base_offset) }
        };
        let (first, second) = (CoordinatorIncarnation(1), CoordinatorIncarnation(2));
        let unknown = append(first).await;
        assert_eq!(unknown, Err(ErrorCode::NotLeaderOrFollower), "it has not announced itself");
        assert_eq!(announce(first).await.unwrap(), Ok(Offset(0)));
        assert_eq!(append(first).await, Ok(Offset(0)));
        // What the first has queued before stands before the end that the second is told; what comes after is rejected.
        let (before, end, after) = (append(first), announce(second), append(first));
        assert_eq!((before.await, end.await.unwrap()), (Ok(Offset(1)), Ok(Offset(2))));
        assert_eq!(after.await, Err(ErrorCode::NotLeaderOrFollower));
        assert_eq!(append(second).await, Ok(Offset(2)));
        drop(queue);
        clock::timeout_at(soon(), task).await.unwrap().unwrap();
    });
}

#[test]
fn retention_comes_however_full_the_queue_is() {
    norn_env::testing::run(|| async {
        let root = tempfile::tempdir().unwrap();
        let Running { queue, published, retention, task, _dir } = start(root.path(), 5).await;
        assert_eq!(published.view().log_start, Offset(0));
        retention.send_replace(Duration::MAX);
        // The first may be taken in the turn that had begun.
        let mut starts = vec![];
        for _ in 0..2 {
            let (reply, start) = oneshot::channel();
            queue.try_send(Message::DeleteRecords { before: Offset(0), reply }).unwrap();
            starts.push(start);
        }
        while queue.try_send(Message::Configured(Box::new(config()))).is_ok() {}
        let start = starts.pop().unwrap().await.unwrap().unwrap();
        assert!(start > Offset(0), "retention waited for the queue");
        drop(queue);
        clock::timeout_at(soon(), task).await.unwrap().unwrap();
    });
}

#[test]
fn a_log_that_fails_lets_go_of_records_that_were_written_and_not_submitted_to_a_sync() {
    norn_env::testing::run(|| async {
        let root = tempfile::tempdir().unwrap();
        let Running { queue, task, _dir, .. } = start(root.path(), 0).await;
        // The name of the log's next segment is taken.
        let disk = Disk::open(root.path()).unwrap();
        disk.create_dir_all("t-0/00000000000000000001.log").await.unwrap();
        let bytes: Arc<[u8]> = Arc::from(&batch().bytes[..]);
        let append = || {
            let (reply, answer) = oneshot::channel();
            let batch = Batch { bytes: Bytes::from_owner(bytes.clone()), ..batch() };
            let (acks, deadline, origin) = (Acks::All, soon(), Origin::Client);
            queue.try_send(Message::Produce(Produce { batch, acks, deadline, origin, reply })).unwrap();
            answer
        };
        // Taken from the queue together: the first is written, and the second fails before they are submitted.
        let [_first, second] = [append(), append()];
        assert_eq!(second.await.unwrap().unwrap_err(), ErrorCode::KafkaStorageError);
        let deadline = soon();
        while Arc::strong_count(&bytes) > 1 {
            assert!(clock::now() < deadline, "records are held that nobody makes durable");
            clock::sleep(Duration::from_millis(1)).await;
        }
        drop(queue);
        clock::timeout_at(soon(), task).await.unwrap().unwrap();
    });
}
