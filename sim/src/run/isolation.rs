//! What one client that hardly reads, or one disk that stalls, costs all others: a fifth of their p99 at most.

use std::collections::BTreeMap;

use super::*;
use crate::client::{Style, VersionChoice};
use crate::faults::Fault;
use crate::tape::{DiskSpeed, Timed};
use crate::workload::{ClientPlan, Role};

/// The most that the p99 of others may grow by.
const FACTOR: f64 = 1.2;
const TOPICS: usize = 4;

/// Topics of one partition each, in two data directories, each with a producer and a consumer. Nothing goes wrong.
fn healthy(seed: u64) -> Tape {
    let mut tape = Tape::draw(seed).without_faults();
    let broker = &mut tape.world.brokers[0];
    broker.config.retain(|key, _| ["http.port", "listeners", "node.id"].contains(&key.as_str()));
    broker.config.insert("log.dirs".to_owned(), "/data/0,/data/1".to_owned());
    broker.config.insert("offsets.topic.num.partitions".to_owned(), "1".to_owned());
    let (read_us, write_us, sync_us, meta_us) = (20..300, 4..40, 50..2_000, 10..200);
    broker.disk = DiskSpeed { read_us, write_us, sync_us, meta_us, slow: 0.0, cold_reads: 0.0 };
    tape.world.net = Default::default();
    tape.world.buggify = false;
    let mut topic = tape.clients.topics[0].clone();
    (topic.partitions, topic.sync, topic.configs) = (1, true, BTreeMap::new());
    tape.clients.default_append_time = false;
    tape.clients.zstd = false;
    tape.clients.topics =
        (0..TOPICS).map(|n| crate::workload::TopicPlan { name: format!("t{n}"), ..topic.clone() }).collect();
    let style = Style { versions: VersionChoice::Newest, request_timeout_ms: 30_000 };
    let client = |role| ClientPlan { number: 0, style: style.clone(), think_ms: 10, role };
    tape.clients.clients = (0..TOPICS)
        .flat_map(|topic| {
            let topics = vec![topic];
            let produce = Role::Idempotent {
                topics: topics.clone(),
                // One at a time: the time until the client looks is that until the answer came.
                window: 1,
                acks: -1,
                records_max: 4,
                padding_max: 1_000,
            };
            let consume = Role::Consumer {
                topics,
                sessions: true,
                max_wait_ms: 100,
                min_bytes: 1,
                max_bytes: 1 << 20,
                seeks: false,
            };
            [client(produce), client(consume)]
        })
        .collect();
    number(&mut tape);
    tape
}

/// Numbers the clients by their places.
fn number(tape: &mut Tape) {
    tape.clients.clients.iter_mut().enumerate().for_each(|(number, client)| client.number = number);
}

fn acks(tape: Tape) -> BTreeMap<String, crate::check::AckTimes> {
    let report = run(tape, How::default());
    assert_eq!(report.verdict, Verdict::Pass, "{:#?}", report.findings);
    assert_eq!(report.acks.len(), TOPICS);
    report.acks
}

/// Stalls of five seconds, one after the other: a client that waits for its answer before it asks again would hide a
/// single one in its p99.
fn stalls(tape: &mut Tape, fault: &Fault) {
    tape.faults = (0..10).map(|n| Timed { at_ms: 4_000 + n * 5_500, fault: fault.clone() }).collect();
}

/// The topics that are as fast as in a healthy world, and as busy.
fn unharmed(seed: u64, spoil: impl Fn(&mut Tape)) -> Vec<String> {
    let before = acks(healthy(seed));
    let mut tape = healthy(seed);
    spoil(&mut tape);
    let after = acks(tape).into_iter();
    let good = after.filter(|(topic, after)| {
        let before = before[topic];
        println!("seed {seed} {topic}: {after:.3?}, healthy {before:.3?}");
        after.p99 <= FACTOR * before.p99 && after.count as f64 * FACTOR >= before.count as f64
    });
    good.map(|(topic, _)| topic).collect()
}

#[test]
fn a_log_whose_files_stall_costs_no_other() {
    let fault = Fault::LogStall { broker: 0, log: "t1-0".to_owned(), for_ms: 5_000 };
    assert_eq!(unharmed(1, |tape| stalls(tape, &fault)), ["t0", "t2", "t3"]);
}

#[test]
fn a_disk_that_stalls_costs_no_log_on_another() {
    let fault = Fault::DiskStall { broker: 0, dir: Some(1), for_ms: 5_000 };
    // The directories take turns in taking a partition.
    assert_eq!(unharmed(2, |tape| stalls(tape, &fault)).len(), TOPICS / 2);
}

#[test]
fn clients_that_hardly_read_cost_no_other() {
    let dribble = |tape: &mut Tape| {
        let mut client = tape.clients.clients[0].clone();
        client.role = Role::Dribbler { topic: 1 };
        tape.clients.clients.extend([client.clone(), client]);
        number(tape);
    };
    assert_eq!(unharmed(3, dribble).len(), TOPICS);
}
