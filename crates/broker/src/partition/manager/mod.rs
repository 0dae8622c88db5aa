//! Keeps the open partitions what the image says they are: opens, reassigns, reconfigures and removes them, and publishes
//! the table that requests go by.
//!
//! One task. It owns the partitions' tasks and notices the end of each; it is told images, and looks at retention from
//! time to time. Opening goes on beside it, a few at a time; so does the removal of files, which a crash or the shutdown cuts
//! off and the next start ends. It ends at shutdown, after every partition has closed ([`closing`]).

mod closing;
mod following;
mod log_names;

pub(crate) use closing::Ended;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{future::BoxFuture, stream::FuturesUnordered, FutureExt, StreamExt};
use norn_core::{
    metadata::{self, Image, TopicConfig},
    record_rules::RecordRules,
};
use norn_env::{
    clock::{self, Duration, Instant},
    select,
    task::{self, Shutdown, Tasks},
};
use norn_log::{
    dir::{Health, LogDir},
    LogId,
};
use norn_protocol::types::{NodeId, PartitionIndex, TopicId};
use tokio::sync::{mpsc, watch};
use tracing::error;

use log_names::LogNames;

use super::{
    actor::{self, PartitionEnd, Setup},
    handle::{Message, QUEUE_LEN},
    missing::{self, missing},
    open::{OpenEnd, Opening},
    published::{Published, ReadySet, View},
    removal::Remover,
    Partition, PartitionTable,
};
use crate::{
    controller::Controller,
    layers::BrokerLayers,
    metrics::{Metrics, PartitionCount},
};

/// Logs that are opened at once: enough to keep a disk busy, few enough to keep memory small.
const OPENING_MAX: usize = 16;

/// Pause before a partition whose queue was full is told again.
const TELL_PAUSE: Duration = Duration::from_millis(50);

/// What the manager is started with.
pub(crate) struct ManagerSetup {
    pub node: NodeId,
    pub dirs: Vec<LogDir>,
    pub controller: Controller,
    pub layers: Arc<BrokerLayers>,
    pub metrics: Arc<Metrics>,
    pub retention_check: Duration,
    pub shutdown: Shutdown,
}

type Id = (TopicId, i32);

/// A partition that is open, or was, if its task has ended.
struct Open {
    partition: Arc<Partition>,
    published: Arc<Published>,
    id: LogId,
    dir: usize,
    assigned: Arc<metadata::Partition>,
    config: TopicConfig,
    /// Its topic is gone and its task has been told.
    removing: bool,
}

/// A partition that could not be opened, or whose task ended.
struct Failed {
    log: LogId,
    /// The data directory where it was looked for.
    dir: Option<usize>,
    _counted: PartitionCount,
}

/// The log of a deleted topic that has made room for others of its name: its data directory, and its own new name.
type RetiredLog = (LogId, usize, Option<String>);

pub(crate) struct Manager {
    setup: ManagerSetup,
    /// The image up to which it has followed.
    image: Arc<Image>,
    /// As it will be published next.
    table: PartitionTable,
    /// Whether that is another than the one that is published.
    table_moved: bool,
    published: watch::Sender<Arc<PartitionTable>>,
    /// What is set for topics that have partitions here, resolved once and again when it changes.
    configs: BTreeMap<TopicId, TopicConfig>,
    open: BTreeMap<Id, Open>,
    /// Partitions whose logs are to be opened in their turn.
    unopened: BTreeSet<Id>,
    /// Partitions whose queues were full when they had to be told something.
    untold: BTreeSet<Id>,
    /// When these are told again.
    tell_again: Option<Instant>,
    /// Partitions that are open and have not yet taken up their roles, by their slots in `started`. They are not in the table.
    starting: BTreeMap<u32, Id>,
    next_slot: u32,
    /// Wakes when one of them has.
    started: Arc<ReadySet>,
    /// Logs that are being opened. Let go at shutdown, but for those of deleted topics.
    opening: FuturesUnordered<Opening>,
    /// What nothing waits for, as the removal of files. Let go at shutdown.
    work: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Logs of deleted topics that are being taken out of use. Awaited at shutdown: the next start would not know whether
    /// they are wanted.
    retiring: FuturesUnordered<BoxFuture<'static, RetiredLog>>,
    /// Log directories that are taken: one that is on its way out is not opened anew.
    names: LogNames,
    /// Partitions that are offline: they are not tried again before the next start.
    failed: BTreeMap<Id, Failed>,
    /// One for each data directory.
    removers: Vec<Remover>,
    tasks: Tasks<(Id, PartitionEnd)>,
    /// Tells all partitions at once that it is time to look at retention; see [`Setup::retention`].
    retention: watch::Sender<Duration>,
    /// Where the directory of a partition is, from before this start.
    found: BTreeMap<LogId, usize>,
}

