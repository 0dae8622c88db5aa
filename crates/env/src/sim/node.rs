//! Nodes by a plain number. Node 0 is madsim's main node, where the simulator itself runs.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Mutex;

use madsim::task::NodeId;

use super::random::Stream;
use super::world::{world, World};

/// The number in a `NodeId`, which madsim shows to hashers only.
pub fn key(id: NodeId) -> u64 {
    struct Catch(u64);
    impl Hasher for Catch {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, _: &[u8]) {
            unreachable!("a NodeId is one u64");
        }
        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }
    }
    let mut catch = Catch(0);
    id.hash(&mut catch);
    catch.finish()
}

/// The node of the running task.
pub fn current() -> u64 {
    key(madsim::plugin::node())
}

/// Names a node and gives it its address. Call it right after building the node, before its tasks run.
pub fn register(id: NodeId, name: &str, ip: IpAddr) {
    let world = world();
    world.names.of(key(id), |node| node.name = Some(name.to_owned()));
    world.net.set_ip(key(id), ip);
}

/// The name of a node; its number if it was given none.
pub fn name(node: u64) -> String {
    world().names.name(node)
}

#[derive(Default)]
pub(crate) struct Node {
    name: Option<String>,
    random: Option<Stream>,
}

/// What is known of the nodes, and outlives their processes.
#[derive(Default)]
pub(crate) struct Names(Mutex<BTreeMap<u64, Node>>);

impl Names {
    fn of<T>(&self, node: u64, f: impl FnOnce(&mut Node) -> T) -> T {
        f(self.0.lock().expect("no holder panics").entry(node).or_default())
    }

    pub(crate) fn name(&self, node: u64) -> String {
        self.of(node, |n| n.name.clone()).unwrap_or_else(|| format!("node-{node}"))
    }
}

impl World {
    /// Where the processes of a node get their random numbers from.
    pub(crate) fn random_of(&self, node: u64) -> Stream {
        let get = || self.streams().stream(&format!("node/{node}"));
        self.names.of(node, |n| n.random.get_or_insert_with(get).clone())
    }
}
