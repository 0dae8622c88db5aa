//! Sleeping: one queue of deadlines for the world. A sleep that is dropped leaves it.

use std::collections::BTreeMap;
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use madsim::time::TimeHandle;

use super::alarm::Alarm;
use super::node;
use super::trace::{Event, Trace};
use super::world::{world, World};

/// The shortest sleep. A loop around sleeps that take no time would stop the virtual clock.
const SLEEP_MIN: Duration = Duration::from_micros(1);

/// The instant it ends at, then the order in which they began.
type Key = (Instant, u64);

#[derive(Default)]
struct Queue {
    next: u64,
    sleeps: BTreeMap<Key, (u64, Waker)>,
}

pub(crate) struct Timers {
    time: TimeHandle,
    trace: Arc<Trace>,
    alarm: Alarm,
    queue: Mutex<Queue>,
}

impl Timers {
    pub(crate) fn new(time: TimeHandle, trace: Arc<Trace>) -> Self {
        Self { alarm: Alarm::new(time.clone()), time, trace, queue: Mutex::default() }
    }

    /// Spawns the task that ends the sleeps, on the current (the main) node: no kill or pause reaches it.
    pub(crate) fn start(&self, world: &Arc<World>) {
        let world = world.clone();
        madsim::task::spawn(poll_fn(move |cx| {
            let timers = &world.timers;
            timers.alarm.drive(cx.waker());
            while let Some((node, waker)) = timers.take_due() {
                timers.trace.fold(Event::Timer { node });
                waker.wake();
            }
            if let Some(next) = timers.earliest() {
                timers.alarm.arm(next);
            }
            Poll::<()>::Pending
        }));
    }

    fn take_due(&self) -> Option<(u64, Waker)> {
        let now = self.time.now_instant();
        let mut queue = self.queue.lock().expect("no holder panics");
        let first = queue.sleeps.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    fn earliest(&self) -> Option<Instant> {
        let queue = self.queue.lock().expect("no holder panics");
        queue.sleeps.first_key_value().map(|(key, _)| key.0)
    }

    fn insert(&self, at: Instant, node: u64, waker: Waker) -> Key {
        let mut queue = self.queue.lock().expect("no holder panics");
        let key = (at, queue.next);
        queue.next += 1;
        queue.sleeps.insert(key, (node, waker));
        drop(queue);
        self.alarm.arm(at);
        key
    }

    fn update(&self, key: Key, waker: &Waker) {
        let mut queue = self.queue.lock().expect("no holder panics");
        let old = queue.sleeps.get_mut(&key).filter(|entry| !entry.1.will_wake(waker));
        let old = old.map(|entry| std::mem::replace(&mut entry.1, waker.clone()));
        drop(queue);
        drop(old);
    }

    fn remove(&self, key: Key) {
        let removed = self.queue.lock().expect("no holder panics").sleeps.remove(&key);
        drop(removed);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().unwrap().sleeps.len()
    }
}

/// A sleep of the running task's node. Always pending at its first poll.
pub(crate) struct Sleep {
    world: Arc<World>,
    node: u64,
    at: Instant,
    key: Option<Key>,
}

impl Sleep {
    pub(crate) fn until(at: Instant) -> Self {
        Self { world: world(), node: node::current(), at, key: None }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.world.time().now_instant() >= self.at
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.world.time().now_instant();
        match self.key {
            None => {
                self.at = self.at.max(now + SLEEP_MIN);
                self.key = Some(self.world.timers.insert(self.at, self.node, cx.waker().clone()));
                Poll::Pending
            }
            Some(_) if now >= self.at => Poll::Ready(()),
            Some(key) => {
                self.world.timers.update(key, cx.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.world.timers.remove(key);
        }
    }
}
