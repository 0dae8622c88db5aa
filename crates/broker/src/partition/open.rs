//! Opening a partition: its log, its producers' state, its place in a data directory.

use norn_core::{
    metadata::{self, CleanupPolicy, TopicConfig},
    producer::ProducerTable,
    Millis,
};
use norn_env::{
    clock::{self, Duration},
    task,
};
use norn_log::{dir::LogDir, Cleanup, FlushMode, LogConfig, LogError, LogId, PartitionLog, Visit};
use tracing::{info, warn};

/// An open log with what its records tell of their producers.
pub(super) struct Opened {
    pub log: PartitionLog,
    pub producers: ProducerTable,
}

/// Opens the log in its directory, or creates it. What is left of a deleted topic of the same name makes room.
pub(super) async fn open(dir: LogDir, id: LogId, config: &TopicConfig) -> Result<Opened, LogError> {
    match try_open(&dir, &id, config).await {
        Err(LogError::OtherTopic { path, found, .. }) => {
            info!(log = %id, "removing {path} of a deleted topic of that name");
            dir.delete_log(&LogId { topic_id: found, ..id.clone() }).await?;
            try_open(&dir, &id, config).await
        }
        opened => opened,
    }
}

async fn try_open(dir: &LogDir, id: &LogId, config: &TopicConfig) -> Result<Opened, LogError> {
    if norn_env::buggify!("a log is slow to open", 0.2) {
        clock::sleep(Duration::from_millis(500)).await;
    }
    let now = Millis(clock::wall_ms());
    let mut producers = ProducerTable::new();
    let mut visit = |seen: Visit<'_>| match seen {
        Visit::Snapshot { bytes, .. } => match ProducerTable::decode(bytes) {
            Ok(known) => producers = known,
            Err(cause) => {
                warn!(log = %id, "the producers' snapshot is damaged, older batches are not known: {cause}")
            }
        },
        Visit::Batch(header) => producers.visit(header, now),
    };
    let opening = dir.open_log(id.clone(), log_config(config), &mut visit);
    let (log, found) = task::wait(|| format!("the log of {id} to open"), opening).await?;
    for damage in &found.damages {
        warn!(log = %id, ?damage, "damaged records below the durable end: they are not served, all others are");
    }
    if found.cut_bytes > 0 {
        norn_env::sometimes!("torn tail cut");
        info!(log = %id, bytes = found.cut_bytes, end = %log.end(), "cut a torn tail that was never acknowledged");
    }
    Ok(Opened { log, producers })
}

/// The log's share of a topic's settings.
pub(super) fn log_config(config: &TopicConfig) -> LogConfig {
    LogConfig {
        segment_bytes: config.segment_bytes.max(1) as u64,
        segment_ms: config.segment_ms,
        index_interval_bytes: config.index_interval_bytes.max(0) as u32,
        // An index entry takes 8 bytes in Kafka's files; ours hold as many.
        index_entries_max: (config.segment_index_bytes.max(8) / 8) as usize,
        retention_ms: config.retention_ms,
        retention_bytes: config.retention_bytes.map(|bytes| bytes.max(0) as u64),
        cleanup: match config.cleanup_policy {
            CleanupPolicy { delete: true, compact: true } => Cleanup::CompactDelete,
            CleanupPolicy { compact: true, .. } => Cleanup::Compact,
            CleanupPolicy { .. } => Cleanup::Delete,
        },
        flush: match config.flush_mode {
            metadata::FlushMode::Sync => FlushMode::Sync,
            metadata::FlushMode::Async => FlushMode::Async,
        },
    }
}
