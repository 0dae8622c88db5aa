//! What a fetcher watches. A partition's move puts it into the ready set once, so that answering costs what changed and
//! not what is watched; a session (KIP-227) keeps this between requests.

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

#[derive(Debug)]
pub(crate) struct Subscription {
    pub key: Key,
    pub wanted: Wanted,
    pub partition: Result<Arc<Partition>, ErrorCode>,
    /// The bounds that the client was last told, so that a session answers only changes.
    pub told: Option<(Offset, Offset)>,
}

/// The partitions of one fetcher, by slots that the ready set speaks of.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    table: Arc<PartitionTable>,
    by_key: BTreeMap<Key, u32>,
    slots: BTreeMap<u32, Subscription>,
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
                subscription.wanted = wanted;
                self.pending.insert(*slot);
            }
            return;
        }
        let slot = self.next_slot;
        self.next_slot += 1;
        let partition = self.table.resolve(key.name.as_deref(), key.id, key.index);
        if let Ok(partition) = &partition {
            partition.watch(&self.ready, slot);
        }
        self.by_key.insert(key.clone(), slot);
        self.slots.insert(slot, Subscription { key, wanted, partition, told: None });
        self.pending.insert(slot);
    }

    pub fn forget(&mut self, key: &Key) {
        if let Some(slot) = self.by_key.remove(key) {
            self.pending.remove(&slot);
            if let Some(Subscription { partition: Ok(partition), .. }) = self.slots.remove(&slot) {
                partition.unwatch(&self.ready, slot);
            }
        }
    }

    /// Resolves the partitions again if the broker's table is another one by now.
    pub fn follow(&mut self, table: Arc<PartitionTable>) {
        if Arc::ptr_eq(&table, &self.table) {
            return;
        }
        self.table = table;
        for (slot, subscription) in &mut self.slots {
            let key = &subscription.key;
            let now = self.table.resolve(key.name.as_deref(), key.id, key.index);
            let same = match (&now, &subscription.partition) {
                (Ok(now), Ok(before)) => Arc::ptr_eq(now, before),
                (Err(now), Err(before)) => now == before,
                _ => false,
            };
            if !same {
                if let Ok(partition) = &now {
                    partition.watch(&self.ready, *slot);
                }
                subscription.partition = now;
                self.pending.insert(*slot);
            }
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

    pub fn get(&self, slot: u32) -> Option<&Subscription> {
        self.slots.get(&slot)
    }

    pub fn told(&mut self, slot: u32, bounds: (Offset, Offset)) {
        if let Some(subscription) = self.slots.get_mut(&slot) {
            subscription.told = Some(bounds);
        }
    }
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
