//! The deadlines of a coordinator: at most one for each thing that can be late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::event::AppendToken;

/// Timers that one step handles; each may remove a member and begin a rebalance.
const DUE_AT_ONCE_MAX: usize = 256;

/// What is late when its deadline comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A member, or one that was only given an id, has not been heard of.
    Session { group: Arc<str>, member: Arc<str> },
    /// A rebalance no longer waits for members to join.
    Join { group: Arc<str> },
    /// A new generation no longer waits for members to sync.
    Sync { group: Arc<str> },
    /// A reply no longer waits for its records to be committed.
    Append(AppendToken),
    /// It is time to look for expired offsets.
    Retention,
    /// The cleanup goes on.
    Cleanup,
}

/// The timers that are set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Instant, Timer)>,
    set_for: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets a timer, also if it was set for another time.
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.cancel(&timer);
        self.set_for.insert(timer.clone(), at);
        self.by_time.insert((at, timer));
    }

    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some(at) = self.set_for.remove(timer) {
            self.by_time.remove(&(at, timer.clone()));
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The first timers that are due, earliest first, so that one step is bounded. They stay set until taken by [`Timers::take_due`]: what one
    /// of them sets off may cancel the next.
    pub(super) fn due(&self, now: Instant) -> Vec<Timer> {
        let due = self.by_time.iter().take_while(|(at, _)| *at <= now).take(DUE_AT_ONCE_MAX);
        due.map(|(_, timer)| timer.clone()).collect()
    }

    /// Unsets a timer that is due; false if it has been cancelled or set anew meanwhile.
    pub(super) fn take_due(&mut self, timer: &Timer, now: Instant) -> bool {
        let due = self.set_for.get(timer).is_some_and(|at| *at <= now);
        if due {
            self.cancel(timer);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn append(token: u64) -> Timer {
        Timer::Append(AppendToken(token))
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "some instant to count from")]
    fn a_timer_set_again_is_due_once_at_its_last_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(append(1), at(10));
        timers.set(append(2), at(20));
        timers.set(append(1), at(30));
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(timers.due(at(30)), [append(2), append(1)]);
        timers.set(append(2), at(40));
        assert!(!timers.take_due(&append(2), at(30)));
        assert!(timers.take_due(&append(1), at(30)));
        assert!(!timers.take_due(&append(1), at(30)));
        timers.cancel(&append(2));
        assert_eq!(timers.next(), None);
    }
}
