//! What a fetcher watches. A partition's move puts it into the ready set once, so that answering costs what changed and
//! not what is watched; a session (KIP-227) keeps this between requests.
//!
//! A session by topic ids also remembers the name of each topic that it has met, as Kafka's `FetchSession` does: after a
//! deletion the client is told that the topic is gone, or that its name stands for another topic, and not that the id was
//! never known.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use norn_protocol::{
    types::{LeaderEpoch, Offset, TopicId},
    ErrorCode,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::partition::{Partition, PartitionTable, ReadySet};

/// A partition as the client names it: by name up to version 12, by id from 13 on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub name: Option<Arc<str>>,
    pub id: TopicId,
    pub index: i32,
}

/// What the client asked of one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub offset: Offset,
    pub max_bytes: u64,
    /// The leader epoch that the client believes in, or -1 (KIP-320).
    pub leader_epoch: LeaderEpoch,
}

#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub key: Key,
    pub wanted: Wanted,
    pub partition: Result<Arc<Partition>, ErrorCode>,
    /// What the client was last told, so that a session answers only changes.
    pub told: Option<Told>,
    /// The topic's name, once it was met, of a client that names topics by id.
    name: Option<Arc<str>>,
}

impl Subscription {
    /// Whether the client knows this error already, and has not asked for anything else since.
    pub fn knows(&self, error: ErrorCode) -> bool {
        self.told.is_some_and(|told| told.error == Some(error))
    }
}

/// What a response said of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub error: Option<ErrorCode>,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// The partitions of one fetcher, by slots that the ready set speaks of.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    table: Arc<PartitionTable>,
    by_key: BTreeMap<Key, u32>,
    slots: BTreeMap<u32, Subscription>,
    /// Slots whose partitions the table does not have.
    unresolved: BTreeSet<u32>,
    next_slot: u32,
    ready: Arc<ReadySet>,
    /// Slots to look at: those that moved, were asked anew, or had data last time and may have more.
    pending: BTreeSet<u32>,
    /// Where the next answer begins, so that one busy partition does not starve those behind it.
    cursor: u32,
}