impl Manager {
    /// A manager, and the table of open partitions that it publishes. `found`: the logs on disk.
    pub fn new(
        setup: ManagerSetup,
        found: BTreeMap<LogId, usize>,
    ) -> (Self, watch::Receiver<Arc<PartitionTable>>) {
        let (published, receiver) = watch::channel(Arc::default());
        let removers = setup.dirs.iter().cloned().map(Remover::new).collect();
        let manager = Manager {
            names: LogNames::new(setup.dirs.len()),
            setup,
            removers,
            image: Arc::default(),
            table: PartitionTable::default(),
            table_moved: false,
            published,
            configs: BTreeMap::new(),
            open: BTreeMap::new(),
            unopened: BTreeSet::new(),
            untold: BTreeSet::new(),
            tell_again: None,
            starting: BTreeMap::new(),
            next_slot: 0,
            started: Arc::default(),
            opening: FuturesUnordered::new(),
            work: FuturesUnordered::new(),
            retiring: FuturesUnordered::new(),
            failed: BTreeMap::new(),
            tasks: Tasks::new(),
            retention: watch::Sender::default(),
            found,
        };
        (manager, receiver)
    }

    /// Sets logs aside that the image does not know, and those that are `unidentified` by anything; goes on with the
    /// removals that the last process began.
    pub async fn clear_up(&mut self, image: &Image, unidentified: Vec<(LogId, usize)>) {
        for (log, dir) in missing::strays(image, &self.found).into_iter().chain(unidentified) {
            self.found.remove(&log);
            missing::set_aside(&self.setup.dirs[dir], &log).await;
        }
        for remover in self.removers.clone() {
            self.work.push(async move { remover.remove_left().await }.boxed());
        }
    }

    /// Runs until shutdown, then closes every partition.
    pub async fn run(mut self) -> Ended {
        let mut images = self.setup.controller.images();
        let mut retention = clock::now() + self.setup.retention_check;
        let mut shutdown = self.setup.shutdown.clone();
        loop {
            let image = images.borrow_and_update().clone();
            self.follow(image);
            self.open_next();
            self.publish();
            let tell_again = self.tell_again;
            select! {
                _ = shutdown.signaled() => break,
                Some(opened) = self.opening.next(), if !self.opening.is_empty() => {
                    self.opened(opened);
                    // What ended at the same time goes into the same table.
                    while let Some(Some(opened)) = self.opening.next().now_or_never() {
                        self.opened(opened);
                    }
                }
                Some(()) = self.work.next(), if !self.work.is_empty() => {}
                Some(retired) = self.retiring.next(), if !self.retiring.is_empty() => self.retired(retired),
                Some((name, ended)) = self.tasks.join_next(), if !self.tasks.is_empty() => match ended {
                    Ok((id, end)) => self.ended(id, end),
                    Err(_) => error!("{name} was stopped"),
                },
                _ = self.started.moved(), if !self.starting.is_empty() => self.take_started(),
                _ = clock::sleep_until(tell_again.unwrap_or(retention)), if tell_again.is_some() => self.tell_untold(),
                _ = clock::sleep_until(retention) => {
                    retention = clock::now() + self.setup.retention_check;
                    self.look_at_retention();
                }
                changed = task::wait(|| "a new metadata image".into(), images.changed()) => {
                    if changed.is_err() {
                        break;
                    }
                }
            }
        }
        self.close().await
    }

