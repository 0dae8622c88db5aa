//! The task of one partition.
//!
//! Owns its log, its replica state, its producers' sequences and the replies that wait for an acknowledgement. It is sent
//! messages by connections, coordinators and its manager over one bounded queue; it sends to nobody but its disk's sync
//! rounds, and calls no other partition. Everything that waits in the queue is appended with one write. It ends when told to
//! close or when its topic is removed; who still waits then is answered NOT_LEADER_OR_FOLLOWER.

use std::{collections::BTreeMap, sync::Arc};

use futures::{future::BoxFuture, stream::FuturesOrdered, FutureExt, StreamExt};
use norn_core::{
    metadata::{FlushMode, TopicConfig},
    producer::ProducerTable,
    record_rules::RecordRules,
    replica::{Action, Event, Replica, Settings, Slot},
    Millis,
};
use norn_env::{
    clock::{self, Duration},
    select, task,
};
use norn_log::{dir::LogDir, LogId, PartitionLog, SyncTicket};
use norn_protocol::{
    types::{LeaderEpoch, NodeId, Offset},
    ErrorCode,
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info};

use super::open::log_config;
use super::{
    handle::{CoordinatorIncarnation, Message, Produce, Produced},
    published::{Published, View},
};
use crate::{
    controller::Controller,
    metrics::{Metrics, PartitionCount},
};

/// Produce requests that are appended with one write at most; bounds how long the first of them waits for the last.
const APPENDED_TOGETHER_MAX: usize = 256;

/// Sync rounds under way at once for this log. While one runs, the next gathers; more would only split the gathering.
const SYNCS_MAX: usize = 2;

/// Producers that one message asks about; more are asked for by the next, so that appends go on in between.
const PRODUCERS_AT_ONCE: usize = 1024;

/// What a partition's task is started with.
pub(super) struct Setup {
    pub id: LogId,
    pub node: NodeId,
    pub log: PartitionLog,
    pub dir: LogDir,
    pub producers: ProducerTable,
    pub config: TopicConfig,
    pub assigned: Arc<norn_core::metadata::Partition>,
    pub queue: mpsc::Receiver<Message>,
    pub published: Arc<Published>,
    pub controller: Controller,
    pub metrics: Arc<Metrics>,
    /// Moves when it is time to look at retention, and for producers that have not written for as long as it says.
    pub retention: watch::Receiver<Duration>,
}

/// How a partition's task ended.
#[derive(Debug)]
pub(super) enum PartitionEnd {
    /// The log was synced and closed, or why it could not be.
    Closed(Result<(), CloseError>),
    /// Its files are to be removed.
    Removed,
}

/// Why a log was not closed in good order.
#[derive(Debug, thiserror::Error)]
pub(super) enum CloseError {
    /// It was offline before it was told to close, and that was logged then.
    #[error("offline since a write or a sync failed")]
    Offline,
    #[error("{0}")]
    Failed(String),
}

/// A request that waits for its acknowledgement.
pub(super) struct Waiting {
    pub reply: oneshot::Sender<Result<Produced, ErrorCode>>,
    pub log_append_time: Option<i64>,
}

pub(super) struct Actor {
    pub id: LogId,
    pub log: PartitionLog,
    dir: LogDir,
    pub replica: Replica,
    pub producers: ProducerTable,
    pub config: TopicConfig,
    queue: mpsc::Receiver<Message>,
    published: Arc<Published>,
    controller: Controller,
    pub metrics: Arc<Metrics>,
    retention: watch::Receiver<Duration>,
    pub waiting: BTreeMap<Slot, Waiting>,
    next_slot: u64,
    pub actions: Vec<Action>,
    syncs: FuturesOrdered<SyncTicket>,
    /// The end that the last submitted sync covers.
    sync_submitted: Offset,
    resigning: Option<BoxFuture<'static, LeaderEpoch>>,
    /// Final: a write or a sync failed, and nothing is served any more.
    pub failed: bool,
    /// The newest coordinator that announced itself; appends of earlier ones are rejected.
    pub coordinator: Option<CoordinatorIncarnation>,
    /// It was told to end.
    ended: bool,
    dirty: bool,
    count: PartitionCount,
}

