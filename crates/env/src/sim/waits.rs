//! Who waits for what, since when: the registry behind the wait-for report.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::node;
use super::world::{try_world, World};
use crate::wait_report::{TaskWait, What};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskKey {
    pub(crate) node: u64,
    /// 0 stands for all that was not spawned through `task`.
    pub(crate) task: u64,
}

/// A living task.
pub(crate) struct TaskEntry {
    name: String,
    spawned_at: &'static Location<'static>,
    last_poll_ns: AtomicU64,
}

impl TaskEntry {
    pub(crate) fn new(name: String, spawned_at: &'static Location<'static>, now: Duration) -> Self {
        Self { name, spawned_at, last_poll_ns: AtomicU64::new(now.as_nanos() as u64) }
    }

    pub(crate) fn polled(&self, now: Duration) {
        self.last_poll_ns.store(now.as_nanos() as u64, Relaxed);
    }
}

struct Wait {
    what: What,
    since: Duration,
}

#[derive(Default)]
struct Registry {
    tasks: BTreeMap<TaskKey, Arc<TaskEntry>>,
    waits: BTreeMap<(TaskKey, u64), Wait>,
    next_wait: u64,
}

#[derive(Default)]
pub(crate) struct Waits(Mutex<Registry>);

impl Waits {
    fn with<T>(&self, f: impl FnOnce(&mut Registry) -> T) -> T {
        f(&mut self.0.lock().expect("no holder panics"))
    }

    pub(crate) fn add_task(&self, key: TaskKey, entry: Arc<TaskEntry>) {
        self.with(|r| r.tasks.insert(key, entry));
    }

    pub(crate) fn remove_task(&self, key: TaskKey) {
        self.with(|r| r.tasks.remove(&key));
    }

    /// A killed process waits for nothing, though its futures are dropped later.
    pub(crate) fn forget_node(&self, node: u64) {
        self.with(|r| {
            r.tasks.retain(|key, _| key.node != node);
            r.waits.retain(|(key, _), _| key.node != node);
        });
    }

    pub(crate) fn snapshot(&self, world: &World) -> Vec<TaskWait> {
        self.with(|r| {
            let mut report = vec![];
            for (key, entry) in &r.tasks {
                let task = |waits_for, since| TaskWait {
                    node: key.node,
                    node_name: world.names.name(key.node),
                    task: entry.name.clone(),
                    task_id: key.task,
                    spawned_at: entry.spawned_at.to_string(),
                    waits_for,
                    since,
                };
                let before = report.len();
                let waits = r.waits.range((*key, 0)..=(*key, u64::MAX));
                report.extend(waits.map(|(_, wait)| task(Some(wait.what.to_string()), wait.since)));
                if report.len() == before {
                    let last_poll = Duration::from_nanos(entry.last_poll_ns.load(Relaxed));
                    report.push(task(None, last_poll));
                }
            }
            for ((key, _), wait) in r.waits.iter().filter(|((key, _), _)| !r.tasks.contains_key(key)) {
                report.push(TaskWait {
                    node: key.node,
                    node_name: world.names.name(key.node),
                    task: "(unsupervised)".to_owned(),
                    task_id: key.task,
                    spawned_at: String::new(),
                    waits_for: Some(wait.what.to_string()),
                    since: wait.since,
                });
            }
            report
        })
    }
}

/// Ends the wait's entry, however the future ends.
struct Registered {
    world: Arc<World>,
    at: (TaskKey, u64),
}

impl Registered {
    fn new(what: What) -> Option<Self> {
        let world = try_world()?;
        let key = TaskKey { node: node::current(), task: world.tasks.current() };
        let since = world.elapsed();
        let at = world.waits.with(|r| {
            r.next_wait += 1;
            let at = (key, r.next_wait);
            r.waits.insert(at, Wait { what, since });
            at
        });
        Some(Self { world, at })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.world.waits.with(|r| r.waits.remove(&self.at));
    }
}

pub(crate) async fn wait<F: Future>(what: impl FnOnce() -> What, f: F) -> F::Output {
    let mut f = pin!(f);
    let mut what = Some(what);
    let mut registered = None;
    std::future::poll_fn(|cx| {
        let polled = f.as_mut().poll(cx);
        if polled.is_pending() {
            if let Some(what) = what.take() {
                registered = Registered::new(what());
            }
        } else {
            registered = None;
        }
        polled
    })
    .await
}
