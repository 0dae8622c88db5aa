//! A partition as the cluster sees it: replicas, who is in sync, who leads, and in which epoch.

use std::collections::BTreeSet;
use std::fmt;

use norn_protocol::types::{LeaderEpoch, NodeId};

use crate::codec::{wire_newtypes, wire_structs};

/// Rises with every change of a partition; a change that was decided on an older one is stale.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PartitionEpoch(pub i32);

impl fmt::Display for PartitionEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The state of a partition. The ISR is a subset of the replicas, and the leader is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// In order of preference: the first leads if it can.
    pub replicas: Vec<NodeId>,
    pub isr: BTreeSet<NodeId>,
    /// `None`: nobody can lead, the partition is offline.
    pub leader: Option<NodeId>,
    /// Rises whenever the leader changes, and whenever a new incarnation of it takes over.
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
}

impl Partition {
    /// A new partition: all replicas that are `alive` are in sync, having nothing. If none is, all
    /// count as in sync, and the first to come back leads.
    pub(super) fn create(replicas: Vec<NodeId>, alive: impl Fn(NodeId) -> bool) -> Partition {
        let mut isr: BTreeSet<_> = replicas.iter().copied().filter(|node| alive(*node)).collect();
        if isr.is_empty() {
            isr = replicas.iter().copied().collect();
        }
        let mut partition = Partition {
            replicas,
            isr,
            leader: None,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
        };
        partition.leader = partition.candidate(alive);
        partition
    }

    /// Who should lead: the first replica that is in sync and `alive`.
    fn candidate(&self, alive: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        self.replicas.iter().copied().find(|node| self.isr.contains(node) && alive(*node))
    }

    /// The partition after an election that the leader, if there is one, has lost: always in a new
    /// epoch, so that it is a new one even if the same node wins.
    pub(super) fn elect(&self, alive: impl Fn(NodeId) -> bool) -> Partition {
        let mut next = self.clone();
        next.leader = next.candidate(alive);
        next.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        next.partition_epoch = self.next_epoch();
        next
    }

    /// The partition with another ISR, under the same leader.
    pub(super) fn with_isr(&self, isr: BTreeSet<NodeId>) -> Partition {
        Partition { isr, partition_epoch: self.next_epoch(), ..self.clone() }
    }

    fn next_epoch(&self) -> PartitionEpoch {
        PartitionEpoch(self.partition_epoch.0 + 1)
    }
}

wire_newtypes!(PartitionEpoch);
wire_structs! {
    Partition { replicas, isr, leader, leader_epoch, partition_epoch }
}
