//! Partitions on this broker: one task each, the sole owner of its log, its replica state and its producers' sequences.
//! Readers go by the value that it publishes; writers send it messages over a bounded queue.

mod actor;
mod append;
mod handle;
mod manager;
mod missing;
mod open;
mod published;
mod read_faults;
mod removal;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use handle::{CoordinatorIncarnation, Origin, Partition, Produce, Produced};
pub(crate) use manager::{Ended, Manager, ManagerSetup};
pub(crate) use missing::{adopt, missing};
pub(crate) use norn_core::replica::Acks;
pub(crate) use published::{ReadySet, View};
pub(crate) use table::PartitionTable;
