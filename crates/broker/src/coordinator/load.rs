//! A coordinator's partition: reading it at the start, and making batches for it.

use std::{io, sync::Arc};

use bytes::Bytes;
use norn_core::{
    group::{Coordinator, GroupConfig, Loader, Record},
    Millis,
};
use norn_env::{
    clock::{self, Duration},
    task,
};
use norn_log::ReadError;
use norn_protocol::{
    batch::{self, build_batch, Batch, BatchIter, BatchOptions, Records, DECOMPRESSED_MAX},
    types::{LeaderEpoch, Offset},
    ErrorCode,
};
use tracing::{error, warn};

use crate::partition::{CoordinatorIncarnation, Partition, ReadySet, View};

/// Bytes that are read at once.
const CHUNK: u64 = 1 << 20;

/// How long the partition may take to answer the announcement; then another coordinator is started.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Announces the coordinator to its partition and reads the log up to the end that the partition answers: no append of an
/// earlier coordinator comes after it. Reading begins once the high watermark has reached that end: before, what is read
/// might still be lost.
pub(super) async fn load(
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    incarnation: CoordinatorIncarnation,
    config: GroupConfig,
) -> Result<Coordinator, ErrorCode> {
    let moved = Arc::new(ReadySet::default());
    partition.watch(&moved, 0);
    let end = announce(&partition, epoch, incarnation).await?;
    while led(&partition, epoch)?.high_watermark < end {
        let name =
            || format!("the high watermark of {}-{} to reach {end}", partition.topic(), partition.index());
        task::wait(name, moved.moved()).await;
        moved.take();
    }
    let mut loader = Loader::new(config);
    let mut offset = partition.view().log_start;
    while offset < end {
        let view = led(&partition, epoch)?;
        offset = read_some(&view, offset, end, &mut loader).await?;
    }
    Ok(loader.finish_loading(clock::now(), Millis(clock::wall_ms())))
}

async fn announce(
    partition: &Partition,
    epoch: LeaderEpoch,
    incarnation: CoordinatorIncarnation,
) -> Result<Offset, ErrorCode> {
    let deadline = clock::now() + ANNOUNCE_TIMEOUT;
    let answered = partition.announce(epoch, incarnation, deadline).await?;
    let name = || format!("{}-{} to take a coordinator's announcement", partition.topic(), partition.index());
    match task::wait(name, clock::timeout_at(deadline, answered)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(ErrorCode::NotLeaderOrFollower),
        Err(_) => Err(ErrorCode::RequestTimedOut),
    }
}

fn led(partition: &Partition, epoch: LeaderEpoch) -> Result<Arc<View>, ErrorCode> {
    let view = partition.view();
    match view.unavailable {
        None if view.epoch == epoch => Ok(view),
        None => Err(ErrorCode::NotLeaderOrFollower),
        Some(error) => Err(error),
    }
}

/// Takes in what one read gives; returns the next offset. Damaged batches are said and skipped: groups and offsets in them
/// are lost, all others are served.
async fn read_some(
    view: &View,
    offset: Offset,
    end: Offset,
    loader: &mut Loader,
) -> Result<Offset, ErrorCode> {
    let range = match view.log.locate(offset, CHUNK, view.high_watermark_at, true).await {
        Ok(Some(range)) => range,
        Ok(None) => return Ok(end),
        Err(ReadError::OutOfRange { start, .. }) if offset < start => return Ok(start),
        Err(cause @ ReadError::Corrupt { next, .. }) => {
            error!("group metadata is damaged: {cause}");
            return Ok(next.max(Offset(offset.0 + 1)));
        }
        Err(cause) => return Err(storage_error(&cause)),
    };
    let read = range.file.read_at(range.pos, range.len as usize).await;
    let bytes = read.map_err(|cause: io::Error| storage_error(&cause))?;
    let mut next = offset;
    for batch in BatchIter::new(&bytes) {
        let (header, batch) = match batch {
            Ok(found) => found,
            // The last batch of a range may be cut short; it is read whole next time.
            Err(batch::BatchError::Truncated { .. }) => break,
            Err(cause) => return Err(storage_error(&cause)),
        };
        let records = Records::of(Bytes::copy_from_slice(batch), DECOMPRESSED_MAX);
        for record in records.map_err(|cause| storage_error(&cause))? {
            let record = record.map_err(|cause| storage_error(&cause))?;
            let Some(key) = record.key.as_ref().filter(|_| record.offset >= offset) else { continue };
            if let Err(cause) = loader.apply_record(key, record.value.as_deref()) {
                warn!(offset = %record.offset, "a record of group metadata is skipped: {cause}");
            }
        }
        next = header.next_offset();
    }
    Ok(next.max(Offset(offset.0 + 1)))
}

fn storage_error(cause: &dyn std::fmt::Display) -> ErrorCode {
    error!("group metadata cannot be read: {cause}");
    ErrorCode::KafkaStorageError
}

/// The records as one batch.
pub(super) fn batch_of(records: &[Record], now_ms: i64) -> Result<Batch, ErrorCode> {
    let records: Vec<batch::Record> = records
        .iter()
        .map(|record| {
            let (key, value) = record.encode();
            batch::Record { timestamp: now_ms, key: Some(key), value, ..batch::Record::default() }
        })
        .collect();
    let bytes = build_batch(&records, BatchOptions::default()).map_err(|_| ErrorCode::RecordListTooLarge)?;
    let mut batches = Batch::split_all(bytes).map_err(|error| error.error_code())?;
    batches.pop().ok_or(ErrorCode::InvalidRecord)
}
