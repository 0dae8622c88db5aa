//! What can be wrong with a record batch, and the code by which a client hears of it.

use thiserror::Error;

use crate::types::ErrorCode;

/// A fact about a batch that keeps it out of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch needs {need} bytes and has {have}")]
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that the batch (or its header) takes.
        need: usize,
    },
    /// Not format v2. 0 and 1 are the formats that Kafka 4 no longer accepts (KIP-724).
    #[error("magic {0} is not supported")]
    BadMagic(i8),
    /// The length field is smaller than a header, or negative.
    #[error("the batch length {0} is smaller than a header")]
    BadLength(i32),
    /// The content is not what its producer sent.
    #[error("the CRC is {actual:#010x}, the header says {expected:#010x}")]
    CrcMismatch {
        /// What the header says.
        expected: u32,
        /// What the bytes give.
        actual: u32,
    },
    /// The record count is negative, or zero where it may not be.
    #[error("the record count {0} is invalid")]
    BadCount(i32),
    /// The last offset delta is negative or carries the offset past its type, or disagrees with the record count.
    #[error("the last offset delta {0} is invalid")]
    BadOffsetDelta(i32),
    /// A base offset below zero.
    #[error("the base offset {0} is negative")]
    BadBaseOffset(i64),
    /// A compression code that no codec has.
    #[error("compression {0} is unknown")]
    BadCompression(u8),
    /// A request with no batch, or more than one, for a partition (Produce 3 and later take exactly one).
    #[error("a produce request carries exactly one batch for a partition, not {0}")]
    NotOneBatch(usize),
    /// A control batch from a client: only brokers write them.
    #[error("clients are not allowed to write control records")]
    Control,
    /// A producer id without an epoch or a sequence, a transaction without a producer id, or an id below -1.
    #[error("the batch has an invalid producer id, epoch or sequence")]
    BadProducer,
    /// A record that is not laid out as one, or not numbered as the next.
    #[error("record {0} of the batch is malformed")]
    BadRecord(i32),
    /// The records do not decompress: they are compressed by another codec than the header says, or by none, or damaged.
    #[error("the records are not of the compression that the batch's attributes name")]
    NotOfCodec,
    /// The records decompress to more than a batch can hold.
    #[error("the records decompress to more than {0} bytes")]
    Oversized(u64),
    /// zstd in a request older than Produce 7 (KIP-110): a consumer of that age could not read it.
    #[error("zstd needs Produce version 7 or later")]
    ZstdTooEarly,
}

impl BatchError {
    /// The code that Kafka 4 answers to a producer (`ProduceRequest.validateRecords`, `LogValidator`,
    /// `ByteBufferLogInputStream`). CORRUPT_MESSAGE is retriable, so it stands only for what another try may mend.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            BatchError::BadMagic(0 | 1) => ErrorCode::InvalidRecord,
            BatchError::BadMagic(_) | BatchError::BadLength(_) | BatchError::CrcMismatch { .. } => {
                ErrorCode::CorruptMessage
            }
            BatchError::Truncated { .. }
            | BatchError::BadCount(_)
            | BatchError::BadOffsetDelta(_)
            | BatchError::BadBaseOffset(_)
            | BatchError::NotOneBatch(_)
            | BatchError::Control
            | BatchError::BadRecord(_)
            | BatchError::NotOfCodec
            | BatchError::Oversized(_)
            | BatchError::BadProducer => ErrorCode::InvalidRecord,
            BatchError::BadCompression(_) | BatchError::ZstdTooEarly => ErrorCode::UnsupportedCompressionType,
        }
    }

    /// Which record of the batch is wrong, from 0, if it is one (KIP-467).
    pub fn record_index(&self) -> Option<i32> {
        match self {
            BatchError::BadRecord(index) => Some(*index),
            _ => None,
        }
    }

    /// Whether Kafka finds it in the request, before the partition is asked (`ProduceRequest.validateRecords`).
    pub fn is_of_request(&self) -> bool {
        matches!(self, BatchError::NotOneBatch(_) | BatchError::BadMagic(0 | 1) | BatchError::ZstdTooEarly)
    }
}
