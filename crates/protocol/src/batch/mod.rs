//! Record batches, format v2 (magic 2): reading headers without touching records, cutting concatenated batches apart,
//! checking CRCs, and giving a batch its offsets. A batch's records stay the bytes that the producer sent.

mod error;
mod header;
mod plain;
mod records;
mod scan;
mod validate;

use bytes::Bytes;

pub use error::BatchError;
pub use header::{BatchHeader, TimestampType, HEADER_LEN};
pub use records::{
    build_batch, decode_records, BatchOptions, Header, Record, RecordError, Records, DECOMPRESSED_MAX,
};
pub use scan::{scan_records, RecordInfo, UNPACKED_MAX};
pub use validate::{produced_batch, validate_records};

use crate::types::{LeaderEpoch, Offset};

/// One whole batch whose CRC has been checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The batch's header, as it is in `bytes`.
    pub header: BatchHeader,
    /// The whole batch, header included.
    pub bytes: Bytes,
}

impl Batch {
    /// Cuts `records` into its batches and checks each one's CRC. The batches share the memory of `records`.
    pub fn split_all(records: Bytes) -> Result<Vec<Batch>, BatchError> {
        let mut batches = Vec::with_capacity(1);
        let mut at = 0;
        for item in BatchIter::new(&records) {
            let (header, bytes) = item?;
            header::check_crc(&header, bytes)?;
            batches.push(Batch { header, bytes: records.slice(at..at + bytes.len()) });
            at += bytes.len();
        }
        Ok(batches)
    }

    /// The batch as one whose records carry the time of their creation, the largest of them `latest` (Unix ms): Kafka's
    /// `DefaultRecordBatch.setMaxTimestamp`. In memory of its own if its header said otherwise.
    pub fn with_create_time(self, latest: i64) -> Batch {
        let mut header = self.header;
        header.set_create_time(latest);
        if header == self.header {
            return self;
        }
        let records = &self.bytes[HEADER_LEN..];
        header.crc = header.crc_with(records);
        Batch { header, bytes: [&header.encode()[..], records].concat().into() }
    }

    /// The batch with its final offset and epoch: a new header, and the untouched rest. Neither is under the CRC
    /// (which starts at the attributes), so it is computed again only for `log_append_time` (Unix ms), which sets the
    /// timestamp type and the largest timestamp as Kafka's `DefaultRecordBatch.setMaxTimestamp` does.
    pub fn patched(&self, base: Offset, epoch: LeaderEpoch, log_append_time: Option<i64>) -> [Bytes; 2] {
        let rest = self.bytes.slice(HEADER_LEN..);
        let mut header = BatchHeader { base_offset: base, leader_epoch: epoch, ..self.header };
        if let Some(time) = log_append_time {
            header.set_log_append_time(time);
            header.crc = header.crc_with(&rest);
        }
        [Bytes::copy_from_slice(&header.encode()), rest]
    }
}

/// The batches in concatenated bytes, in order. After an error there is nothing more. CRCs are not checked here.
#[derive(Clone, Debug)]
pub struct BatchIter<'a> {
    rest: &'a [u8],
}

impl<'a> BatchIter<'a> {
    /// Over `bytes`, which start at a batch's first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        BatchIter { rest: bytes }
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        Some(BatchHeader::parse(rest).and_then(|header| {
            let need = header.total_len();
            let Some((batch, rest)) = rest.split_at_checked(need) else {
                return Err(BatchError::Truncated { have: rest.len(), need });
            };
            self.rest = rest;
            Ok((header, batch))
        }))
    }
}

/// Checks the CRC-32C of the first batch in `batch` (bytes after it are not looked at).
pub fn verify_crc(batch: &[u8]) -> Result<(), BatchError> {
    match BatchIter::new(batch).next() {
        None => Err(BatchError::Truncated { have: 0, need: HEADER_LEN }),
        Some(first) => first.and_then(|(header, bytes)| header::check_crc(&header, bytes)),
    }
}

#[cfg(test)]
mod tests;
