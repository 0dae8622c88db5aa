//! The simulated disk: what Linux and a disk with a volatile cache do, at their worst.
//!
//! Writes go to a page cache, which survives the death of a process but not a loss of power; what was
//! synced survives both ([`content`], [`tree`]). Power losses take away parts of the rest ([`crash`]).
//! Disks belong to nodes, not to processes, and are kept across kill and restart. [`DiskCtl`] is the hand
//! of the simulator on them.

mod content;
mod crash;
mod ctl;
mod faults;
mod handle;
mod image;
mod node;
mod submit;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use madsim::plugin::{self, Simulator};
use madsim::rand::GlobalRng;
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use tokio::sync::Notify;

pub use ctl::{DiskCtl, DiskFile};
pub use faults::{DiskOp, Failure, Latency, When};
pub(crate) use handle::{DirLock, Disk, File};
pub use node::DiskStats;

use self::node::Node;
use super::{world, World};

/// The disks of all nodes of a world.
pub struct DiskSim {
    world: OnceLock<Arc<World>>,
    nodes: Mutex<BTreeMap<u64, Node>>,
    /// Told when stalls end early.
    stalls_changed: Notify,
}

impl Simulator for DiskSim {
    fn new(_: &GlobalRng, _: &TimeHandle, _: &madsim::Config) -> Self {
        DiskSim { world: OnceLock::new(), nodes: Mutex::default(), stalls_changed: Notify::new() }
    }

    /// Called when a node is killed.
    fn reset_node(&self, id: NodeId) {
        if let Some(node) = self.lock().get_mut(&super::node::key(id)) {
            node.process_died();
        }
    }
}

impl DiskSim {
    /// Of the current world. Not to be called from callbacks of madsim (see [`super`]).
    fn current() -> Arc<DiskSim> {
        let sim = plugin::simulator::<DiskSim>();
        sim.world.get_or_init(world);
        sim
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Node>> {
        // A panic ends the simulation; what is dropped on the way must not panic again.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, node: u64, f: impl FnOnce(&mut Node) -> T) -> T {
        let world = self.world.get().expect("handles are made by way of DiskSim::current");
        f(self.lock().entry(node).or_insert_with(|| Node::new(node, world.clone())))
    }
}