/// Runs one partition to its end.
pub(super) async fn run(setup: Setup) -> PartitionEnd {
    let mut actor = Actor {
        replica: Replica::new(setup.node, settings(&setup.config), setup.log.start(), setup.log.end()),
        sync_submitted: setup.log.durable_end(),
        id: setup.id,
        log: setup.log,
        dir: setup.dir,
        producers: setup.producers,
        config: setup.config,
        queue: setup.queue,
        published: setup.published,
        controller: setup.controller,
        count: PartitionCount::new(setup.metrics.clone()),
        metrics: setup.metrics,
        retention: setup.retention,
        waiting: BTreeMap::new(),
        next_slot: 0,
        actions: vec![],
        syncs: FuturesOrdered::new(),
        resigning: None,
        failed: false,
        coordinator: None,
        ended: false,
        dirty: true,
    };
    // All that recovery found counts as flushed: opening the log has made it durable.
    actor.step(Event::Assigned(setup.assigned)).await;
    loop {
        if let Some(end) = actor.turn().await {
            return actor.end(end).await;
        }
    }
}

pub(super) enum End {
    Close,
    Remove,
}

async fn resigned(resigning: &mut Option<BoxFuture<'static, LeaderEpoch>>) -> LeaderEpoch {
    match resigning {
        Some(resigning) => resigning.await,
        None => std::future::pending().await,
    }
}

pub(super) fn settings(config: &TopicConfig) -> Settings {
    Settings {
        flush_mode: config.flush_mode,
        min_insync_replicas: config.min_insync_replicas.max(1) as usize,
    }
}

impl Actor {
    /// Waits for one thing to do, and does it.
    async fn turn(&mut self) -> Option<End> {
        self.publish();
        // These come before the queue, which may never be empty.
        let deadline = self.replica.next_deadline();
        if deadline.is_some_and(|at| at <= clock::now()) {
            self.step(Event::Tick).await;
            return None;
        }
        if self.retention.has_changed().unwrap_or(false) {
            let producer_ttl = *self.retention.borrow_and_update();
            self.retain(producer_ttl).await;
            return None;
        }
        let message = select! {
            Some(synced) = self.syncs.next(), if !self.syncs.is_empty() => {
                self.synced(synced).await;
                return None;
            }
            epoch = resigned(&mut self.resigning), if self.resigning.is_some() => {
                self.resigning = None;
                debug!(log = %self.id, %epoch, "gave up the leader epoch");
                return None;
            }
            message = task::wait(|| "a message to the partition".into(), self.queue.recv()) => message,
            // Its manager closes the queue when it ends.
            Ok(()) = self.retention.changed() => {
                self.retention.mark_changed();
                return None;
            }
            _ = clock::sleep_until(deadline.unwrap_or_else(clock::now)), if deadline.is_some() => return None,
        };
        match message {
            Some(Message::Produce(first)) => {
                let then = self.produce(first).await?;
                self.receive(then).await
            }
            Some(other) => self.receive(other).await,
            None => Some(End::Close),
        }
    }

