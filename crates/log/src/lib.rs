//! Keeps: a disk's journal and sync rounds; a partition's segments, indexes, leader-epoch cache, producer
//! snapshots, recovery and retention.
//!
//! [`dir`] owns a data directory and makes written ranges durable; [`partition`] owns the files of one partition
//! and hands over what it wrote ([`rounds`] is the seam between them). Record batches are kept exactly as they
//! came over the wire. This crate knows nothing of producers, replicas or requests: it is told offsets and
//! epochs, shows batch headers to whoever asked, and stores snapshots as opaque bytes.

pub mod dir;
pub mod epochs;
pub mod frames;
pub mod partition;
pub mod segment;
pub mod wal;

mod checkpoint;
mod config;
mod decoding;
mod error;
mod id;
mod rounds;
#[cfg(test)]
mod testing;

pub use config::{Cleanup, FlushMode, LogConfig};
pub use decoding::Decoding;
pub use error::{LogError, ReadError};
pub use id::{LogId, Retired};
pub use partition::{
    Deleted, FilePosition, LastEnd, LogView, OpenLog, PartitionLog, Recovered, Visit, Visitor,
};
pub use rounds::{
    DirtyRange, FileNote, LogKey, NoteTicket, Rounds, RoundsHandle, SyncError, SyncRequest, SyncTicket,
};
pub use segment::reader::{FileRange, TimestampedOffset};
pub use segment::scan::Damage;
pub use segment::Segment;
