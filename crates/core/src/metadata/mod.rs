//! What all nodes agree on: commands, the image they build, and what the controller decides.
//!
//! The quorum replicates encoded [`Proposal`]s; each node applies them in order to its [`State`],
//! which holds the [`Image`] that is published and the window that makes retries safe. Requests become
//! commands in [`controller`], against an image that may be behind: a command carries what it was
//! decided on, and is checked again when it is applied.

mod apply;
mod broker;
pub mod command;
mod config_def;
mod config_layers;
pub mod controller;
mod delta;
mod image;
pub mod outcome;
mod partition;
mod request_window;
mod size;
mod snapshot;
mod state;
mod sync_intervals;
#[cfg(test)]
mod tests;
mod topic_config;
mod topic_config_table;

pub use broker::{Broker, Endpoint};
pub use command::{Command, CommandError, ConfigChange, ConfigResource, Proposal, RequestId};
pub use config_def::{
    list, Allowed, ConfigDef, ConfigError, ConfigMap, ConfigTable, ConfigType, Synonym, UpdateMode,
};
pub use config_layers::{ConfigLayers, ConfigSource, SetAt};
pub use delta::{ImageDelta, TopicDelta};
pub use image::{is_internal, Image, ReplicaCount, Topic};
pub use outcome::{Applied, Outcome, Refused};
pub use partition::{Partition, PartitionEpoch};
pub use request_window::RESULTS_KEPT;
pub use snapshot::{Chunks, Restore};
pub use state::{RestoreError, State};
pub use sync_intervals::unkept as unkept_sync_interval;
pub use topic_config::{CleanupPolicy, FlushMode, TimestampSource, TopicConfig};
pub use topic_config_table::TOPIC_CONFIGS;
