//! A small but real Kafka client for the simulated world: connections that negotiate versions, pipeline, give up at their
//! deadlines and are dialled anew; metadata, leaders, coordinators. What it sends and how it takes answers is up to the
//! workload; what it must report whoever uses it (answers that are none, deadlines that pass) it records itself.

mod cluster;
mod connection;
mod error;
mod fetch;
mod produce;
mod records;

pub use cluster::{Cluster, Style, VersionChoice};
pub use connection::{Connection, Pending};
pub use error::CallError;
pub use fetch::{Appetite, Fetched, Fetcher};
pub use produce::{produce_request, ProduceAnswer};
pub use records::{decode_batches, encode_batch, BatchSpec, Sequenced};