impl Subscriptions {
    pub fn new(table: Arc<PartitionTable>) -> Self {
        Subscriptions {
            table,
            by_key: BTreeMap::new(),
            slots: BTreeMap::new(),
            unresolved: BTreeSet::new(),
            next_slot: 0,
            ready: Arc::default(),
            pending: BTreeSet::new(),
            cursor: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn ready(&self) -> Arc<ReadySet> {
        self.ready.clone()
    }

    /// Adds a partition, or changes what is wanted of it.
    pub fn set(&mut self, key: Key, wanted: Wanted) {
        if let Some(slot) = self.by_key.get(&key) {
            if let Some(subscription) = self.slots.get_mut(slot) {
                let before = std::mem::replace(&mut subscription.wanted, wanted);
                if (before.offset, before.leader_epoch) != (wanted.offset, wanted.leader_epoch) {
                    // An error of what was asked before is none of this.
                    subscription.told = subscription.told.map(|told| Told { error: None, ..told });
                }
                self.pending.insert(*slot);
            }
            return;
        }
        let slot = self.next_slot;
        self.next_slot += 1;
        self.by_key.insert(key.clone(), slot);
        let partition = Err(ErrorCode::UnknownTopicOrPartition);
        self.slots.insert(slot, Subscription { key, wanted, partition, told: None, name: None });
        self.resolve(slot);
        self.pending.insert(slot);
    }

    pub fn forget(&mut self, key: &Key) {
        if let Some(slot) = self.by_key.remove(key) {
            self.pending.remove(&slot);
            self.unresolved.remove(&slot);
            if let Some(Subscription { partition: Ok(partition), .. }) = self.slots.remove(&slot) {
                partition.unwatch(&self.ready, slot);
            }
        }
    }

    /// Goes by `table` from now on. Gives the slots to resolve anew: those of partitions that have come or gone since the
    /// table before, and those that it did not have.
    pub fn follow(&mut self, table: Arc<PartitionTable>) -> Vec<u32> {
        if Arc::ptr_eq(&table, &self.table) {
            return vec![];
        }
        let mut slots = self.unresolved.clone();
        for partition in table.moved_since(&self.table) {
            slots.extend(keys_of(partition).iter().filter_map(|key| self.by_key.get(key)));
        }
        self.table = table;
        slots.into_iter().collect()
    }

    /// As [`Subscriptions::follow`], while a request waits: the slots whose partitions were not there. One that has left the
    /// table publishes its end, and is resolved anew when it is looked at.
    pub fn follow_unresolved(&mut self, table: Arc<PartitionTable>) -> Vec<u32> {
        self.table = table;
        self.unresolved.iter().copied().collect()
    }

    /// Whether a partition is asked for that the table does not have.
    pub fn has_unresolved(&self) -> bool {
        !self.unresolved.is_empty()
    }

    /// Finds the partition of `slot` in the table; another one than before is looked at.
    pub fn resolve(&mut self, slot: u32) {
        let Some(subscription) = self.slots.get_mut(&slot) else { return };
        let Key { name, id, index } = &subscription.key;
        let now = match (self.table.resolve(name.as_deref(), *id, *index), &subscription.name) {
            (Err(ErrorCode::UnknownTopicId), Some(met)) => Err(self.table.why_gone(met, *index)),
            (now, _) => now,
        };
        if name.is_none() && subscription.name.is_none() {
            subscription.name = self.table.name_of(*id);
        }
        let same = match (&now, &subscription.partition) {
            (Ok(now), Ok(before)) => Arc::ptr_eq(now, before),
            (Err(now), Err(before)) => now == before,
            _ => false,
        };
        if let Ok(partition) = &now {
            self.unresolved.remove(&slot);
            if !same {
                partition.watch(&self.ready, slot);
            }
        } else {
            self.unresolved.insert(slot);
        }
        if !same {
            subscription.partition = now;
            self.pending.insert(slot);
        }
    }

    /// The slots to look at now, beginning behind where the last answer ended.
    pub fn take_pending(&mut self) -> Vec<u32> {
        self.pending.extend(self.ready.take());
        let pending = std::mem::take(&mut self.pending);
        let (before, after): (Vec<u32>, Vec<u32>) = pending
            .into_iter()
            .filter(|slot| self.slots.contains_key(slot))
            .partition(|slot| *slot < self.cursor);
        after.into_iter().chain(before).collect()
    }

    /// Looks at `slot` again next time.
    pub fn keep(&mut self, slot: u32) {
        self.pending.insert(slot);
    }

    /// The next answer begins behind `slot`.
    pub fn served(&mut self, slot: u32) {
        self.cursor = slot + 1;
    }

    /// The subscription of `slot`. A partition that serves nothing may have left the table: then it is the one that the
    /// table has in its place.
    pub fn current(&mut self, slot: u32) -> Option<Subscription> {
        let partition = self.slots.get(&slot)?.partition.as_ref();
        if partition.is_ok_and(|partition| partition.view().unavailable.is_some()) {
            self.resolve(slot);
            self.pending.remove(&slot);
        }
        self.slots.get(&slot).cloned()
    }

    /// Remembers what the client is told. A partition with an error is looked at again by the next request.
    pub fn tell(&mut self, slot: u32, told: Told) {
        if let Some(subscription) = self.slots.get_mut(&slot) {
            subscription.told = Some(told);
            if told.error.is_some() {
                self.pending.insert(slot);
            }
        }
    }
}

/// The names that clients have for a partition.
fn keys_of(partition: &Partition) -> [Key; 2] {
    let (id, index) = (partition.topic_id(), partition.index());
    [Key { name: Some(partition.topic().clone()), id: TopicId::NONE, index }, Key { name: None, id, index }]
}

/// A session: the subscriptions and the epoch that the next request must carry.
#[derive(Debug)]
pub(crate) struct FetchSession {
    /// 0 if it serves a single request.
    pub id: i32,
    /// Whether its client names topics by id.
    pub by_id: bool,
    next_epoch: i32,
    pub subscriptions: Subscriptions,
    /// Frees itself with the session.
    _slot: Option<OwnedSemaphorePermit>,
}

impl FetchSession {
    pub fn new(id: i32, by_id: bool, subscriptions: Subscriptions, slot: OwnedSemaphorePermit) -> Self {
        FetchSession { id, by_id, next_epoch: 1, subscriptions, _slot: Some(slot) }
    }

    /// What serves one request without a session.
    pub fn once(subscriptions: Subscriptions) -> Self {
        FetchSession { id: 0, by_id: false, next_epoch: 1, subscriptions, _slot: None }
    }

    /// Checks the epoch of an incremental request and moves on to the next (it wraps to 1, as 0 opens a session).
    pub fn advance(&mut self, epoch: i32) -> Result<(), ErrorCode> {
        if epoch != self.next_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        self.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        Ok(())
    }
}
