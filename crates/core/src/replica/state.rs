//! The state of a replica and its one `step`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use norn_protocol::types::{LeaderEpoch, NodeId, Offset};
use norn_protocol::ErrorCode;

use super::bounds::Bounds;
use super::message::{Acks, Action, Event, Settings, Slot};
use super::waits::Waits;
use crate::metadata::{FlushMode, Partition};

/// What this replica is at present.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Role {
    /// Another node leads, or none.
    Idle,
    /// It leads since the log ended at `epoch_start`. `follower_ends`: how far each follower said, in
    /// this epoch, that its log is durable.
    Leader { epoch_start: Offset, follower_ends: BTreeMap<NodeId, Offset> },
    /// Its storage failed. Whatever it is asked to lead, it gives up.
    Failed,
}

/// One partition's replica on this node. Owned by the partition's task, beside the log.
///
/// Always: log start ≤ high watermark ≤ log end, and the high watermark never falls.
#[derive(Clone, Debug)]
pub struct Replica {
    node: NodeId,
    settings: Settings,
    role: Role,
    /// The newest state of the image; `None` until the first.
    partition: Option<Arc<Partition>>,
    log_start: Offset,
    log_end: Offset,
    synced_end: Offset,
    high_watermark: Offset,
    /// Requests with `acks=1`, which wait for this log to be durable.
    await_durable: Waits,
    /// Requests with `acks=all`, which wait for the high watermark.
    await_committed: Waits,
}

impl Replica {
    /// The replica of a log that was just opened. What recovery found is durable: it synced what it
    /// kept. The high watermark starts at the log's start, and rises once it is known who is in sync.
    pub fn new(node: NodeId, settings: Settings, log_start: Offset, log_end: Offset) -> Replica {
        assert!(log_start <= log_end, "a log does not end before it starts");
        Replica {
            node,
            settings,
            role: Role::Idle,
            partition: None,
            log_start,
            log_end,
            synced_end: log_end,
            high_watermark: log_start,
            await_durable: Waits::default(),
            await_committed: Waits::default(),
        }
    }

    /// What may be read, for the partition's published value.
    pub fn bounds(&self) -> Bounds {
        Bounds { start: self.log_start, high_watermark: self.high_watermark, end: self.log_end }
    }

    /// Where the epoch started, if this replica leads.
    pub fn epoch_start(&self) -> Option<Offset> {
        match &self.role {
            Role::Leader { epoch_start, .. } => Some(*epoch_start),
            Role::Idle | Role::Failed => None,
        }
    }

    /// The epoch in which this replica leads.
    pub fn leads_in(&self) -> Option<LeaderEpoch> {
        self.epoch_start()?;
        self.partition.as_ref().map(|partition| partition.leader_epoch)
    }

    /// The end of what counts as durable on this node.
    pub fn durable_end(&self) -> Offset {
        match self.settings.flush_mode {
            FlushMode::Sync => self.synced_end,
            FlushMode::Async => self.log_end,
        }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.await_durable.len() + self.await_committed.len()
    }

    /// When the next request's wait ends: the caller tells [`Event::Tick`] then.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.await_durable.next_deadline(), self.await_committed.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Whether records may be appended for a request with these `acks`. Asked before anything else is
    /// done with the request.
    pub fn admit(&self, acks: Acks) -> Result<(), ErrorCode> {
        match self.role {
            Role::Idle => Err(ErrorCode::NotLeaderOrFollower),
            Role::Failed => Err(ErrorCode::KafkaStorageError),
            Role::Leader { .. } if acks == Acks::All && !self.enough_in_sync() => {
                Err(ErrorCode::NotEnoughReplicas)
            }
            Role::Leader { .. } => Ok(()),
        }
    }

    /// Takes in a fact; appends what is to be done to `actions`.
    pub fn step(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        match event {
            Event::Assigned(partition) => self.assigned(partition, actions),
            Event::Configured(settings) => self.configured(settings, actions),
            Event::Appended { end } => self.appended(end, actions),
            Event::Synced { end } => self.synced(end, actions),
            Event::StorageFailed => self.storage_failed(actions),
            Event::FollowerAcked { node, epoch, end } => self.follower_acked(node, epoch, end, actions),
            Event::LogStartMoved { start } => self.log_start_moved(start, actions),
            Event::Await { slot, acks, first, last, deadline } => {
                self.await_records(slot, acks, first, last, deadline, actions)
            }
            Event::Tick => self.tick(now, actions),
        }
        assert!(self.log_start <= self.high_watermark, "log start <= high watermark");
        assert!(self.high_watermark <= self.log_end, "high watermark <= log end");
    }

    fn assigned(&mut self, partition: Arc<Partition>, actions: &mut Vec<Action>) {
        let known = self.partition.as_ref().map(|known| (known.leader_epoch, known.partition_epoch));
        let told = (partition.leader_epoch, partition.partition_epoch);
        if known.is_some_and(|known| told.0 < known.0 || told.1 <= known.1) {
            // Images are told in order; what is older was overtaken by a newer one (KAFKA-13790).
            return;
        }
        let same_epoch = known.is_some_and(|known| known.0 == told.0);
        let to_lead = partition.leader == Some(self.node);
        self.partition = Some(partition);
        match self.role {
            Role::Leader { .. } if same_epoch && to_lead => {}
            Role::Failed => {
                if to_lead {
                    actions.push(Action::GiveUpEpoch { epoch: told.0 });
                }
                return;
            }
            Role::Leader { .. } | Role::Idle => {
                self.answer_all(ErrorCode::NotLeaderOrFollower, actions);
                if !to_lead {
                    self.role = Role::Idle;
                    return;
                }
                actions.push(Action::StartEpoch { epoch: told.0, start: self.log_end });
                self.role = Role::Leader { epoch_start: self.log_end, follower_ends: BTreeMap::new() };
            }
        }
        self.advance(actions);
        self.check_min_isr(actions);
    }

