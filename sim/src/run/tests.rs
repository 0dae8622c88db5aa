//! Whole worlds without clients: what the runner itself must get right.

use super::*;
use crate::faults::{Direction, DiskVerb, Fault};
use crate::tape::Timed;

/// The world of a seed without clients and faults.
fn empty(seed: u64) -> Tape {
    let mut tape = Tape::draw(seed).without_faults();
    tape.clients.clients.clear();
    tape
}

fn with_faults(seed: u64, faults: Vec<Fault>) -> Tape {
    let mut tape = empty(seed);
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
        2,
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
        3,
        vec![
            Fault::DiskSlow { broker: 0, factor: 5, for_ms: 1_000 },
            Fault::DiskStall { broker: 0, dir: Some(0), for_ms: 1_000 },
            Fault::LogStall { broker: 0, log: "t0-0".to_owned(), for_ms: 1_000 },
            Fault::DiskError { broker: 0, op: DiskVerb::Sync, count: 1, for_ms: 1_000 },
            Fault::DiskFull { broker: 0, room_bytes: 0, for_ms: 1_000 },
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
    assert!(passes(with_faults(4, nothing)).faults.is_empty());
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
}
