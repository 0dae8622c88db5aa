//! What logs have handed over and no round has taken yet. Any thread adds, the rounds' task takes.
//!
//! It is bounded by what callers have in flight: a log hands over what it has appended, and appends are
//! bounded by the permits of the connections' bytes.

use crate::dir::points::RecoveryPoint;
use crate::rounds::{FileNote, LogKey, NoteTicket, Rounds, SyncError, SyncRequest, SyncTicket};
use norn_protocol::types::Offset;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{oneshot, Notify};

/// One thing that a log waits for, in its order.
#[derive(Debug)]
pub(in crate::dir) enum Item {
    Sync(SyncRequest, oneshot::Sender<Result<Offset, SyncError>>),
    Note(FileNote, oneshot::Sender<Result<(), SyncError>>),
    /// The log was opened, and is durable up to its end.
    Opened(RecoveryPoint),
    /// The log's directory is about to be removed.
    Delete(oneshot::Sender<Result<(), SyncError>>),
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<LogKey, Vec<Item>>,
    /// Directory names of the logs that are open.
    names: BTreeMap<LogKey, Arc<str>>,
    /// Directory names that were opened since the start.
    opened: BTreeSet<Arc<str>>,
    next_key: u64,
    /// A round is under way.
    busy: bool,
    /// A log has begun its sync with its write and has not handed over yet.
    early: bool,
    closed: bool,
}

/// The queue; see the module.
#[derive(Debug, Default)]
pub(in crate::dir) struct Queue {
    state: Mutex<State>,
    added: Notify,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A key for a log that is being opened, and whether it is the first time since the start.
    pub fn register(&self, name: Arc<str>) -> (LogKey, bool) {
        let mut state = self.state();
        state.next_key += 1;
        let key = LogKey(state.next_key);
        state.names.insert(key, name.clone());
        (key, state.opened.insert(name))
    }

    /// The log was closed or removed, and nothing of it waits.
    pub fn unregister(&self, key: LogKey) {
        self.state().names.remove(&key);
    }

    /// Hands over; dropped, which fails its ticket, if the rounds have ended.
    pub fn push(&self, log: LogKey, item: Item) {
        {
            let mut state = self.state();
            if state.closed {
                return;
            }
            state.waiting.entry(log).or_default().push(item);
        }
        self.added.notify_one();
    }

    /// Takes all that waits of the logs that `may` allows.
    pub fn take(&self, may: impl Fn(LogKey) -> bool) -> Vec<(LogKey, Arc<str>, Vec<Item>)> {
        let mut state = self.state();
        let State { waiting, names, .. } = &mut *state;
        let ready: Vec<LogKey> = waiting.keys().copied().filter(|log| may(*log)).collect();
        let mut taken = Vec::with_capacity(ready.len());
        for log in ready {
            if let (Some(items), Some(name)) = (waiting.remove(&log), names.get(&log)) {
                taken.push((log, name.clone(), items));
            }
        }
        // If its write failed it will hand over nothing; then another log's round frees the claim.
        state.early &= taken.is_empty();
        taken
    }

    /// Told by the rounds' task: whether logs wait for a round that has begun.
    pub fn set_busy(&self, busy: bool) {
        self.state().busy = busy;
    }

    /// See [`Rounds::claim_early_sync`]. Alone on its disk, a log saves the way to the rounds' task; when
    /// several write, gathering them saves more.
    fn claim_early_sync(&self) -> bool {
        let mut state = self.state();
        let free = !state.busy && !state.early && !state.closed && state.waiting.is_empty();
        state.early |= free;
        free
    }

    /// Waits until something was added since the last call.
    pub async fn added(&self) {
        self.added.notified().await;
    }

    /// Whether anything waits.
    pub fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    /// No more is taken; what waits is dropped, and its tickets fail.
    pub fn close(&self) {
        let waiting = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }
}

/// The seam to the logs.
pub(in crate::dir) struct Submit(pub Arc<Queue>);

/// What a ticket says when the rounds ended without answering it.
pub(in crate::dir) fn ended() -> SyncError {
    SyncError::new("the data directory is closed")
}

impl Rounds for Submit {
    fn submit(&self, request: SyncRequest) -> SyncTicket {
        let (reply, answer) = oneshot::channel();
        self.0.push(request.log, Item::Sync(request, reply));
        SyncTicket::new(async { answer.await.unwrap_or_else(|_| Err(ended())) })
    }

    fn note(&self, log: LogKey, note: FileNote) -> NoteTicket {
        let (reply, answer) = oneshot::channel();
        self.0.push(log, Item::Note(note, reply));
        NoteTicket::new(async { answer.await.unwrap_or_else(|_| Err(ended())) })
    }

    fn claim_early_sync(&self) -> bool {
        self.0.claim_early_sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_log_at_a_time_syncs_early_and_only_where_nothing_is_to_be_gathered() {
        let queue = Queue::default();
        let (log, _) = queue.register("a-0".into());
        assert!(queue.claim_early_sync());
        assert!(!queue.claim_early_sync());
        queue.take(|_| true);
        assert!(!queue.claim_early_sync(), "it has not handed over yet");
        queue.push(log, Item::Opened(RecoveryPoint { segment: Offset(0), position: 0, end: Offset(0) }));
        queue.take(|_| false);
        assert!(!queue.claim_early_sync());
        assert_eq!(queue.take(|_| true).len(), 1);
        queue.set_busy(true);
        assert!(!queue.claim_early_sync(), "it could join the round that is under way");
        queue.set_busy(false);
        assert!(queue.claim_early_sync());
    }
}
