//! What a batch from a producer must be, beyond being a batch: Kafka's `ProduceRequest.validateRecords` and
//! `LogValidator.validateBatch`. What depends on a topic's configuration is checked by its partition.

use bytes::Bytes;

use super::header::TimestampType;
use super::walk::{self, Timestamps};
use super::{Batch, BatchError, HEADER_LEN};
use crate::compression::Compression;
use crate::types::ProducerId;

/// The first Produce version whose clients may send zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// The one batch of a partition in a Produce request of this version, checked. Null records are no batch.
///
/// Its header has the largest timestamp that its records have, if they show it without being unpacked: limits on
/// timestamps, retention and searches by time go by it. Kafka's `LogValidator` sets it as well.
pub fn produced_batch(records: Option<Bytes>, version: i16) -> Result<Batch, BatchError> {
    let mut batches = Batch::split_all(records.unwrap_or_default())?;
    match (batches.pop(), batches.len()) {
        (Some(batch), 0) => {
            let timestamps = check(&batch)?;
            if version < ZSTD_FROM && batch.header.compression()? == Compression::Zstd {
                return Err(BatchError::ZstdTooEarly);
            }
            match timestamps.map(|timestamps| timestamps.latest) {
                Some(latest) if latest != batch.header.max_timestamp => Ok(batch.with_max_timestamp(latest)),
                _ => Ok(batch),
            }
        }
        (last, others) => Err(BatchError::NotOneBatch(others + usize::from(last.is_some()))),
    }
}

/// Checks what a client must not send though its bytes are in order.
pub fn validate_produce(batch: &Batch) -> Result<(), BatchError> {
    check(batch).map(drop)
}

fn check(batch: &Batch) -> Result<Option<Timestamps>, BatchError> {
    let header = &batch.header;
    header.compression()?;
    if header.record_count <= 0 {
        return Err(BatchError::BadCount(header.record_count));
    }
    if header.last_offset_delta != header.record_count - 1 {
        return Err(BatchError::BadOffsetDelta(header.last_offset_delta));
    }
    if header.is_control() {
        return Err(BatchError::Control);
    }
    if header.timestamp_type() == TimestampType::LogAppend {
        return Err(BatchError::LogAppendTime);
    }
    let valid_producer = match header.producer_id {
        // Epoch and sequence mean nothing then: librdkafka sends -1 and -1, sarama -1 and 0, kafkajs 0 and 0.
        ProducerId::NONE => !header.is_transactional(),
        id => id.is_some() && header.producer_epoch.0 >= 0 && header.base_sequence.0 >= 0,
    };
    if !valid_producer {
        return Err(BatchError::BadProducer);
    }
    walk::check(header, &batch.bytes.slice(HEADER_LEN..))
}
