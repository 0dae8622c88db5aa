//! The cluster at one index of the metadata WAL.
//!
//! Its maps are persistent: a change of one entry copies the few nodes on the way to it and shares all
//! others with the image before, so that both cost what changed and not what exists, as does to tell
//! them apart ([`ImageDelta`](super::ImageDelta)).

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use norn_protocol::topic::{collision_key, TopicName};
use norn_protocol::types::{BrokerEpoch, NodeId, PartitionIndex, ProducerId, TopicId};

use super::broker::Broker;
use super::config_def::ConfigMap;
use super::outcome::Refused;
use super::partition::Partition;
use super::size;
use crate::codec::{DecodeError, Wire};

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    pub name: TopicName,
    pub id: TopicId,
    /// Numbered from 0 on, without gaps.
    pub(super) partitions: OrdMap<PartitionIndex, Arc<Partition>>,
    /// What is set on the topic.
    pub configs: ConfigMap,
}

impl Topic {
    /// A topic without partitions.
    pub(super) fn new(name: TopicName, id: TopicId, configs: ConfigMap) -> Topic {
        Topic { name, id, partitions: OrdMap::new(), configs }
    }

    /// The partition of this index.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.partitions.get(&index)
    }

    /// All partitions, by index.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = (PartitionIndex, &Arc<Partition>)> {
        self.partitions.iter().map(|(index, partition)| (*index, partition))
    }

    /// The partitions from this index on, by index.
    pub fn partitions_from(
        &self,
        first: PartitionIndex,
    ) -> impl Iterator<Item = (PartitionIndex, &Arc<Partition>)> {
        self.partitions.range(first..).map(|(index, partition)| (*index, partition))
    }

    /// How many partitions there are, which is the index of the next.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("a partition's index has 31 bits")
    }

    /// Adds partitions behind those that there are.
    pub(super) fn add_partitions(&mut self, partitions: impl IntoIterator<Item = Arc<Partition>>) {
        for partition in partitions {
            self.partitions.insert(PartitionIndex(self.partition_count()), partition);
        }
    }

    /// How many replicas each partition has.
    pub fn replication_factor(&self) -> usize {
        self.partition(PartitionIndex(0)).map_or(0, |partition| partition.replicas.len())
    }

    /// Whether clients should not write to it.
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

/// Whether a topic of this name is the cluster's own (Kafka's `Topic.INTERNAL_TOPICS`).
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// The cluster's metadata after a command was applied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    pub(super) applied: u64,
    pub(super) cluster_id: Option<String>,
    pub(super) feature_level: u16,
    pub(super) brokers: OrdMap<NodeId, Arc<Broker>>,
    pub(super) topics: OrdMap<TopicId, Arc<Topic>>,
    pub(super) broker_configs: OrdMap<NodeId, Arc<ConfigMap>>,
    pub(super) cluster_configs: Arc<ConfigMap>,
    pub(super) next_producer_id: ProducerId,
    /// What all of it counts towards its bound; see [`size`].
    bytes: usize,
    /// Of `topics`, by name.
    ids: OrdMap<TopicName, TopicId>,
    /// Of `topics`, those whose name has a `.` or a `_`, by what such names collide in.
    collisions: OrdMap<String, TopicName>,
    /// Of `topics`, how many replicas each broker has. None where there are none.
    replicas: OrdMap<NodeId, ReplicaCount>,
}

/// How many replicas a broker has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReplicaCount {
    pub all: usize,
    /// Those of partitions that it leads if it can: it is the first of their replicas.
    pub preferred: usize,
}

impl Image {
    /// The index of the last command that it has taken in.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// `None` until the cluster is formed.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// Which commands and features all nodes of the cluster know.
    pub fn feature_level(&self) -> u16 {
        self.feature_level
    }

