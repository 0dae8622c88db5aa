//! The table against a model that keeps the whole log and looks through it.

use norn_protocol::batch::BatchHeader;
use norn_protocol::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use norn_protocol::ErrorCode;
use proptest::prelude::*;

use super::{ProducerTable, Rollback, Verdict, BATCHES_KEPT};
use crate::Millis;

fn batch(producer: i64, epoch: i16, sequence: i32, records: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(0),
        length: 49,
        leader_epoch: LeaderEpoch(0),
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: records - 1,
        base_timestamp: 0,
        max_timestamp: 17,
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
        record_count: records,
    }
}

fn at(base: i64, mut header: BatchHeader) -> BatchHeader {
    header.base_offset = Offset(base);
    header
}

fn append(table: &mut ProducerTable, header: BatchHeader, now: Millis) {
    let header = at(table.end().0, header);
    assert_eq!(table.check(&header, table.end()), Verdict::New);
    table.record(&header, now);
}

const NOW: Millis = Millis(1_000);

#[test]
fn each_of_the_last_five_batches_is_answered_with_its_own_offsets() {
    let mut table = ProducerTable::new();
    for i in 0..6 {
        append(&mut table, batch(1, 0, i * 2, 2), NOW);
    }
    for i in 1..6 {
        let first = Offset(i64::from(i) * 2);
        let verdict = table.check(&batch(1, 0, i * 2, 2), table.end());
        assert_eq!(verdict, Verdict::Duplicate { first, last: first.plus(1), timestamp: Millis(17) });
    }
    let refused = Verdict::Refused(ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(table.check(&batch(1, 0, 0, 2), table.end()), refused, "older than the window");
    assert_eq!(table.check(&batch(1, 0, 10, 3), table.end()), refused, "the same start, another end");
    assert_eq!(table.check(&batch(1, 0, 13, 1), table.end()), refused, "a gap");
}

#[test]
fn producers_are_told_by_id_a_part_at_a_time() {
    let mut table = ProducerTable::new();
    for producer in [7, 3, 5] {
        append(&mut table, batch(producer, 0, 0, 2), NOW);
    }
    append(&mut table, batch(5, 1, 0, 3), NOW);
    let told = |after: Option<i64>, most| {
        let states = table.states(after.map(ProducerId), most).into_iter();
        states.map(|s| (s.id.0, s.epoch.0, s.last_sequence.0, s.last_timestamp.0)).collect::<Vec<_>>()
    };
    assert_eq!(told(None, 9), [(3, 0, 1, 17), (5, 1, 2, 17), (7, 0, 1, 17)]);
    assert_eq!(told(None, 2), [(3, 0, 1, 17), (5, 1, 2, 17)]);
    assert_eq!(told(Some(5), 2), [(7, 0, 1, 17)]);
    assert_eq!(told(Some(7), 2), []);
}

#[test]
fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
    let mut table = ProducerTable::new();
    append(&mut table, batch(1, 3, 0, 1), NOW);
    let refused = |code| Verdict::Refused(code);
    assert_eq!(table.check(&batch(1, 2, 1, 1), table.end()), refused(ErrorCode::InvalidProducerEpoch));
    assert_eq!(table.check(&batch(1, 4, 1, 1), table.end()), refused(ErrorCode::OutOfOrderSequenceNumber));
    append(&mut table, batch(1, 4, 0, 1), NOW);
    assert_eq!(table.check(&batch(1, 3, 0, 1), table.end()), refused(ErrorCode::InvalidProducerEpoch));
}

#[test]
fn an_unknown_producer_may_start_anywhere() {
    let table = ProducerTable::new();
    assert_eq!(table.check(&batch(9, 5, 4711, 2), table.end()), Verdict::New);
}

