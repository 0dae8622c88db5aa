//! What a replica promises to producers, and random histories against a model that looks at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use norn_protocol::types::{LeaderEpoch, NodeId, Offset};
use norn_protocol::ErrorCode;
use proptest::prelude::*;

use super::{Acks, Action, Event, Replica, Settings, Slot};
use crate::metadata::{FlushMode, Partition, PartitionEpoch};

const ME: NodeId = NodeId(1);
const SYNC: Settings = Settings { flush_mode: FlushMode::Sync, min_insync_replicas: 1 };

fn partition(leader: Option<i32>, epoch: i32, partition_epoch: i32, isr: &[i32], replicas: &[i32]) -> Event {
    Event::Assigned(Arc::new(Partition {
        replicas: replicas.iter().copied().map(NodeId).collect(),
        isr: isr.iter().copied().map(NodeId).collect(),
        leader: leader.map(NodeId),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
    }))
}

/// A replica with a clock, for tests that tell a story.
struct Told {
    replica: Replica,
    start: Instant,
    now: Instant,
}

impl Told {
    fn new(settings: Settings, end: i64) -> Told {
        #[allow(clippy::disallowed_methods, reason = "some instant to count from")]
        let start = Instant::now();
        Told { replica: Replica::new(ME, settings, Offset(0), Offset(end)), start, now: start }
    }

