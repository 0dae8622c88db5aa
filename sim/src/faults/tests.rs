//! What is left on disks whose syncs failed: the operating system goes on to show bytes that it no longer means to write. And
//! what comes of faults that overlap.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use madsim::runtime::Handle as Runtime;
use madsim::task::NodeId;
use norn_env::clock;
use norn_env::disk::Disk;
use norn_env::sim::disk::{DiskCtl, DiskOp, Failure, When};
use norn_env::sim::{node, simulate, world, NetCtl, Options, Stream};
use norn_env::task::{self, Handle};
use norn_log::dir::{DirConfig, DirExit, JournalConfig, LogDir};
use norn_log::wal::{Record, Wal, WalConfig};
use norn_log::{FlushMode, LogConfig, LogId, PartitionLog};
use norn_protocol::batch::{build_batch, Batch, BatchOptions, Record as Message};
use norn_protocol::types::{LeaderEpoch, Offset, TopicId};
use uuid::Uuid;

use super::director::Director;
use super::{Direction, Fault};
use crate::check::History;
use crate::client::{produce_request, Cluster, ProduceAnswer, Style, VersionChoice};
use crate::tape::{broker_ip, Tape, Timed};
use crate::workload::create_topics;
use crate::world::{BrokerHost, Clients};

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
        move || _ = DiskCtl::current().fail(key, failure)
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

/// A broker's host and a client's, and a director that strikes them for a minute.
fn director() -> (BrokerHost, u64, Director) {
    let broker = BrokerHost::build(0, Tape::idle(1).world.brokers[0].clone()).unwrap();
    let client = Runtime::current().create_node().name("client-0").build();
    node::register(client.id(), "client-0", "10.0.1.1".parse().unwrap());
    let end = clock::now() + Duration::from_secs(60);
    let director = Director::new(Arc::new(vec![broker.clone()]), Clients { count: 1 }, end);
    (broker, node::key(client.id()), director)
}

fn timed(at_ms: u64, fault: Fault) -> Timed {
    Timed { at_ms, fault }
}

#[test]
fn a_short_cut_does_not_heal_a_long_one() {
    simulate(1, Options::default(), || async {
        let (broker, client, director) = director();
        let cut = |cut, for_ms| Fault::LinkCut { broker: 0, client: Some(0), cut, for_ms };
        let faults = vec![
            timed(0, cut(Direction::Both, 10_000)),
            timed(1_000, cut(Direction::Both, 50)),
            timed(2_000, cut(Direction::ToBroker, 12_000)),
        ];
        let running = task::spawn("director", async move { director.run(faults).await });
        let mut left = vec![];
        for at_s in [5, 11, 15] {
            clock::sleep_until(clock::now() + Duration::from_secs(at_s) - world().elapsed()).await;
            let cuts = NetCtl::current().cuts();
            left.push(cuts.iter().map(|cut| (cut.from == client, cut.to == broker.key)).collect::<Vec<_>>());
        }
        running.await.unwrap();
        assert_eq!(left, [vec![(false, false), (true, true)], vec![(true, true)], vec![]]);
    });
}

#[test]
fn a_host_stays_down_until_both_its_restart_and_its_power_are_due() {
    for (down_ms, dark_ms) in [(6_000, 1_000), (3_000, 5_000)] {
        simulate(1, Options::default(), move || async move {
            let (broker, _, director) = director();
            let faults = vec![
                timed(1_000, Fault::Kill { broker: 0, down_ms }),
                timed(2_000, Fault::PowerLoss { broker: 0, down_ms: dark_ms }),
                timed(2_500, Fault::PowerLoss { broker: 0, down_ms: 100 }),
            ];
            let harm = director.clone();
            let running = task::spawn("director", async move { director.run(faults).await });
            for (at_ms, runs) in [(500, true), (6_500, false), (7_500, true)] {
                clock::sleep_until(clock::now() + Duration::from_millis(at_ms) - world().elapsed()).await;
                assert_eq!(broker.is_running(), runs, "at {at_ms} ms");
            }
            running.await.unwrap();
            assert_eq!(DiskCtl::current().stats(broker.key).power_losses, 1);
            assert_eq!(harm.harm().counts(), [("kill".to_owned(), 1), ("power-loss".to_owned(), 1)].into());
        });
    }
}

