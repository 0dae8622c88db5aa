//! What parts of the image count towards its bound: about the bytes that they take in a snapshot, which memory follows.

use super::broker::Broker;
use super::config_def::ConfigMap;
use super::image::Topic;
use super::partition::Partition;

/// Ids, epochs, lengths: what a topic or a broker takes beside its texts.
const ENTRY: usize = 64;
/// A partition's epochs, leader and lengths, and its share of what keeps it in memory.
const PARTITION: usize = 64;
/// A replica, listed once as such and once in the ISR. It counts twice whether or not it is in sync.
const REPLICA: usize = 8;
/// The lengths of a setting's name and value.
const SETTING: usize = 16;

pub(super) fn topic(topic: &Topic) -> usize {
    let partitions = topic.partitions().map(|(_, partition)| self::partition(partition)).sum::<usize>();
    ENTRY + 2 * topic.name.len() + partitions + configs(&topic.configs)
}

pub(super) fn partition(partition: &Partition) -> usize {
    partition_of(partition.replicas.len())
}

/// A partition with so many replicas.
pub(super) fn partition_of(replicas: usize) -> usize {
    PARTITION + REPLICA * replicas
}

/// A new topic, as a command asks for it.
pub(super) fn new_topic(name: &str, partitions: usize, configs: &[(String, String)]) -> usize {
    let configs = configs.iter().map(|(name, value)| setting(name, value)).sum::<usize>();
    ENTRY + 2 * name.len() + partitions + configs
}

pub(super) fn broker(broker: &Broker) -> usize {
    let rack = broker.rack.as_ref().map_or(0, String::len);
    ENTRY + 16 * broker.directories.len() + broker.endpoint.host.len() + rack
}

pub(super) fn configs(configs: &ConfigMap) -> usize {
    configs.iter().map(|(name, value)| setting(name, value)).sum()
}

pub(super) fn setting(name: &str, value: &str) -> usize {
    SETTING + name.len() + value.len()
}
