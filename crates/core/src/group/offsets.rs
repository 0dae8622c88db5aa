//! The offsets that groups have committed, and the keys whose records are under way.
//!
//! What is read is only what is committed in the log: a reader that saw an offset which the log then
//! loses would go on from a place that no later coordinator knows (KAFKA-15784).

use std::collections::btree_map::Entry;
use std::collections::BTreeMap;
use std::sync::Arc;

use norn_protocol::{PartitionIndex, TopicId};

use super::records::{OffsetValue, Record};

type Partition = (Arc<str>, PartitionIndex);

/// The offsets of all groups of a coordinator.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    committed: BTreeMap<Arc<str>, BTreeMap<Partition, OffsetValue>>,
    /// Keys of appends without an outcome. Whoever removes offsets must write tombstones for these too:
    /// their records stand before his in the log.
    in_flight: BTreeMap<Arc<str>, BTreeMap<Partition, InFlight>>,
}

#[derive(Debug)]
struct InFlight {
    records: usize,
    /// The last of the records; `None` for a tombstone.
    topic_id: Option<TopicId>,
}

impl Offsets {
    /// The committed offsets of a group, by topic and partition.
    pub(super) fn of_group(&self, group: &str) -> impl Iterator<Item = (&Partition, &OffsetValue)> {
        self.committed.get(group).into_iter().flatten()
    }

    pub(super) fn get(
        &self,
        group: &str,
        topic: &Arc<str>,
        partition: PartitionIndex,
    ) -> Option<&OffsetValue> {
        self.committed.get(group)?.get(&(topic.clone(), partition))
    }

    /// Whether the group has offsets, or may have some as soon as an append ends.
    pub(super) fn has_any(&self, group: &str) -> bool {
        self.committed.contains_key(group) || self.in_flight.contains_key(group)
    }

    pub(super) fn is_in_flight(&self, group: &str, partition: &Partition) -> bool {
        self.in_flight.get(group).is_some_and(|keys| keys.contains_key(partition))
    }

    /// The partitions for which the log has, or may have, an offset of the group.
    pub(super) fn written(&self, group: &str) -> Vec<Partition> {
        let committed = self.committed.get(group).into_iter().flat_map(BTreeMap::keys);
        let in_flight = self.in_flight.get(group).into_iter().flat_map(BTreeMap::keys);
        let mut partitions: Vec<_> = committed.chain(in_flight).cloned().collect();
        partitions.sort();
        partitions.dedup();
        partitions
    }

    /// The groups and partitions with an offset for a topic that has this id, or has none known.
    pub(super) fn of_topic(&self, topic: &str, id: TopicId) -> BTreeMap<Arc<str>, Vec<Partition>> {
        let is_of_topic = |partition: &Partition, known: TopicId| {
            &*partition.0 == topic && (known == id || known == TopicId::NONE || id == TopicId::NONE)
        };
        let mut found: BTreeMap<Arc<str>, Vec<Partition>> = BTreeMap::new();
        for (group, offsets) in &self.committed {
            let of_topic = offsets.iter().filter(|(partition, value)| {
                is_of_topic(partition, value.topic_id) && !self.is_in_flight(group, partition)
            });
            found.entry(group.clone()).or_default().extend(of_topic.map(|(partition, _)| partition.clone()));
        }
        for (group, keys) in &self.in_flight {
            let of_topic = keys.iter().filter(|(partition, in_flight)| {
                in_flight.topic_id.is_some_and(|known| is_of_topic(partition, known))
            });
            found.entry(group.clone()).or_default().extend(of_topic.map(|(partition, _)| partition.clone()));
        }
        found.retain(|_, partitions| !partitions.is_empty());
        found
    }

    /// Takes out the committed offsets of topics, by name and id, that there are not. Those without an id stay.
    pub(super) fn take_deleted(
        &mut self,
        is_there: impl Fn(&str, TopicId) -> bool,
    ) -> BTreeMap<Arc<str>, Vec<Partition>> {
        let mut taken: BTreeMap<Arc<str>, Vec<Partition>> = BTreeMap::new();
        self.committed.retain(|group, offsets| {
            offsets.retain(|partition, value| {
                let stays = value.topic_id == TopicId::NONE || is_there(&partition.0, value.topic_id);
                if !stays {
                    taken.entry(group.clone()).or_default().push(partition.clone());
                }
                stays
            });
            !offsets.is_empty()
        });
        taken
    }

    /// Notes the keys of records that are being appended.
    pub(super) fn begin(&mut self, records: &[Record]) {
        for (group, partition, value) in offset_records(records) {
            let key = self.in_flight.entry(group.clone()).or_default();
            let in_flight = key.entry(partition).or_insert(InFlight { records: 0, topic_id: None });
            in_flight.records += 1;
            in_flight.topic_id = value.as_ref().map(|value| value.topic_id);
        }
    }

    /// Forgets the keys of records whose append has ended.
    pub(super) fn end(&mut self, records: &[Record]) {
        for (group, partition, _) in offset_records(records) {
            let Entry::Occupied(mut keys) = self.in_flight.entry(group.clone()) else { continue };
            if let Entry::Occupied(mut key) = keys.get_mut().entry(partition) {
                key.get_mut().records -= 1;
                if key.get().records == 0 {
                    key.remove();
                }
            }
            if keys.get().is_empty() {
                keys.remove();
            }
        }
    }

    /// Takes in a committed record.
    pub(super) fn apply(&mut self, group: Arc<str>, partition: Partition, value: Option<OffsetValue>) {
        match (value, self.committed.entry(group)) {
            (Some(value), offsets) => {
                offsets.or_default().insert(partition, value);
            }
            (None, Entry::Occupied(mut offsets)) => {
                offsets.get_mut().remove(&partition);
                if offsets.get().is_empty() {
                    offsets.remove();
                }
            }
            (None, Entry::Vacant(_)) => {}
        }
    }
}

fn offset_records(records: &[Record]) -> impl Iterator<Item = (&Arc<str>, Partition, &Option<OffsetValue>)> {
    records.iter().filter_map(|record| match record {
        Record::Offset { group, topic, partition, value } => {
            Some((group, (topic.clone(), *partition), value))
        }
        Record::Group { .. } => None,
    })
}

/// The tombstone of a committed offset.
pub(super) fn tombstone(group: &Arc<str>, (topic, partition): Partition) -> Record {
    Record::Offset { group: group.clone(), topic, partition, value: None }
}