/// Creates a topic with two partitions and produces to one of them, from a host of its own; gives the error code.
async fn produce_to(partition: i32, failing: impl FnOnce() + Send + 'static) -> i16 {
    let host = Runtime::current().create_node().name("client-0").build();
    node::register(host.id(), "client-0", "10.0.1.1".parse().unwrap());
    let mut plan = Tape::idle(1).clients;
    plan.topics[0].partitions = 2;
    let client = async move {
        let style = Style { versions: VersionChoice::Newest, request_timeout_ms: 60_000 };
        let at = vec![(broker_ip(0), 9092).into()];
        let dice = Stream::detached(1, "client");
        let mut cluster = Cluster::new(0, "client-0", at, &style, History::new(), dice);
        create_topics(&mut cluster, &plan).await;
        failing();
        let records = build_batch(&[Message::default()], BatchOptions::default()).unwrap();
        let connection = cluster.any().await;
        let request = |_| produce_request(9, -1, 5_000, ("t0", Uuid::nil()), vec![(partition, records)]);
        let pending = connection.send_at(9, &request(9)).await.unwrap();
        let (response, _) = pending.answer(cluster.deadline()).await.unwrap();
        ProduceAnswer::all(&response)[0].error
    };
    host.spawn(client).await.unwrap()
}

/// Two partitions in a directory each, of which one log fails or hangs; then the broker is told to stop. Gives how it
/// ended, the directory of the log, and those that are left without a marker.
fn stopped_after(fault: impl Fn(u64) + Send + 'static) -> (Option<String>, String, Vec<String>) {
    simulate(1, Options::default(), move || async move {
        let mut spec = Tape::idle(1).world.brokers[0].clone();
        spec.config.insert("log.dirs".to_owned(), "/data/0,/data/1".to_owned());
        let broker = BrokerHost::build(0, spec).unwrap();
        let key = broker.key;
        assert_ne!(produce_to(1, move || fault(key)).await, 0);
        let end = clock::now() + Duration::from_secs(300);
        let director = Director::new(Arc::new(vec![broker.clone()]), Clients { count: 1 }, end);
        // No other process takes the markers away.
        broker.hold();
        director.run(vec![timed(0, Fault::GracefulStop { broker: 0, down_ms: 0 })]).await;
        let files = DiskCtl::current().files(key);
        let log = files.iter().find_map(|file| file.path.split_once("/t0-1/")).unwrap();
        let error = broker.exits().pop().unwrap().error;
        let findings = director.harm().findings;
        // No fault of the director made it hang.
        assert!(error.is_some() || findings.is_empty(), "{findings:?}");
        (error, log.0.to_owned(), super::markers::unmarked(&broker))
    })
}

#[test]
fn a_log_that_went_offline_costs_no_other_directory_its_marker_and_the_process_no_exit_code() {
    let (error, failed, unmarked) = stopped_after(|key| {
        let sync = DiskOp::Sync;
        let rule = Failure { op: sync, path: "/t0-1/".to_owned(), when: When::Next(1), errno: libc::EIO };
        DiskCtl::current().fail(key, rule);
    });
    assert_eq!((error, unmarked), (None, vec![failed]));
}

#[test]
fn a_partition_that_hangs_costs_no_other_directory_its_marker() {
    let (error, hung, unmarked) = stopped_after(|key| {
        let until = clock::now() + Duration::from_secs(1_000);
        for dir in ["/data/0", "/data/1"] {
            DiskCtl::current().stall(key, &format!("{dir}/t0-1/"), until);
        }
    });
    let error = error.expect("what hung while it was closed is no clean end");
    assert!(error.contains("1 partitions did not close (t0-1)"), "{error}");
    assert_eq!(unmarked, [hung]);
}
