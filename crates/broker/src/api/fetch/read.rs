//! Reads one partition for a Fetch: checks the client's epoch and offset against the published view, and finds the file
//! range to send. Never asks the partition's task.

use norn_core::replica::{check_epoch, Bounds, FetchAt};
use norn_env::disk::File;
use norn_log::{FilePosition, ReadError};
use norn_protocol::{
    fetch::{FetchedPartition, Part},
    types::PartitionIndex,
    ErrorCode,
};

use super::subscription::{Key, Wanted};
use crate::{
    api::Context,
    partition::{Partition, View},
};

/// What a partition says of itself, without records.
fn bare(index: i32, view: &View) -> FetchedPartition<File> {
    FetchedPartition {
        error: None,
        high_watermark: view.high_watermark,
        last_stable_offset: view.last_stable,
        log_start: view.log_start,
        ..FetchedPartition::failed(PartitionIndex(index), ErrorCode::UnknownServerError)
    }
}

/// Reads at most `room` bytes; with `whole_first`, at least one whole batch if there is one (KIP-74).
pub(super) async fn read(
    ctx: &Context,
    partition: &Partition,
    view: &View,
    key: &Key,
    wanted: Wanted,
    room: u64,
    whole_first: bool,
) -> FetchedPartition<File> {
    let index = PartitionIndex(key.index);
    let leader = Some((ctx.node, view.epoch));
    if let Some(error) = view.unavailable {
        return FetchedPartition { current_leader: leader, ..FetchedPartition::failed(index, error) };
    }
    if let Err(error) = check_epoch(view.epoch, wanted.leader_epoch) {
        return FetchedPartition { current_leader: leader, ..FetchedPartition::failed(index, error) };
    }
    let bounds = Bounds { start: view.log_start, high_watermark: view.last_stable, end: view.log_end };
    let max = room.min(wanted.max_bytes);
    match bounds.fetch_at(wanted.offset) {
        FetchAt::OutOfRange => {
            return FetchedPartition { error: Some(ErrorCode::OffsetOutOfRange), ..bare(key.index, view) };
        }
        FetchAt::Waits => return bare(key.index, view),
        FetchAt::Readable if max == 0 && !whole_first => return bare(key.index, view),
        FetchAt::Readable => {}
    }
    let error = match view.log.locate(wanted.offset, max, view.high_watermark_at, whole_first).await {
        Ok(Some(range)) => {
            let records = vec![Part::File { file: range.file, pos: range.pos, len: range.len }];
            return FetchedPartition { records, ..bare(key.index, view) };
        }
        Ok(None) => return bare(key.index, view),
        Err(ReadError::OutOfRange { .. }) => ErrorCode::OffsetOutOfRange,
        Err(cause @ ReadError::Corrupt { .. }) => {
            ctx.metrics.corrupt_batch();
            partition.log_read_fault(&cause);
            ErrorCode::CorruptMessage
        }
        Err(cause @ ReadError::Io { .. }) => {
            partition.log_read_fault(&cause);
            ErrorCode::KafkaStorageError
        }
    };
    FetchedPartition { error: Some(error), ..bare(key.index, view) }
}

/// How much the partition has for the client, as Kafka counts it towards `min_bytes`: the bytes from `found` on up to the
/// high watermark and to what the client takes of one partition, though the last batch there may not fit. At the end of a
/// segment any number, as there is more than can be read at once.
pub(super) fn available(found: &FetchedPartition<File>, limit: FilePosition, wanted: Wanted) -> u64 {
    match found.records.first() {
        Some(Part::File { .. }) if wanted.offset < limit.segment => u64::MAX,
        Some(Part::File { pos, len, .. }) => limit.byte.saturating_sub(*pos).min(wanted.max_bytes).max(*len),
        _ => 0,
    }
}

/// Bytes of records in a partition's answer.
pub(super) fn len(read: &FetchedPartition<File>) -> u64 {
    read.records.iter().map(Part::len).sum()
}
