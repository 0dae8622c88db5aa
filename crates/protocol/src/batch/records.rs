//! Writing a batch from records, and reading a batch's records. The broker itself moves batches undecoded; this is for
//! its own topics, for tools and for clients. Kafka allows one record to carry several headers of one name, which the
//! `kafka-protocol` crate's map of headers cannot hold; and its reader reserves memory by counts that it has not checked.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;

use super::header::{check_crc, TimestampType};
use super::plain::Plain;
use super::{BatchError, BatchHeader, BatchIter, HEADER_LEN};
use crate::compression::{compress, Compression, DecompressError};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use crate::wire::{put_uvarint, put_varint, put_varlong, Reader, WireError};

/// What a batch may decompress to when [`decode_records`] reads it, in bytes: far above any sensible batch (the default
/// of `max.message.bytes` is 1 MiB compressed), far below a node's memory.
pub const DECOMPRESSED_MAX: u64 = 128 << 20;

/// One record: Kafka's "message".
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Its place in the partition; not read when a batch is built.
    pub offset: Offset,
    /// Unix ms.
    pub timestamp: i64,
    /// What compaction and partitioning go by.
    pub key: Option<Bytes>,
    /// The payload; none is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in order; a name may occur more than once.
    pub headers: Vec<Header>,
}

/// One header of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The header's name.
    pub key: StrBytes,
    /// Its value.
    pub value: Option<Bytes>,
}

/// What a batch says of itself beyond its records. The default is an uncompressed batch as a plain producer sends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchOptions {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Epoch of the leader that appends it.
    pub leader_epoch: LeaderEpoch,
    /// How the records are compressed.
    pub compression: Compression,
    /// The producer, if it is idempotent.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: Sequence,
    /// Whether it is part of a transaction.
    pub transactional: bool,
    /// Whether it holds control records.
    pub control: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        BatchOptions {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::NONE,
            compression: Compression::None,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            transactional: false,
            control: false,
        }
    }
}

/// Why records were not read, or a batch not built.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The batch around them is wrong.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// They do not decompress.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// A record is not one.
    #[error("record {index} of the batch is malformed: {source}")]
    Malformed {
        /// Which record, from 0.
        index: i32,
        /// What is wrong with it.
        source: WireError,
    },
    /// A record's own length disagrees with its content.
    #[error("record {0} of the batch does not fill its length")]
    Length(i32),
    /// A record's timestamp or offset is past its type.
    #[error("record {0} of the batch has an offset or a timestamp out of range")]
    OutOfRange(i32),
    /// Bytes follow the last record that the header counts.
    #[error("bytes follow the last record")]
    TrailingBytes,
    /// A batch to be built has no records, or more than fit a batch's fields.
    #[error("{0} records of {1} bytes do not make a batch")]
    Unbuildable(usize, usize),
    /// A codec's library failed to compress.
    #[error("cannot compress: {0}")]
    Compress(#[from] io::Error),
}

/// Writes `records` as one batch, numbered from `options.base_offset` in their order.
pub fn build_batch(records: &[Record], options: BatchOptions) -> Result<Bytes, RecordError> {
    let base_timestamp = records.first().map_or(0, |record| record.timestamp);
    let max_timestamp = records.iter().map(|record| record.timestamp).max().unwrap_or(0);
    let mut plain = BytesMut::new();
    let mut body = BytesMut::new();
    for (delta, record) in records.iter().enumerate() {
        let delta = i32::try_from(delta).map_err(|_| RecordError::Unbuildable(records.len(), plain.len()))?;
        let timestamp_delta =
            record.timestamp.checked_sub(base_timestamp).ok_or(RecordError::OutOfRange(delta))?;
        put_record(&mut body, record, timestamp_delta, delta);
        put_varint(&mut plain, length_of(&body).ok_or(RecordError::Unbuildable(records.len(), body.len()))?);
        plain.extend_from_slice(&body);
        body.clear();
    }
    let packed = match options.compression {
        Compression::None => plain,
        codec => compress(codec, &plain)?,
    };
    let unbuildable = || RecordError::Unbuildable(records.len(), packed.len());
    let record_count = i32::try_from(records.len()).map_err(|_| unbuildable())?;
    let packed_len = length_of(&packed).ok_or_else(unbuildable)?;
    if record_count == 0 {
        return Err(unbuildable());
    }
    let mut header = BatchHeader {
        base_offset: options.base_offset,
        length: 0,
        leader_epoch: options.leader_epoch,
        magic: BatchHeader::MAGIC,
        crc: 0,
        attributes: BatchHeader::attributes_of(options.compression, options.transactional, options.control),
        last_offset_delta: record_count - 1,
        base_timestamp,
        max_timestamp,
        producer_id: options.producer_id,
        producer_epoch: options.producer_epoch,
        base_sequence: options.base_sequence,
        record_count,
    };
    header.set_records_len(packed_len);
    header.crc = header.crc_with(&packed);
    let mut batch = BytesMut::with_capacity(HEADER_LEN + packed.len());
    batch.extend_from_slice(&header.encode());
    batch.extend_from_slice(&packed);
    Ok(batch.freeze())
}

