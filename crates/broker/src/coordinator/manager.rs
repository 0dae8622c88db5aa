//! Keeps a coordinator running for each partition of the offsets topic that this broker leads.

use std::{collections::BTreeMap, sync::Arc};

use norn_core::{
    group::GroupConfig,
    metadata::{Image, ImageDelta},
};
use norn_env::{
    clock::{self, Duration, Instant},
    select,
    task::{self, Shutdown, Tasks},
};
use norn_protocol::types::{LeaderEpoch, TopicId};
use tokio::sync::{mpsc, watch};
use tracing::error;

use super::{
    actor::{run, CoordinatorEnd, Setup},
    handle::{CoordinatorHandle, CoordinatorTable, OFFSETS_TOPIC},
};
use crate::{
    controller::Controller,
    partition::{CoordinatorIncarnation, PartitionTable, ReadySet},
};

/// Requests that may wait for one coordinator.
const QUEUE_LEN: usize = 1024;

/// Pause before a coordinator that ended is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// Runs until shutdown; the coordinators end with it.
pub(crate) struct CoordinatorManager {
    partitions: watch::Receiver<Arc<PartitionTable>>,
    controller: Controller,
    config: GroupConfig,
    table: watch::Sender<Arc<CoordinatorTable>>,
    running: BTreeMap<i32, (LeaderEpoch, CoordinatorHandle)>,
    /// When a partition's coordinator may be started again.
    not_before: BTreeMap<i32, Instant>,
    tasks: Tasks<(i32, CoordinatorEnd)>,
    /// Coordinators started so far.
    started: u64,
    /// The image up to which it has followed.
    image: Arc<Image>,
    /// Counts the images that lacked topics of the one before.
    deletions: watch::Sender<u64>,
    moved: Arc<ReadySet>,
    watched: BTreeMap<(TopicId, i32), ()>,
}

impl CoordinatorManager {
    pub fn new(
        partitions: watch::Receiver<Arc<PartitionTable>>,
        controller: Controller,
        config: GroupConfig,
    ) -> (Self, watch::Receiver<Arc<CoordinatorTable>>) {
        let (table, published) = watch::channel(Arc::default());
        let manager = CoordinatorManager {
            partitions,
            controller,
            config,
            table,
            running: BTreeMap::new(),
            not_before: BTreeMap::new(),
            tasks: Tasks::new(),
            started: 0,
            image: Arc::default(),
            deletions: watch::Sender::new(0),
            moved: Arc::default(),
            watched: BTreeMap::new(),
        };
        (manager, published)
    }

    pub async fn run(mut self, mut shutdown: Shutdown) {
        let mut images = self.controller.images();
        loop {
            let image = images.borrow_and_update().clone();
            self.follow(image);
            self.start_missing();
            let retry = self.not_before.values().min().copied();
            select! {
                _ = shutdown.signaled() => return,
                Some((name, ended)) = self.tasks.join_next(), if !self.tasks.is_empty() => match ended {
                    Ok((index, _)) => self.ended(index),
                    Err(_) => error!("{name} was stopped"),
                },
                _ = clock::sleep_until(retry.unwrap_or_else(clock::now)), if retry.is_some() => {
                    let now = clock::now();
                    self.not_before.retain(|_, at| *at > now);
                }
                changed = task::wait(|| "a change of the open partitions".into(), self.partitions.changed()) => {
                    if changed.is_err() {
                        return;
                    }
                }
                changed = images.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                _ = self.moved.moved(), if self.someone_is_missing() => {
                    self.moved.take();
                }
            }
        }
    }

    /// Whether a partition of the offsets topic is open without its coordinator: then its next move may change that.
    fn someone_is_missing(&self) -> bool {
        let table = self.partitions.borrow();
        let missing = table.of_topic_named(OFFSETS_TOPIC).any(|p| !self.running.contains_key(&p.index()));
        missing
    }

    fn start_missing(&mut self) {
        let table = self.partitions.borrow_and_update().clone();
        let mut changed = false;
        for partition in table.of_topic_named(OFFSETS_TOPIC) {
            let index = partition.index();
            if self.watched.insert((partition.topic_id(), index), ()).is_none() {
                partition.watch(&self.moved, index as u32);
            }
            let view = partition.view();
            let ready = view.unavailable.is_none() && !self.not_before.contains_key(&index);
            if !ready || self.running.contains_key(&index) {
                continue;
            }
            let (tx, queue) = mpsc::channel(QUEUE_LEN);
            self.started += 1;
            let setup = Setup {
                partition: partition.clone(),
                epoch: view.epoch,
                incarnation: CoordinatorIncarnation(self.started),
                config: self.config.clone(),
                controller: self.controller.clone(),
                queue,
                deletions: self.deletions.subscribe(),
            };
            let running = run(setup);
            self.tasks.spawn(format!("group coordinator {index}"), async move { (index, running.await) });
            self.running.insert(index, (view.epoch, CoordinatorHandle { queue: tx }));
            changed = true;
        }
        if changed {
            self.publish();
        }
    }

    fn ended(&mut self, index: i32) {
        self.running.remove(&index);
        let pause = if norn_env::buggify!("a coordinator is started again at once", 0.5) {
            Duration::ZERO
        } else {
            RESTART_PAUSE
        };
        self.not_before.insert(index, clock::now() + pause);
        self.publish();
    }

    fn publish(&self) {
        let table = self.running.iter().map(|(index, (_, handle))| (*index, handle.clone())).collect();
        self.table.send_replace(Arc::new(table));
    }

    /// Tells every coordinator when topics are gone since the last image; each looks which.
    fn follow(&mut self, image: Arc<Image>) {
        if !ImageDelta::between(&self.image, &image).deleted.is_empty() {
            self.deletions.send_modify(|deletions| *deletions += 1);
        }
        self.image = image;
    }
}
