//! Where new replicas go: leaders where the fewest lead, followers over racks first, then to the
//! brokers that have the fewest.
//!
//! Without randomness, unlike Kafka's `StripedReplicaPlacer`: equal images give equal assignments.

use std::collections::{BTreeMap, BTreeSet};

use norn_protocol::types::NodeId;

use super::super::broker::Broker;
use super::super::image::{Image, ReplicaCount};
use super::error::AdminError;

/// How loaded the live brokers are, counting what was placed but is not committed yet. One serves all
/// topics of a request, so that they are spread too.
#[derive(Clone, Debug)]
pub struct Placement {
    brokers: BTreeMap<NodeId, Load>,
    /// How many partitions were placed.
    placed: usize,
}

#[derive(Clone, Debug)]
struct Load {
    rack: Option<String>,
    replicas: ReplicaCount,
}

impl Placement {
    /// The load as of an image.
    pub fn of(image: &Image) -> Placement {
        let live = image.brokers().filter(|broker| !broker.fenced);
        let load =
            |broker: &Broker| Load { rack: broker.rack.clone(), replicas: image.replicas_on(broker.node) };
        Placement { brokers: live.map(|broker| (broker.node, load(broker))).collect(), placed: 0 }
    }

    /// How many partitions were placed through it.
    pub fn placed(&self) -> usize {
        self.placed
    }

    /// Replicas for so many new partitions, `factor` each.
    pub fn assign(&mut self, partitions: usize, factor: usize) -> Result<Vec<Vec<NodeId>>, AdminError> {
        let alive = self.brokers.len();
        if factor > alive {
            return Err(AdminError::TooFewBrokers { factor, alive });
        }
        Ok((0..partitions).map(|_| self.next(factor)).collect())
    }

    /// Counts an assignment that was made by hand.
    pub fn count(&mut self, replicas: &[NodeId]) {
        self.placed += 1;
        for (index, node) in replicas.iter().enumerate() {
            if let Some(load) = self.brokers.get_mut(node) {
                load.replicas.all += 1;
                load.replicas.preferred += usize::from(index == 0);
            }
        }
    }

    fn next(&mut self, factor: usize) -> Vec<NodeId> {
        let mut replicas: Vec<NodeId> = Vec::with_capacity(factor);
        let mut racks = BTreeSet::new();
        while replicas.len() < factor {
            let free = self.brokers.iter().filter(|(node, _)| !replicas.contains(node));
            // The leader goes where the fewest lead, since it does the most work. A broker without a
            // rack is a rack of its own.
            let rank = |(node, load): &(&NodeId, &Load)| match replicas.is_empty() {
                true => (false, load.replicas.preferred, load.replicas.all, **node),
                false => {
                    let shares_rack = load.rack.as_ref().is_some_and(|rack| racks.contains(rack));
                    (shares_rack, load.replicas.all, load.replicas.preferred, **node)
                }
            };
            let Some((node, load)) = free.min_by_key(rank) else { break };
            racks.extend(load.rack.clone());
            replicas.push(*node);
        }
        self.count(&replicas);
        replicas
    }
}