/// A length that leaves a batch's own length field room for the header.
fn length_of(bytes: &BytesMut) -> Option<i32> {
    i32::try_from(bytes.len()).ok().filter(|len| *len <= i32::MAX - HEADER_LEN as i32)
}

fn put_record(buf: &mut BytesMut, record: &Record, timestamp_delta: i64, offset_delta: i32) {
    buf.put_i8(0);
    put_varlong(buf, timestamp_delta);
    put_varint(buf, offset_delta);
    put_field(buf, record.key.as_deref());
    put_field(buf, record.value.as_deref());
    put_varint(buf, record.headers.len() as i32);
    for header in &record.headers {
        put_field(buf, Some(header.key.as_bytes()));
        put_field(buf, header.value.as_deref());
    }
}

fn put_field(buf: &mut BytesMut, field: Option<&[u8]>) {
    match field {
        // -1 as a zigzag varint.
        None => put_uvarint(buf, 1),
        Some(bytes) => {
            put_varint(buf, bytes.len() as i32);
            buf.extend_from_slice(bytes);
        }
    }
}

/// The records of the one batch in `batch`, whose CRC is checked; at most [`DECOMPRESSED_MAX`] bytes of them. All of them
/// in memory at once may take thirty times their bytes: see [`Records`].
pub fn decode_records(batch: &[u8]) -> Result<Vec<Record>, RecordError> {
    Records::of(Bytes::copy_from_slice(batch), DECOMPRESSED_MAX)?.collect()
}

/// The records of one batch, one after the other. In memory are the current one and a chunk of what follows; those that
/// are not compressed share the batch's memory. After an error there is nothing more.
pub struct Records {
    header: BatchHeader,
    plain: Plain,
    next: i32,
    ended: bool,
}

impl Records {
    /// The records of the one batch in `batch`, whose CRC is checked; at most `limit` bytes of them are unpacked.
    pub fn of(batch: Bytes, limit: u64) -> Result<Records, RecordError> {
        let (header, len) = match BatchIter::new(&batch).next() {
            Some(first) => first.map(|(header, bytes)| (header, bytes.len()))?,
            None => return Err(BatchError::Truncated { have: 0, need: HEADER_LEN }.into()),
        };
        if len < batch.len() {
            return Err(RecordError::TrailingBytes);
        }
        check_crc(&header, &batch)?;
        Ok(Records { header, plain: Plain::new(&header, &batch, limit)?, next: 0, ended: false })
    }

    fn read(&mut self, index: i32) -> Result<Record, RecordError> {
        let len = self.plain.length().map_err(|error| error.at(index))?;
        let body = self.plain.take(len).map_err(|error| error.at(index))?;
        let mut reader = Reader::new(&body);
        let source = |source| RecordError::Malformed { index, source };
        let (offset_delta, timestamp_delta, record) = read_record(&mut reader).map_err(source)?;
        if reader.remaining() > 0 {
            return Err(RecordError::Length(index));
        }
        place(record, &self.header, offset_delta, timestamp_delta).ok_or(RecordError::OutOfRange(index))
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let index = self.next;
        let item = if index < self.header.record_count {
            self.next += 1;
            Some(self.read(index))
        } else {
            match self.plain.at_end() {
                Ok(true) => None,
                Ok(false) => Some(Err(RecordError::TrailingBytes)),
                Err(error) => Some(Err(error.at(index))),
            }
        };
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

/// A record with its absolute offset and timestamp, by its batch's header.
fn place(
    mut record: Record,
    header: &BatchHeader,
    offset_delta: i32,
    timestamp_delta: i64,
) -> Option<Record> {
    if !(0..=header.last_offset_delta).contains(&offset_delta) {
        return None;
    }
    record.offset = header.base_offset.plus(i64::from(offset_delta));
    record.timestamp = match header.timestamp_type() {
        TimestampType::LogAppend => header.max_timestamp,
        TimestampType::Creation => header.base_timestamp.checked_add(timestamp_delta)?,
    };
    Some(record)
}

fn read_record(reader: &mut Reader<'_>) -> Result<(i32, i64, Record), WireError> {
    reader.take(1)?; // attributes: none are defined
    let timestamp_delta = reader.varlong()?;
    let offset_delta = reader.varint()?;
    let key = read_field(reader)?;
    let value = read_field(reader)?;
    let count = usize::try_from(reader.varint()?).map_err(|_| WireError::NegativeLength)?;
    // A header takes at least two bytes, so a count that passes this is paid for in bytes.
    if count > reader.remaining() / 2 {
        return Err(WireError::Truncated);
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let key = read_field(reader)?.ok_or(WireError::NegativeLength)?;
        let key = StrBytes::from_utf8(key).map_err(|_| WireError::BadUtf8)?;
        headers.push(Header { key, value: read_field(reader)? });
    }
    Ok((offset_delta, timestamp_delta, Record { offset: Offset::NONE, timestamp: 0, key, value, headers }))
}

fn read_field(reader: &mut Reader<'_>) -> Result<Option<Bytes>, WireError> {
    match reader.varint()? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| WireError::NegativeLength)?;
            reader.take_bytes(len).map(Some)
        }
    }
}
