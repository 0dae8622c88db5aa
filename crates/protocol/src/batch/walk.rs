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

/// Checks the bytes behind the header.
pub(super) fn check(header: &BatchHeader, records: &Bytes) -> Result<(), BatchError> {
    let begins = |magic: &[u8]| records.starts_with(magic);
    let of_its_codec = match header.compression()? {
        Compression::None => return walk(header.record_count, records),
        Compression::Gzip => begins(GZIP),
        Compression::Snappy => !records.is_empty(),
        Compression::Lz4 => begins(LZ4_FRAME),
        Compression::Zstd => begins(ZSTD) || records.get(1..4) == Some(ZSTD_SKIPPED),
    };
    of_its_codec.then_some(()).ok_or(BatchError::NotOfCodec)
}

/// Walks through `count` records, numbered from 0, which take all of the bytes.
fn walk(count: i32, records: &Bytes) -> Result<(), BatchError> {
    let mut reader = Reader::new(records);
    for index in 0..count {
        let malformed = |_: WireError| BatchError::BadRecord(index);
        let len = length(&mut reader).map_err(malformed)?;
        let end = reader.position().saturating_add(len);
        let delta = skip_record(&mut reader).map_err(malformed)?;
        if reader.position() != end || delta != index {
            return Err(BatchError::BadRecord(index));
        }
    }
    match reader.remaining() {
        0 => Ok(()),
        _ => Err(BatchError::BadCount(count)),
    }
}

/// Skips one record behind its length; gives its offset delta.
fn skip_record(reader: &mut Reader<'_>) -> Result<i32, WireError> {
    reader.take(1)?;
    reader.varlong()?;
    let delta = reader.varint()?;
    skip_field(reader)?;
    skip_field(reader)?;
    for _ in 0..length(reader)? {
        let key = length(reader)?;
        reader.take(key)?;
        skip_field(reader)?;
    }
    Ok(delta)
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