    /// All registered brokers, by node.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values().map(|broker| &**broker)
    }

    pub fn broker(&self, node: NodeId) -> Option<&Broker> {
        self.brokers.get(&node).map(|broker| &**broker)
    }

    /// How many replicas the broker has.
    pub fn replicas_on(&self, node: NodeId) -> ReplicaCount {
        self.replicas.get(&node).copied().unwrap_or_default()
    }

    /// Whether the broker is registered and heard.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.broker(node).is_some_and(|broker| !broker.fenced)
    }

    /// All topics, by id.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// All topics, by name.
    pub fn topics_by_name(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.ids.values().filter_map(|id| self.topics.get(id))
    }

    /// The topics from this name on, by name.
    pub fn topics_by_name_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.ids.range(TopicName::from(name)..).filter_map(|(_, id)| self.topics.get(id))
    }

    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.ids.get(name)?)
    }

    /// A topic whose name a metric could not tell from this one, other than itself.
    pub fn colliding_topic(&self, name: &str) -> Option<&TopicName> {
        let other = has_collisions(name).then(|| self.collisions.get(&collision_key(name)))??;
        (**other != *name).then_some(other)
    }

    /// What is set dynamically on one broker.
    pub fn broker_configs(&self, node: NodeId) -> Option<&ConfigMap> {
        self.broker_configs.get(&node).map(|configs| &**configs)
    }

    /// What is set dynamically for all brokers.
    pub fn cluster_configs(&self) -> &ConfigMap {
        &self.cluster_configs
    }

    /// The first producer id that no broker has been given.
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// How much it counts towards the bound on images, in bytes of its snapshot.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Something was changed that counted `before` and counts `after`.
    pub(super) fn resized(&mut self, before: usize, after: usize) {
        self.bytes = (self.bytes + after).saturating_sub(before);
    }

    /// Counts everything anew.
    pub(super) fn recount(&mut self) {
        let brokers = self.brokers.values().map(|broker| size::broker(broker)).sum::<usize>();
        let topics = self.topics.values().map(|topic| size::topic(topic)).sum::<usize>();
        let of_brokers = self.broker_configs.values().map(|configs| size::configs(configs)).sum::<usize>();
        self.bytes = brokers + topics + of_brokers + size::configs(&self.cluster_configs);
        self.replicas = OrdMap::new();
        for topic in self.topics.clone().values() {
            self.count_replicas(topic.partitions.values(), 1);
        }
    }

    /// Counts the replicas of partitions that were added (1) or removed (-1).
    fn count_replicas<'a>(&mut self, partitions: impl Iterator<Item = &'a Arc<Partition>>, by: isize) {
        let mut changes: BTreeMap<NodeId, (isize, isize)> = BTreeMap::new();
        for partition in partitions {
            for (place, node) in partition.replicas.iter().enumerate() {
                let (all, preferred) = changes.entry(*node).or_default();
                *all += by;
                *preferred += if place == 0 { by } else { 0 };
            }
        }
        for (node, (all, preferred)) in changes {
            let before = self.replicas_on(node);
            let after = ReplicaCount {
                all: before.all.saturating_add_signed(all),
                preferred: before.preferred.saturating_add_signed(preferred),
            };
            match after.all {
                0 => _ = self.replicas.remove(&node),
                _ => _ = self.replicas.insert(node, after),
            }
        }
    }

    /// The broker, if it is registered in this epoch.
    pub(super) fn broker_in(&self, node: NodeId, epoch: BrokerEpoch) -> Result<&Broker, Refused> {
        let broker = self.broker(node).ok_or(Refused::UnknownBroker { node })?;
        if broker.epoch == epoch {
            Ok(broker)
        } else {
            Err(Refused::StaleBrokerEpoch { node, current: broker.epoch })
        }
    }

    /// Takes in an index whose command has no effect.
    ///
    /// # Panics
    /// If the index does not rise: a command is applied once.
    pub(super) fn pass_over(&mut self, index: u64) {
        assert!(index > self.applied, "a command is applied once");
        self.applied = index;
    }

    pub(super) fn insert_topic(&mut self, topic: Topic) {
        self.bytes += size::topic(&topic);
        self.count_replicas(topic.partitions.values(), 1);
        self.ids.insert(topic.name.clone(), topic.id);
        if has_collisions(&topic.name) {
            self.collisions.insert(collision_key(&topic.name), topic.name.clone());
        }
        self.topics.insert(topic.id, Arc::new(topic));
    }

    /// Takes a topic of a snapshot in.
    pub(super) fn insert_restored(&mut self, topic: Topic) -> Result<(), DecodeError> {
        let known = self.topic(topic.id).is_some() || self.topic_by_name(&topic.name).is_some();
        if known || self.colliding_topic(&topic.name).is_some() {
            return Err(DecodeError::Inconsistent("two topics of one name"));
        }
        self.insert_topic(topic);
        Ok(())
    }

    pub(super) fn remove_topic(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.topics.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(size::topic(&topic));
        self.count_replicas(topic.partitions.values(), -1);
        self.ids.remove(&topic.name);
        if has_collisions(&topic.name) {
            self.collisions.remove(&collision_key(&topic.name));
        }
        Some(topic)
    }

    /// Adds partitions to a topic, if it exists.
    pub(super) fn add_partitions(&mut self, id: TopicId, partitions: Vec<Arc<Partition>>) {
        let Some(topic) = self.topic_mut(id) else { return };
        topic.add_partitions(partitions.iter().cloned());
        self.bytes += partitions.iter().map(|partition| size::partition(partition)).sum::<usize>();
        self.count_replicas(partitions.iter(), 1);
    }

    /// The topic, to be changed in all but name, id and the replicas of its partitions. What changes its size is to be
    /// [`Image::resized`].
    pub(super) fn topic_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.topics.get_mut(&id).map(Arc::make_mut)
    }
}

fn has_collisions(name: &str) -> bool {
    name.contains(['.', '_'])
}

impl Wire for Image {
    fn put(&self, out: &mut Vec<u8>) {
        self.applied.put(out);
        self.cluster_id.put(out);
        self.feature_level.put(out);
        self.brokers.put(out);
        self.topics.put(out);
        self.broker_configs.put(out);
        self.cluster_configs.put(out);
        self.next_producer_id.put(out);
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let mut image = Image {
            applied: Wire::take(input)?,
            cluster_id: Wire::take(input)?,
            feature_level: Wire::take(input)?,
            brokers: Wire::take(input)?,
            ..Image::default()
        };
        let topics: BTreeMap<TopicId, Topic> = Wire::take(input)?;
        for (id, topic) in topics {
            if topic.id != id {
                return Err(DecodeError::Inconsistent("a topic under another's id"));
            }
            image.insert_restored(topic)?;
        }
        image.broker_configs = Wire::take(input)?;
        image.cluster_configs = Wire::take(input)?;
        image.next_producer_id = Wire::take(input)?;
        Ok(image)
    }
}

impl Wire for Topic {
    fn put(&self, out: &mut Vec<u8>) {
        self.name.put(out);
        self.id.put(out);
        self.partitions.values().cloned().collect::<Vec<_>>().put(out);
        self.configs.put(out);
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let (name, id, partitions): (_, _, Vec<Arc<Partition>>) =
            (Wire::take(input)?, Wire::take(input)?, Wire::take(input)?);
        let mut topic = Topic::new(name, id, Wire::take(input)?);
        topic.add_partitions(partitions);
        Ok(topic)
    }
}