    fn leading(settings: Settings, isr: &[i32], replicas: &[i32]) -> Told {
        let mut told = Told::new(settings, 0);
        let actions = told.tell(partition(Some(1), 5, 0, isr, replicas));
        assert_eq!(actions[0], Action::StartEpoch { epoch: LeaderEpoch(5), start: Offset(0) });
        told
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.replica.step(event, self.now, &mut actions);
        actions
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn wait(&mut self, slot: u64, acks: Acks, first: i64, last: i64) -> Vec<Action> {
        let deadline = self.at(1_000);
        self.tell(Event::Await { slot: Slot(slot), acks, first: Offset(first), last: Offset(last), deadline })
    }

    fn append(&mut self, end: i64) -> Vec<Action> {
        self.tell(Event::Appended { end: Offset(end) })
    }

    fn sync(&mut self, end: i64) -> Vec<Action> {
        self.tell(Event::Synced { end: Offset(end) })
    }
}

fn ok(slot: u64, base: i64) -> Action {
    Action::Answer { slot: Slot(slot), result: Ok(Offset(base)) }
}

fn refused(slot: u64, code: ErrorCode) -> Action {
    Action::Answer { slot: Slot(slot), result: Err(code) }
}

fn hw(offset: i64) -> Action {
    Action::AdvanceHighWatermark(Offset(offset))
}

#[test]
fn on_a_single_node_both_kinds_of_acks_wait_for_the_sync() {
    let mut told = Told::leading(SYNC, &[1], &[1]);
    assert_eq!(told.append(10), []);
    assert_eq!(told.wait(1, Acks::Leader, 0, 4), []);
    assert_eq!(told.wait(2, Acks::All, 5, 9), []);
    assert_eq!(told.wait(3, Acks::None, 5, 9), [ok(3, 5)]);
    assert_eq!(told.sync(5), [hw(5), ok(1, 0)]);
    assert_eq!(told.sync(10), [hw(10), ok(2, 5)]);
    assert_eq!(told.replica.waiting(), 0);
}

#[test]
fn a_duplicate_takes_its_place_beside_the_original() {
    let mut told = Told::leading(SYNC, &[1], &[1]);
    told.append(5);
    assert_eq!(told.wait(1, Acks::All, 0, 4), []);
    assert_eq!(told.wait(2, Acks::All, 0, 4), [], "the original still waits");
    assert_eq!(told.sync(5), [hw(5), ok(1, 0), ok(2, 0)]);
    assert_eq!(told.wait(3, Acks::All, 0, 4), [ok(3, 0)], "the original is committed");
}

#[test]
fn without_syncs_what_is_written_is_enough() {
    let mut told = Told::leading(Settings { flush_mode: FlushMode::Async, ..SYNC }, &[1], &[1]);
    assert_eq!(told.append(5), [hw(5)]);
    assert_eq!(told.wait(1, Acks::All, 0, 4), [ok(1, 0)]);
    told.tell(Event::Configured(SYNC));
    told.append(7);
    assert_eq!(told.wait(2, Acks::Leader, 5, 6), [], "from now on a sync is needed");
    assert_eq!(told.sync(7), [hw(7), ok(2, 5)]);
}

#[test]
fn what_recovery_kept_is_committed_on_the_only_replica() {
    let mut told = Told::new(SYNC, 42);
    let actions = told.tell(partition(Some(1), 7, 3, &[1], &[1]));
    assert_eq!(actions, [Action::StartEpoch { epoch: LeaderEpoch(7), start: Offset(42) }, hw(42)]);
    assert_eq!(told.replica.epoch_start(), Some(Offset(42)));
    assert_eq!(told.replica.leads_in(), Some(LeaderEpoch(7)));
}

#[test]
fn the_high_watermark_is_the_least_durable_end_in_sync() {
    let mut told = Told::leading(SYNC, &[1, 2], &[1, 2, 3]);
    told.append(10);
    assert_eq!(told.wait(1, Acks::Leader, 0, 9), []);
    assert_eq!(told.wait(2, Acks::All, 0, 9), []);
    assert_eq!(told.sync(10), [ok(1, 0)], "node 2 was not heard");
    let acked = |node, epoch, end| Event::FollowerAcked {
        node: NodeId(node),
        epoch: LeaderEpoch(epoch),
        end: Offset(end),
    };
    assert_eq!(told.tell(acked(3, 5, 10)), [], "node 3 is not in sync");
    assert_eq!(told.tell(acked(2, 4, 10)), [], "said in another epoch");
    assert_eq!(told.tell(acked(2, 5, 6)), [hw(6)]);
    // Once node 2 is out of the ISR, node 1 alone decides (KAFKA-13091).
    assert_eq!(told.tell(partition(Some(1), 5, 1, &[1], &[1, 2, 3])), [hw(10), ok(2, 0)]);
}

#[test]
fn with_too_few_in_sync_nothing_is_committed_and_producers_are_told() {
    let mut told = Told::leading(Settings { min_insync_replicas: 2, ..SYNC }, &[1, 2], &[1, 2]);
    told.append(10);
    told.wait(1, Acks::All, 0, 9);
    assert_eq!(
        told.tell(partition(Some(1), 5, 1, &[1], &[1, 2])),
        [refused(1, ErrorCode::NotEnoughReplicasAfterAppend)]
    );
    assert_eq!(told.replica.admit(Acks::All), Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(told.replica.admit(Acks::Leader), Ok(()));
    assert_eq!(told.sync(10), [], "the high watermark stands still (KAFKA-15583)");
}

#[test]
fn more_than_all_replicas_are_never_required() {
    let mut told = Told::leading(Settings { min_insync_replicas: 2, ..SYNC }, &[1], &[1]);
    assert_eq!(told.replica.admit(Acks::All), Ok(()));
    told.append(1);
    assert_eq!(told.sync(1), [hw(1)]);
}

#[test]
fn a_deadline_ends_the_wait_and_nothing_else() {
    let mut told = Told::leading(SYNC, &[1], &[1]);
    told.append(5);
    told.wait(1, Acks::All, 0, 4);
    assert_eq!(told.replica.next_deadline(), Some(told.at(1_000)));
    told.now = told.at(999);
    assert_eq!(told.tell(Event::Tick), []);
    told.now = told.at(1_000);
    assert_eq!(told.tell(Event::Tick), [refused(1, ErrorCode::RequestTimedOut)]);
    assert_eq!(told.replica.next_deadline(), None);
    assert_eq!(told.sync(5), [hw(5)]);
}

#[test]
fn another_epoch_answers_all_who_wait() {
    let mut told = Told::leading(SYNC, &[1], &[1]);
    told.append(5);
    told.wait(1, Acks::All, 0, 4);
    told.wait(2, Acks::Leader, 0, 4);
    let lost = [2, 1].map(|slot| refused(slot, ErrorCode::NotLeaderOrFollower));
    assert_eq!(told.tell(partition(None, 6, 1, &[1], &[1])), lost);
    assert_eq!(told.replica.admit(Acks::Leader), Err(ErrorCode::NotLeaderOrFollower));
    assert_eq!(told.wait(3, Acks::All, 0, 4), [refused(3, ErrorCode::NotLeaderOrFollower)]);
    let again = told.tell(partition(Some(1), 7, 2, &[1], &[1]));
    assert_eq!(again, [Action::StartEpoch { epoch: LeaderEpoch(7), start: Offset(5) }]);
}

#[test]
fn an_older_state_of_the_image_is_ignored() {
    let mut told = Told::leading(SYNC, &[1, 2], &[1, 2]);
    told.tell(partition(Some(1), 5, 4, &[1, 2], &[1, 2]));
    told.append(5);
    told.sync(5);
    assert_eq!(told.tell(partition(Some(1), 5, 3, &[1], &[1, 2])), []);
    assert_eq!(told.tell(partition(Some(2), 4, 9, &[1], &[1, 2])), []);
    assert_eq!(told.replica.bounds().high_watermark, Offset(0));
}

#[test]
fn a_failed_sync_gives_up_the_epoch_for_good() {
    let mut told = Told::leading(SYNC, &[1], &[1]);
    told.append(5);
    told.wait(1, Acks::All, 0, 4);
    let give_up = |epoch| Action::GiveUpEpoch { epoch: LeaderEpoch(epoch) };
    assert_eq!(told.tell(Event::StorageFailed), [refused(1, ErrorCode::KafkaStorageError), give_up(5)]);
    assert_eq!(told.replica.admit(Acks::None), Err(ErrorCode::KafkaStorageError));
    assert_eq!(told.replica.leads_in(), None);
    assert_eq!(told.tell(partition(None, 6, 1, &[1], &[1])), []);
    assert_eq!(told.tell(partition(Some(1), 7, 2, &[1], &[1])), [give_up(7)]);
}

#[test]
fn deleted_records_carry_the_high_watermark_along() {
    let mut told = Told::new(SYNC, 10);
    assert_eq!(told.tell(Event::LogStartMoved { start: Offset(6) }), [hw(6)]);
    assert_eq!(told.tell(Event::LogStartMoved { start: Offset(4) }), []);
    assert_eq!(told.replica.bounds().start, Offset(6));
}

#[derive(Clone, Debug)]
enum Step {
    Append(i64),
    Sync(i64),
    Await { acks: Acks, back: i64, length: i64, patience_ms: u64 },
    Acked { node: i32, back: i64, stale: bool },
    Isr(BTreeSet<i32>),
    NewEpoch(Option<i32>),
    Configure(Settings),
    DeleteTo(i64),
    Pass(u64),
    Fail,
}

fn settings() -> impl Strategy<Value = Settings> {
    (prop_oneof![3 => Just(FlushMode::Sync), 1 => Just(FlushMode::Async)], 1..4_usize)
        .prop_map(|(flush_mode, min_insync_replicas)| Settings { flush_mode, min_insync_replicas })
}

fn step() -> impl Strategy<Value = Step> {
    let acks = prop_oneof![Just(Acks::None), Just(Acks::Leader), Just(Acks::All), Just(Acks::All)];
    prop_oneof![
        6 => (1..5_i64).prop_map(Step::Append),
        6 => (0..4_i64).prop_map(Step::Sync),
        10 => (acks, 0..6_i64, 0..4_i64, 0..50_u64)
            .prop_map(|(acks, back, length, patience_ms)| Step::Await { acks, back, length, patience_ms }),
        8 => (2..4, 0..4_i64, prop::bool::weighted(0.1))
            .prop_map(|(node, back, stale)| Step::Acked { node, back, stale }),
        2 => prop::collection::btree_set(2..4, 0..3).prop_map(Step::Isr),
        1 => prop_oneof![3 => Just(Some(1)), 1 => Just(None), 1 => Just(Some(2))].prop_map(Step::NewEpoch),
        1 => settings().prop_map(Step::Configure),
        1 => (0..5_i64).prop_map(Step::DeleteTo),
        4 => (0..20_u64).prop_map(Step::Pass),
    ]
}

/// All that happened, and from it what may be answered.
struct Model {
    settings: Settings,
    leader: Option<i32>,
    epoch: i32,
    partition_epoch: i32,
    isr: BTreeSet<i32>,
    end: i64,
    synced: i64,
    /// Of the followers, in this epoch.
    ends: BTreeMap<i32, i64>,
    high_watermark: i64,
    failed: bool,
    waiting: BTreeMap<u64, (Acks, i64, i64, Instant)>,
}

impl Model {
    fn durable(&self) -> i64 {
        if self.settings.flush_mode == FlushMode::Sync {
            self.synced
        } else {
            self.end
        }
    }

    fn leads(&self) -> bool {
        self.leader == Some(1) && !self.failed
    }

    fn enough(&self) -> bool {
        self.isr.len() >= self.settings.min_insync_replicas.min(3)
    }

    fn advance(&mut self) {
        let of = |node: &i32| if *node == 1 { Some(self.durable()) } else { self.ends.get(node).copied() };
        let ends: Option<Vec<i64>> = self.isr.iter().map(of).collect();
        if let (true, true, Some(ends)) = (self.leads(), self.enough(), ends) {
            self.high_watermark = self.high_watermark.max(ends.into_iter().min().unwrap());
        }
    }

    fn assigned(&mut self) -> Event {
        self.partition_epoch += 1;
        let isr: Vec<_> = self.isr.iter().copied().collect();
        partition(self.leader, self.epoch, self.partition_epoch, &isr, &[1, 2, 3])
    }

    /// Checks an answer, and that it is the slot's first.
    fn answered(&mut self, slot: u64, result: Result<Offset, ErrorCode>, now: Instant) {
        let (acks, first, last, deadline) = self.waiting.remove(&slot).expect("one answer for each slot");
        match result {
            Ok(base) => {
                assert_eq!(base, Offset(first));
                assert!(self.leads());
                match acks {
                    Acks::None => {}
                    Acks::Leader => assert!(last < self.durable(), "acks=1 before the records are durable"),
                    Acks::All => assert!(last < self.high_watermark, "acks=all before they are committed"),
                }
            }
            Err(ErrorCode::RequestTimedOut) => assert!(deadline <= now),
            Err(ErrorCode::NotEnoughReplicasAfterAppend) => assert!(acks == Acks::All && !self.enough()),
            Err(ErrorCode::KafkaStorageError) => assert!(self.failed),
            Err(code) => assert_eq!(code, ErrorCode::NotLeaderOrFollower),
        }
    }

    /// Who should have been answered by now.
    fn overdue(&self, now: Instant, ticked: bool) -> Option<u64> {
        let passed = |(acks, _, last, deadline): &(Acks, i64, i64, Instant)| {
            let passed = match acks {
                Acks::None => true,
                Acks::Leader => *last < self.durable(),
                Acks::All => *last < self.high_watermark || !self.enough(),
            };
            passed || !self.leads() || (ticked && *deadline <= now)
        };
        self.waiting.iter().find(|(_, wait)| passed(wait)).map(|(slot, _)| *slot)
    }
}

fn run(initial: Settings, steps: Vec<Step>) {
    let mut told = Told::new(initial, 0);
    let mut model = Model {
        settings: initial,
        leader: None,
        epoch: 0,
        partition_epoch: 0,
        isr: BTreeSet::from([1, 2, 3]),
        end: 0,
        synced: 0,
        ends: BTreeMap::new(),
        high_watermark: 0,
        failed: false,
        waiting: BTreeMap::new(),
    };
    let first = [Step::NewEpoch(Some(1)), Step::Isr(BTreeSet::from([2]))];
    let last = [Step::Pass(1_000)];
    for (slot, step) in first.into_iter().chain(steps).chain(last).enumerate() {
        let slot = slot as u64;
        let mut ticked = false;
        let event = match step {
            Step::Append(count) if model.leads() => {
                model.end += count;
                Event::Appended { end: Offset(model.end) }
            }
            Step::Sync(back) => {
                let end = (model.end - back).max(0);
                model.synced = model.synced.max(end);
                Event::Synced { end: Offset(end) }
            }
            Step::Await { acks, back, length, patience_ms } if model.end > 0 => {
                let last = (model.end - 1 - back).max(0);
                let first = (last - length).max(0);
                let deadline = told.now + Duration::from_millis(patience_ms);
                model.waiting.insert(slot, (acks, first, last, deadline));
                Event::Await { slot: Slot(slot), acks, first: Offset(first), last: Offset(last), deadline }
            }
            Step::Acked { node, back, stale } => {
                let end = (model.end - back).max(0);
                let epoch = if stale { model.epoch - 1 } else { model.epoch };
                if !stale && model.leads() {
                    let known = model.ends.entry(node).or_insert(end);
                    *known = end.max(*known);
                }
                Event::FollowerAcked { node: NodeId(node), epoch: LeaderEpoch(epoch), end: Offset(end) }
            }
            Step::Isr(followers) => {
                model.isr = followers;
                model.isr.insert(1);
                model.assigned()
            }
            Step::NewEpoch(leader) => {
                model.epoch += 1;
                model.leader = leader;
                model.ends.clear();
                model.assigned()
            }
            Step::Configure(settings) => {
                model.settings = settings;
                Event::Configured(settings)
            }
            Step::DeleteTo(back) => {
                let start = (model.high_watermark - back).max(0);
                Event::LogStartMoved { start: Offset(start) }
            }
            Step::Pass(ms) => {
                told.now += Duration::from_millis(ms);
                ticked = true;
                Event::Tick
            }
            Step::Fail => {
                model.failed = true;
                Event::StorageFailed
            }
            Step::Append(_) | Step::Await { .. } => continue,
        };
        model.advance();
        let mut published = told.replica.bounds().high_watermark;
        for action in told.tell(event) {
            match action {
                Action::AdvanceHighWatermark(to) => {
                    assert!(to > published, "the high watermark only rises");
                    published = to;
                }
                Action::Answer { slot, result } => model.answered(slot.0, result, told.now),
                Action::StartEpoch { epoch, start } => {
                    assert!(model.leads());
                    assert_eq!((epoch.0, start.0), (model.epoch, model.end));
                }
                Action::GiveUpEpoch { epoch } => assert!(model.failed && epoch.0 == model.epoch),
            }
        }
        let high_watermark = told.replica.bounds().high_watermark;
        assert_eq!((published, high_watermark.0), (high_watermark, model.high_watermark));
        assert_eq!(told.replica.waiting(), model.waiting.len());
        assert_eq!(model.overdue(told.now, ticked), None, "someone waits for nothing");
        let deadlines = model.waiting.values().map(|(_, _, _, deadline)| *deadline);
        assert_eq!(told.replica.next_deadline(), deadlines.min());
    }
    assert!(model.waiting.is_empty(), "every request is answered once its deadline has passed");
}

proptest! {
    #[test]
    fn whatever_happens_each_request_is_answered_once_and_never_too_early(
        initial in settings(),
        steps in prop::collection::vec(step(), 0..150),
        fails_at in prop::option::weighted(0.2, 0..150_usize),
    ) {
        let mut steps = steps;
        if let Some(at) = fails_at {
            steps.insert(at.min(steps.len()), Step::Fail);
        }
        run(initial, steps);
    }
}