    fn begin_open(&mut self, log: LogId, config: TopicConfig) {
        let found = self.found.get(&log).copied();
        let places = found.map_or_else(|| self.emptiest_dirs(), |at| vec![at]);
        let Some(first) = places.first() else { return };
        self.names.take(&log, *first);
        let dirs = places.into_iter().map(|at| (at, self.setup.dirs[at].clone())).collect();
        self.opening.push(Opening::new(dirs, found.is_some(), log, config));
    }

    fn begin_removal(&mut self, log: LogId, at: usize) {
        self.names.take(&log, at);
        // One that was not found was not created in order either: the directory may be another's.
        let is_found = self.found.remove(&log).is_some();
        let remover = self.removers[at].clone();
        self.retiring.push(
            async move {
                let retired = remover.retire(&log, is_found).await;
                (log, at, retired)
            }
            .boxed(),
        );
    }

    fn retired(&mut self, (log, at, retired): RetiredLog) {
        self.release(&log);
        if let Some(name) = retired {
            let remover = self.removers[at].clone();
            self.work.push(async move { remover.remove(&name).await }.boxed());
        }
    }

    /// The directories for a new log, best first: those with the fewest partitions, as Kafka chooses, among those that work.
    fn emptiest_dirs(&self) -> Vec<usize> {
        let counts = self.names.counts();
        let is_online = |at: &usize| *self.setup.dirs[*at].health().borrow() == Health::Online;
        let mut places: Vec<usize> = (0..counts.len()).collect();
        places.sort_by_key(|at| (!is_online(at), counts[*at]));
        let online = places.iter().filter(|at| is_online(at)).count();
        places.truncate(online.max(1));
        places
    }

    /// Takes the partition as offline until the next start, and gives its leadership up, so that clients are told.
    fn fail(&mut self, log: LogId, dir: Option<usize>, image: &Image) {
        let assigned = assigned(image, (log.topic_id, log.partition));
        let led = assigned.filter(|assigned| assigned.leader == Some(self.setup.node));
        if let Some(epoch) = led.map(|assigned| assigned.leader_epoch) {
            let (controller, log) = (self.setup.controller.clone(), log.clone());
            let resigned =
                async move { controller.resign_leadership(log.topic_id, log.partition, epoch).await };
            self.work.push(resigned.map(|_| ()).boxed());
        }
        // The name of a topic that is gone may be another's by now.
        if image.topic(log.topic_id).is_some() {
            self.table.insert_offline(&log);
            self.table_moved = true;
        }
        let mut counted = PartitionCount::new(self.setup.metrics.clone());
        counted.set(false, true);
        self.failed.insert((log.topic_id, log.partition), Failed { log, dir, _counted: counted });
    }

    /// Takes the image's partitions that were not found as offline: while a data directory is, they may lie in it, and
    /// an empty log in another would pass for all that there is. Kafka does so too.
    pub fn miss(&mut self, image: &Image) {
        for log in missing(image, self.setup.node, &self.found) {
            error!(%log, "the log is not in a data directory that works, its partition is offline");
            self.fail(log, None, image);
        }
    }

