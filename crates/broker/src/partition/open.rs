//! Opening a partition: its log, its producers' state, its place in a data directory.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{future::BoxFuture, FutureExt};
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
use norn_protocol::types::TopicId;
use tracing::{error, info, warn};

use super::missing::set_aside;

/// An open log with what its records tell of their producers.
pub(super) struct Opened {
    pub log: PartitionLog,
    pub producers: ProducerTable,
}

/// A log, the number of the directory where it was opened, and how that ended.
pub(super) type OpenEnd = (LogId, usize, Result<Opened, LogError>);

/// A log that is being opened.
pub(super) struct Opening {
    pub log: LogId,
    end: BoxFuture<'static, OpenEnd>,
}

impl Opening {
    /// See [`open_in_one`] and [`open`].
    pub fn new(dirs: Vec<(usize, LogDir)>, is_found: bool, log: LogId, config: TopicConfig) -> Self {
        let id = log.clone();
        let end = async move {
            let (at, opened) = open_in_one(dirs, is_found, &id, &config).await;
            (id, at, opened)
        };
        Opening { log, end: end.boxed() }
    }
}

impl Future for Opening {
    type Output = OpenEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<OpenEnd> {
        self.end.poll_unpin(cx)
    }
}

/// A directory with less free space than this gets a new log only if no other has more: the files of a log, its first
/// records, and a part of the journal, which may not be written yet.
const NEW_LOG_ROOM: u64 = 16 << 20;

/// Opens the log in the only one of the directories, or creates it in the first of several in which there is room; gives
/// the number of that one.
async fn open_in_one(
    dirs: Vec<(usize, LogDir)>,
    is_found: bool,
    id: &LogId,
    config: &TopicConfig,
) -> (usize, Result<Opened, LogError>) {
    let mut dirs = with_room_first(dirs).await.into_iter().peekable();
    loop {
        let (at, dir) = dirs.next().expect("there is a data directory to open a log in");
        let opened = open(&dir, is_found, id, config).await;
        match &opened {
            Err(cause) if cause.is_full() && dirs.peek().is_some() => {
                warn!(log = %id, "the disk is full, the next directory is tried: {cause}");
                // Left here, it would be found beside the other at the next start.
                if !matches!(dir.discard_empty(id).await, Ok(true)) {
                    return (at, opened);
                }
            }
            _ => return (at, opened),
        }
    }
}

/// The directories in their order, but those that are nearly full last.
async fn with_room_first(dirs: Vec<(usize, LogDir)>) -> Vec<(usize, LogDir)> {
    if dirs.len() < 2 {
        return dirs;
    }
    let (mut roomy, mut full) = (vec![], vec![]);
    for (at, dir) in dirs {
        // One that cannot say is tried in its turn.
        match dir.disk().free_space().await {
            Ok(free) if free < NEW_LOG_ROOM => full.push((at, dir)),
            _ => roomy.push((at, dir)),
        }
    }
    roomy.append(&mut full);
    roomy
}

/// Opens the log in the directory, or creates it. One that was found there is its own, whether or not that tells so; else
/// whatever has records under its name is another topic's, and makes room.
async fn open(dir: &LogDir, is_found: bool, id: &LogId, config: &TopicConfig) -> Result<Opened, LogError> {
    match try_open(dir, id, config).await {
        Err(LogError::OtherTopic { found, .. }) => {
            set_aside(dir, &LogId { topic_id: found, ..id.clone() }).await;
        }
        Err(LogError::Unidentified { .. }) if is_found => {
            error!(
                "{}/{id}/partition.metadata is missing or damaged: as no other directory has the log of {id}, this is \
                 taken for it, and the file is written anew",
                dir.disk().root().display()
            );
            dir.identify(id).await?;
        }
        Err(LogError::Unidentified { .. }) => {
            set_aside(dir, &LogId { topic_id: TopicId::NONE, ..id.clone() }).await;
        }
        opened => return opened,
    }
    try_open(dir, id, config).await
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
        Visit::Damaged => producers.visit_damaged(),
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
