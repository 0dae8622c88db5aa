//! Keeps a coordinator running for each partition of the offsets topic that this broker leads.

use std::{collections::BTreeMap, sync::Arc};

use norn_core::group::{Event, GroupConfig};
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
    partition::{PartitionTable, ReadySet},
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
    /// The topics of the last image, to tell coordinators which are gone.
    topics: BTreeMap<TopicId, Arc<str>>,
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
            topics: BTreeMap::new(),
            moved: Arc::default(),
            watched: BTreeMap::new(),
        };
        (manager, published)
    }

    pub async fn run(mut self, mut shutdown: Shutdown) {
        let mut images = self.controller.images();
        loop {
            self.tell_deleted_topics().await;
            images.borrow_and_update();
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
        let offsets = table.iter().filter(|p| **p.topic() == *OFFSETS_TOPIC);
        offsets.filter(|p| !self.running.contains_key(&p.index())).count() > 0
    }

    fn start_missing(&mut self) {
        let table = self.partitions.borrow_and_update().clone();
        let mut changed = false;
        for partition in table.iter().filter(|p| **p.topic() == *OFFSETS_TOPIC) {
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
            let setup = Setup {
                partition: partition.clone(),
                epoch: view.epoch,
                config: self.config.clone(),
                controller: self.controller.clone(),
                queue,
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
        self.not_before.insert(index, clock::now() + RESTART_PAUSE);
        self.publish();
    }

    fn publish(&self) {
        let table = self.running.iter().map(|(index, (_, handle))| (*index, handle.clone())).collect();
        self.table.send_replace(Arc::new(table));
    }

    /// Tells every coordinator of the topics that are gone since the last image.
    async fn tell_deleted_topics(&mut self) {
        let image = self.controller.image();
        let now: BTreeMap<TopicId, Arc<str>> =
            image.topics().map(|topic| (topic.id, topic.name.clone())).collect();
        let gone: Vec<(TopicId, Arc<str>)> = self
            .topics
            .iter()
            .filter(|(id, _)| !now.contains_key(id))
            .map(|(id, name)| (*id, name.clone()))
            .collect();
        self.topics = now;
        for (topic_id, topic) in gone {
            for (_, handle) in self.running.values() {
                let topic = topic.clone();
                let event = move |_| Event::TopicDeleted { topic, topic_id };
                // One that is being loaded looks for itself. One that is overloaded keeps offsets of a topic that is gone
                // until it is loaded again, or they expire.
                let _ = handle.step(clock::now() + RESTART_PAUSE, event).await;
            }
        }
    }
}
