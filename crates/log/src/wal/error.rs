//! What can go wrong with the WAL, as facts that its owner can act on.

use std::io;

/// Why the WAL could not be opened or can no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk refused. For a write or a sync this is final: what is durable is not known any more.
    #[error("{operation} of the WAL file {file} failed: {source}")]
    Disk { operation: &'static str, file: String, source: io::Error },
    /// Bytes that had been durable have changed. Nothing is cut and nothing appended.
    #[error("the WAL file {file} is damaged at byte {at}, below what was durable ({what}); restore it from a copy")]
    Corrupt { file: String, at: u64, what: &'static str },
    /// Written by a newer Norn.
    #[error(
        "the WAL file {file} has format version {version}, newer than this build reads; start a newer Norn"
    )]
    Newer { file: String, version: u8 },
    /// An earlier write or sync failed; it is never tried again as if nothing had happened.
    #[error("the WAL stopped at an earlier failed write or sync")]
    Stopped,
}

impl WalError {
    pub(super) fn disk(
        operation: &'static str,
        file: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> WalError {
        let file = file.into();
        move |source| WalError::Disk { operation, file, source }
    }
}
