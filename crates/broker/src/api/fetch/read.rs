//! Reads one partition for a Fetch: checks the client's epoch and offset against the published view, and finds the file
//! range to send. Never asks the partition's task.

use norn_core::replica::{check_epoch, Bounds, FetchAt};
use norn_env::disk::File;
use norn_log::ReadError;
use norn_protocol::{
    fetch::{FetchedPartition, Part},
    types::PartitionIndex,
    ErrorCode,
};
use tracing::error;

use super::subscription::{Key, Wanted};
use crate::{api::Context, partition::View};

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
    let max = room.min(wanted.max_bytes.max(0) as u64);
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
            error!(topic = ?key.name, partition = key.index, offset = %wanted.offset, "{cause}");
            ErrorCode::CorruptMessage
        }
        Err(cause @ ReadError::Io { .. }) => {
            error!(topic = ?key.name, partition = key.index, offset = %wanted.offset, "{cause}");
            ErrorCode::KafkaStorageError
        }
    };
    FetchedPartition { error: Some(error), ..bare(key.index, view) }
}

/// Bytes of records in a partition's answer.
pub(super) fn len(read: &FetchedPartition<File>) -> u64 {
    read.records.iter().map(Part::len).sum()
}
