//! The 61 bytes before a batch's records, and what they say. Layout: Kafka's `DefaultRecordBatch`.

use super::BatchError;
use crate::compression::Compression;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

pub use kafka_protocol::records::TimestampType;

/// Length of a batch's header, in bytes.
pub const HEADER_LEN: usize = 61;
/// `base_offset` and `length`, which the length field does not count.
const LENGTH_OVERHEAD: usize = 12;
/// Where the bytes under the CRC begin: at the attributes.
const CRC_FROM: usize = 21;
const MAGIC_AT: usize = 16;
const MAGIC: i8 = 2;

const COMPRESSION_MASK: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// A batch's header, field by field in wire order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Offset of the first record; 0 from a producer, until the leader assigns it.
    pub base_offset: Offset,
    /// Bytes after this field.
    pub length: i32,
    /// Epoch of the leader that appended the batch.
    pub leader_epoch: LeaderEpoch,
    /// Always 2.
    pub magic: i8,
    /// CRC-32C of all from `attributes` on.
    pub crc: u32,
    /// Compression, timestamp type and flags.
    pub attributes: i16,
    /// Offset of the last record, from `base_offset`.
    pub last_offset_delta: i32,
    /// Timestamp of the first record (Unix ms), or the delete horizon of a compacted batch.
    pub base_timestamp: i64,
    /// Largest timestamp of the records (Unix ms), or the time of the append.
    pub max_timestamp: i64,
    /// Who produced it; -1 without idempotence.
    pub producer_id: ProducerId,
    /// The producer's epoch; -1 without idempotence.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record; -1 without idempotence.
    pub base_sequence: Sequence,
    /// How many records there are; fewer than the offsets it spans if the batch was compacted.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which may end before the batch does. Checks what does not depend on
    /// who wrote it: magic, length, and that its offsets are offsets.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        // Formats v0 and v1 have their magic in the same place, and may be shorter than a v2 header.
        if let Some(&magic) = bytes.get(MAGIC_AT) {
            if magic as i8 != MAGIC {
                return Err(BatchError::BadMagic(magic as i8));
            }
        }
        let Some(fields) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(BatchError::Truncated { have: bytes.len(), need: HEADER_LEN });
        };
        let header = BatchHeader::from_fields(fields);
        if usize::try_from(header.length).map_or(true, |len| len + LENGTH_OVERHEAD < HEADER_LEN) {
            return Err(BatchError::BadLength(header.length));
        }
        if header.base_offset.0 < 0 {
            return Err(BatchError::BadBaseOffset(header.base_offset.0));
        }
        let next = header.base_offset.0.checked_add(i64::from(header.last_offset_delta) + 1);
        if header.last_offset_delta < 0 || next.is_none() {
            return Err(BatchError::BadOffsetDelta(header.last_offset_delta));
        }
        if header.record_count < 0 {
            return Err(BatchError::BadCount(header.record_count));
        }
        Ok(header)
    }

    fn from_fields(fields: &[u8; HEADER_LEN]) -> BatchHeader {
        fn at<const N: usize>(fields: &[u8; HEADER_LEN], from: usize) -> [u8; N] {
            let mut bytes = [0; N];
            bytes.copy_from_slice(&fields[from..from + N]);
            bytes
        }
        BatchHeader {
            base_offset: Offset(i64::from_be_bytes(at(fields, 0))),
            length: i32::from_be_bytes(at(fields, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(at(fields, 12))),
            magic: fields[MAGIC_AT] as i8,
            crc: u32::from_be_bytes(at(fields, 17)),
            attributes: i16::from_be_bytes(at(fields, CRC_FROM)),
            last_offset_delta: i32::from_be_bytes(at(fields, 23)),
            base_timestamp: i64::from_be_bytes(at(fields, 27)),
            max_timestamp: i64::from_be_bytes(at(fields, 35)),
            producer_id: ProducerId(i64::from_be_bytes(at(fields, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(at(fields, 51))),
            base_sequence: Sequence(i32::from_be_bytes(at(fields, 53))),
            record_count: i32::from_be_bytes(at(fields, 57)),
        }
    }

    /// The header's bytes, with the CRC as it stands in the field.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut fields = [0; HEADER_LEN];
        fields[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        fields[8..12].copy_from_slice(&self.length.to_be_bytes());
        fields[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        fields[MAGIC_AT] = self.magic as u8;
        fields[17..21].copy_from_slice(&self.crc.to_be_bytes());
        fields[CRC_FROM..23].copy_from_slice(&self.attributes.to_be_bytes());
        fields[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        fields[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        fields[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        fields[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        fields[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        fields[53..57].copy_from_slice(&self.base_sequence.0.to_be_bytes());
        fields[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        fields
    }

    /// What the CRC is of this header before `records`, the bytes after it.
    pub(super) fn crc_with(&self, records: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.encode()[CRC_FROM..]), records)
    }

    /// Length of the whole batch, in bytes.
    pub fn total_len(&self) -> usize {
        LENGTH_OVERHEAD + self.length.max(0) as usize
    }

    /// Sets the length field for `records_len` bytes after the header.
    pub(super) fn set_records_len(&mut self, records_len: i32) {
        self.length = (HEADER_LEN - LENGTH_OVERHEAD) as i32 + records_len;
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// Offset after the last record.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Sequence of the last record; none if the batch has no producer id or no sequence (control batches).
    pub fn last_sequence(&self) -> Sequence {
        if self.producer_id.is_some() && self.base_sequence.0 >= 0 {
            self.base_sequence.plus(self.last_offset_delta)
        } else {
            Sequence::NONE
        }
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let code = (self.attributes & COMPRESSION_MASK) as u8;
        Compression::from_code(code).ok_or(BatchError::BadCompression(code))
    }

    /// Whether timestamps are the producer's or the time of the append.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & LOG_APPEND_TIME {
            0 => TimestampType::Creation,
            _ => TimestampType::LogAppend,
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the batch's records are markers for consumers, not data.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(super) fn set_log_append_time(&mut self, time_ms: i64) {
        self.attributes |= LOG_APPEND_TIME;
        self.max_timestamp = time_ms;
    }

    pub(super) fn set_create_time(&mut self, latest_ms: i64) {
        self.attributes &= !LOG_APPEND_TIME;
        self.max_timestamp = latest_ms;
    }

    pub(super) fn attributes_of(compression: Compression, transactional: bool, control: bool) -> i16 {
        let mut attributes = i16::from(compression.code());
        if transactional {
            attributes |= TRANSACTIONAL;
        }
        if control {
            attributes |= CONTROL;
        }
        attributes
    }

    /// Magic of every batch that this crate writes.
    pub(super) const MAGIC: i8 = MAGIC;
}

/// Checks the CRC of `batch`, a whole batch with this header.
pub(super) fn check_crc(header: &BatchHeader, batch: &[u8]) -> Result<(), BatchError> {
    let actual = crc32c::crc32c(&batch[CRC_FROM..]);
    if actual == header.crc {
        Ok(())
    } else {
        Err(BatchError::CrcMismatch { expected: header.crc, actual })
    }
}
