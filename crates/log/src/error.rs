//! What can go wrong with a partition's log, as facts that its owner can act on.

use std::io;
use std::sync::Arc;

use norn_protocol::types::{Offset, TopicId};

use crate::rounds::SyncError;

/// Why a log refused or failed an operation.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A write or a sync of this log failed earlier. What the files hold above the durable end is not known, so
    /// nothing is appended until the log has been opened (and recovered) anew.
    #[error("log is offline: {reason}")]
    Offline { reason: Arc<str> },
    /// An operation on a file or directory failed. If it would have changed the log, the log is offline now.
    #[error("{operation} {path}: {source}")]
    Io { operation: &'static str, path: String, source: io::Error },
    /// The directory holds a partition of another topic of the same name, deleted since.
    #[error("directory {path} belongs to topic id {found}, not {expected}")]
    OtherTopic { path: String, found: TopicId, expected: TopicId },
    /// The directory holds a log, but not a file that tells whose it is; see [`crate::dir::LogDir::identify`].
    #[error("directory {path} does not tell which topic's log it holds: its partition.metadata is missing or damaged")]
    Unidentified { path: String },
    /// The offset is not one that the operation can take: beyond the log's end, or below its start.
    #[error("offset {offset} is outside of the log, {start} to {end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
}

impl LogError {
    pub(crate) fn io(operation: &'static str, path: impl Into<String>) -> impl FnOnce(io::Error) -> LogError {
        let path = path.into();
        move |source| LogError::Io { operation, path, source }
    }

    /// Whether the disk has no space left, as far as the error tells.
    pub fn is_full(&self) -> bool {
        matches!(self, LogError::Io { source, .. } if is_full(source))
    }
}

/// Whether nothing is wrong but that the disk has no space left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

impl From<SyncError> for LogError {
    fn from(error: SyncError) -> LogError {
        LogError::Offline { reason: error.reason }
    }
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset lies below the log's start or beyond its end.
    #[error("offset {offset} is outside of the log, {start} to {end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    /// The bytes on disk are not those that were written. Offsets from `first` up to `next` are lost on this
    /// disk; all others stay readable.
    #[error("{file} is corrupt at byte {position}: offsets {first} up to {next} cannot be read")]
    Corrupt { file: String, position: u64, first: Offset, next: Offset },
    /// The disk did not answer with data.
    #[error("read {path}: {source}")]
    Io { path: String, source: io::Error },
}

impl ReadError {
    pub(crate) fn io(path: &str) -> impl FnOnce(io::Error) -> ReadError + '_ {
        move |source| ReadError::Io { path: path.to_owned(), source }
    }
}
