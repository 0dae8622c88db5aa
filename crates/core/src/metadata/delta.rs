//! What differs between two images, for whoever follows them: work for each change, and none for what
//! stayed.
//!
//! It is the comparison of the two, whatever lies between them: one who missed some images, or for
//! whom a snapshot was installed, goes by the same as one who has seen each. Nodes that both share
//! are passed over, so that it costs what differs (Kafka's `MetadataDelta`, KIP-500).

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use norn_protocol::types::{NodeId, PartitionIndex};

use super::image::{Image, Topic};

/// The way from one image to another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImageDelta {
    /// Topics that are gone, as they were last.
    pub deleted: Vec<Arc<Topic>>,
    /// Topics that are new, or of which something changed, by id.
    pub changed: Vec<TopicDelta>,
    /// Brokers that are new or gone, or of whose registration something changed.
    pub brokers: BTreeSet<NodeId>,
    /// Brokers whose own settings changed.
    pub broker_configs: BTreeSet<NodeId>,
    /// Whether the settings of all brokers changed.
    pub cluster_configs: bool,
}

/// A topic that is new or has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicDelta {
    /// As it is now.
    pub topic: Arc<Topic>,
    /// Its partitions that are new or have changed, by index.
    pub partitions: Vec<PartitionIndex>,
    /// Whether what is set on it changed. False for a new topic.
    pub configs: bool,
}

impl ImageDelta {
    /// What was done to `old` to make it `new`.
    pub fn between(old: &Image, new: &Image) -> ImageDelta {
        let mut delta = ImageDelta {
            brokers: keys(old.brokers.diff(&new.brokers)),
            broker_configs: keys(old.broker_configs.diff(&new.broker_configs)),
            cluster_configs: old.cluster_configs != new.cluster_configs,
            ..ImageDelta::default()
        };
        for item in old.topics.diff(&new.topics) {
            match item {
                DiffItem::Remove(_, topic) => delta.deleted.push(topic.clone()),
                DiffItem::Add(_, topic) => delta.changed.push(TopicDelta {
                    partitions: topic.partitions.keys().copied().collect(),
                    configs: false,
                    topic: topic.clone(),
                }),
                DiffItem::Update { old: (_, old), new: (_, new) } => delta.changed.push(TopicDelta {
                    partitions: partitions(old, new),
                    configs: old.configs != new.configs,
                    topic: new.clone(),
                }),
            }
        }
        delta
    }

    /// Whether settings of the broker `node`, its own or those of all, changed.
    pub fn concerns_configs_of(&self, node: NodeId) -> bool {
        self.cluster_configs || self.broker_configs.contains(&node)
    }
}

/// The partitions that are new or have changed. They never become fewer.
fn partitions(old: &Topic, new: &Topic) -> Vec<PartitionIndex> {
    let index = |item| match item {
        DiffItem::Add(index, _) | DiffItem::Update { new: (index, _), .. } => Some(*index),
        DiffItem::Remove(..) => None,
    };
    old.partitions.diff(&new.partitions).filter_map(index).collect()
}

/// The keys of which something differs.
fn keys<'a, V: 'a>(items: impl Iterator<Item = DiffItem<'a, 'a, NodeId, V>>) -> BTreeSet<NodeId> {
    let key = |item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. } => *key,
    };
    items.map(key).collect()
}
