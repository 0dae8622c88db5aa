//! Keeps the open partitions what the image says they are: opens, reassigns, reconfigures and removes them, and publishes
//! the table that requests go by.
//!
//! One task. It owns the partitions' tasks and notices the end of each; it is told images, and looks at retention from
//! time to time. Opening goes on beside it, a few at a time. It ends at shutdown, after every partition has closed.

use std::{collections::BTreeMap, sync::Arc};

use futures::{future::BoxFuture, stream::FuturesUnordered, FutureExt, StreamExt};
use norn_core::metadata::{self, Image, TopicConfig};
use norn_env::{
    clock::{self, Duration},
    select,
    task::{self, Shutdown, Tasks},
};
use norn_log::{dir::LogDir, LogError, LogId};
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

/// How long a partition may take to take a message from its manager before it is told again later.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);

/// What the manager is started with.
pub(crate) struct ManagerSetup {
    pub node: NodeId,
    pub dirs: Vec<LogDir>,
    pub controller: Controller,
    pub layers: Arc<BrokerLayers>,
    pub metrics: Arc<Metrics>,
    pub retention_check: Duration,
    pub producer_ttl: Duration,
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
}

/// A partition that is being opened.
struct Opening {
    dir: usize,
}

type OpenedPartition = (LogId, usize, Result<Opened, LogError>);

pub(crate) struct Manager {
    setup: ManagerSetup,
    table: watch::Sender<Arc<PartitionTable>>,
    open: BTreeMap<Id, Open>,
    opening: BTreeMap<Id, Opening>,
    opens: FuturesUnordered<BoxFuture<'static, OpenedPartition>>,
    /// Partitions that could not be opened: they are not tried again before the next start.
    failed: BTreeMap<Id, String>,
    tasks: Tasks<(Id, PartitionEnd)>,
    /// Where the directory of a partition is, from before this start.
    found: BTreeMap<LogId, usize>,
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
            opening: BTreeMap::new(),
            opens: FuturesUnordered::new(),
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
            self.reconcile(&image).await;
            self.publish();
            select! {
                _ = shutdown.signaled() => break,
                Some(opened) = self.opens.next(), if !self.opens.is_empty() => self.opened(opened),
                Some((name, ended)) = self.tasks.join_next(), if !self.tasks.is_empty() => match ended {
                    Ok((id, end)) => self.ended(id, end).await,
                    Err(_) => error!("{name} was stopped"),
                },
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
    async fn reconcile(&mut self, image: &Image) {
        let gone: Vec<Id> =
            self.open.keys().filter(|(topic, _)| image.topic(*topic).is_none()).copied().collect();
        for id in gone {
            self.tell(id, Message::Remove).await;
        }
        for topic in image.topics() {
            let mut config = None;
            for (index, assigned) in topic.partitions.iter().enumerate() {
                let id = (topic.id, index as i32);
                if !assigned.replicas.contains(&self.setup.node) || self.failed.contains_key(&id) {
                    continue;
                }
                let config = config.get_or_insert_with(|| self.setup.layers.topic_config(image, topic));
                match self.open.get_mut(&id) {
                    Some(open) => {
                        let assigned = (open.assigned != *assigned).then(|| assigned.clone());
                        let config = (open.config != *config).then(|| config.clone());
                        if let Some(assigned) = assigned {
                            open.assigned = assigned.clone();
                            self.tell(id, Message::Assigned(assigned)).await;
                        }
                        if let (Some(config), Some(open)) = (config, self.open.get_mut(&id)) {
                            open.config = config.clone();
                            self.tell(id, Message::Configured(Box::new(config))).await;
                        }
                    }
                    None if self.opening.contains_key(&id) || self.opens.len() >= OPENING_MAX => {}
                    None => {
                        let log =
                            LogId { topic: topic.name.clone(), partition: index as i32, topic_id: topic.id };
                        let config = config.clone();
                        self.begin_open(id, log, config);
                    }
                }
            }
        }
    }

    fn begin_open(&mut self, id: Id, log: LogId, config: TopicConfig) {
        let at = self.found.get(&log).copied().unwrap_or_else(|| self.emptiest_dir());
        self.opening.insert(id, Opening { dir: at });
        let dir = self.setup.dirs[at].clone();
        self.opens.push(
            async move {
                let opened = open::open(dir, log.clone(), &config).await;
                (log, at, opened)
            }
            .boxed(),
        );
    }

    /// The directory with the fewest partitions, as Kafka chooses it.
    fn emptiest_dir(&self) -> usize {
        let mut counts = vec![0_usize; self.setup.dirs.len()];
        self.open.values().for_each(|open| counts[open.dir] += 1);
        self.opening.values().for_each(|opening| counts[opening.dir] += 1);
        counts.iter().enumerate().min_by_key(|(_, count)| **count).map_or(0, |(at, _)| at)
    }

    fn opened(&mut self, (log, dir, opened): OpenedPartition) {
        let id = (log.topic_id, log.partition);
        self.opening.remove(&id);
        let image = self.setup.controller.image();
        let opened = match opened {
            Ok(opened) => opened,
            Err(cause) => {
                error!(log = %log, "the log cannot be opened, its partition is offline: {cause}");
                self.failed.insert(id, cause.to_string());
                return;
            }
        };
        let Some(topic) = image.topic(log.topic_id) else {
            // Deleted while it was opened: what is on disk is removed as a stray at the next start.
            return;
        };
        let Some(assigned) = topic.partitions.get(log.partition as usize).cloned() else { return };
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
            producer_ttl_ms: self.setup.producer_ttl.as_millis() as i64,
        };
        self.tasks.spawn(format!("partition {log}"), async move { (id, actor::run(setup).await) });
        self.found.insert(log.clone(), dir);
        self.open.insert(id, Open { partition, id: log, dir, assigned, config });
    }

