//! What a partition publishes for readers on other threads: one value, replaced as a whole, so that bounds, segments and
//! the file position of the high watermark are always of one moment (read separately they would race, KAFKA-9835).
//!
//! Readers that wait (long polls) subscribe with a `ReadySet`: a move puts the partition in once and wakes once, so that
//! a Fetch costs what changed and not what it watches.

use std::{
    collections::BTreeSet,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex, PoisonError, RwLock, Weak,
    },
};

use norn_core::record_rules::RecordRules;
use norn_log::{FilePosition, LogView, PartitionLog};
use norn_protocol::{
    types::{LeaderEpoch, Offset},
    ErrorCode,
};
use tokio::sync::Notify;

/// A partition at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub epoch: LeaderEpoch,
    /// Where the log ended when that epoch began.
    pub epoch_start: Offset,
    /// Why the partition cannot be read or written now, if so.
    pub unavailable: Option<ErrorCode>,
    pub log_start: Offset,
    /// Up to here committed readers may read. Equal to the high watermark while there are no transactions.
    pub last_stable: Offset,
    pub high_watermark: Offset,
    /// Where the high watermark lies in the files; taken together with it.
    pub high_watermark_at: FilePosition,
    pub log_end: Offset,
    /// What the topic's settings ask of records.
    pub record_rules: RecordRules,
    pub log: LogView,
}

impl View {
    /// A log that is open, before its task has taken up its role.
    pub fn before_start(log: &PartitionLog, record_rules: RecordRules) -> Self {
        View {
            epoch: LeaderEpoch::NONE,
            epoch_start: log.start(),
            unavailable: Some(ErrorCode::NotLeaderOrFollower),
            log_start: log.start(),
            last_stable: log.start(),
            high_watermark: log.start(),
            high_watermark_at: log.position_of(log.start()),
            log_end: log.end(),
            record_rules,
            log: log.view(),
        }
    }

    /// What readers wait for a change of.
    fn seen(&self) -> (LeaderEpoch, Option<ErrorCode>, Offset, Offset, Offset) {
        (self.epoch, self.unavailable, self.log_start, self.last_stable, self.high_watermark)
    }

    /// Whether the log failed and serves nothing more.
    pub fn is_offline(&self) -> bool {
        self.unavailable == Some(ErrorCode::KafkaStorageError)
    }
}

/// The cell that holds a partition's `View`. The partition's task is the only writer.
#[derive(Debug)]
pub(crate) struct Published {
    // Held only to clone or replace the `Arc`, never across an await.
    view: RwLock<Arc<View>>,
    /// Whether the task has published anything.
    started: AtomicBool,
    watchers: Mutex<Vec<(Weak<ReadySet>, u32)>>,
}

impl Published {
    pub fn new(view: View) -> Self {
        Published {
            view: RwLock::new(Arc::new(view)),
            started: AtomicBool::new(false),
            watchers: Mutex::default(),
        }
    }

    pub fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the partition has taken up its role, so that the value is its own and not that of before.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Replaces the value and wakes who waits for a move of what readers see: not for a log end above the high watermark.
    pub fn publish(&self, view: View) {
        let moved = {
            let mut current = self.view.write().unwrap_or_else(PoisonError::into_inner);
            let moved = view.seen() != current.seen();
            *current = Arc::new(view);
            // The first one counts as a move, even if it is of a partition that neither leads nor follows.
            !self.started.swap(true, Ordering::AcqRel) || moved
        };
        if !moved {
            return;
        }
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|(set, slot)| match set.upgrade() {
            Some(set) => {
                set.mark(*slot);
                true
            }
            None => false,
        });
    }

    /// From now on every move marks `slot` in `set`, until the set is dropped.
    pub fn watch(&self, set: &Arc<ReadySet>, slot: u32) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|(set, _)| set.strong_count() > 0);
        watchers.push((Arc::downgrade(set), slot));
    }

    /// Stops marking `slot` in `set`.
    pub fn unwatch(&self, set: &Arc<ReadySet>, slot: u32) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|(other, s)| !(*s == slot && std::ptr::eq(other.as_ptr(), Arc::as_ptr(set))));
    }
}

/// The partitions of one reader that moved since it last looked, by the slot numbers it gave them.
#[derive(Debug, Default)]
pub(crate) struct ReadySet {
    moved: Mutex<BTreeSet<u32>>,
    wake: Notify,
}

impl ReadySet {
    fn mark(&self, slot: u32) {
        let new = self.moved.lock().unwrap_or_else(PoisonError::into_inner).insert(slot);
        if new {
            self.wake.notify_one();
        }
    }

    /// Takes what moved since the last call.
    pub fn take(&self) -> BTreeSet<u32> {
        std::mem::take(&mut *self.moved.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a move. One permit is remembered, so a move between `take` and this is not lost.
    pub async fn moved(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_set_holds_each_moved_slot_once() {
        let set = Arc::new(ReadySet::default());
        set.mark(3);
        set.mark(1);
        set.mark(3);
        assert_eq!(set.take().into_iter().collect::<Vec<_>>(), [1, 3]);
        assert!(set.take().is_empty());
    }
}
