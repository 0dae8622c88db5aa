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
    /// Directory names of the logs that are open, or gone and not yet forgotten.
    names: BTreeMap<LogKey, Arc<str>>,
    keys: BTreeMap<Arc<str>, LogKey>,
    /// Directory names of which the start knew something, and that nobody has registered since.
    unopened: BTreeSet<Arc<str>>,
    /// Logs that are open: neither closed in good order nor removed.
    open: BTreeSet<LogKey>,
    /// Directory names of logs that could not be opened.
    unopenable: BTreeSet<Arc<str>>,
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
    /// A queue of a directory in which logs of these names are known.
    pub fn new(known: impl IntoIterator<Item = Arc<str>>) -> Queue {
        let state = State { unopened: known.into_iter().collect(), ..State::default() };
        Queue { state: Mutex::new(state), added: Notify::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A key for a log that is being opened or removed, and whether it is one that the start knew and the first time
    /// since. It is the key of the log that had the name before, until that one is unregistered: what both hand over is
    /// served in one order.
    pub fn register(&self, name: Arc<str>) -> (LogKey, bool) {
        let mut state = self.state();
        let State { names, keys, unopened, next_key, .. } = &mut *state;
        let first = unopened.remove(&name);
        let key = *keys.entry(name.clone()).or_insert_with(|| {
            *next_key += 1;
            names.insert(LogKey(*next_key), name);
            LogKey(*next_key)
        });
        (key, first)
    }

    /// The log was closed or removed, and nothing of it waits or is under way.
    pub fn unregister(&self, key: LogKey) {
        let mut state = self.state();
        state.open.remove(&key);
        if let Some(name) = state.names.remove(&key) {
            state.keys.remove(&name);
        }
    }

    /// As [`Queue::unregister`], of a log that could not be opened: where it ends is not known any more.
    pub fn unregister_unopenable(&self, key: LogKey) {
        let name = self.state().names.get(&key).cloned();
        self.unregister(key);
        self.state().unopenable.extend(name);
    }

    /// Directory names of the logs that are open.
    pub fn open_logs(&self) -> Vec<Arc<str>> {
        let state = self.state();
        state.open.iter().filter_map(|key| state.names.get(key)).cloned().collect()
    }

    /// Whether the log could not be opened, and has not been since.
    pub fn is_unopenable(&self, name: &str) -> bool {
        self.state().unopenable.contains(name)
    }

    /// As [`Queue::unregister`], of a log that the start knew and that was not opened: it is still to be the first time.
    pub fn unregister_unopened(&self, key: LogKey) {
        let mut state = self.state();
        if let Some(name) = state.names.remove(&key) {
            state.keys.remove(&name);
            state.unopened.insert(name);
        }
    }

    /// Hands over; dropped, which fails its ticket, if the rounds have ended.
    pub fn push(&self, log: LogKey, item: Item) {
        {
            let mut state = self.state();
            if state.closed {
                return;
            }
            if matches!(item, Item::Opened(_)) {
                state.open.insert(log);
                if let Some(name) = state.names.get(&log).cloned() {
                    state.unopenable.remove(&name);
                }
            }
            state.waiting.entry(log).or_default().push(item);
        }
        self.added.notify_one();
    }

    /// Takes what waits of the logs that `may` allows: all of it, or up to a log's removal, which is then taken alone. It
    /// comes after all that was handed over before it, and does not fail with that.
    pub fn take(&self, may: impl Fn(LogKey) -> bool) -> Vec<(LogKey, Arc<str>, Vec<Item>)> {
        let mut state = self.state();
        let State { waiting, names, .. } = &mut *state;
        let ready: Vec<LogKey> = waiting.keys().copied().filter(|log| may(*log)).collect();
        let mut taken = Vec::with_capacity(ready.len());
        for log in ready {
            if let (Some(mut items), Some(name)) = (waiting.remove(&log), names.get(&log)) {
                let removal = items.iter().position(|item| matches!(item, Item::Delete(_)));
                let rest = items.split_off(removal.map_or(items.len(), |at| at.max(1)));
                if !rest.is_empty() {
                    waiting.insert(log, rest);
                    self.added.notify_one();
                }
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

    fn opened() -> Item {
        Item::Opened(RecoveryPoint { segment: Offset(0), position: 0, end: Offset(0) })
    }

    #[test]
    fn a_removal_is_taken_alone_and_in_its_place_whoever_has_the_name() {
        let queue = Queue::default();
        for _ in 0..2 {
            let (log, _) = queue.register("a-0".into());
            queue.push(log, opened());
            queue.push(log, opened());
            queue.push(log, Item::Delete(oneshot::channel().0));
        }
        let mut sizes = Vec::new();
        while let [(_, name, items)] = &queue.take(|_| true)[..] {
            assert_eq!(&**name, "a-0");
            sizes.push(items.len());
        }
        assert_eq!(sizes, [2, 1, 2, 1]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_log_that_the_start_knew_is_opened_for_the_first_time_once() {
        let queue = Queue::new(["a-0".into()]);
        let (log, first) = queue.register("a-0".into());
        assert!(first);
        queue.unregister(log);
        let (again, first) = queue.register("a-0".into());
        assert!(!first && again != log);
        assert!(!queue.register("b-0".into()).1);
    }

    #[test]
    fn one_log_at_a_time_syncs_early_and_only_where_nothing_is_to_be_gathered() {
        let queue = Queue::default();
        let (log, _) = queue.register("a-0".into());
        assert!(queue.claim_early_sync());
        assert!(!queue.claim_early_sync());
        queue.take(|_| true);
        assert!(!queue.claim_early_sync(), "it has not handed over yet");
        queue.push(log, opened());
        queue.take(|_| false);
        assert!(!queue.claim_early_sync());
        assert_eq!(queue.take(|_| true).len(), 1);
        queue.set_busy(true);
        assert!(!queue.claim_early_sync(), "it could join the round that is under way");
        queue.set_busy(false);
        assert!(queue.claim_early_sync());
    }
}
