//! What a batch from a producer must be, beyond being a batch: Kafka's `ProduceRequest.validateRecords` and
//! `LogValidator.validateBatch`. What a topic's settings ask of single records is `norn_core`'s.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{scan_records, Batch, BatchError, RecordError, RecordInfo, HEADER_LEN};
use crate::compression::{Compression, DecompressError};
use crate::types::ProducerId;

/// The first Produce version whose clients may send zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// Kafka's `RecordBatch.NO_TIMESTAMP`.
const NO_TIMESTAMP: i64 = -1;

/// The first bytes of what a codec writes. Snappy's raw format has none.
const GZIP: &[u8] = &[0x1f, 0x8b];
const LZ4_FRAME: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A frame that zstd skips: its first byte is any of sixteen.
const ZSTD_SKIPPED: &[u8] = &[0x2a, 0x4d, 0x18];

/// The one batch of a partition in a Produce request of this version, with all that its header says checked; its records
/// are [`validate_records`]'s. Null records are no batch.
pub fn produced_batch(records: Option<Bytes>, version: i16) -> Result<Batch, BatchError> {
    let mut batches = Batch::split_all(records.unwrap_or_default())?;
    match (batches.pop(), batches.len()) {
        (Some(batch), 0) => {
            check_header(&batch)?;
            if version < ZSTD_FROM && batch.header.compression()? == Compression::Zstd {
                return Err(BatchError::ZstdTooEarly);
            }
            Ok(batch)
        }
        (last, others) => Err(BatchError::NotOneBatch(others + usize::from(last.is_some()))),
    }
}

fn check_header(batch: &Batch) -> Result<(), BatchError> {
    let header = &batch.header;
    if header.record_count <= 0 {
        return Err(BatchError::BadCount(header.record_count));
    }
    if header.last_offset_delta != header.record_count - 1 {
        return Err(BatchError::BadOffsetDelta(header.last_offset_delta));
    }
    if header.is_control() {
        return Err(BatchError::Control);
    }
    let valid_producer = match header.producer_id {
        // Epoch and sequence mean nothing then: librdkafka sends -1 and -1, sarama -1 and 0, kafkajs 0 and 0.
        ProducerId::NONE => !header.is_transactional(),
        id => id.is_some() && header.producer_epoch.0 >= 0 && header.base_sequence.0 >= 0,
    };
    if !valid_producer {
        return Err(BatchError::BadProducer);
    }
    let records = &batch.bytes[HEADER_LEN..];
    let of_its_codec = match header.compression()? {
        Compression::None => true,
        Compression::Gzip => records.starts_with(GZIP),
        Compression::Snappy => !records.is_empty(),
        Compression::Lz4 => records.starts_with(LZ4_FRAME),
        Compression::Zstd => records.starts_with(ZSTD) || records.get(1..4) == Some(ZSTD_SKIPPED),
    };
    of_its_codec.then_some(()).ok_or(BatchError::NotOfCodec)
}

/// Goes through the records of a produced batch, compressed or not, which must be those that its header counts, numbered
/// from 0. A batch that consumers cannot read would stop each of them at its offset. Shows each record to `look`.
///
/// Gives the batch with the timestamps of its records: limits on timestamps, retention and searches by time go by the
/// header, whose largest timestamp some producers leave unset. Kafka's `LogValidator` sets it as well.
///
/// `None`: the records unpack to more than `limit` bytes. With [`super::UNPACKED_MAX`] this is an error instead.
pub fn validate_records(
    batch: &Batch,
    limit: u64,
    mut look: impl FnMut(&RecordInfo),
) -> Option<Result<Batch, BatchError>> {
    let mut latest = NO_TIMESTAMP;
    let mut misnumbered = None;
    let scanned = scan_records(&batch.header, &batch.bytes, limit, |record| {
        if record.offset_delta != record.index {
            misnumbered = Some(record.index);
            return ControlFlow::Break(());
        }
        latest = latest.max(record.timestamp);
        look(record);
        ControlFlow::Continue(())
    });
    Some(match (misnumbered, scanned) {
        (Some(index), _) => Err(BatchError::BadRecord(index)),
        (None, Ok(())) => Ok(batch.clone().with_create_time(latest)),
        (None, Err(error)) if error.is_over_limit() && limit < super::UNPACKED_MAX => return None,
        (None, Err(error)) => Err(of_records(error, batch.header.record_count)),
    })
}

/// What is wrong with a batch whose records cannot be read.
fn of_records(error: RecordError, count: i32) -> BatchError {
    match error {
        RecordError::Batch(error) => error,
        RecordError::Malformed { index, .. }
        | RecordError::Length(index)
        | RecordError::OutOfRange(index) => BatchError::BadRecord(index),
        RecordError::TrailingBytes => BatchError::BadCount(count),
        RecordError::Decompress(DecompressError::TooLarge { limit }) => BatchError::Oversized(limit),
        RecordError::Decompress(DecompressError::Malformed { .. })
        | RecordError::Unbuildable(..)
        | RecordError::Compress(_) => BatchError::NotOfCodec,
    }
}
