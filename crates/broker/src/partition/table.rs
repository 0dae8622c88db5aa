//! The partitions that this broker has open, by topic id and by name. Immutable; replaced as a whole by the manager.

use std::{collections::BTreeMap, sync::Arc};

use norn_protocol::{types::TopicId, ErrorCode};

use super::Partition;

#[derive(Debug, Default)]
pub(crate) struct PartitionTable {
    by_id: BTreeMap<(TopicId, i32), Arc<Partition>>,
    ids: BTreeMap<Arc<str>, TopicId>,
}

impl PartitionTable {
    pub fn new(partitions: impl IntoIterator<Item = Arc<Partition>>) -> Self {
        let mut table = PartitionTable::default();
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
            let known = name.is_some() || self.ids.values().any(|known| *known == id);
            if known {
                ErrorCode::UnknownTopicOrPartition
            } else {
                ErrorCode::UnknownTopicId
            }
        })
    }

    pub fn get(&self, id: TopicId, index: i32) -> Option<&Arc<Partition>> {
        self.by_id.get(&(id, index))
    }

    /// All partitions, by topic id and index.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.by_id.values()
    }
}
