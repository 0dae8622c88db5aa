//! Reading and writing the protocol's primitive types: a cursor over a frame that hands out slices of it, checks each
//! length against the bytes that are there, and never reserves memory by what a length claims.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;

/// How bytes failed to be what the protocol says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum WireError {
    /// A field or an array reaches past the end.
    #[error("the message ends inside a field")]
    Truncated,
    /// A length below -1, or -1 where null is not allowed.
    #[error("a length is negative")]
    NegativeLength,
    /// A varint longer than its type allows.
    #[error("a varint is too long")]
    BadVarint,
    /// A string that is not UTF-8, and too long for what is not to be replaced.
    #[error("a string is not UTF-8")]
    BadUtf8,
    /// More elements than one request may carry.
    #[error("the message has too many elements")]
    TooManyElements,
    /// A tagged field that this version does not have, or whose size is not that of its content.
    #[error("a tagged field is malformed")]
    BadTag,
    /// Bytes after the end of the message.
    #[error("{0} bytes follow the end of the message")]
    TrailingBytes(usize),
}

/// The longest string of the protocol, in bytes.
const STRING_MAX: usize = i16::MAX as usize;

/// A cursor over one message.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a Bytes) -> Self {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `len` bytes, as a slice that borrows the message.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(len).ok_or(WireError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(WireError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    /// The next `len` bytes, as a handle that shares the message's memory.
    #[inline]
    pub(crate) fn take_bytes(&mut self, len: usize) -> Result<Bytes, WireError> {
        let start = self.at;
        self.take(len)?;
        Ok(self.bytes.slice(start..self.at))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| WireError::Truncated)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, WireError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<uuid::Uuid, WireError> {
        self.array().map(uuid::Uuid::from_bytes)
    }

    /// An unsigned varint of at most five bytes and 32 bits.
    #[inline]
    pub(crate) fn uvarint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = *self.take(1)?.first().ok_or(WireError::Truncated)?;
            if shift == 28 && byte > 0x0f {
                return Err(WireError::BadVarint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::BadVarint)
    }

    /// A zigzag varint of 64 bits (ten bytes at most), as record fields use.
    #[inline]
    pub(crate) fn varlong(&mut self) -> Result<i64, WireError> {
        let mut value = 0u64;
        for i in 0..10 {
            let byte = *self.take(1)?.first().ok_or(WireError::Truncated)?;
            if i == 9 && byte > 1 {
                return Err(WireError::BadVarint);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(((value >> 1) as i64) ^ -((value & 1) as i64));
            }
        }
        Err(WireError::BadVarint)
    }

    /// A zigzag varint of 32 bits (five bytes at most), as record fields use.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<i32, WireError> {
        let value = self.uvarint()?;
        Ok(((value >> 1) as i32) ^ -((value & 1) as i32))
    }

    /// The length of a string; `None` is null.
    pub(crate) fn string_len(&mut self, flexible: bool) -> Result<Option<usize>, WireError> {
        if flexible {
            return self.compact_len();
        }
        match self.i16()? {
            -1 => Ok(None),
            n => usize::try_from(n).map(Some).map_err(|_| WireError::NegativeLength),
        }
    }

    /// The length of a byte field or the count of an array; `None` is null.
    pub(crate) fn long_len(&mut self, flexible: bool) -> Result<Option<usize>, WireError> {
        if flexible {
            return self.compact_len();
        }
        match self.i32()? {
            -1 => Ok(None),
            n => usize::try_from(n).map(Some).map_err(|_| WireError::NegativeLength),
        }
    }

    fn compact_len(&mut self) -> Result<Option<usize>, WireError> {
        Ok((self.uvarint()? as usize).checked_sub(1))
    }

    /// A string; `None` is null. What is not UTF-8 in it is replaced, see [`lossy`].
    pub(crate) fn string(&mut self, flexible: bool) -> Result<Option<StrBytes>, WireError> {
        match self.string_len(flexible)? {
            None => Ok(None),
            Some(len) => {
                let start = self.at;
                match StrBytes::from_utf8(self.take_bytes(len)?) {
                    Ok(text) => Ok(Some(text)),
                    Err(_) => {
                        let bytes = self.bytes.get(start..self.at).unwrap_or_default();
                        lossy(bytes).map(StrBytes::from_string).map(Some)
                    }
                }
            }
        }
    }

    /// Skips the tagged fields of a struct that has none that we know.
    pub(crate) fn skip_tags(&mut self) -> Result<(), WireError> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let size = self.uvarint()?;
            self.take(size as usize)?;
        }
        Ok(())
    }

    /// That nothing is left.
    pub(crate) fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(WireError::TrailingBytes(n)),
        }
    }
}

/// The text of a string that is not UTF-8, with U+FFFD in the place of each malformed sequence, as Kafka reads it. No longer
/// than a string may be: what is beyond is left out. One that is longer already is refused, as it is by Kafka.
pub(crate) fn lossy(bytes: &[u8]) -> Result<String, WireError> {
    if bytes.len() > STRING_MAX {
        return Err(WireError::BadUtf8);
    }
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    text.truncate(text.floor_char_boundary(STRING_MAX));
    Ok(text)
}

/// Appends an unsigned varint.
#[inline]
pub(crate) fn put_uvarint(buf: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buf.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

/// Appends a zigzag varint of 32 bits.
#[inline]
pub(crate) fn put_varint(buf: &mut BytesMut, value: i32) {
    put_uvarint(buf, ((value << 1) ^ (value >> 31)) as u32);
}

/// Appends a zigzag varint of 64 bits.
#[inline]
pub(crate) fn put_varlong(buf: &mut BytesMut, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        buf.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}
