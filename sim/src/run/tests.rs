//! Whole worlds without clients: what the runner itself must get right.

use super::*;
use crate::faults::director::Trouble;
use crate::faults::{Direction, DiskVerb, Fault};
use crate::tape::Timed;
use crate::workload::Role;

/// The world of a seed without clients and faults.
fn empty(seed: u64) -> Tape {
    let mut tape = Tape::draw(seed).without_faults();
    tape.clients.clients.clear();
    tape
}

/// The world of a seed with two producers and without faults.
fn busy(seed: u64) -> Tape {
    let mut tape = Tape::draw(seed).without_faults();
    tape.clients.clients.retain(|client| matches!(client.role, Role::Idempotent { .. } | Role::Plain { .. }));
    tape.clients.clients.truncate(2);
    tape.clients.clients.iter_mut().enumerate().for_each(|(number, client)| client.number = number);
    tape
}

fn with_faults(mut tape: Tape, faults: Vec<Fault>) -> Tape {
    tape.faults = faults.into_iter().zip(1..).map(|(fault, i)| Timed { at_ms: i * 4_000, fault }).collect();
    tape
}

fn passes(tape: Tape) -> Report {
    let report = run(tape, How::default());
    assert_eq!(report.verdict, Verdict::Pass, "{:#?}", report.findings);
    report
}

#[test]
fn an_empty_world_passes_and_goes_through_all_phases() {
    let report = passes(empty(1));
    assert!(report.virtual_s >= 60.0);
    assert!(report.events > 0);
}

#[test]
fn faults_of_processes_and_clocks_strike_and_are_taken_back() {
    let report = passes(with_faults(
        empty(2),
        vec![
            Fault::Kill { broker: 0, down_ms: 500 },
            Fault::Restart { broker: 0 },
            Fault::Pause { broker: 0, for_ms: 2_000 },
            Fault::GracefulStop { broker: 0, down_ms: 500 },
            Fault::PowerLoss { broker: 0, down_ms: 500 },
            Fault::ClockJump { broker: 0, by_ms: -5_000 },
            Fault::ClockDrift { broker: 0, ppm: 900 },
        ],
    ));
    assert_eq!(report.faults.len(), 7);
}

#[test]
fn faults_of_disks_and_links_strike_and_are_taken_back() {
    let report = passes(with_faults(
        busy(3),
        vec![
            Fault::DiskSlow { broker: 0, factor: 5, for_ms: 1_000 },
            Fault::DiskStall { broker: 0, dir: Some(0), for_ms: 1_000 },
            Fault::LogStall { broker: 0, log: "t0-0".to_owned(), for_ms: 1_000 },
            Fault::DiskError { broker: 0, op: DiskVerb::Sync, count: 1, for_ms: 1_000, stays_ms: 0 },
            Fault::DiskFull { broker: 0, room_bytes: 0, for_ms: 1_000, stays_ms: 0 },
            Fault::LinkSlow { broker: 0, client: None, factor: 5, for_ms: 1_000 },
            Fault::LinkLoss { broker: 0, client: Some(1), percent: 30, for_ms: 1_000 },
            Fault::LinkCut { broker: 0, client: None, cut: Direction::Both, for_ms: 1_000 },
            Fault::LinkReset { broker: 0, client: None },
        ],
    ));
    assert_eq!(report.faults.len(), 9);
}

#[test]
fn a_fault_that_finds_nothing_to_strike_is_not_counted() {
    let nothing = vec![
        Fault::BitFlip { broker: 0, file: 1, batch: 2, bit: 3 },
        Fault::ClientCrash { client: 9, down_ms: 100 },
    ];
    assert!(passes(with_faults(empty(4), nothing)).faults.is_empty());
}

#[test]
fn a_fault_about_a_client_that_is_not_there_leaves_the_others_alone() {
    let (broker, client, for_ms) = (0, Some(99), 1_000);
    let nothing = vec![
        Fault::LinkSlow { broker, client, factor: 5, for_ms },
        Fault::LinkLoss { broker, client, percent: 30, for_ms },
        Fault::LinkCut { broker, client, cut: Direction::Both, for_ms },
        Fault::LinkReset { broker, client },
    ];
    assert!(passes(with_faults(busy(3), nothing)).faults.is_empty());
}

#[test]
fn a_fault_that_is_taken_back_at_once_is_not_counted() {
    let nothing = vec![
        Fault::DiskError { broker: 0, op: DiskVerb::Sync, count: 1, for_ms: 0, stays_ms: 0 },
        Fault::DiskFull { broker: 0, room_bytes: 0, for_ms: 0, stays_ms: 0 },
        Fault::Pause { broker: 0, for_ms: 0 },
    ];
    assert!(passes(with_faults(busy(3), nothing)).faults.is_empty());
}

#[test]
fn a_disk_error_that_no_operation_meets_is_not_counted() {
    let unmet = Fault::DiskError { broker: 0, op: DiskVerb::Read, count: 1_000_000, for_ms: 1, stays_ms: 0 };
    assert!(passes(with_faults(empty(4), vec![unmet])).faults.is_empty());
}

#[test]
fn a_full_disk_that_no_write_meets_is_not_counted() {
    let unmet = Fault::DiskFull { broker: 0, room_bytes: 1 << 40, for_ms: 500, stays_ms: 0 };
    assert!(passes(with_faults(busy(3), vec![unmet])).faults.is_empty());
}

