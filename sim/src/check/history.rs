//! Where clients write down what they did and saw, in the order in which the world let them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use norn_env::clock::{self, Instant};

use super::event::{Event, Span};

/// The record of one world. Clones share it; it belongs to no node, so that no crash takes part of it away.
#[derive(Clone)]
pub struct History {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    /// Numbers operations and commits.
    next_id: u64,
}

impl History {
    /// An empty history that begins now.
    pub fn new() -> Self {
        Self { began: clock::now(), inner: Arc::default() }
    }

    /// Time since the history began.
    pub fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.began)
    }

    /// The span of a request that was sent at `sent` and is answered now.
    pub fn since(&self, sent: Duration) -> Span {
        Span { sent, done: self.now() }
    }

    /// Writes an event down.
    pub fn record(&self, event: Event) {
        self.inner.lock().expect("no holder panics").events.push(event);
    }

    /// A number that was not given out before.
    pub fn next_id(&self) -> u64 {
        let mut inner = self.inner.lock().expect("no holder panics");
        inner.next_id += 1;
        inner.next_id
    }

    /// Begins something that must end: when the guard is dropped, be it with the client that holds it.
    pub fn begin(&self, client: u32, what: impl Into<String>) -> OpGuard {
        let op = self.next_id();
        self.record(Event::OpBegan { op, client, what: what.into(), at: self.now() });
        OpGuard { history: self.clone(), op }
    }

    /// Begins a change of a topic's setting, to a value or back to the default; its number.
    pub fn set_setting(&self, topic: &str, name: &str, value: Option<String>) -> u64 {
        let change = self.next_id();
        let (topic, name) = (topic.into(), name.to_owned());
        self.record(Event::SettingSent { change, topic, name, value, at: self.now() });
        change
    }

    /// Reads all that was recorded so far.
    pub fn with<T>(&self, read: impl FnOnce(&[Event]) -> T) -> T {
        read(&self.inner.lock().expect("no holder panics").events)
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

/// Something under way that must end.
#[must_use = "the operation ends with its guard"]
pub struct OpGuard {
    history: History,
    op: u64,
}

impl Drop for OpGuard {
    fn drop(&mut self) {
        self.history.record(Event::OpEnded { op: self.op });
    }
}
