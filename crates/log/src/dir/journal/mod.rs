//! A disk's journal: a ring of files, preallocated and written once, into which a sync round copies many
//! small ranges and makes them durable with one fdatasync, and in which it says of those that it synced in place that
//! it did. It is only ever read at start.

pub(super) mod entry;
pub(super) mod recovery;
pub(super) mod replay;
pub(super) mod ring;

/// Size of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalConfig {
    /// Files in the ring: one is written while the segments behind the others are synced. At least 2.
    pub files: usize,
    /// Length of each. A start after a crash reads them all.
    pub file_bytes: u64,
}

impl Default for JournalConfig {
    /// 64 MiB: more than the disk writes while one file's segments are synced, and played in well under a
    /// second.
    fn default() -> JournalConfig {
        JournalConfig { files: 4, file_bytes: 16 << 20 }
    }
}
