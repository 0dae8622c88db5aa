//! The way of one operation through a simulated disk: it is submitted, takes its time, takes effect, and
//! its end is told. As on a real disk it takes effect at some instant between, not before it is told and
//! not only then, and it does so even if nobody waits for it any more.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use madsim::runtime::Handle;

use super::faults::DiskOp;
use super::node::Node;
use super::tree::{errno, Ino};
use super::DiskSim;
use crate::clock::sleep_until;
use crate::sim::node;
use crate::sim::supervise::Supervised;

/// The process that submits.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) sim: Arc<DiskSim>,
    pub(super) node: u64,
    /// Counts the deaths of this node's processes: handles of a former one are dead.
    pub(super) incarnation: u64,
}

/// A write under way, of which the death of the process may leave any part.
#[derive(Clone)]
pub(super) struct Underway {
    pub(super) root: Arc<str>,
    /// The whole path.
    pub(super) full: Arc<str>,
    pub(super) ino: Ino,
    pub(super) pos: u64,
    pub(super) bufs: Vec<Bytes>,
}

/// What an operation does when it takes effect; it is given the error that it shall end with, if any.
pub(super) trait Effect<T>: FnOnce(&mut Node, Option<i32>) -> io::Result<T> + Send + 'static {}
impl<T, F: FnOnce(&mut Node, Option<i32>) -> io::Result<T> + Send + 'static> Effect<T> for F {}

impl Process {
    /// Does something at once, without the disk's taking part; an error if the process is dead.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Node) -> io::Result<T>) -> io::Result<T> {
        self.sim.with(self.node, |node| match node.incarnation == self.incarnation {
            true => f(node),
            false => Err(errno(libc::ESTALE)),
        })
    }

    pub(super) async fn submit<T: Send + 'static>(
        &self,
        op: DiskOp,
        path: impl Into<Arc<str>>,
        underway: Option<Underway>,
        effect: impl Effect<T>,
    ) -> io::Result<T> {
        let path = path.into();
        let now = Instant::now();
        let (ticket, latency, early) = self.with(|node| {
            let stalled = node.faults.stalled(&path, now).is_some();
            let early = node.dice.chance(0.5) && !stalled;
            let ticket = underway.map(|write| node.begin(write));
            Ok((ticket, node.faults.latency(op, &node.dice), early))
        })?;
        let due = now + latency;
        let mut submitted = Submitted {
            process: self.clone(),
            op,
            path,
            ticket,
            due,
            effect: Some(effect),
            result: None,
            detached: false,
        };
        if early {
            submitted.take_effect();
        }
        submitted.due().await;
        submitted.take_effect();
        submitted.result.take().unwrap_or_else(|| Err(errno(libc::EIO)))
    }
}

struct Submitted<T: Send + 'static, F: Effect<T>> {
    process: Process,
    op: DiskOp,
    path: Arc<str>,
    ticket: Option<u64>,
    due: Instant,
    effect: Option<F>,
    result: Option<io::Result<T>>,
    /// Whether it goes on without a caller.
    detached: bool,
}

impl<T: Send + 'static, F: Effect<T>> Submitted<T, F> {
    /// Waits until the disk is done with it.
    async fn due(&mut self) {
        sleep_until(self.due).await;
        while self.effect.is_some() {
            let changed = self.process.sim.stalls_changed.notified();
            let stalled = self.process.with(|node| Ok(node.faults.stalled(&self.path, Instant::now())));
            let Ok(Some(until)) = stalled else { return };
            crate::select! {
                () = changed => {}
                () = sleep_until(until) => {}
            }
        }
    }

    fn take_effect(&mut self) {
        let Some(effect) = self.effect.take() else { return };
        let result = self.process.with(|node| {
            if let Some(ticket) = self.ticket {
                node.end(ticket);
            }
            let failure = node.faults.failure(self.op, &self.path, &node.dice);
            effect(node, failure)
        });
        self.result = Some(result);
    }
}

impl<T: Send + 'static, F: Effect<T>> Drop for Submitted<T, F> {
    /// Nobody waits any more: the operation goes on by itself, unless the process is dead too (what is left
    /// of a write was decided then) or dies just now.
    fn drop(&mut self) {
        let Some(effect) = self.effect.take() else { return };
        let here = !self.detached
            && Handle::try_current().is_ok()
            && node::current() == self.process.node
            && self.process.with(|_| Ok(())).is_ok();
        // madsim's main node, the simulator itself, never exits, and is none that it could be asked for.
        if !here || node::current() != 0 && Handle::current().is_exit(madsim::plugin::node()) {
            return;
        }
        let mut rest = Submitted {
            process: self.process.clone(),
            op: self.op,
            path: self.path.clone(),
            ticket: self.ticket,
            due: self.due,
            effect: Some(effect),
            result: None::<io::Result<T>>,
            detached: true,
        };
        let finish = async move {
            rest.due().await;
            rest.take_effect();
        };
        madsim::task::spawn(Supervised::new("disk: what nobody waits for".to_owned(), finish));
    }
}