#[test]
fn power_can_go_while_a_process_is_down() {
    for down in [Fault::Kill { broker: 0, down_ms: 2_000 }, Fault::GracefulStop { broker: 0, down_ms: 2_000 }]
    {
        let mut tape = with_faults(empty(5), vec![down]);
        let at_ms = tape.faults[0].at_ms + 1_500;
        tape.faults.push(Timed { at_ms, fault: Fault::PowerLoss { broker: 0, down_ms: 1_500 } });
        assert_eq!(passes(tape).faults.len(), 2);
    }
}

#[test]
fn the_draws_of_clients_are_events_of_the_trace() {
    let captured = run(busy(3), How { capture: 0..50_000, ..How::default() }).captured;
    let drawn = format!("stream: {}", sim::Stream::detached(0, "client/0/0").id());
    assert!(captured.iter().any(|event| event.contains(&drawn)));
}

/// What some streams gave in a run, as far as it was recorded.
fn draws<const N: usize>(tape: &Tape, streams: [&str; N]) -> [Vec<String>; N] {
    let captured = run(tape.clone(), How { capture: 0..60_000, ..How::default() }).captured;
    streams.map(|stream| {
        let stream = format!("stream: {},", sim::Stream::detached(0, stream).id());
        let value = |event: &String| Some(event.split_once(&stream)?.1.to_owned());
        captured.iter().filter_map(value).collect()
    })
}

#[test]
fn what_is_struck_from_a_tape_leaves_the_draws_of_all_others_alone() {
    let mut whole = with_faults(busy(3), vec![Fault::Kill { broker: 0, down_ms: 500 }]);
    whole.world.phases.chaos_ms = 6_000;
    let (mut no_fault, mut no_client) = (whole.clone(), whole.clone());
    no_fault.faults.clear();
    no_client.clients = whole.clients.with_clients(&[1]);
    let streams = ["client/1/0", "setup", "disk/1", "node/1"];
    let whole = draws(&whole, streams);
    for struck in [no_fault, no_client] {
        for ((stream, whole), left) in streams.iter().zip(&whole).zip(draws(&struck, streams)) {
            let both = whole.len().min(left.len());
            assert!(
                both > 3 && whole[..both] == left[..both],
                "{stream}: {} and {}",
                whole.len(),
                left.len()
            );
        }
    }
}

#[test]
fn a_process_that_stops_can_be_killed_and_its_host_lose_power() {
    for disturbance in [Fault::Kill { broker: 0, down_ms: 500 }, Fault::PowerLoss { broker: 0, down_ms: 500 }]
    {
        let mut tape = with_faults(empty(5), vec![Fault::GracefulStop { broker: 0, down_ms: 500 }]);
        tape.world.brokers[0].disk.sync_us = 100_000..200_000;
        let at_ms = tape.faults[0].at_ms + 20;
        tape.faults.push(Timed { at_ms, fault: disturbance });
        assert_eq!(passes(tape).faults.len(), 2);
    }
}

#[test]
fn settings_that_the_broker_refuses_are_the_harness_s_failure() {
    let mut tape = empty(6);
    tape.world.brokers[0].config.insert("num.partitions".to_owned(), "none".to_owned());
    assert_eq!(run(tape, How::default()).verdict, Verdict::Harness);
}

#[test]
fn a_world_can_be_cut_off() {
    let report = run(empty(7), How { until: Some(Duration::from_secs(20)), ..How::default() });
    assert!((19.0..21.0).contains(&report.virtual_s), "{}", report.virtual_s);
    assert_eq!(report.verdict, Verdict::NotJudged);
}

#[test]
fn a_world_with_clients_can_be_cut_off() {
    let report = run(Tape::draw(5), How { until: Some(Duration::from_secs(20)), ..How::default() });
    assert_eq!(report.verdict, Verdict::NotJudged);
}

#[test]
fn an_error_line_is_a_finding_unless_a_fault_of_a_disk_explains_it() {
    let bad_disk = || {
        let fault = Fault::DiskError { broker: 0, op: DiskVerb::Sync, count: 1, for_ms: 9, stays_ms: 0 };
        let trouble = Trouble { fault, span: Duration::ZERO..=Duration::from_secs(2) };
        Harm { troubles: vec![trouble], ..Harm::default() }
    };
    let verdict = |harm: Harm, verdict| {
        let mut report = Report::bare(1, verdict, Finding::new("x", "y"));
        let line = "1.000s norn_broker: it broke".to_owned();
        judge_errors(&mut report, &[Logged { at: Duration::from_secs(1), line }], &harm);
        (report.verdict, report.findings.len())
    };
    assert_eq!(verdict(Harm::default(), Verdict::Pass), (Verdict::Correctness, 2));
    assert_eq!(verdict(Harm::default(), Verdict::Liveness), (Verdict::Liveness, 2));
    assert_eq!(verdict(bad_disk(), Verdict::Pass), (Verdict::Pass, 1));
    // What struck a world that crashed is not known.
    assert_eq!(verdict(Harm::default(), Verdict::Crash), (Verdict::Crash, 1));
}

#[test]
fn the_errors_of_a_world_are_kept() {
    logs::install(None);
    tracing::error!(number = 7, "it broke");
    assert!(logs::taken()[0].line.ends_with("it broke number=7"));
    assert!(logs::taken().is_empty());
}
