//! Whether the records of a batch are what its header says, as far as that shows without unpacking them. A batch that
//! consumers cannot read would stop each of them at its offset (Kafka: `LogValidator`, which unpacks as well).

use bytes::Bytes;

use super::{BatchError, BatchHeader};
use crate::compression::Compression;
use crate::wire::{Reader, WireError};

/// The first bytes of what a codec writes. Snappy's raw format has none.
const GZIP: &[u8] = &[0x1f, 0x8b];
const LZ4_FRAME: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A frame that zstd skips: its first byte is any of sixteen.
const ZSTD_SKIPPED: &[u8] = &[0x2a, 0x4d, 0x18];

/// Kafka's `RecordBatch.NO_TIMESTAMP`.
pub(super) const NO_TIMESTAMP: i64 = -1;

/// What the timestamps of records are, as far as they are known without unpacking: a record without one has -1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Timestamps {
    /// `None` if no record has any.
    pub earliest: Option<i64>,
    /// -1 at the least, as Kafka has it.
    pub latest: i64,
}

/// Checks the bytes behind the header. Gives the timestamps of records that are not compressed.
pub(super) fn check(header: &BatchHeader, records: &Bytes) -> Result<Option<Timestamps>, BatchError> {
    let begins = |magic: &[u8]| records.starts_with(magic);
    let of_its_codec = match header.compression()? {
        Compression::None => return walk(header, records).map(Some),
        Compression::Gzip => begins(GZIP),
        Compression::Snappy => !records.is_empty(),
        Compression::Lz4 => begins(LZ4_FRAME),
        Compression::Zstd => begins(ZSTD) || records.get(1..4) == Some(ZSTD_SKIPPED),
    };
    of_its_codec.then_some(None).ok_or(BatchError::NotOfCodec)
}

/// Walks through the records that the header counts, numbered from 0, which take all of the bytes.
fn walk(header: &BatchHeader, records: &Bytes) -> Result<Timestamps, BatchError> {
    let mut reader = Reader::new(records);
    let mut found = Timestamps { earliest: None, latest: NO_TIMESTAMP };
    for index in 0..header.record_count {
        let malformed = |_: WireError| BatchError::BadRecord(index);
        let len = length(&mut reader).map_err(malformed)?;
        let end = reader.position().saturating_add(len);
        let (timestamp_delta, delta) = skip_record(&mut reader).map_err(malformed)?;
        if reader.position() != end || delta != index {
            return Err(BatchError::BadRecord(index));
        }
        let timestamp = header.base_timestamp.checked_add(timestamp_delta);
        let timestamp = timestamp.ok_or(BatchError::BadRecord(index))?;
        if timestamp != NO_TIMESTAMP {
            found.earliest = Some(found.earliest.map_or(timestamp, |earliest| earliest.min(timestamp)));
            found.latest = found.latest.max(timestamp);
        }
    }
    match reader.remaining() {
        0 => Ok(found),
        _ => Err(BatchError::BadCount(header.record_count)),
    }
}

/// Skips one record behind its length; gives its timestamp delta and its offset delta.
fn skip_record(reader: &mut Reader<'_>) -> Result<(i64, i32), WireError> {
    reader.take(1)?;
    let timestamp_delta = reader.varlong()?;
    let delta = reader.varint()?;
    skip_field(reader)?;
    skip_field(reader)?;
    for _ in 0..length(reader)? {
        let key = length(reader)?;
        reader.take(key)?;
        skip_field(reader)?;
    }
    Ok((timestamp_delta, delta))
}

/// A length and so many bytes; none for -1.
fn skip_field(reader: &mut Reader<'_>) -> Result<(), WireError> {
    match reader.varint()? {
        -1 => Ok(()),
        len => reader.take(usize::try_from(len).map_err(|_| WireError::NegativeLength)?).map(|_| ()),
    }
}

fn length(reader: &mut Reader<'_>) -> Result<usize, WireError> {
    usize::try_from(reader.varint()?).map_err(|_| WireError::NegativeLength)
}
