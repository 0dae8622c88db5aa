//! What a spawned task is in a simulation: each of its polls is an event of the trace, and the wait-for
//! registry knows it until it ends.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::node;
use super::trace::Event;
use super::waits::{TaskEntry, TaskKey};
use super::world::{world, World};

/// Numbers for tasks. Not madsim's, which go on from one simulation of a process to the next.
#[derive(Default)]
pub(crate) struct TaskIds {
    last: AtomicU64,
    /// The task being polled; 0 is none of ours.
    current: AtomicU64,
}

impl TaskIds {
    pub(crate) fn current(&self) -> u64 {
        self.current.load(Relaxed)
    }
}

/// A task under supervision.
pub(crate) struct Supervised<F> {
    world: Arc<World>,
    key: TaskKey,
    entry: Arc<TaskEntry>,
    task: Pin<Box<F>>,
}

/// Asks madsim to forget ended tasks after so many spawns. Its nodes keep a weak pointer to each task, and
/// so its memory, until someone counts them.
const SPAWNS_PER_COUNT: u64 = 4096;

impl<F: Future> Supervised<F> {
    #[track_caller]
    pub(crate) fn new(name: String, task: F) -> Self {
        Self::from(Location::caller(), name, task)
    }

    fn from(at: &'static Location<'static>, name: String, task: F) -> Self {
        let world = world();
        let id = world.tasks.last.fetch_add(1, Relaxed) + 1;
        if id.is_multiple_of(SPAWNS_PER_COUNT) {
            madsim::runtime::Handle::current().metrics().num_tasks();
        }
        let key = TaskKey { node: node::current(), task: id };
        let entry = Arc::new(TaskEntry::new(name, at, world.elapsed()));
        world.waits.add_task(key, entry.clone());
        Self { world, key, entry, task: Box::pin(task) }
    }
}

/// What a node's main task runs, which nobody spawns: as a spawned task it is an event of the trace with each of its
/// polls, and known to the wait-for registry.
#[track_caller]
pub fn supervised<F: Future>(name: impl Into<String>, task: F) -> impl Future<Output = F::Output> {
    let (at, name) = (Location::caller(), name.into());
    // The node is that of the task when it first runs.
    async move { Supervised::from(at, name, task).await }
}

impl<F: Future> Future for Supervised<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let TaskKey { node, task } = this.key;
        let now = this.world.elapsed();
        this.world.trace().fold_at(now, Event::Poll { node, task });
        this.entry.polled(now);
        let before = this.world.tasks.current.swap(task, Relaxed);
        let result = this.task.as_mut().poll(cx);
        this.world.tasks.current.store(before, Relaxed);
        result
    }
}

impl<F> Drop for Supervised<F> {
    fn drop(&mut self) {
        self.world.waits.remove_task(self.key);
    }
}
