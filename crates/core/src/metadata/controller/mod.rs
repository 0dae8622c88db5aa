//! The controller's decisions: from an image and a request to a command, or to Kafka's error.
//!
//! Pure and without memory: whoever decides proposes the command, and learns from its outcome whether
//! another command came first.

mod bounds;
mod configs;
mod error;
mod internal;
mod placement;
#[cfg(test)]
mod tests;
mod topics;

pub use bounds::{check_bounds, CONFIG_VALUE_BYTES_MAX, IMAGE_BYTES_MAX};
pub use configs::{alter_broker_configs, alter_topic_configs, replacing, ConfigEdit, ConfigOp};
pub use error::AdminError;
pub use internal::{protect_internal_topics, INTERNAL_TOPICS_SETTING};
pub use placement::Placement;
pub use topics::{
    create_partitions, create_topic, delete_topic, CreatePartitions, CreateTopic, Defaults, PARTITIONS_MAX,
};
