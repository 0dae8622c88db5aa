//! The partitions that this broker has open and that have taken up their roles, by topic id and by name. Immutable; replaced
//! as a whole by the manager.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use norn_core::metadata::Image;
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
    /// Whether requests reach partitions of the topic: those of a deleted one may be long in ending, and its name is another
    /// topic's by then.
    pub fn serves(image: &Image, topic: TopicId) -> bool {
        image.topic(topic).is_some()
    }

    /// The table of open partitions, as far as the image has their topics, and of those that could not be opened.
    pub fn new(
        image: &Image,
        partitions: impl IntoIterator<Item = Arc<Partition>>,
        offline: impl IntoIterator<Item = LogId>,
    ) -> Self {
        let mut table = PartitionTable::default();
        for log in offline {
            table.ids.insert(log.topic, log.topic_id);
            table.offline.insert((log.topic_id, log.partition));
        }
        for partition in partitions.into_iter().filter(|p| Self::serves(image, p.topic_id())) {
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

    /// The name of a topic that has partitions here.
    pub fn name_of(&self, id: TopicId) -> Option<Arc<str>> {
        let of_topic = (id, i32::MIN)..=(id, i32::MAX);
        self.by_id.range(of_topic).next().map(|(_, partition)| partition.topic().clone())
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

    /// The partitions that could not be opened.
    pub fn offline(&self) -> impl Iterator<Item = &(TopicId, i32)> {
        self.offline.iter()
    }

    /// All partitions, by topic id and index.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.by_id.values()
    }
}

#[cfg(test)]
mod tests {
    use norn_core::metadata::{Command, Endpoint, State};
    use norn_env::disk::Disk;
    use norn_log::{
        dir::{DirConfig, JournalConfig, LogDir},
        LogConfig,
    };
    use norn_protocol::types::NodeId;
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

    fn image_with(id: TopicId) -> Image {
        let node = NodeId(1);
        let endpoint = Endpoint { host: "localhost".to_owned(), port: 9092 };
        let register = Command::RegisterBroker {
            node,
            incarnation: Uuid::nil(),
            directories: vec![],
            endpoint,
            rack: None,
        };
        let (name, assignments) = ("t".to_owned(), vec![vec![node]]);
        let mut state = State::new();
        for (index, command) in [register, Command::CreateTopic { name, id, assignments, configs: vec![] }]
            .into_iter()
            .enumerate()
        {
            state.apply(1 + index as u64, &command.into()).unwrap();
        }
        state.image().clone()
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
                let table = PartitionTable::new(&image_with(ids[new]), partitions.clone(), []);
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