    async fn ended(&mut self, id: Id, end: PartitionEnd) {
        let Some(open) = self.open.remove(&id) else { return };
        match end {
            PartitionEnd::Removed => {
                self.found.remove(&open.id);
                // The table without it first: who asks now learns that the topic is gone.
                self.publish();
                if let Err(cause) = self.setup.dirs[open.dir].delete_log(&open.id).await {
                    warn!(log = %open.id, "files of the deleted topic are left until the next start: {cause}");
                }
            }
            PartitionEnd::Closed(result) => {
                error!(log = %open.id, ?result, "the partition's task ended, it is offline");
                self.failed.insert(id, "its task ended".into());
            }
        }
    }

    /// Sends a message to a partition's task; one that does not take it in time is told again at the next image.
    async fn tell(&mut self, id: Id, message: Message) {
        let Some(open) = self.open.get(&id) else { return };
        if let Err(code) = open.partition.send(message, clock::now() + TELL_TIMEOUT).await {
            warn!(log = %open.id, "the partition did not take a change: {code}");
        }
    }

    fn look_at_retention(&mut self) {
        let mut compacted = 0;
        for open in self.open.values() {
            if open.config.cleanup_policy.compact {
                compacted += open.partition.view().log.size();
            }
            // A full queue means that it is busy; the next round comes.
            let _ = open.partition.queue.try_send(Message::Retain);
        }
        self.setup.metrics.compacted_bytes(compacted);
    }

    /// Publishes the table if it changed.
    fn publish(&mut self) {
        let same = {
            let table = self.table.borrow();
            table.iter().map(|p| (p.topic_id(), p.index())).eq(self.open.keys().copied())
        };
        if !same {
            let table = PartitionTable::new(self.open.values().map(|open| open.partition.clone()));
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
        // Logs that are just being opened are let go; they were not written to.
        drop(std::mem::take(&mut self.opens));
        let mut failed = vec![];
        for open in self.open.values() {
            if open.partition.send(Message::Close, clock::now() + TELL_TIMEOUT).await.is_err() {
                failed.push(format!("{} did not take the order to close", open.id));
            }
        }
        while let Some((name, ended)) = self.tasks.join_next().await {
            match ended {
                Ok((_, PartitionEnd::Closed(Err(cause)))) => failed.push(format!("{name}: {cause}")),
                Ok((_, PartitionEnd::Closed(Ok(())) | PartitionEnd::Removed)) => {}
                Err(_) => failed.push(format!("{name} was stopped")),
            }
        }
        failed
    }
}
