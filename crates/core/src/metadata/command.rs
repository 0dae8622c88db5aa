//! What can be done to the cluster's metadata, and its binary form.
//!
//! Every command starts with a version and a kind. A committed command that this node does not know
//! halts it by name: skipping it would let its image differ from the others'.

use bytes::Bytes;
use norn_protocol::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, TopicId};
use uuid::Uuid;

use super::broker::Endpoint;
use super::partition::PartitionEpoch;
use crate::codec::{wire_structs, DecodeError, Wire};

/// The version of the commands' encoding.
const VERSION: u16 = 1;

/// A change of the metadata, with what it was decided on, so that it can be checked when applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// The first command of a cluster. If it has an id already, that one stays.
    FormCluster {
        cluster_id: String,
        feature_level: u16,
    },
    /// A process took up its work. Its new epoch is the command's index. From here on no partition is
    /// led in an epoch in which an earlier incarnation led it.
    RegisterBroker {
        node: NodeId,
        incarnation: Uuid,
        directories: Vec<Uuid>,
        endpoint: Endpoint,
        rack: Option<String>,
    },
    /// A broker is not heard any more (`fenced`), or again: it leads nothing while it is fenced.
    SetFenced {
        node: NodeId,
        broker_epoch: BrokerEpoch,
        fenced: bool,
    },
    /// A new topic: the replicas of each partition, and what is set on it.
    CreateTopic {
        name: String,
        id: TopicId,
        assignments: Vec<Vec<NodeId>>,
        configs: Vec<(String, String)>,
    },
    DeleteTopic {
        id: TopicId,
    },
    /// More partitions, the first of them numbered `first`: how many there were at the decision.
    CreatePartitions {
        id: TopicId,
        first: PartitionIndex,
        assignments: Vec<Vec<NodeId>>,
    },
    SetConfigs {
        resource: ConfigResource,
        changes: Vec<ConfigChange>,
    },
    /// A block of producer ids for a broker to give out.
    AllocateProducerIds {
        node: NodeId,
        broker_epoch: BrokerEpoch,
        count: i32,
    },
    /// A leader's change of its ISR (KIP-497), with the epoch of each member (KIP-903).
    AlterPartition {
        id: TopicId,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        isr: Vec<(NodeId, BrokerEpoch)>,
    },
    /// A leader whose write or sync failed gives up its epoch; another replica in sync leads, or none.
    ResignLeadership {
        id: TopicId,
        partition: PartitionIndex,
        node: NodeId,
        broker_epoch: BrokerEpoch,
        leader_epoch: LeaderEpoch,
    },
}

/// Whose settings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConfigResource {
    Topic(TopicId),
    Broker(NodeId),
    /// All brokers, where they have none of their own.
    ClusterDefault,
}

/// A setting that changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigChange {
    pub name: String,
    /// `None` takes away what is set.
    pub value: Option<String>,
    /// What must be set for the change to apply, where the new value was made from the old one.
    pub expected: Option<Option<String>>,
}

/// Names a request across retries, also those that another node forwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestId {
    pub node: NodeId,
    pub broker_epoch: BrokerEpoch,
    /// Rises by one with each request of this incarnation.
    pub counter: u64,
}

/// What is proposed to the quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// `None` for what is harmless to repeat, such as a registration.
    pub request: Option<RequestId>,
    pub command: Command,
}

/// Bytes that are no command. The node that finds them committed must halt, with this text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    #[error("metadata command of version {version}, this node knows versions up to {VERSION}: upgrade it")]
    UnknownVersion { version: u16 },
    #[error("metadata command of unknown kind {kind}: upgrade this node")]
    UnknownKind { kind: u16 },
    #[error("metadata command of kind {kind} cannot be read: {source}")]
    Malformed { kind: u16, source: DecodeError },
    #[error("metadata command without a header: {0}")]
    Header(DecodeError),
}

impl From<Command> for Proposal {
    fn from(command: Command) -> Self {
        Proposal { request: None, command }
    }
}

impl Proposal {
    /// Version, kind, request id, fields.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        VERSION.put(&mut out);
        self.command.kind().put(&mut out);
        self.request.put(&mut out);
        self.command.put_fields(&mut out);
        out.into()
    }

    /// Reads what [`Proposal::encode`] wrote, here or on another node.
    pub fn decode(bytes: &[u8]) -> Result<Proposal, CommandError> {
        let mut input = bytes;
        let version = u16::take(&mut input).map_err(CommandError::Header)?;
        if version != VERSION {
            return Err(CommandError::UnknownVersion { version });
        }
        let kind = u16::take(&mut input).map_err(CommandError::Header)?;
        if !Command::knows(kind) {
            return Err(CommandError::UnknownKind { kind });
        }
        let malformed = |source| CommandError::Malformed { kind, source };
        let request = Wire::take(&mut input).map_err(malformed)?;
        let command = Command::take_fields(kind, &mut input).map_err(malformed)?;
        match input.len() {
            0 => Ok(Proposal { request, command }),
            extra => Err(malformed(DecodeError::Trailing { extra })),
        }
    }
}

/// Each command's kind and the order of its fields. Kinds are never used again for something else.
macro_rules! kinds {
    ($($kind:literal => $name:ident { $($field:ident),* })*) => {
        impl Command {
            fn kind(&self) -> u16 {
                match self { $(Command::$name { .. } => $kind),* }
            }

            fn knows(kind: u16) -> bool {
                [$($kind),*].contains(&kind)
            }

            /// The command's name, for logs.
            pub fn name(&self) -> &'static str {
                match self { $(Command::$name { .. } => stringify!($name)),* }
            }

            fn put_fields(&self, out: &mut Vec<u8>) {
                match self { $(Command::$name { $($field),* } => { $($field.put(out);)* })* }
            }

            fn take_fields(kind: u16, input: &mut &[u8]) -> Result<Command, DecodeError> {
                Ok(match kind {
                    $($kind => Command::$name { $($field: Wire::take(input)?),* },)*
                    _ => return Err(DecodeError::UnknownTag { what: "command", tag: kind.into() }),
                })
            }
        }
    };
}
kinds! {
    1 => FormCluster { cluster_id, feature_level }
    2 => RegisterBroker { node, incarnation, directories, endpoint, rack }
    3 => SetFenced { node, broker_epoch, fenced }
    4 => CreateTopic { name, id, assignments, configs }
    5 => DeleteTopic { id }
    6 => CreatePartitions { id, first, assignments }
    7 => SetConfigs { resource, changes }
    8 => AllocateProducerIds { node, broker_epoch, count }
    9 => AlterPartition { id, partition, leader_epoch, partition_epoch, isr }
    10 => ResignLeadership { id, partition, node, broker_epoch, leader_epoch }
}

wire_structs! {
    RequestId { node, broker_epoch, counter }
    ConfigChange { name, value, expected }
}

impl Wire for ConfigResource {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            ConfigResource::Topic(id) => (0_u8, *id).put(out),
            ConfigResource::Broker(node) => (1_u8, *node).put(out),
            ConfigResource::ClusterDefault => 2_u8.put(out),
        }
    }

    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(match u8::take(input)? {
            0 => ConfigResource::Topic(Wire::take(input)?),
            1 => ConfigResource::Broker(Wire::take(input)?),
            2 => ConfigResource::ClusterDefault,
            tag => return Err(DecodeError::UnknownTag { what: "config resource", tag: tag.into() }),
        })
    }
}
