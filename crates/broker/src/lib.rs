//! What a Norn node does: joins log, quorum and the deciding cores to a broker that Kafka clients use.
//!
//! `server` takes connections in, `api` has a file for each request, `partition` and `coordinator` own the state that
//! requests are about, `controller` is the way to the cluster's metadata, and `lifecycle` starts and ends them in order.

mod api;
mod budgets;
pub mod config;
mod controller;
mod coordinator;
mod data_dirs;
mod dirs;
mod layers;
mod lifecycle;
mod metrics;
mod partition;
mod probe;
mod producer_ids;
mod server;
mod shutdown;

pub use lifecycle::{start, Broker, BrokerError};
pub use probe::Probe;