    /// Appends `first` and what else waits in the queue with one write; gives back a message that is no Produce.
    async fn produce(&mut self, first: Produce) -> Option<Message> {
        let mut requests = vec![first];
        let mut then = None;
        let most =
            if norn_env::buggify!("a produce is written alone", 0.3) { 1 } else { APPENDED_TOGETHER_MAX };
        while requests.len() < most {
            match self.queue.try_recv() {
                Ok(Message::Produce(produce)) => requests.push(produce),
                Ok(other) => {
                    then = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.append(requests).await;
        self.sync();
        then
    }

    async fn receive(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Produce(produce) => {
                self.append(vec![produce]).await;
                self.sync();
            }
            Message::DeleteRecords { before, reply } => {
                let deleted = self.delete_records(before).await;
                self.publish();
                // The asker may have gone.
                let _ = reply.send(deleted);
            }
            Message::DescribeProducers { after, reply } => {
                let states = match self.failed {
                    true => Err(ErrorCode::KafkaStorageError),
                    false => Ok(self.producers.states(after, PRODUCERS_AT_ONCE)),
                };
                // The asker may have gone.
                let _ = reply.send(states);
            }
            Message::Announce { epoch, incarnation, reply } => {
                // The coordinator may have gone.
                let _ = reply.send(self.announce(epoch, incarnation));
            }
            Message::Assigned(partition) => self.step(Event::Assigned(partition)).await,
            Message::Configured(config) => {
                self.log.set_config(log_config(&config));
                self.config = *config;
                self.dirty = true;
                let settings = settings(&self.config);
                self.step(Event::Configured(settings)).await;
                self.sync();
            }
            Message::Close => return Some(End::Close),
            Message::Remove => return Some(End::Remove),
        }
        None
    }

    pub(super) fn slot(&mut self, waiting: Waiting) -> Slot {
        let slot = Slot(self.next_slot);
        self.next_slot += 1;
        self.waiting.insert(slot, waiting);
        slot
    }

    /// Tells the replica a fact and follows its orders.
    pub(super) async fn step(&mut self, event: Event) {
        self.replica.step(event, clock::now(), &mut self.actions);
        self.follow().await;
    }

    /// Follows the replica's orders, and those that following them leads to.
    pub(super) async fn follow(&mut self) {
        while !self.actions.is_empty() {
            let mut actions = std::mem::take(&mut self.actions);
            self.dirty = true;
            for action in actions.drain(..) {
                match action {
                    Action::StartEpoch { epoch, start } => {
                        debug!(log = %self.id, %epoch, %start, "leader epoch started");
                        if let Err(cause) = self.log.assign_epoch(epoch, start).await {
                            self.storage_failed(&cause.to_string());
                        }
                    }
                    // The value is published with everything else.
                    Action::AdvanceHighWatermark(to) => {
                        debug!(log = %self.id, high_watermark = %to, "high watermark advanced");
                    }
                    Action::Answer { slot, result } => {
                        // Who has its answer must find its records, however long the rest of the turn takes.
                        self.publish();
                        self.answer(slot, result);
                    }
                    Action::GiveUpEpoch { epoch } => self.give_up(epoch),
                }
            }
            if self.actions.is_empty() {
                self.actions = actions;
                break;
            }
        }
    }

    fn answer(&mut self, slot: Slot, result: Result<Offset, ErrorCode>) {
        if let Some(waiting) = self.waiting.remove(&slot) {
            debug!(log = %self.id, ?result, "produce answered");
            let log_start = self.log.start();
            let log_append_time = waiting.log_append_time;
            // The producer may have gone.
            let _ = waiting.reply.send(result.map(|base_offset| Produced {
                base_offset,
                log_append_time,
                log_start,
            }));
        }
    }

    fn give_up(&mut self, epoch: LeaderEpoch) {
        let (controller, id) = (self.controller.clone(), self.id.clone());
        self.resigning = Some(
            async move {
                controller.resign_leadership(id.topic_id, id.partition, epoch).await;
                epoch
            }
            .boxed(),
        );
    }

    /// Joins the disk's next sync round with what was written since the last.
    fn sync(&mut self) {
        let wanted = self.config.flush_mode == FlushMode::Sync && !self.failed;
        if wanted && self.log.end() > self.sync_submitted && self.syncs.len() < SYNCS_MAX {
            self.sync_submitted = self.log.end();
            self.syncs.push_back(self.log.sync());
        }
    }

    async fn synced(&mut self, synced: Result<Offset, norn_log::SyncError>) {
        match synced {
            Ok(end) => {
                debug!(log = %self.id, flushed = %end, "log flushed");
                self.log.synced(end);
                self.step(Event::Synced { end }).await;
                self.sync();
            }
            Err(cause) => {
                self.storage_failed(&cause.to_string());
                self.follow().await;
            }
        }
    }

    /// Final for this log: it serves nothing more, and its offsets are never used again in this epoch.
    pub(super) fn storage_failed(&mut self, cause: &str) {
        if !self.failed {
            error!(log = %self.id, "log is offline: {cause}; the broker goes on without this partition until its next start");
        }
        self.failed = true;
        self.dirty = true;
        self.log.give_up();
        self.replica.step(Event::StorageFailed, clock::now(), &mut self.actions);
    }

    async fn delete_records(&mut self, before: Offset) -> Result<Offset, ErrorCode> {
        if self.failed {
            return Err(ErrorCode::KafkaStorageError);
        }
        if self.replica.leads_in().is_none() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if !self.config.cleanup_policy.delete {
            return Err(ErrorCode::PolicyViolation);
        }
        let start = self.replica.bounds().delete_before(before)?;
        match self.log.delete_before(start).await {
            Ok(_) => {
                // Also where the replica has no orders for it: the files are gone.
                self.dirty = true;
                self.step(Event::LogStartMoved { start: self.log.start() }).await;
                Ok(self.log.start())
            }
            Err(cause) => {
                self.storage_failed(&cause.to_string());
                self.follow().await;
                Err(ErrorCode::KafkaStorageError)
            }
        }
    }

    async fn retain(&mut self, producer_ttl: Duration) {
        if self.failed {
            return;
        }
        let ttl_ms = i64::try_from(producer_ttl.as_millis()).unwrap_or(i64::MAX);
        self.producers.expire(Millis(clock::wall_ms()), ttl_ms);
        match self.log.retain(clock::wall_ms(), self.replica.bounds().high_watermark).await {
            Ok(deleted) if deleted.segments > 0 => {
                self.dirty = true;
                info!(log = %self.id, segments = deleted.segments, bytes = deleted.bytes, start = %self.log.start(), "retention");
                self.step(Event::LogStartMoved { start: self.log.start() }).await;
            }
            Ok(_) => {}
            Err(cause) => {
                self.storage_failed(&cause.to_string());
                self.follow().await;
            }
        }
    }

    /// Publishes the partition as it is now, if it changed.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let bounds = self.replica.bounds();
        let unavailable = match self.replica.leads_in() {
            _ if self.failed => Some(ErrorCode::KafkaStorageError),
            _ if self.ended => Some(ErrorCode::NotLeaderOrFollower),
            None => Some(ErrorCode::NotLeaderOrFollower),
            Some(_) => None,
        };
        self.count.set(unavailable.is_none(), self.failed);
        self.published.publish(View {
            epoch: self.replica.leads_in().unwrap_or(LeaderEpoch::NONE),
            epoch_start: self.replica.epoch_start().unwrap_or(bounds.start),
            unavailable,
            log_start: bounds.start,
            last_stable: bounds.high_watermark,
            high_watermark: bounds.high_watermark,
            high_watermark_at: self.log.position_of(bounds.high_watermark),
            log_end: bounds.end,
            record_rules: RecordRules::of(&self.config),
            log: self.log.view(),
        });
    }

    async fn end(mut self, end: End) -> PartitionEnd {
        self.queue.close();
        // Readers that wait learn it now: fetchers, and the coordinator of a deleted offsets topic.
        self.ended = true;
        self.dirty = true;
        self.publish();
        // Whoever waits for an acknowledgement learns it from the closed channel.
        match end {
            End::Remove => {
                self.waiting.clear();
                PartitionEnd::Removed
            }
            End::Close => PartitionEnd::Closed(self.close().await),
        }
    }

    /// Makes everything durable, so that the next start needs no recovery scan.
    async fn close(mut self) -> Result<(), CloseError> {
        if self.failed {
            return Err(CloseError::Offline);
        }
        let failed = |cause: &dyn std::fmt::Display| CloseError::Failed(cause.to_string());
        while let Some(synced) = self.syncs.next().await {
            self.synced(synced).await;
        }
        if self.failed {
            return Err(failed(&"its last sync failed"));
        }
        let last = self.log.sync();
        match task::wait(|| "the last sync round of the log".into(), last).await {
            Ok(end) => {
                self.log.synced(end);
                self.step(Event::Synced { end }).await;
            }
            Err(cause) => return Err(failed(&cause)),
        }
        self.log.store_producer_snapshot(self.producers.encode()).await.map_err(|cause| failed(&cause))?;
        self.dir.close_log(self.log).await.map(|_| ()).map_err(|cause| failed(&cause))
    }
}
