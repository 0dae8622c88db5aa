//! The broker's settings: a table of Kafka's names (and Norn's few), layers of stated values (file,
//! environment, flags), and the typed `Config` that comes of them. Pure: reading files and the environment
//! is the caller's.
//!
//! A name that Kafka 4 has and Norn lacks is a warning, unless ignoring it would make the broker less safe
//! than was asked for; then it is an error, as is a name that neither knows.

mod cluster;
mod consistency;
mod describe;
mod dynamic;
mod error;
mod lacking;
mod lacks;
mod layers;
mod listener;
mod source;
mod table;
mod typed;

pub use describe::{describe, topic_defaults, Described, Overrides};
pub use dynamic::effective_edits;
pub use error::{ConfigError, Warning};
pub use layers::{Stated, Values};
pub use listener::{Endpoint, Listener};
pub use source::{env_of_property, property_of_env, Layer, Source};
pub use table::{setting, settings, BROKER_CONFIGS};
pub use typed::{Config, Groups, Network, Offsets, Producers, Storage, Topics};

#[cfg(test)]
mod tests;
