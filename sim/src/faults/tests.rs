//! What is left on disks whose syncs failed: the operating system goes on to show bytes that it no longer means to write.

use std::future::Future;
use std::path::Path;

use bytes::Bytes;
use madsim::runtime::Handle as Runtime;
use madsim::task::NodeId;
use norn_env::disk::Disk;
use norn_env::sim::disk::{DiskCtl, DiskOp, Failure, When};
use norn_env::sim::{node, simulate, Options};
use norn_env::task::Handle;
use norn_log::dir::{DirConfig, DirExit, JournalConfig, LogDir};
use norn_log::wal::{Record, Wal, WalConfig};
use norn_log::{FlushMode, LogConfig, LogId, PartitionLog};
use norn_protocol::batch::{build_batch, Batch, BatchOptions, Record as Message};
use norn_protocol::types::{LeaderEpoch, Offset, TopicId};
use uuid::Uuid;

/// A host whose processes come and go.
#[derive(Clone, Copy)]
struct Host(NodeId);

impl Host {
    fn new() -> Self {
        Self(Runtime::current().create_node().build().id())
    }

    /// Runs one process to its end, and ends it without a word.
    async fn process<F>(self, f: impl FnOnce(Disk) -> F + Send + 'static) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let host = Runtime::current().get_node(self.0).expect("it was made here");
        let main = async { f(Disk::open(Path::new("/data")).expect("a simulated disk opens")).await };
        let output = host.spawn(main).await.expect("nobody ends it");
        Runtime::current().kill(self.0);
        Runtime::current().restart(self.0);
        output
    }

    fn lose_power(self) {
        DiskCtl::current().power_fail_on_next_reset(node::key(self.0));
        Runtime::current().kill(self.0);
        Runtime::current().restart(self.0);
    }

    /// The next sync of a file whose path contains this fails.
    fn fail_a_sync_of(self, path: &'static str) -> impl FnOnce() + Send {
        let key = node::key(self.0);
        let failure =
            Failure { op: DiskOp::Sync, path: path.to_owned(), when: When::Next(1), errno: libc::EIO };
        move || DiskCtl::current().fail(key, failure)
    }
}

async fn wal(disk: Disk) -> (Wal, Vec<u64>) {
    let mut indexes = vec![];
    let mut visit = |record: Record| indexes.push(record.index);
    let (wal, _) = Wal::open(disk, "wal", WalConfig { segment_bytes: 1 << 20 }, &mut visit).await.unwrap();
    (wal, indexes)
}

fn record(index: u64) -> Record {
    Record { index, payload: Bytes::from(vec![index as u8; 3_000]) }
}

#[test]
fn what_the_wal_shows_after_a_failed_sync_outlives_a_loss_of_power() {
    for seed in 1..30 {
        simulate(seed, Options::default(), || async {
            let host = Host::new();
            let fail = host.fail_a_sync_of("wal/");
            let before = host.process(|disk| async {
                let (mut wal, _) = wal(disk).await;
                wal.append(&[record(1)]).await.unwrap();
                fail();
                assert!(wal.append(&[record(2)]).await.is_err());
            });
            before.await;
            let between = host.process(|disk| async {
                let (mut wal, found) = wal(disk).await;
                wal.append(&[record(9)]).await.unwrap();
                found
            });
            let mut shown = between.await;
            host.lose_power();
            shown.push(9);
            assert_eq!(host.process(|disk| async { wal(disk).await.1 }).await, shown);
        });
    }
}

/// The log, and what keeps its directory open.
async fn log(disk: Disk, flush: FlushMode) -> (PartitionLog, (LogDir, Handle<DirExit>)) {
    let journal = JournalConfig { file_bytes: 64 << 10, ..JournalConfig::default() };
    let (dir, task) = LogDir::open(disk, DirConfig { node_id: 1, cluster_id: None, journal }).await.unwrap();
    let id = LogId { topic: "t".into(), partition: 0, topic_id: TopicId(Uuid::from_u128(1)) };
    let config = LogConfig { flush, ..LogConfig::default() };
    let (log, _) = dir.open_log(id, config, &mut |_| {}).await.unwrap();
    (log, (dir, task))
}

async fn append(log: &mut PartitionLog) -> bool {
    let messages = [Message { value: Some(Bytes::from(vec![7; 3_000])), ..Message::default() }];
    let bytes = build_batch(&messages, BatchOptions::default()).unwrap();
    let batch = Batch::split_all(bytes).unwrap().remove(0);
    let at = log.end();
    log.append(&[(batch, at)], LeaderEpoch(0), None).await.unwrap();
    log.sync().await.is_ok()
}

#[test]
fn what_a_log_shows_after_a_failed_sync_outlives_a_loss_of_power() {
    for (seed, flush) in (1..30).zip([FlushMode::Sync, FlushMode::Async].into_iter().cycle()) {
        simulate(seed, Options::default(), move || async move {
            let host = Host::new();
            let fail = host.fail_a_sync_of("t-0/");
            let before = host.process(move |disk| async move {
                let (mut log, _dir) = log(disk, flush).await;
                assert!(append(&mut log).await);
                fail();
                append(&mut log).await
            });
            before.await;
            let between = host.process(move |disk| async move {
                let (mut log, _dir) = log(disk, flush).await;
                assert!(append(&mut log).await);
                log.end()
            });
            let shown: Offset = between.await;
            host.lose_power();
            let after = host.process(move |disk| async move { log(disk, flush).await.0.end() });
            assert_eq!(after.await, shown, "seed {seed}");
        });
    }
}

/// Retention can only make room on a full disk if the logs on it are led.
#[test]
fn a_log_on_a_full_disk_is_led_and_fails_no_earlier_than_it_is_written_to() {
    simulate(1, Options::default(), || async {
        let host = Host::new();
        let key = node::key(host.0);
        let full = Failure {
            op: DiskOp::Write,
            path: "leader-epoch".to_owned(),
            when: When::Probability(1.0),
            errno: libc::ENOSPC,
        };
        let led = host.process(move |disk| async move {
            let (mut log, _dir) = log(disk, FlushMode::Sync).await;
            DiskCtl::current().fail(key, full.clone());
            log.assign_epoch(LeaderEpoch(0), log.end()).await.unwrap();
            assert_eq!(log.fault(), None);
            DiskCtl::current().clear_failures(key);
            assert!(append(&mut log).await);
            DiskCtl::current().fail(key, Failure { errno: libc::EIO, ..full });
            assert!(log.assign_epoch(LeaderEpoch(1), log.end()).await.is_err());
            log.fault().is_some()
        });
        assert!(led.await, "what is worse than a full disk is not passed over");
    });
}
