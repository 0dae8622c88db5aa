//! The clients' hosts, as faults see them.

use madsim::runtime::Handle;
use madsim::task::NodeId;
use norn_env::sim::node;

/// Finds the nodes of clients by their names: `client-0`, `client-1` and so on, as the workload registers them. A client
/// that the tape's plan no longer has is not found, so that faults can outlive it.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    pub count: usize,
}

impl Clients {
    fn name(client: usize) -> String {
        format!("client-{client}")
    }

    /// The client's number in the control surfaces of `norn_env::sim`.
    pub fn key(&self, client: usize) -> Option<u64> {
        let name = Self::name(client);
        // Nodes are numbered from 1 in the order of their making.
        let nodes = Handle::current().metrics().num_nodes() as u64;
        (1..=nodes).find(|key| node::name(*key) == name)
    }

    /// The client's node.
    pub fn node(&self, client: usize) -> Option<NodeId> {
        self.key(client)?;
        Some(Handle::current().get_node(Self::name(client))?.id())
    }

    /// All clients that there are.
    pub fn keys(&self) -> Vec<u64> {
        (0..self.count).filter_map(|client| self.key(client)).collect()
    }

    /// Lets every client run again.
    pub fn heal(&self) {
        for id in (0..self.count).filter_map(|client| self.node(client)) {
            Handle::current().resume(id);
        }
    }
}
