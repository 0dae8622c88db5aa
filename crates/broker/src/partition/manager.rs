//! Keeps the open partitions what the image says they are: opens, reassigns, reconfigures and removes them, and publishes
//! the table that requests go by.
//!
//! One task. It owns the partitions' tasks and notices the end of each; it is told images, and looks at retention from
//! time to time. Opening goes on beside it, a few at a time. It ends at shutdown, after every partition has closed.

use std::{collections::BTreeMap, sync::Arc};

use futures::{future::BoxFuture, stream::FuturesUnordered, FutureExt, StreamExt};
use norn_core::metadata::{self, Image, TopicConfig};
use norn_env::{
    clock::{self, Duration, Instant},
    select,
    task::{self, Shutdown, Tasks},
};
use norn_log::{
    dir::{Health, LogDir},
    LogError, LogId,
};
use norn_protocol::types::{NodeId, TopicId};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{
    actor::{self, PartitionEnd, Setup},
    handle::{Message, QUEUE_LEN},
    open::{self, Opened},
    published::{Published, View},
    Partition, PartitionTable,
};
use crate::{controller::Controller, layers::BrokerLayers, metrics::Metrics};

/// Logs that are opened at once: enough to keep a disk busy, few enough to keep memory small.
const OPENING_MAX: usize = 16;

/// Pause before a partition whose queue was full is told again.
const TELL_PAUSE: Duration = Duration::from_millis(50);

/// How long the partitions may take to become durable and close. What is not closed by then is recovered at the next start.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

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
    id: LogId,
    dir: usize,
    assigned: Arc<metadata::Partition>,
    config: TopicConfig,
    /// Its topic is gone and its task has been told.
    removing: bool,
}

/// What went on beside the manager.
enum Done {
    Opened(LogId, usize, Box<Result<Opened, LogError>>),
    Removed(LogId, Result<(), LogError>),
    /// The leadership of a partition that cannot be opened.
    GivenUp,
}

pub(crate) struct Manager {
    setup: ManagerSetup,
    table: watch::Sender<Arc<PartitionTable>>,
    open: BTreeMap<Id, Open>,
    /// Logs that are being opened or removed.
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Log directories that are taken, and the data directory of each: one that is being removed is not opened anew.
    in_use: BTreeMap<String, usize>,
    /// When to tell again what a partition had no room for.
    tell_again: Option<Instant>,
    /// Partitions that could not be opened: they are not tried again before the next start.
    failed: BTreeMap<Id, LogId>,
    tasks: Tasks<(Id, PartitionEnd)>,
    /// Where the directory of a partition is, from before this start.
    found: BTreeMap<LogId, usize>,
}

/// The logs of a node's partitions, as the image has them, that were not found.
pub(crate) fn missing(image: &Image, node: NodeId, found: &BTreeMap<LogId, usize>) -> Vec<LogId> {
    let logs = image.topics().flat_map(|topic| {
        let here = topic.partitions.iter().enumerate().filter(|(_, p)| p.replicas.contains(&node));
        here.map(|(index, _)| LogId {
            topic: topic.name.clone(),
            partition: index as i32,
            topic_id: topic.id,
        })
    });
    logs.filter(|log| !found.contains_key(log)).collect()
}

impl Manager {
    /// A manager, and the table of open partitions that it publishes. `found`: the logs on disk.
    pub fn new(
        setup: ManagerSetup,
        found: BTreeMap<LogId, usize>,
    ) -> (Self, watch::Receiver<Arc<PartitionTable>>) {
        let (table, published) = watch::channel(Arc::default());
        let manager = Manager {
            setup,
            table,
            open: BTreeMap::new(),
            work: FuturesUnordered::new(),
            in_use: BTreeMap::new(),
            tell_again: None,
            failed: BTreeMap::new(),
            tasks: Tasks::new(),
            found,
        };
        (manager, published)
    }

    /// Removes the directories of topics that were deleted while they were being removed, or that the image never had.
    /// Only for an image that is known to be this directory's.
    pub async fn remove_strays(&mut self, image: &Image) {
        let deleted = |log: &LogId| image.topic(log.topic_id).is_none();
        let strays: Vec<(LogId, usize)> =
            self.found.iter().filter(|(log, _)| deleted(log)).map(|(log, dir)| (log.clone(), *dir)).collect();
        for (log, dir) in strays {
            info!("removing the log of {log}: its topic was deleted");
            self.found.remove(&log);
            if let Err(cause) = self.setup.dirs[dir].delete_log(&log).await {
                warn!("{log} is left on disk: {cause}");
            }
        }
    }

