//! The partitions that this broker has open and that have taken up their roles, by topic id and by name. Immutable; replaced
//! as a whole by the manager.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use norn_log::LogId;
use norn_protocol::{types::TopicId, ErrorCode};

use super::Partition;

#[derive(Debug, Default)]
pub(crate) struct PartitionTable {
    by_id: BTreeMap<(TopicId, i32), Arc<Partition>>,
    ids: BTreeMap<Arc<str>, TopicId>,
    /// Partitions whose logs could not be opened.
    offline: BTreeSet<(TopicId, i32)>,
}

impl PartitionTable {
    /// The table of open partitions, and of those that could not be opened.
    pub fn new(
        partitions: impl IntoIterator<Item = Arc<Partition>>,
        offline: impl IntoIterator<Item = LogId>,
    ) -> Self {
        let mut table = PartitionTable::default();
        for log in offline {
            table.ids.insert(log.topic, log.topic_id);
            table.offline.insert((log.topic_id, log.partition));
        }
        for partition in partitions {
            table.ids.insert(partition.topic().clone(), partition.topic_id());
            table.by_id.insert((partition.topic_id(), partition.index()), partition);
        }
        table
    }

    /// Finds a partition as a request names it: by name, or, without one, by topic id.
    pub fn resolve(&self, name: Option<&str>, id: TopicId, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let id = match name {
            Some(name) => *self.ids.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)?,
            None => id,
        };
        self.by_id.get(&(id, index)).cloned().ok_or_else(|| {
            let of_topic = (id, i32::MIN)..=(id, i32::MAX);
            let mut known = self.by_id.range(of_topic.clone()).map(|(key, _)| key);
            if self.offline.contains(&(id, index)) {
                ErrorCode::KafkaStorageError
            } else if known.next().or_else(|| self.offline.range(of_topic).next()).is_some() {
                ErrorCode::UnknownTopicOrPartition
            } else {
                ErrorCode::UnknownTopicId
            }
        })
    }

    /// Whether the partition has taken up its role, or could not be opened: what it answers now is no matter of its start.
    pub fn is_settled(&self, id: TopicId, index: i32) -> bool {
        self.by_id.contains_key(&(id, index)) || self.offline.contains(&(id, index))
    }

    /// The partitions that could not be opened.
    pub fn offline(&self) -> impl Iterator<Item = &(TopicId, i32)> {
        self.offline.iter()
    }

    /// All partitions, by topic id and index.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.by_id.values()
    }
}
