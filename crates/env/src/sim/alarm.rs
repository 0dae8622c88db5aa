//! Wakes one task at the earliest of many instants, with few madsim timers.
//!
//! A madsim `Sleep` leaves a timer behind for each poll and cannot take one back, so a queue of deadlines
//! holds the deadlines itself and arms a timer only for an instant before all that are armed. `Sleep::reset`
//! also gets below the millisecond that madsim's own sleeps take at least.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use madsim::time::{Sleep, TimeHandle};

struct State {
    armed: BTreeSet<Instant>,
    sleep: Pin<Box<Sleep>>,
    driver: Option<Waker>,
}

pub(crate) struct Alarm {
    time: TimeHandle,
    state: Mutex<State>,
}

impl Alarm {
    pub(crate) fn new(time: TimeHandle) -> Self {
        let sleep = Box::pin(time.sleep(Duration::ZERO));
        Self { time, state: Mutex::new(State { armed: BTreeSet::new(), sleep, driver: None }) }
    }

    /// Names the task to wake. It must look at its queue at every poll.
    pub(crate) fn drive(&self, waker: &Waker) {
        self.state.lock().expect("no holder panics").driver = Some(waker.clone());
    }

    /// Sees that the driver is woken at `at`, or earlier.
    pub(crate) fn arm(&self, at: Instant) {
        let now = self.time.now_instant();
        let mut state = self.state.lock().expect("no holder panics");
        let State { armed, sleep, driver } = &mut *state;
        // Before its first poll the driver has nothing to be woken for: that poll looks at all there is.
        let Some(driver) = driver else { return };
        while armed.first().is_some_and(|first| *first <= now) {
            armed.pop_first();
        }
        if at <= now {
            driver.wake_by_ref();
        } else if armed.first().is_none_or(|first| at < *first) {
            armed.insert(at);
            sleep.as_mut().reset(at);
            let pending = sleep.as_mut().poll(&mut Context::from_waker(driver)).is_pending();
            debug_assert!(pending, "the instant lies ahead");
        }
    }
}