    /// Runs until shutdown, then closes every partition. Gives the partitions that could not be closed in order.
    pub async fn run(mut self) -> Vec<String> {
        let mut images = self.setup.controller.images();
        let mut retention = clock::now() + self.setup.retention_check;
        let mut shutdown = self.setup.shutdown.clone();
        loop {
            let image = images.borrow_and_update().clone();
            self.reconcile(&image);
            self.publish();
            let tell_again = self.tell_again;
            select! {
                _ = shutdown.signaled() => break,
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    self.done(done);
                    // What ended at the same time goes into the same table.
                    while let Some(Some(done)) = self.work.next().now_or_never() {
                        self.done(done);
                    }
                }
                Some((name, ended)) = self.tasks.join_next(), if !self.tasks.is_empty() => match ended {
                    Ok((id, end)) => self.ended(id, end),
                    Err(_) => error!("{name} was stopped"),
                },
                _ = clock::sleep_until(tell_again.unwrap_or(retention)), if tell_again.is_some() => {}
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

    /// Starts what the image asks for and ends what it no longer has.
    fn reconcile(&mut self, image: &Image) {
        self.failed.retain(|(topic, _), _| image.topic(*topic).is_some());
        let mut all_told = true;
        for ((topic, _), open) in &mut self.open {
            if image.topic(*topic).is_none() && !open.removing {
                open.removing = Self::tell(open, Message::Remove);
                all_told &= open.removing;
            }
        }
        for topic in image.topics() {
            let mut config = None;
            for (index, assigned) in topic.partitions.iter().enumerate() {
                let id = (topic.id, index as i32);
                if !assigned.replicas.contains(&self.setup.node) || self.failed.contains_key(&id) {
                    continue;
                }
                let config = config.get_or_insert_with(|| self.setup.layers.topic_config(image, topic));
                if let Some(open) = self.open.get_mut(&id) {
                    if open.assigned != *assigned {
                        match Self::tell(open, Message::Assigned(assigned.clone())) {
                            true => open.assigned = assigned.clone(),
                            false => all_told = false,
                        }
                    }
                    if open.config != *config {
                        match Self::tell(open, Message::Configured(Box::new(config.clone()))) {
                            true => open.config = config.clone(),
                            false => all_told = false,
                        }
                    }
                    continue;
                }
                let log = LogId { topic: topic.name.clone(), partition: index as i32, topic_id: topic.id };
                // A deleted topic of this name may still be on its way out of the directory.
                if self.work.len() < OPENING_MAX && !self.in_use.contains_key(&log.dir_name()) {
                    let config = config.clone();
                    self.begin_open(log, config);
                }
            }
        }
        self.tell_again = (!all_told).then(|| clock::now() + TELL_PAUSE);
    }

    fn begin_open(&mut self, log: LogId, config: TopicConfig) {
        let at = self.found.get(&log).copied().unwrap_or_else(|| self.emptiest_dir());
        self.in_use.insert(log.dir_name(), at);
        let dir = self.setup.dirs[at].clone();
        self.work.push(
            async move {
                let opened = Box::new(open::open(dir, log.clone(), &config).await);
                Done::Opened(log, at, opened)
            }
            .boxed(),
        );
    }

    fn begin_removal(&mut self, log: LogId, at: usize) {
        self.found.remove(&log);
        let dir = self.setup.dirs[at].clone();
        self.work.push(
            async move {
                let removed = dir.delete_log(&log).await;
                Done::Removed(log, removed)
            }
            .boxed(),
        );
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Opened(log, dir, opened) => self.opened(log, dir, *opened),
            Done::GivenUp => {}
            Done::Removed(log, removed) => {
                self.in_use.remove(&log.dir_name());
                if let Err(cause) = removed {
                    warn!(%log, "files of the deleted topic are left until the next start: {cause}");
                }
            }
        }
    }

    /// The directory with the fewest partitions, as Kafka chooses it, among those that work.
    fn emptiest_dir(&self) -> usize {
        let mut counts = vec![0_usize; self.setup.dirs.len()];
        self.in_use.values().for_each(|dir| counts[*dir] += 1);
        let offline = |at: usize| *self.setup.dirs[at].health().borrow() != Health::Online;
        let best = counts.iter().enumerate().min_by_key(|(at, count)| (offline(*at), **count));
        best.map_or(0, |(at, _)| at)
    }

    /// Takes the partition as offline until the next start, and gives its leadership up, so that clients are told.
    fn fail(&mut self, log: LogId, image: &Image) {
        let assigned =
            image.topic(log.topic_id).and_then(|topic| topic.partitions.get(log.partition as usize));
        let led = assigned.filter(|assigned| assigned.leader == Some(self.setup.node));
        if let Some(epoch) = led.map(|assigned| assigned.leader_epoch) {
            let (controller, log) = (self.setup.controller.clone(), log.clone());
            self.work.push(
                async move {
                    controller.resign_leadership(log.topic_id, log.partition, epoch).await;
                    Done::GivenUp
                }
                .boxed(),
            );
        }
        self.failed.insert((log.topic_id, log.partition), log);
    }

    /// Takes the image's partitions that were not found as offline: while a data directory is, they may lie in it, and
    /// an empty log in another would pass for all that there is. Kafka does so too.
    pub fn miss(&mut self, image: &Image) {
        for log in missing(image, self.setup.node, &self.found) {
            error!(%log, "the log is not in a data directory that works, its partition is offline");
            self.fail(log, image);
        }
    }

    fn opened(&mut self, log: LogId, dir: usize, opened: Result<Opened, LogError>) {
        let id = (log.topic_id, log.partition);
        let image = self.setup.controller.image();
        let opened = match opened {
            Ok(opened) => opened,
            Err(cause) => {
                error!(%log, "the log cannot be opened, its partition is offline: {cause}");
                self.in_use.remove(&log.dir_name());
                self.fail(log, &image);
                return;
            }
        };
        let assigned =
            image.topic(log.topic_id).and_then(|topic| topic.partitions.get(log.partition as usize));
        let (Some(topic), Some(assigned)) = (image.topic(log.topic_id), assigned.cloned()) else {
            // The topic was deleted while its log was opened.
            drop(opened);
            self.begin_removal(log, dir);
            return;
        };
        let config = self.setup.layers.topic_config(&image, topic);
        let (tx, rx) = mpsc::channel(QUEUE_LEN);
        let published = Arc::new(Published::new(View::before_start(&opened.log)));
        let partition =
            Arc::new(Partition::new(log.topic.clone(), log.topic_id, log.partition, tx, published.clone()));
        let setup = Setup {
            id: log.clone(),
            node: self.setup.node,
            log: opened.log,
            producers: opened.producers,
            config: config.clone(),
            dir: self.setup.dirs[dir].clone(),
            assigned: assigned.clone(),
            queue: rx,
            published,
            controller: self.setup.controller.clone(),
            metrics: self.setup.metrics.clone(),
        };
        self.tasks.spawn(format!("partition {log}"), async move { (id, actor::run(setup).await) });
        self.found.insert(log.clone(), dir);
        self.open.insert(id, Open { partition, id: log, dir, assigned, config, removing: false });
    }

    fn ended(&mut self, id: Id, end: PartitionEnd) {
        let Some(open) = self.open.remove(&id) else { return };
        match end {
            // The table goes without it first: who asks now learns that the topic is gone.
            PartitionEnd::Removed => self.begin_removal(open.id, open.dir),
            PartitionEnd::Closed(result) => {
                error!(log = %open.id, ?result, "the partition's task ended, it is offline");
                self.in_use.remove(&open.id.dir_name());
                let image = self.setup.controller.image();
                self.fail(open.id, &image);
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
            // A full queue means that it is busy; the next round comes.
            let _ = open.partition.queue.try_send(Message::Retain { producer_ttl });
        }
        self.setup.metrics.compacted_bytes(compacted);
    }

    /// Publishes the table if it changed.
    fn publish(&mut self) {
        let same = {
            let table = self.table.borrow();
            table.iter().map(|p| (p.topic_id(), p.index())).eq(self.open.keys().copied())
                && table.offline().eq(self.failed.keys())
        };
        if !same {
            let open = self.open.values().map(|open| open.partition.clone());
            let table = PartitionTable::new(open, self.failed.values().cloned());
            self.table.send_replace(Arc::new(table));
        }
        let offline =
            self.failed.len() + self.open.values().filter(|open| open.partition.view().is_offline()).count();
        self.setup.metrics.partitions(
            self.open.len(),
            self.open.len() - offline.min(self.open.len()),
            offline,
        );
    }

    async fn close(mut self) -> Vec<String> {
        // Logs that are just being opened are let go; they were not written to. Removals are finished by the next start.
        self.work.clear();
        let deadline = clock::now() + CLOSE_TIMEOUT;
        let mut failed = vec![];
        for open in self.open.values() {
            if open.partition.send(Message::Close, deadline).await.is_err() {
                failed.push(format!("{} did not take the order to close", open.id));
            }
        }
        // The last senders: a task that could not be told ends when nobody can reach it.
        self.open.clear();
        self.table.send_replace(Arc::default());
        while !self.tasks.is_empty() {
            let next = clock::timeout_at(deadline, self.tasks.join_next());
            match task::wait(|| "the partitions to close".into(), next).await {
                Ok(Some((_, Ok((_, PartitionEnd::Closed(Ok(())) | PartitionEnd::Removed))))) => {}
                Ok(Some((name, Ok((_, PartitionEnd::Closed(Err(cause))))))) => {
                    failed.push(format!("{name}: {cause}"))
                }
                Ok(Some((name, Err(_)))) => failed.push(format!("{name} was stopped")),
                Ok(None) => break,
                Err(_) => {
                    failed.push(format!(
                        "{} partitions did not close within {CLOSE_TIMEOUT:?}",
                        self.tasks.len()
                    ));
                    break;
                }
            }
        }
        failed
    }
}
