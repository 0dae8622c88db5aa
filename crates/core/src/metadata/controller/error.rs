//! Why a request for a change cannot become a command. The texts are Kafka's where tools show them.

use norn_protocol::topic::TopicNameError;
use norn_protocol::types::{NodeId, PartitionIndex};
use norn_protocol::ErrorCode;

use super::super::config_def::ConfigError;
use super::super::outcome::Refused;
use super::bounds::{CONFIG_VALUE_BYTES_MAX, IMAGE_BYTES_MAX};
use super::internal::INTERNAL_TOPICS_SETTING;
use super::topics::PARTITIONS_MAX;

/// A request that the present image does not allow.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdminError {
    #[error("Topic name is invalid: {0}")]
    Name(#[from] TopicNameError),
    /// Its log would stand beside the quorum's own.
    #[error("Creation of internal topic {0} is prohibited.")]
    Prohibited(&'static str),
    /// What applying the command would say too.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What only the setting allows.
    #[error("Topic {name} is internal: {what}. {INTERNAL_TOPICS_SETTING}=true on the broker allows it.")]
    InternalTopic { name: String, what: &'static str },
    #[error("This server does not host this topic-partition.")]
    UnknownTopic,
    #[error("Number of partitions was set to an invalid non-positive value.")]
    NoPartitions,
    #[error("Excessively large number of partitions per request: {asked}, the most is {PARTITIONS_MAX}.")]
    TooManyPartitions { asked: usize },
    #[error("The topic {name} currently has {current} partition(s); {asked} would not be an increase.")]
    NoIncrease { name: String, current: usize, asked: i32 },
    #[error("Replication factor was set to an invalid non-positive value.")]
    NoReplicas,
    #[error(
        "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} \
         cannot be reached because only {alive} broker(s) are registered."
    )]
    TooFewBrokers { factor: usize, alive: usize },
    #[error("A manual partition assignment was specified, but {field} was not set to -1.")]
    CountBesideAssignment { field: &'static str },
    #[error("The manual partition assignment includes no replicas for partition {partition}.")]
    EmptyAssignment { partition: PartitionIndex },
    #[error("The manual partition assignment includes the broker {node} more than once.")]
    DuplicateReplica { node: NodeId },
    #[error("The manual partition assignment includes broker {node}, but no such broker is registered.")]
    UnknownReplica { node: NodeId },
    #[error(
        "The manual partition assignment includes a partition with {found} replica(s), but this is not \
         consistent with previous partitions, which have {expected} replica(s)."
    )]
    UnevenAssignment { found: usize, expected: usize },
    #[error("partitions should be a consecutive 0-based integer sequence.")]
    PartitionsNotConsecutive,
    #[error(
        "Attempted to add {added} additional partition(s), but only {assigned} assignment(s) were specified."
    )]
    AssignmentCount { added: usize, assigned: usize },
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What a change of the brokers' settings would do to a topic.
    #[error("Topic {topic}: {source}")]
    ConfigOfTopic { topic: String, source: ConfigError },
    #[error("Null value not supported for topic configs: {name}")]
    NullConfig { name: String },
    #[error("Null value not supported for : {name}")]
    NullEdit { name: String },
    #[error("Error due to duplicate config keys: {name}")]
    DuplicateConfig { name: String },
    #[error("Can't {op} to key {name} because its type is not LIST.")]
    NotAList { op: &'static str, name: String },
    #[error("Cannot update these configs dynamically: [{name}]")]
    ReadOnlyConfig { name: String },
    /// A setting of Kafka that Norn lacks.
    #[error("{name} cannot be changed: {reason}")]
    Unsupported { name: String, reason: &'static str },
    #[error(
        "The configuration value cannot be added because it exceeds the maximum value size of \
         {CONFIG_VALUE_BYTES_MAX} bytes."
    )]
    ConfigValueTooLong,
    #[error("{what} has a length of {bytes}, the most is {max}.")]
    TooLong { what: &'static str, bytes: usize, max: usize },
    #[error(
        "The cluster's metadata take {bytes} bytes and would grow by {added}; the most is {IMAGE_BYTES_MAX} bytes. \
         Delete topics or settings that are not needed."
    )]
    ImageFull { bytes: usize, added: usize },
}

impl AdminError {
    /// The one mapping to Kafka's codes.
    pub fn code(&self) -> ErrorCode {
        match self {
            AdminError::Name(_) => ErrorCode::InvalidTopicException,
            AdminError::Refused(refused) => refused.code(),
            AdminError::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
            AdminError::NoPartitions | AdminError::NoIncrease { .. } => ErrorCode::InvalidPartitions,
            AdminError::TooManyPartitions { .. }
            | AdminError::InternalTopic { .. }
            | AdminError::ImageFull { .. } => ErrorCode::PolicyViolation,
            AdminError::NoReplicas | AdminError::TooFewBrokers { .. } => ErrorCode::InvalidReplicationFactor,
            AdminError::EmptyAssignment { .. }
            | AdminError::DuplicateReplica { .. }
            | AdminError::UnknownReplica { .. }
            | AdminError::UnevenAssignment { .. }
            | AdminError::PartitionsNotConsecutive
            | AdminError::AssignmentCount { .. } => ErrorCode::InvalidReplicaAssignment,
            AdminError::Config(_)
            | AdminError::ConfigOfTopic { .. }
            | AdminError::NullConfig { .. }
            | AdminError::ConfigValueTooLong
            | AdminError::NotAList { .. }
            | AdminError::Unsupported { .. } => ErrorCode::InvalidConfig,
            AdminError::CountBesideAssignment { .. }
            | AdminError::NullEdit { .. }
            | AdminError::DuplicateConfig { .. }
            | AdminError::ReadOnlyConfig { .. }
            | AdminError::TooLong { .. }
            | AdminError::Prohibited(_) => ErrorCode::InvalidRequest,
        }
    }
}
