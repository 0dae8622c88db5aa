//! The settings of one log, from its topic's configuration.

/// When written records count as kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// After fdatasync: every append is followed by a sync before it is acknowledged.
    Sync,
    /// After the write: the operating system decides when bytes reach the disk (Kafka's default promise).
    Async,
}

/// `cleanup.policy`: how old records leave a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Retention by time and size.
    Delete,
    /// The cleaner only; retention by time and size never applies.
    Compact,
    /// Both.
    CompactDelete,
}

impl Cleanup {
    /// Whether retention by time and size applies.
    pub fn deletes(self) -> bool {
        !matches!(self, Cleanup::Compact)
    }
}

/// Settings of one log. Durations in milliseconds, sizes in bytes; names are Kafka's topic configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is closed before it would grow beyond this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is closed when a record is this much newer than its first.
    pub segment_ms: i64,
    /// `index.interval.bytes`: bytes between two index entries, at batch boundaries.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes` in entries: a segment is closed when its index has this many.
    pub index_entries_max: usize,
    /// `retention.ms`; `None` keeps for ever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` is without limit.
    pub retention_bytes: Option<u64>,
    pub cleanup: Cleanup,
    pub flush: FlushMode,
}

impl Default for LogConfig {
    /// Kafka's defaults, with syncs.
    fn default() -> LogConfig {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            index_interval_bytes: 4096,
            index_entries_max: 10 * 1024 * 1024 / 8,
            retention_ms: Some(7 * DAY_MS),
            retention_bytes: None,
            cleanup: Cleanup::Delete,
            flush: FlushMode::Sync,
        }
    }
}
