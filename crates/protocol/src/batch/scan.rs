//! Iterating over a batch's records for what stands before their keys and values: nothing of them is kept, and whoever
//! has seen enough ends it.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::plain::{Plain, PlainError};
use super::{BatchHeader, RecordError};
use crate::compression::DecompressError;
use crate::wire::WireError;

/// The most that one batch may unpack to, in bytes: Kafka's clients hold a batch's records in one buffer, whose length
/// is a 32-bit number.
pub const UNPACKED_MAX: u64 = i32::MAX as u64;

/// One record without its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordInfo {
    /// Its place in the batch, from 0: the `batch_index` of a record's error (KIP-467).
    pub index: i32,
    /// Its offset, from the batch's base offset.
    pub offset_delta: i32,
    /// When it was created (Unix ms), also in a batch that carries the time of its append; -1 if it does not say.
    pub timestamp: i64,
    /// Whether it has a key.
    pub has_key: bool,
}

/// Shows each record of `batch`, whose header is `header`, to `visit`, until that breaks. At most `limit` bytes are
/// unpacked. The batch's CRC is not checked here.
pub fn scan_records(
    header: &BatchHeader,
    batch: &Bytes,
    limit: u64,
    mut visit: impl FnMut(&RecordInfo) -> ControlFlow<()>,
) -> Result<(), RecordError> {
    let mut plain = Plain::new(header, batch, limit)?;
    for index in 0..header.record_count {
        let record = next(&mut plain, index, header.base_timestamp)?;
        if visit(&record).is_break() {
            return Ok(());
        }
    }
    match plain.at_end() {
        Ok(true) => Ok(()),
        Ok(false) => Err(RecordError::TrailingBytes),
        Err(error) => Err(error.at(header.record_count)),
    }
}

impl RecordError {
    /// Whether there is more than the limit allows; nothing wrong was found up to there.
    pub fn is_over_limit(&self) -> bool {
        matches!(self, RecordError::Decompress(DecompressError::TooLarge { .. }))
    }
}

fn next(plain: &mut Plain, index: i32, base_timestamp: i64) -> Result<RecordInfo, RecordError> {
    let len = plain.length().map_err(|error| error.at(index))?;
    let end = plain.position() + len;
    let (timestamp_delta, offset_delta, has_key) = fields(plain, end).map_err(|error| error.at(index))?;
    if plain.position() != end {
        return Err(RecordError::Length(index));
    }
    let timestamp = base_timestamp.checked_add(timestamp_delta).ok_or(RecordError::OutOfRange(index))?;
    Ok(RecordInfo { index, offset_delta, timestamp, has_key })
}

/// The fields of a record that ends at `end`.
fn fields(plain: &mut Plain, end: u64) -> Result<(i64, i32, bool), PlainError> {
    plain.byte()?; // attributes: none are defined
    let timestamp_delta = plain.varlong()?;
    let offset_delta = plain.varint()?;
    let has_key = skip_field(plain, end)?;
    skip_field(plain, end)?;
    for _ in 0..plain.length()? {
        let key = plain.length()?;
        skip_within(plain, key, end)?;
        skip_field(plain, end)?;
    }
    Ok((timestamp_delta, offset_delta, has_key))
}

/// A length and so many bytes; -1 is none.
fn skip_field(plain: &mut Plain, end: u64) -> Result<bool, PlainError> {
    match plain.varint()? {
        -1 => Ok(false),
        len => {
            let len = u64::try_from(len).map_err(|_| WireError::NegativeLength)?;
            skip_within(plain, len, end).map(|()| true)
        }
    }
}

/// A field that reaches past its record is found before its bytes are unpacked.
fn skip_within(plain: &mut Plain, len: u64, end: u64) -> Result<(), PlainError> {
    if plain.position() + len > end {
        return Err(WireError::Truncated.into());
    }
    plain.skip(len)
}