#[test]
fn behind_damaged_batches_a_producer_may_be_further_than_is_known() {
    let mut table = ProducerTable::new();
    for first in [0, 2] {
        append(&mut table, batch(1, 3, first, 2), NOW);
    }
    table.visit_damaged();
    let mut table = ProducerTable::decode(&table.encode()).unwrap();
    let end = table.end();
    assert!(matches!(table.check(&batch(1, 3, 2, 2), end), Verdict::Duplicate { first: Offset(2), .. }));
    let refused = |code| Verdict::Refused(code);
    assert_eq!(table.check(&batch(1, 3, 1, 1), end), refused(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(table.check(&batch(1, 2, 9, 1), end), refused(ErrorCode::InvalidProducerEpoch));
    assert_eq!(
        table.check(&batch(1, 4, 7, 1), end),
        Verdict::New,
        "its first batches of the epoch may be damaged"
    );
    append(&mut table, batch(1, 3, 9, 1), NOW);
    assert_eq!(table.check(&batch(1, 3, 11, 1), table.end()), refused(ErrorCode::OutOfOrderSequenceNumber));
}

#[test]
fn sequences_go_on_at_zero_after_the_largest() {
    let mut table = ProducerTable::new();
    append(&mut table, batch(1, 0, i32::MAX - 1, 4), NOW);
    append(&mut table, batch(1, 0, 2, 1), NOW);
    assert!(matches!(table.check(&batch(1, 0, i32::MAX - 1, 4), table.end()), Verdict::Duplicate { .. }));
}

#[test]
fn a_producer_without_a_sequence_is_refused() {
    let table = ProducerTable::new();
    let refused = Verdict::Refused(ErrorCode::InvalidRecord);
    assert_eq!(table.check(&batch(1, 0, -1, 1), Offset(0)), refused);
    assert_eq!(table.check(&batch(1, -1, 0, 1), Offset(0)), refused);
}

#[test]
fn a_producer_lives_by_when_it_appended_not_by_what_its_records_say() {
    let mut table = ProducerTable::new();
    append(&mut table, batch(1, 0, 0, 1), Millis(1_000));
    append(&mut table, batch(2, 0, 0, 1), Millis(1_500));
    append(&mut table, batch(1, 0, 1, 1), Millis(1_800));
    assert_eq!(table.expire(Millis(2_499), 1_000), 0);
    assert_eq!(table.expire(Millis(2_500), 1_000), 1);
    assert_eq!(table.check(&batch(2, 0, 7, 1), table.end()), Verdict::New);
    assert!(matches!(table.check(&batch(1, 0, 1, 1), table.end()), Verdict::Duplicate { .. }));
}

#[test]
fn a_clock_set_back_expires_nobody() {
    let mut table = ProducerTable::new();
    append(&mut table, batch(1, 0, 0, 1), Millis(10_000));
    append(&mut table, batch(1, 0, 1, 1), Millis(1_000));
    assert_eq!(table.expire(Millis(10_500), 1_000), 0);
}

#[test]
fn a_truncation_takes_the_duplicates_with_it() {
    let mut table = ProducerTable::new();
    append(&mut table, batch(1, 0, 0, 5), NOW);
    append(&mut table, batch(1, 0, 5, 5), NOW);
    append(&mut table, batch(2, 0, 0, 5), NOW);
    assert_eq!(table.clone().truncate_to(Offset(15)), Rollback::Complete);
    assert_eq!(table.truncate_to(Offset(5)), Rollback::Rebuild);
    assert_eq!(table.end(), Offset(5));
    assert_eq!(table.check(&batch(1, 0, 5, 5), Offset(5)), Verdict::New);
}

/// Every batch of the log, in order.
#[derive(Default)]
struct Model {
    log: Vec<BatchHeader>,
}

impl Model {
    fn end(&self) -> Offset {
        self.log.last().map_or(Offset(0), |batch| batch.next_offset())
    }

    fn check(&self, sent: &BatchHeader) -> Verdict {
        let own: Vec<_> = self.log.iter().filter(|kept| kept.producer_id == sent.producer_id).collect();
        let Some(newest) = own.last() else { return Verdict::New };
        if sent.producer_epoch < newest.producer_epoch {
            return Verdict::Refused(ErrorCode::InvalidProducerEpoch);
        }
        if sent.producer_epoch > newest.producer_epoch {
            return match sent.base_sequence {
                Sequence(0) => Verdict::New,
                _ => Verdict::Refused(ErrorCode::OutOfOrderSequenceNumber),
            };
        }
        let window = own.iter().rev().take(BATCHES_KEPT);
        for kept in window.take_while(|kept| kept.producer_epoch == sent.producer_epoch) {
            if (kept.base_sequence, kept.record_count) == (sent.base_sequence, sent.record_count) {
                return Verdict::Duplicate {
                    first: kept.base_offset,
                    last: kept.last_offset(),
                    timestamp: Millis(kept.max_timestamp),
                };
            }
        }
        if sent.base_sequence == newest.last_sequence().plus(1) {
            Verdict::New
        } else {
            Verdict::Refused(ErrorCode::OutOfOrderSequenceNumber)
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A batch: producer, epoch, how far from the expected sequence, records.
    Send(i64, i16, i32, i32),
    /// The same batch again, counted back from the log's end.
    Resend(usize),
    Plain(i32),
    Truncate(usize),
    Snapshot,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let epoch = prop_oneof![8 => Just(0_i16), 2 => -1..2_i16];
    let skew = prop_oneof![8 => Just(0), 1 => -3..4];
    prop_oneof![
        8 => (0..3_i64, epoch, skew, 1..4)
            .prop_map(|(producer, epoch, skew, records)| Step::Send(producer, epoch, skew, records)),
        4 => (0..12_usize).prop_map(Step::Resend),
        1 => (1..5).prop_map(Step::Plain),
        1 => (0..8_usize).prop_map(Step::Truncate),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Restart),
    ]
}

/// The newest usable snapshot, then the log from there: what a start and a truncation both do.
fn rebuild(snapshots: &[(Offset, bytes::Bytes)], model: &Model) -> ProducerTable {
    let usable = snapshots.iter().rev().find(|(end, _)| *end <= model.end());
    let mut table = match usable {
        Some((_, bytes)) => ProducerTable::decode(bytes).unwrap(),
        None => ProducerTable::new(),
    };
    model.log.iter().for_each(|kept| table.visit(kept, NOW));
    table
}

proptest! {
    #[test]
    fn verdicts_are_those_of_a_look_through_the_whole_log(steps in prop::collection::vec(step(), 0..120)) {
        let mut model = Model::default();
        let mut table = ProducerTable::new();
        let mut snapshots: Vec<(Offset, bytes::Bytes)> = Vec::new();
        for step in steps {
            let sent = match step {
                Step::Send(producer, epoch, skew, records) => {
                    let newest = model.log.iter().rev().find(|kept| kept.producer_id.0 == producer);
                    // Starts below the largest sequence, so that wrapping is met.
                    let (current, next) = match newest {
                        Some(kept) => (kept.producer_epoch.0, kept.last_sequence().plus(1)),
                        None => (1, Sequence(i32::MAX - 9)),
                    };
                    let next = if epoch > 0 { Sequence(0) } else { next };
                    let sequence = next.0.saturating_add(skew).max(0);
                    Some(batch(producer, (current + epoch).max(0), sequence, records))
                }
                Step::Resend(back) => model.log.iter().rev().nth(back).copied(),
                Step::Plain(records) => Some(batch(-1, -1, -1, records)),
                Step::Truncate(batches) => {
                    model.log.truncate(model.log.len().saturating_sub(batches));
                    snapshots.retain(|(end, _)| *end <= model.end());
                    if table.truncate_to(model.end()) == Rollback::Rebuild {
                        table = rebuild(&snapshots, &model);
                    }
                    None
                }
                Step::Snapshot => {
                    snapshots.push((table.end(), table.encode()));
                    None
                }
                Step::Restart => {
                    table = rebuild(&snapshots, &model);
                    None
                }
            };
            if let Some(sent) = sent {
                let verdict = table.check(&sent, model.end());
                let expected = if sent.producer_id.is_some() { model.check(&sent) } else { Verdict::New };
                prop_assert_eq!(verdict, expected);
                if verdict == Verdict::New {
                    let appended = at(model.end().0, sent);
                    table.record(&appended, NOW);
                    model.log.push(appended);
                }
            }
            prop_assert_eq!(table.end(), model.end());
            prop_assert_eq!(&ProducerTable::decode(&table.encode()).unwrap(), &table);
        }
    }

    #[test]
    fn damaged_snapshots_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(ProducerTable::decode(&bytes).is_err());
    }
}
