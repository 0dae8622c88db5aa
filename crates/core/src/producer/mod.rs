//! Idempotence: which batches of a producer are new, duplicate or out of order.
//!
//! Kafka's `ProducerStateManager`, of one partition: for each producer id the epoch and its last five
//! batches. The table follows the log: what the log holds is recorded or visited in offset order, what
//! is cut off the log is cut off here, so that a duplicate always names records that exist.

mod entry;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;

pub use snapshot::SnapshotError;
pub use table::{ProducerState, ProducerTable, Rollback, Verdict, BATCHES_KEPT};
