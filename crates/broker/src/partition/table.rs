//! The partitions that this broker has open and that have taken up their roles, by topic id and by name. Immutable once it
//! is published: the manager makes the next one from it, which shares all that did not change.

use std::sync::Arc;

use imbl::{ordmap::DiffItem, OrdMap, OrdSet};
use norn_log::LogId;
use norn_protocol::{types::TopicId, ErrorCode};

use super::Partition;

type Id = (TopicId, i32);

#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionTable {
    by_id: OrdMap<Id, Arc<Partition>>,
    /// The topics of all partitions that are here, open or not. A name is the topic's that has it now.
    ids: OrdMap<Arc<str>, TopicId>,
    /// Partitions whose logs could not be opened.
    offline: OrdSet<Id>,
}

impl PartitionTable {
    /// Takes a partition in that is open.
    pub(super) fn insert(&mut self, partition: Arc<Partition>) {
        self.ids.insert(partition.topic().clone(), partition.topic_id());
        self.by_id.insert((partition.topic_id(), partition.index()), partition);
    }

    /// Takes a partition in that could not be opened.
    pub(super) fn insert_offline(&mut self, log: &LogId) {
        self.ids.insert(log.topic.clone(), log.topic_id);
        self.offline.insert((log.topic_id, log.partition));
    }

    /// Takes a partition out, open or not.
    pub(super) fn remove(&mut self, log: &LogId) {
        let id = (log.topic_id, log.partition);
        self.by_id.remove(&id);
        self.offline.remove(&id);
        if !self.has_topic(log.topic_id) && self.ids.get(&log.topic) == Some(&log.topic_id) {
            self.ids.remove(&log.topic);
        }
    }

    /// Whether partitions of the topic are here, open or not.
    fn has_topic(&self, id: TopicId) -> bool {
        self.of_topic(id).next().is_some() || self.offline.range(indexes(id)).next().is_some()
    }

    /// The open partitions of a topic, by index.
    fn of_topic(&self, id: TopicId) -> impl Iterator<Item = &Arc<Partition>> {
        self.by_id.range(indexes(id)).map(|(_, partition)| partition)
    }

    /// The open partitions of the topic that has this name, by index.
    pub fn of_topic_named(&self, name: &str) -> impl Iterator<Item = &Arc<Partition>> {
        self.ids.get(name).into_iter().flat_map(|id| self.of_topic(*id))
    }

    /// Finds a partition as a request names it: by name, or, without one, by topic id.
    pub fn resolve(&self, name: Option<&str>, id: TopicId, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let id = match name {
            Some(name) => *self.ids.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)?,
            None => id,
        };
        self.by_id.get(&(id, index)).cloned().ok_or_else(|| {
            if self.offline.contains(&(id, index)) {
                ErrorCode::KafkaStorageError
            } else if self.has_topic(id) {
                ErrorCode::UnknownTopicOrPartition
            } else {
                ErrorCode::UnknownTopicId
            }
        })
    }

    /// The name of a topic that has partitions here.
    pub fn name_of(&self, id: TopicId) -> Option<Arc<str>> {
        self.of_topic(id).next().map(|partition| partition.topic().clone())
    }

    /// Why a partition that is known by its topic's former name and an id is not here any more: the topic is gone, or its
    /// name stands for another one (KIP-516, Kafka's `ReplicaManager.readFromLog`).
    pub fn why_gone(&self, name: &str, index: i32) -> ErrorCode {
        match self.resolve(Some(name), TopicId::NONE, index) {
            Ok(_) => ErrorCode::InconsistentTopicId,
            Err(_) => ErrorCode::UnknownTopicOrPartition,
        }
    }

    /// Whether the partition has taken up its role.
    pub fn is_open(&self, id: TopicId, index: i32) -> bool {
        self.by_id.contains_key(&(id, index))
    }

    /// Whether the partition has taken up its role, or could not be opened: what it answers now is no matter of its start.
    pub fn is_settled(&self, id: TopicId, index: i32) -> bool {
        self.is_open(id, index) || self.offline.contains(&(id, index))
    }

    /// How many partitions are open.
    pub fn open_count(&self) -> usize {
        self.by_id.len()
    }

    /// How many partitions are open, or could not be opened.
    pub fn settled_count(&self) -> usize {
        self.by_id.len() + self.offline.len()
    }

    /// The partitions that are open here and not in `before`, or the other way round, or are others of the same number.
    pub fn moved_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Arc<Partition>> {
        before.by_id.diff(&self.by_id).map(|item| match item {
            DiffItem::Add(_, partition)
            | DiffItem::Remove(_, partition)
            | DiffItem::Update { new: (_, partition), .. } => partition,
        })
    }

    /// All partitions, by topic id and index.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.by_id.values()
    }
}

/// The keys of all partitions of a topic.
fn indexes(id: TopicId) -> std::ops::RangeInclusive<Id> {
    (id, i32::MIN)..=(id, i32::MAX)
}

#[cfg(test)]
mod tests {
    use norn_env::disk::Disk;
    use norn_log::{
        dir::{DirConfig, JournalConfig, LogDir},
        LogConfig,
    };
    use tokio::sync::mpsc;
    use uuid::Uuid;

    use super::*;
    use crate::partition::published::{Published, View};

    async fn partition(dir: &LogDir, topic_id: TopicId, index: i32) -> Arc<Partition> {
        let id = LogId { topic: "t".into(), partition: index, topic_id };
        let (log, _) = dir.open_log(id.clone(), LogConfig::default(), &mut |_| {}).await.unwrap();
        let config = norn_core::metadata::TopicConfig::default();
        let rules = norn_core::record_rules::RecordRules::of(&config);
        let published = Arc::new(Published::new(View::before_start(&log, rules)));
        Arc::new(Partition::new(&id, 0, mpsc::channel(1).0, published))
    }

    #[test]
    fn a_partition_of_a_deleted_topic_is_not_found_by_the_name_that_another_has_now() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_owned();
        norn_env::testing::run(move || async move {
            let config = DirConfig { node_id: 1, cluster_id: None, journal: JournalConfig::default() };
            let (dir, _task) = LogDir::open(Disk::open(&path).unwrap(), config).await.unwrap();
            let ids = [1, 2].map(|id| TopicId(Uuid::from_u128(id)));
            let partitions = [partition(&dir, ids[0], 0).await, partition(&dir, ids[1], 1).await];
            for (new, old) in [(0, 1), (1, 0)] {
                let mut table = PartitionTable::default();
                table.insert(partitions[old].clone());
                let before = table.clone();
                let log = |at: usize| LogId { topic: "t".into(), partition: at as i32, topic_id: ids[at] };
                table.remove(&log(old));
                assert!(table.resolve(Some("t"), TopicId::NONE, old as i32).is_err());
                table.insert(partitions[new].clone());
                // As its task ends, long after.
                table.remove(&log(old));
                let moved: Vec<_> = table.moved_since(&before).map(|partition| partition.index()).collect();
                assert_eq!(moved, [0, 1]);
                assert!(before.resolve(Some("t"), TopicId::NONE, old as i32).is_ok());
                let found = table.resolve(Some("t"), TopicId::NONE, new as i32).unwrap();
                assert_eq!(found.topic_id(), ids[new]);
                assert_eq!(table.resolve(None, ids[old], old as i32).unwrap_err(), ErrorCode::UnknownTopicId);
                assert_eq!(
                    table.resolve(Some("t"), TopicId::NONE, old as i32).unwrap_err(),
                    ErrorCode::UnknownTopicOrPartition
                );
            }
        });
    }
}
