//! The offsets that groups have committed, and the keys whose records are under way.
//!
//! What is read is only what is committed in the log: a reader that saw an offset which the log then
//! loses would go on from a place that no later coordinator knows (KAFKA-15784).

use std::collections::btree_map::Entry;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use norn_protocol::{PartitionIndex, TopicId};

use super::event::AppendToken;
use super::records::{OffsetValue, Record};

pub(super) type Partition = (Arc<str>, PartitionIndex);

/// The offsets of all groups of a coordinator.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    committed: BTreeMap<Arc<str>, BTreeMap<Partition, OffsetValue>>,
    /// Keys of appends without an outcome. Whoever removes offsets must write tombstones for these too:
    /// their records stand before his in the log.
    in_flight: BTreeMap<Arc<str>, BTreeMap<Partition, Vec<InFlight>>>,
}

/// A record under way. Any of them may be refused: then those before it count again.
#[derive(Debug)]
pub(super) struct InFlight {
    token: AppendToken,
    /// The topic of its offset; `None` for a tombstone.
    pub(super) topic_id: Option<TopicId>,
}

impl Offsets {
    /// The committed offsets of a group, by topic and partition, after one of them.
    pub(super) fn of_group<'a>(
        &'a self,
        group: &str,
        after: Option<&'a Partition>,
    ) -> impl Iterator<Item = (&'a Partition, &'a OffsetValue)> + use<'a> {
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.committed.get(group).into_iter().flat_map(move |offsets| offsets.range::<Partition, _>(range))
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

    /// An offset whose record does not say which topic it was committed for belongs to the one that is there now.
    pub(super) fn identify(&mut self, group: &str, partition: &Partition, topic_id: TopicId) {
        let value = self.committed.get_mut(group).and_then(|offsets| offsets.get_mut(partition));
        if let Some(value) = value.filter(|value| value.topic_id == TopicId::NONE) {
            value.topic_id = topic_id;
        }
    }

    /// The records under way for this key, in the order of the log.
    pub(super) fn in_flight(&self, group: &str, partition: &Partition) -> &[InFlight] {
        self.in_flight.get(group).and_then(|keys| keys.get(partition)).map_or(&[], Vec::as_slice)
    }

    /// Whether the log has, or may have, an offset of the group for the partition.
    pub(super) fn is_written(&self, group: &str, partition: &Partition) -> bool {
        let has = |keys: &BTreeMap<Partition, OffsetValue>| keys.contains_key(partition);
        self.committed.get(group).is_some_and(has) || !self.in_flight(group, partition).is_empty()
    }

    /// The first `most` partitions after `after` for which the log has, or may have, an offset of the group.
    pub(super) fn written_after(
        &self,
        group: &str,
        after: Option<&Partition>,
        most: usize,
    ) -> Vec<Partition> {
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let committed = self.committed.get(group).into_iter().flat_map(|keys| keys.range(range).take(most));
        let in_flight = self.in_flight.get(group).into_iter().flat_map(|keys| keys.range(range).take(most));
        let committed = committed.map(|(partition, _)| partition);
        let mut partitions: Vec<_> =
            committed.chain(in_flight.map(|(partition, _)| partition)).cloned().collect();
        partitions.sort();
        partitions.dedup();
        partitions.truncate(most);
        partitions
    }

    /// The next group that has appends of offsets under way.
    pub(super) fn next_in_flight(&self, after: Bound<Arc<str>>) -> Option<&Arc<str>> {
        self.in_flight.range((after, Bound::Unbounded)).next().map(|(group, _)| group)
    }

    /// Notes the keys of records that are being appended. Tokens rise. Of several records of one key in an append the last
    /// counts: all of them are refused or none.
    pub(super) fn begin(&mut self, token: AppendToken, records: &[Record]) {
        for (group, partition, value) in offset_records(records) {
            let keys = self.in_flight.entry(group.clone()).or_default();
            let topic_id = value.as_ref().map(|value| value.topic_id);
            let of_key = keys.entry(partition).or_default();
            match of_key.last_mut().filter(|last| last.token == token) {
                Some(last) => last.topic_id = topic_id,
                None => of_key.push(InFlight { token, topic_id }),
            }
        }
    }

    /// Forgets the keys of records whose append has ended.
    pub(super) fn end(&mut self, token: AppendToken, records: &[Record]) {
        for (group, partition, _) in offset_records(records) {
            let Entry::Occupied(mut keys) = self.in_flight.entry(group.clone()) else { continue };
            if let Entry::Occupied(mut key) = keys.get_mut().entry(partition) {
                if let Ok(at) = key.get().binary_search_by_key(&token, |in_flight| in_flight.token) {
                    key.get_mut().remove(at);
                }
                if key.get().is_empty() {
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

/// What a tombstone takes in a batch, at most.
pub(super) fn tombstone_bytes(group: &str, topic: &str) -> usize {
    // The key's version, lengths and partition, and the record's own fields.
    group.len() + topic.len() + 32
}

/// The tombstone of a committed offset.
pub(super) fn tombstone(group: &Arc<str>, (topic, partition): Partition) -> Record {
    Record::Offset { group: group.clone(), topic, partition, value: None }
}

#[cfg(test)]
mod tests {
    use norn_protocol::{LeaderEpoch, Offset};
    use uuid::Uuid;

    use super::*;
    use crate::Millis;

    #[test]
    fn an_append_counts_once_for_a_key_however_often_it_has_it() {
        let (group, partition): (Arc<str>, Partition) = ("g".into(), ("t".into(), PartitionIndex(0)));
        let record = |id: u128| {
            let value = OffsetValue {
                offset: Offset(7),
                leader_epoch: LeaderEpoch::NONE,
                metadata: "".into(),
                committed_at: Millis(0),
                expires_at: None,
                topic_id: TopicId(Uuid::from_u128(id)),
            };
            let (topic, partition) = partition.clone();
            Record::Offset { group: group.clone(), topic, partition, value: Some(value) }
        };
        let mut offsets = Offsets::default();
        let (first, second) = ([record(1), record(2), record(3)], [record(4), record(4)]);
        offsets.begin(AppendToken(1), &first);
        offsets.begin(AppendToken(2), &second);
        let under_way = |offsets: &Offsets| -> Vec<Option<TopicId>> {
            offsets.in_flight(&group, &partition).iter().map(|one| one.topic_id).collect()
        };
        let id = |id| Some(TopicId(Uuid::from_u128(id)));
        assert_eq!(under_way(&offsets), [id(3), id(4)]);
        offsets.end(AppendToken(1), &first);
        assert_eq!(under_way(&offsets), [id(4)]);
        offsets.end(AppendToken(2), &second);
        assert!(!offsets.has_any(&group));
    }
}
