//! Which points the journal has not been told yet, and when it is to be. Pure.
//!
//! A log that was synced in place is durable without the journal, and its tickets do not wait for the journal to say so.
//! It is told twice: soon by a write alone, which the death of the process leaves; and now and then by a write that
//! is synced, which a loss of power leaves as well. So a start after a kill has the last few milliseconds to check, one
//! after a loss of power the last half second, and all that lies before is known to have been durable.

use norn_env::clock::{Duration, Instant};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// A point that moved is written after this long: at most fifty writes to the page cache in a second.
const WRITE_AFTER: Duration = Duration::from_millis(20);
/// A point that moved is durable in the journal after this long. A sync of the journal takes 0.04 to 3 ms: less than
/// one in a hundred of the logs' own syncs meets one.
const SYNC_AFTER: Duration = Duration::from_millis(500);
/// It is so earlier when this much was synced in place. Less than the tail that a start writes anew (see
/// `partition::recover`), and more than a sync costs.
const SYNC_BYTES: u64 = 16 << 20;

/// How the journal is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// By a write alone.
    Write,
    /// By a write and an fdatasync.
    Sync,
}

/// The points that the journal does not say; see the module.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// Logs whose point moved since a durable frame said it.
    logs: BTreeSet<Arc<str>>,
    /// Bytes that were synced in place since.
    bytes: u64,
    write_at: Option<Instant>,
    sync_at: Option<Instant>,
    /// The last log that a durable frame had room for. The next one goes on behind it, so that each has its turn.
    last: Option<Arc<str>>,
}

impl Untold {
    /// The log's point moved, by so many bytes that were synced in place.
    pub fn moved(&mut self, log: &Arc<str>, bytes: u64, now: Instant) {
        self.logs.insert(log.clone());
        self.bytes += bytes;
        self.write_at.get_or_insert(now + WRITE_AFTER);
        self.sync_at.get_or_insert(now + SYNC_AFTER);
    }

    /// The journal says it, durably; or the log is gone.
    pub fn forget(&mut self, log: &Arc<str>) {
        self.logs.remove(log);
        if self.logs.is_empty() {
            *self = Untold { last: self.last.take(), ..Untold::default() };
        }
    }

    /// What is to be done now, if anything.
    pub fn due(&self, now: Instant) -> Option<Tell> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match () {
            () if is_due(self.sync_at) || self.bytes >= SYNC_BYTES => Some(Tell::Sync),
            () if is_due(self.write_at) => Some(Tell::Write),
            () => None,
        }
    }

    /// When something will be due, if nothing moves before.
    pub fn next_at(&self) -> Option<Instant> {
        self.write_at.into_iter().chain(self.sync_at).min()
    }

    /// The logs that the next frame is to tell of, in at most so many bytes: those that waited longest first.
    pub fn next(&self, bytes_max: usize) -> Vec<Arc<str>> {
        let behind = match &self.last {
            Some(last) => (Bound::Excluded(last.clone()), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let before = self.last.iter().flat_map(|last| self.logs.range(..=last.clone()));
        let mut room = bytes_max;
        let fits = |log: &&Arc<str>| match room.checked_sub(log.len() + super::POINT_ENTRY_BYTES) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        };
        self.logs.range(behind).chain(before).take_while(fits).cloned().collect()
    }

    /// A write has begun that tells of what waits, as far as there is room.
    pub fn written(&mut self) {
        self.write_at = None;
    }

    /// A frame has been begun that tells of these and is not used before it is durable.
    pub fn told(&mut self, logs: &[Arc<str>]) {
        self.last = logs.last().cloned().or(self.last.take());
        self.bytes = 0;
        logs.iter().for_each(|log| self.forget(log));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use norn_env::clock;

    fn name(n: usize) -> Arc<str> {
        format!("t-{n:03}").into()
    }

    #[test]
    fn a_point_is_written_soon_and_synced_later_and_then_nothing_is_due() {
        let start = clock::now();
        let mut untold = Untold::default();
        assert_eq!((untold.due(start), untold.next_at()), (None, None));
        untold.moved(&name(1), 100, start);
        assert_eq!((untold.due(start), untold.next_at()), (None, Some(start + WRITE_AFTER)));
        assert_eq!(untold.due(start + WRITE_AFTER), Some(Tell::Write));
        untold.written();
        assert_eq!((untold.due(start + WRITE_AFTER), untold.next_at()), (None, Some(start + SYNC_AFTER)));
        assert_eq!(untold.due(start + SYNC_AFTER), Some(Tell::Sync));
        untold.told(&[name(1)]);
        assert_eq!((untold.due(start + 2 * SYNC_AFTER), untold.next_at()), (None, None));
    }

    #[test]
    fn steady_moves_put_neither_off() {
        let start = clock::now();
        let mut untold = Untold::default();
        for n in 0..SYNC_AFTER.as_millis() as u32 {
            untold.moved(&name(1), 1, start + n * Duration::from_millis(1));
        }
        assert_eq!(untold.next_at(), Some(start + WRITE_AFTER));
        assert_eq!(untold.due(start + SYNC_AFTER), Some(Tell::Sync));
    }

    #[test]
    fn many_bytes_are_synced_at_once() {
        let start = clock::now();
        let mut untold = Untold::default();
        untold.moved(&name(1), SYNC_BYTES - 1, start);
        assert_eq!(untold.due(start), None);
        untold.moved(&name(1), 1, start);
        assert_eq!(untold.due(start), Some(Tell::Sync));
        untold.told(&[name(1)]);
        untold.moved(&name(1), 1, start);
        assert_eq!(untold.due(start), None);
    }

    #[test]
    fn each_log_has_its_turn_though_the_first_move_on_and_on() {
        let now = clock::now();
        let mut untold = Untold::default();
        (0..100).for_each(|n| untold.moved(&name(n), 1, now));
        let mut told = BTreeSet::new();
        for _ in 0..15 {
            let next = untold.next(10 * (name(0).len() + crate::dir::rounds::POINT_ENTRY_BYTES));
            assert_eq!(next.len(), 10);
            untold.told(&next);
            told.extend(next);
            (0..50).for_each(|n| untold.moved(&name(n), 1, now));
        }
        assert_eq!(told.len(), 100);
    }
}
