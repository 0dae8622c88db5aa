//! What commands do to the image, told as stories, and random histories of them.

mod commands;
mod deltas;
mod histories;
mod stories;

use norn_protocol::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, TopicId};
use uuid::Uuid;

use super::*;

fn id(n: u128) -> TopicId {
    TopicId(Uuid::from_u128(n))
}

fn register(node: i32, incarnation: u128) -> Command {
    register_with(node, incarnation, &[100 + node as u128])
}

fn register_with(node: i32, incarnation: u128, directories: &[u128]) -> Command {
    Command::RegisterBroker {
        node: NodeId(node),
        incarnation: Uuid::from_u128(incarnation),
        directories: directories.iter().copied().map(Uuid::from_u128).collect(),
        endpoint: Endpoint { host: "localhost".into(), port: 9092 },
        rack: None,
    }
}

fn create(name: &str, topic: u128, assignments: &[&[i32]]) -> Command {
    let nodes = |replicas: &&[i32]| replicas.iter().copied().map(NodeId).collect();
    Command::CreateTopic {
        name: name.into(),
        id: id(topic),
        assignments: assignments.iter().map(nodes).collect(),
        configs: Vec::new(),
    }
}

/// A state that counts its indexes.
#[derive(Default)]
struct Cluster {
    state: State,
    index: u64,
}

impl Cluster {
    /// Brokers 1 to `brokers`, in the epochs of the same numbers, with incarnations likewise.
    fn of(brokers: i32) -> Cluster {
        let mut cluster = Cluster::default();
        for node in 1..=brokers {
            assert_eq!(
                cluster.apply(register(node, node as u128)),
                Ok(Applied::BrokerRegistered { epoch: BrokerEpoch(node.into()) })
            );
        }
        cluster
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.propose(command.into())
    }

    fn propose(&mut self, proposal: Proposal) -> Outcome {
        self.index += 1;
        let outcome = self.state.apply(self.index, &proposal);
        assert_eq!(self.state.image().applied(), self.index);
        outcome
    }

    fn partition(&self, topic: u128, index: i32) -> Partition {
        let topic = self.state.image().topic(id(topic)).unwrap();
        (**topic.partition(PartitionIndex(index)).unwrap()).clone()
    }

    /// Leader, leader epoch, partition epoch and ISR.
    fn led(&self, topic: u128) -> (Option<i32>, i32, i32, Vec<i32>) {
        let partition = self.partition(topic, 0);
        (
            partition.leader.map(|node| node.0),
            partition.leader_epoch.0,
            partition.partition_epoch.0,
            partition.isr.iter().map(|node| node.0).collect(),
        )
    }
}

fn resign(topic: u128, node: i32, broker_epoch: i64, leader_epoch: i32) -> Command {
    Command::ResignLeadership {
        id: id(topic),
        partition: PartitionIndex(0),
        node: NodeId(node),
        broker_epoch: BrokerEpoch(broker_epoch),
        leader_epoch: LeaderEpoch(leader_epoch),
    }
}

fn alter(topic: u128, leader_epoch: i32, partition_epoch: i32, isr: &[(i32, i64)]) -> Command {
    Command::AlterPartition {
        id: id(topic),
        partition: PartitionIndex(0),
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
        isr: isr.iter().map(|(node, epoch)| (NodeId(*node), BrokerEpoch(*epoch))).collect(),
    }
}

fn fence(node: i32, broker_epoch: i64, fenced: bool) -> Command {
    Command::SetFenced { node: NodeId(node), broker_epoch: BrokerEpoch(broker_epoch), fenced }
}

fn allocate(node: i32, broker_epoch: i64, count: i32) -> Command {
    Command::AllocateProducerIds { node: NodeId(node), broker_epoch: BrokerEpoch(broker_epoch), count }
}

fn request(node: i32, broker_epoch: i64, counter: u64) -> Option<RequestId> {
    Some(RequestId { node: NodeId(node), broker_epoch: BrokerEpoch(broker_epoch), counter })
}
