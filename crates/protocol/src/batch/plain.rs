//! The records of one batch as a stream of plain bytes, unpacked as they are read: in memory is a chunk of them, however
//! many there are.

use bytes::{BufMut, Bytes, BytesMut};

use super::{BatchHeader, RecordError, HEADER_LEN};
use crate::compression::{Compression, DecompressError, Decompressor};
use crate::wire::WireError;

/// What is unpacked at once at most, in bytes.
const CHUNK_MAX: usize = 64 << 10;
const CHUNK_MIN: usize = 1 << 10;
/// What short records unpack to for each byte, or nearly: a chunk need not be larger.
const RATIO: usize = 8;

/// A cursor over a batch's records.
pub(super) struct Plain {
    source: Source,
    /// Where the cursor stands in the chunk.
    at: usize,
    /// Bytes before the chunk.
    passed: u64,
    /// Bytes that may be unpacked.
    limit: u64,
}

enum Source {
    /// Records that are not compressed are one chunk.
    Whole(Bytes),
    Packed {
        decoder: Box<Decompressor>,
        chunk: Box<[u8]>,
        len: usize,
    },
}

/// Why there are no more bytes.
#[derive(Debug)]
pub(super) enum PlainError {
    /// They end, or are not what they should be.
    Wire(WireError),
    /// They do not unpack, or to more than the limit.
    Decompress(DecompressError),
}

impl From<WireError> for PlainError {
    fn from(error: WireError) -> Self {
        PlainError::Wire(error)
    }
}

impl PlainError {
    /// The error for the record with this index.
    pub(super) fn at(self, index: i32) -> RecordError {
        match self {
            PlainError::Wire(source) => RecordError::Malformed { index, source },
            PlainError::Decompress(error) => error.into(),
        }
    }
}

impl Plain {
    /// The records of `batch`, whose header is `header`; at most `limit` bytes of them.
    pub(super) fn new(header: &BatchHeader, batch: &Bytes, limit: u64) -> Result<Plain, RecordError> {
        let packed = batch.slice(HEADER_LEN.min(batch.len())..);
        let source = match header.compression()? {
            Compression::None if packed.len() as u64 > limit => {
                return Err(DecompressError::TooLarge { limit }.into());
            }
            Compression::None => Source::Whole(packed),
            codec => {
                let chunk = packed.len().saturating_mul(RATIO).clamp(CHUNK_MIN, CHUNK_MAX);
                let decoder = Box::new(Decompressor::new(codec, packed)?);
                Source::Packed { decoder, chunk: vec![0; chunk].into(), len: 0 }
            }
        };
        Ok(Plain { source, at: 0, passed: 0, limit })
    }

    /// Bytes before the cursor.
    pub(super) fn position(&self) -> u64 {
        self.passed + self.at as u64
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        match &self.source {
            Source::Whole(bytes) => bytes,
            Source::Packed { chunk, len, .. } => &chunk[..*len],
        }
    }

    /// Brings the next chunk, once the cursor is at the end of this one. False if there is none.
    #[cold]
    fn refill(&mut self) -> Result<bool, PlainError> {
        let Source::Packed { decoder, chunk, len } = &mut self.source else { return Ok(false) };
        let read = decoder.read(chunk).map_err(PlainError::Decompress)?;
        if read > 0 {
            self.passed += *len as u64;
            (self.at, *len) = (0, read);
        }
        if self.passed + *len as u64 > self.limit {
            return Err(PlainError::Decompress(DecompressError::TooLarge { limit: self.limit }));
        }
        Ok(read > 0)
    }

    /// Whether the cursor is behind the last byte.
    pub(super) fn at_end(&mut self) -> Result<bool, PlainError> {
        Ok(self.at == self.chunk().len() && !self.refill()?)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, PlainError> {
        if let Some(byte) = self.chunk().get(self.at) {
            let byte = *byte;
            self.at += 1;
            return Ok(byte);
        }
        match self.refill()? {
            true => self.byte(),
            false => Err(WireError::Truncated.into()),
        }
    }

    /// A zigzag varint of 64 bits (ten bytes at most).
    #[inline]
    pub(super) fn varlong(&mut self) -> Result<i64, PlainError> {
        let mut value = 0u64;
        for i in 0..10 {
            let byte = self.byte()?;
            if i == 9 && byte > 1 {
                return Err(WireError::BadVarint.into());
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(((value >> 1) as i64) ^ -((value & 1) as i64));
            }
        }
        Err(WireError::BadVarint.into())
    }

    /// A zigzag varint of 32 bits (five bytes at most).
    #[inline]
    pub(super) fn varint(&mut self) -> Result<i32, PlainError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            if shift == 28 && byte > 0x0f {
                return Err(WireError::BadVarint.into());
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(((value >> 1) as i32) ^ -((value & 1) as i32));
            }
        }
        Err(WireError::BadVarint.into())
    }

    /// A length that is not negative.
    #[inline]
    pub(super) fn length(&mut self) -> Result<u64, PlainError> {
        u64::try_from(self.varint()?).map_err(|_| WireError::NegativeLength.into())
    }

    /// Passes over `len` bytes.
    #[inline]
    pub(super) fn skip(&mut self, mut len: u64) -> Result<(), PlainError> {
        loop {
            let here = (self.chunk().len() - self.at) as u64;
            if len <= here {
                self.at += len as usize;
                return Ok(());
            }
            self.at = self.chunk().len();
            len -= here;
            if !self.refill()? {
                return Err(WireError::Truncated.into());
            }
        }
    }

    /// The next `len` bytes. Memory is taken for what is there, not for what `len` says.
    pub(super) fn take(&mut self, len: u64) -> Result<Bytes, PlainError> {
        if let Source::Whole(bytes) = &self.source {
            let bytes = bytes.clone();
            let from = self.at;
            self.skip(len)?;
            return Ok(bytes.slice(from..self.at));
        }
        let mut taken = BytesMut::new();
        let mut left = len;
        loop {
            let here = &self.chunk()[self.at..];
            let some = left.min(here.len() as u64) as usize;
            taken.put_slice(&here[..some]);
            self.at += some;
            left -= some as u64;
            if left == 0 {
                return Ok(taken.freeze());
            }
            if !self.refill()? {
                return Err(WireError::Truncated.into());
            }
        }
    }
}