    fn configured(&mut self, settings: Settings, actions: &mut Vec<Action>) {
        self.settings = settings;
        self.advance(actions);
        self.check_min_isr(actions);
    }

    fn appended(&mut self, end: Offset, actions: &mut Vec<Action>) {
        assert!(end >= self.log_end, "offsets rise");
        self.log_end = end;
        self.advance(actions);
    }

    fn synced(&mut self, end: Offset, actions: &mut Vec<Action>) {
        assert!(end <= self.log_end, "what is durable was written");
        self.synced_end = self.synced_end.max(end);
        self.advance(actions);
    }

    /// What is written but not durable may or may not survive: its producers are told that the outcome
    /// is unknown, and its offsets are never used again in this epoch.
    fn storage_failed(&mut self, actions: &mut Vec<Action>) {
        let led = self.leads_in();
        self.role = Role::Failed;
        self.answer_all(ErrorCode::KafkaStorageError, actions);
        if let Some(epoch) = led {
            actions.push(Action::GiveUpEpoch { epoch });
        }
    }

    fn follower_acked(&mut self, node: NodeId, epoch: LeaderEpoch, end: Offset, actions: &mut Vec<Action>) {
        if self.leads_in() != Some(epoch) {
            return;
        }
        if let Role::Leader { follower_ends, .. } = &mut self.role {
            let known = follower_ends.entry(node).or_insert(end);
            *known = end.max(*known);
        }
        self.advance(actions);
    }

    fn log_start_moved(&mut self, start: Offset, actions: &mut Vec<Action>) {
        assert!(start <= self.log_end, "a log does not end before it starts");
        self.log_start = self.log_start.max(start);
        self.raise_high_watermark(self.log_start, actions);
        self.answer_passed(actions);
    }

    fn await_records(
        &mut self,
        slot: Slot,
        acks: Acks,
        first: Offset,
        last: Offset,
        deadline: Instant,
        actions: &mut Vec<Action>,
    ) {
        assert!(first <= last && last < self.log_end, "what is waited for is in the log");
        let refused = match self.role {
            Role::Leader { .. } => None,
            Role::Idle => Some(ErrorCode::NotLeaderOrFollower),
            Role::Failed => Some(ErrorCode::KafkaStorageError),
        };
        if let Some(code) = refused {
            actions.push(Action::Answer { slot, result: Err(code) });
            return;
        }
        match acks {
            Acks::None => actions.push(Action::Answer { slot, result: Ok(first) }),
            Acks::Leader => self.await_durable.push(slot, first, last, deadline),
            Acks::All => self.await_committed.push(slot, first, last, deadline),
        }
        self.answer_passed(actions);
        self.check_min_isr(actions);
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for waits in [&mut self.await_durable, &mut self.await_committed] {
            while let Some(slot) = waits.pop_due(now) {
                actions.push(Action::Answer { slot, result: Err(ErrorCode::RequestTimedOut) });
            }
        }
    }

    /// Whether the committed ISR suffices for `acks=all`, and thus for the high watermark to move
    /// (KAFKA-15583). A topic with fewer replicas than `min.insync.replicas` goes by its replicas.
    fn enough_in_sync(&self) -> bool {
        self.partition.as_ref().is_some_and(|partition| {
            partition.isr.len() >= self.settings.min_insync_replicas.min(partition.replicas.len())
        })
    }

    /// The least durable end over the ISR; `None` while a member has not been heard in this epoch.
    fn in_sync_end(&self) -> Option<Offset> {
        let Role::Leader { follower_ends, .. } = &self.role else { return None };
        let isr = &self.partition.as_ref()?.isr;
        let mut least = self.durable_end();
        for node in isr.iter().filter(|node| **node != self.node) {
            least = least.min(*follower_ends.get(node)?);
        }
        Some(least)
    }

    /// Called after whatever may have moved an end that something waits for.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        if self.enough_in_sync() {
            if let Some(end) = self.in_sync_end() {
                self.raise_high_watermark(end, actions);
            }
        }
        self.answer_passed(actions);
    }

    fn raise_high_watermark(&mut self, to: Offset, actions: &mut Vec<Action>) {
        if to > self.high_watermark {
            self.high_watermark = to;
            actions.push(Action::AdvanceHighWatermark(to));
        }
    }

    fn answer_passed(&mut self, actions: &mut Vec<Action>) {
        let durable_end = self.durable_end();
        while let Some((slot, first)) = self.await_durable.pop_below(durable_end) {
            actions.push(Action::Answer { slot, result: Ok(first) });
        }
        while let Some((slot, first)) = self.await_committed.pop_below(self.high_watermark) {
            actions.push(Action::Answer { slot, result: Ok(first) });
        }
    }

    /// While too few are in sync the high watermark stands still: who waits for it is told at once.
    fn check_min_isr(&mut self, actions: &mut Vec<Action>) {
        if self.enough_in_sync() {
            return;
        }
        while let Some(slot) = self.await_committed.pop() {
            actions.push(Action::Answer { slot, result: Err(ErrorCode::NotEnoughReplicasAfterAppend) });
        }
    }

    fn answer_all(&mut self, code: ErrorCode, actions: &mut Vec<Action>) {
        for waits in [&mut self.await_durable, &mut self.await_committed] {
            while let Some(slot) = waits.pop() {
                actions.push(Action::Answer { slot, result: Err(code) });
            }
        }
    }
}
