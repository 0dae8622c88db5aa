//! What came of a command: the same on every node, and sent back to who proposed it.

use bytes::Bytes;
use norn_protocol::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicId};
use norn_protocol::ErrorCode;

use super::partition::PartitionEpoch;
use crate::codec::{take_all, wire_variants, DecodeError, Wire};

/// A command's effect, or why it had none.
pub type Outcome = Result<Applied, Refused>;

/// A command's effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// It is so now.
    Done,
    /// The cluster has this id, by this command or by an earlier one.
    ClusterFormed { cluster_id: String },
    /// The broker's incarnation has this epoch.
    BrokerRegistered { epoch: BrokerEpoch },
    /// Producer ids `first` to `first + count - 1` belong to the broker that asked.
    ProducerIds { first: ProducerId, count: i32 },
    /// The partition is in these epochs.
    PartitionChanged { leader_epoch: LeaderEpoch, partition_epoch: PartitionEpoch },
}

/// Why a committed command changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    #[error("broker {node} is not registered")]
    UnknownBroker { node: NodeId },
    #[error("broker {node} is in epoch {current} by now")]
    StaleBrokerEpoch { node: NodeId, current: BrokerEpoch },
    #[error("Topic '{name}' already exists.")]
    TopicExists { name: String },
    #[error("Topic '{name}' collides with existing topic: {other}")]
    TopicCollides { name: String, other: String },
    #[error("there is no topic with id {id}")]
    UnknownTopic { id: TopicId },
    #[error("there is no partition {partition}")]
    UnknownPartition { partition: PartitionIndex },
    #[error("the topic has {current} partitions by now")]
    PartitionsMoved { current: i32 },
    #[error("{name} was changed meanwhile")]
    ConfigMoved { name: String },
    #[error("the assignment names no broker, one twice, or one that is not registered")]
    Assignment,
    #[error("the partition is in leader epoch {current} by now")]
    StaleLeaderEpoch { current: LeaderEpoch },
    #[error("the partition is in partition epoch {current} by now")]
    StalePartitionEpoch { current: PartitionEpoch },
    #[error("an ISR holds the leader, and replicas only")]
    Isr,
    #[error("replica {node} is fenced or of another epoch")]
    IneligibleReplica { node: NodeId },
    #[error("all producer ids are given out")]
    ProducerIdsExhausted,
    #[error("request {counter} is too old: whether it was carried out is forgotten")]
    ForgottenRequest { counter: u64 },
}

impl Refused {
    /// The one mapping to Kafka's codes.
    pub fn code(&self) -> ErrorCode {
        match self {
            Refused::UnknownBroker { .. } => ErrorCode::BrokerIdNotRegistered,
            Refused::StaleBrokerEpoch { .. } => ErrorCode::StaleBrokerEpoch,
            Refused::TopicExists { .. } => ErrorCode::TopicAlreadyExists,
            Refused::TopicCollides { .. } => ErrorCode::InvalidTopicException,
            Refused::UnknownTopic { .. } => ErrorCode::UnknownTopicId,
            Refused::UnknownPartition { .. } => ErrorCode::UnknownTopicOrPartition,
            Refused::PartitionsMoved { .. } => ErrorCode::InvalidPartitions,
            Refused::ConfigMoved { .. } => ErrorCode::RequestTimedOut,
            Refused::Assignment => ErrorCode::InvalidReplicaAssignment,
            Refused::StaleLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            Refused::StalePartitionEpoch { .. } => ErrorCode::InvalidUpdateVersion,
            Refused::Isr => ErrorCode::InvalidRequest,
            Refused::IneligibleReplica { .. } => ErrorCode::IneligibleReplica,
            Refused::ProducerIdsExhausted => ErrorCode::UnknownServerError,
            Refused::ForgottenRequest { .. } => ErrorCode::RequestTimedOut,
        }
    }

    /// Whether the command was decided on an image that another command has overtaken, so that it is
    /// worth deciding anew on the present one.
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Refused::PartitionsMoved { .. } | Refused::ConfigMoved { .. })
    }
}

/// An outcome as the quorum hands it back.
pub fn encode(outcome: &Outcome) -> Bytes {
    let mut out = Vec::new();
    outcome.put(&mut out);
    out.into()
}

/// Reads what [`encode`] wrote, here or on the quorum's leader.
pub fn decode(bytes: &[u8]) -> Result<Outcome, DecodeError> {
    take_all(bytes)
}

wire_variants! { Applied, "effect of a command":
    0 => Done {}
    1 => ClusterFormed { cluster_id }
    2 => BrokerRegistered { epoch }
    3 => ProducerIds { first, count }
    4 => PartitionChanged { leader_epoch, partition_epoch }
}

wire_variants! { Refused, "refusal of a command":
    0 => UnknownBroker { node }
    1 => StaleBrokerEpoch { node, current }
    2 => TopicExists { name }
    3 => TopicCollides { name, other }
    4 => UnknownTopic { id }
    5 => UnknownPartition { partition }
    6 => PartitionsMoved { current }
    7 => ConfigMoved { name }
    8 => Assignment {}
    9 => StaleLeaderEpoch { current }
    10 => StalePartitionEpoch { current }
    11 => Isr {}
    12 => IneligibleReplica { node }
    13 => ProducerIdsExhausted {}
    14 => ForgottenRequest { counter }
}

impl Wire for Outcome {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_ok().put(out);
        match self {
            Ok(applied) => applied.put(out),
            Err(refused) => refused.put(out),
        }
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(if bool::take(input)? { Ok(Applied::take(input)?) } else { Err(Refused::take(input)?) })
    }
}
