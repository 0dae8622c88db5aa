//! Why a data directory cannot be used, with what to do about it.

use std::io;

/// Opening or closing a data directory failed.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The exclusive lock is held.
    #[error("the data directory {dir} is in use by another process; stop that one, or set another log.dirs")]
    InUse { dir: String },
    /// The disk refused.
    #[error("{operation} {file} in the data directory {dir} failed: {source}")]
    Disk { operation: &'static str, file: String, dir: String, source: io::Error },
    /// `meta.properties` cannot be read as what it should be.
    #[error("{dir}/meta.properties line {line}: {what}; restore the file, or set another log.dirs")]
    Meta { dir: String, line: usize, what: String },
    /// Data without `meta.properties`.
    #[error(
        "{dir}/meta.properties is missing, but there is {beside}; restore the file, or set another log.dirs"
    )]
    MetaMissing { dir: String, beside: String },
    /// Written by a newer Norn.
    #[error(
        "the data directory {dir} has format version {found}, this build knows up to {known}; start a newer Norn"
    )]
    NewerFormat { dir: String, found: u32, known: u32 },
    /// The directory of another cluster.
    #[error("the data directory {dir} belongs to cluster {found}, not {expected}; set the log.dirs of this cluster")]
    OtherCluster { dir: String, found: String, expected: String },
    /// The directory of another node.
    #[error(
        "the data directory {dir} belongs to node.id {found}, not {expected}; check node.id and log.dirs"
    )]
    OtherNode { dir: String, found: i32, expected: i32 },
    /// A journal file in a layout of a newer Norn.
    #[error("the journal file {file} in {dir} has format version {version}; start a newer Norn")]
    NewerJournal { dir: String, file: String, version: u8 },
    /// The directory went offline.
    #[error("the data directory {dir} is offline: {reason}")]
    Offline { dir: String, reason: String },
}