    fn opened(&mut self, (log, dir, opened): OpenEnd) {
        let id = (log.topic_id, log.partition);
        let image = self.image.clone();
        let opened = match opened {
            Ok(opened) => opened,
            Err(cause) => {
                error!(%log, "the log cannot be opened, its partition is offline: {cause}");
                self.fail(log.clone(), Some(dir), &image);
                self.release(&log);
                // Its topic may have been deleted meanwhile.
                self.reconcile(id);
                return;
            }
        };
        self.found.insert(log.clone(), dir);
        let (Some(topic), Some(assigned)) = (image.topic(log.topic_id), assigned(&image, id).cloned()) else {
            // The topic was deleted while its log was opened.
            drop(opened);
            self.begin_removal(log, dir);
            return;
        };
        let config = self.config_of(topic);
        let (tx, rx) = mpsc::channel(QUEUE_LEN);
        let published = Arc::new(Published::new(View::before_start(&opened.log, RecordRules::of(&config))));
        let slot = self.next_slot;
        self.next_slot = slot.wrapping_add(1);
        published.watch(&self.started, slot);
        self.starting.insert(slot, id);
        let partition = Arc::new(Partition::new(&log, dir, tx, published.clone()));
        let setup = Setup {
            id: log.clone(),
            node: self.setup.node,
            log: opened.log,
            producers: opened.producers,
            config: config.clone(),
            dir: self.setup.dirs[dir].clone(),
            assigned: assigned.clone(),
            queue: rx,
            published: published.clone(),
            controller: self.setup.controller.clone(),
            metrics: self.setup.metrics.clone(),
            retention: self.retention.subscribe(),
        };
        self.tasks.spawn(format!("partition {log}"), async move { (id, actor::run(setup).await) });
        self.names.take(&log, dir);
        let open = Open { partition, published, id: log, dir, assigned, config, removing: false };
        self.open.insert(id, open);
    }

    /// Lets those into the table that have taken up their roles: a request that came before would be refused for nothing.
    fn take_started(&mut self) {
        for slot in self.started.take() {
            let Some(id) = self.starting.get(&slot).copied() else { continue };
            let Some(open) = self.open.get(&id) else {
                // Its task has ended.
                self.starting.remove(&slot);
                continue;
            };
            if !open.published.is_started() {
                continue;
            }
            open.published.unwatch(&self.started, slot);
            self.starting.remove(&slot);
            // Its topic may have been deleted meanwhile.
            if self.image.topic(id.0).is_some() {
                self.table.insert(open.partition.clone());
                self.table_moved = true;
            }
        }
    }

    fn ended(&mut self, id: Id, end: PartitionEnd) {
        let Some(open) = self.open.remove(&id) else { return };
        // The table goes without it first: who asks now learns that the topic is gone.
        self.table.remove(&open.id);
        self.table_moved = true;
        match end {
            PartitionEnd::Removed => self.begin_removal(open.id, open.dir),
            PartitionEnd::Closed(result) => {
                error!(log = %open.id, ?result, "the partition's task ended, it is offline");
                let image = self.image.clone();
                self.fail(open.id.clone(), Some(open.dir), &image);
                self.release(&open.id);
                self.reconcile(id);
            }
        }
    }

    /// Gives a message to a partition's task; false if its queue is full, and it is to be told again a little later.
    fn tell(open: &Open, message: Message) -> bool {
        match open.partition.queue.try_send(message) {
            Err(mpsc::error::TrySendError::Full(_)) => false,
            // A task that has ended is noticed as such.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
        }
    }

    fn look_at_retention(&mut self) {
        let producer_ttl = self.setup.layers.producer_ttl(&self.setup.controller.image());
        let mut compacted = 0;
        for open in self.open.values() {
            if open.config.cleanup_policy.compact {
                compacted += open.partition.view().log.size();
            }
        }
        // Not through the queues: that of a busy partition may be full whenever it is its turn.
        self.retention.send_replace(producer_ttl);
        self.setup.metrics.compacted_bytes(compacted);
    }

    /// Publishes the table if it changed.
    fn publish(&mut self) {
        if std::mem::take(&mut self.table_moved) {
            self.published.send_replace(Arc::new(self.table.clone()));
        }
    }
}

/// The partition as the image has it.
fn assigned(image: &Image, (topic, index): Id) -> Option<&Arc<metadata::Partition>> {
    image.topic(topic)?.partition(PartitionIndex(index))
}
