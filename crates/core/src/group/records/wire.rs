//! Reading and writing the primitive types of Kafka's message formats.
//!
//! Every read is checked: the bytes come from a log that another program may have written. Lengths are
//! compared with what is left before anything is allocated.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::RecordError;

/// A cursor over the bytes of one key or value.
pub(super) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub(super) fn new(bytes: &[u8]) -> Reader {
        Reader { bytes: Bytes::copy_from_slice(bytes) }
    }

    fn take(&mut self, len: usize) -> Result<Bytes, RecordError> {
        if self.bytes.len() < len {
            return Err(RecordError::Truncated { need: len, have: self.bytes.len() });
        }
        Ok(self.bytes.split_to(len))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let taken = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&taken);
        Ok(array)
    }

    pub(super) fn i16(&mut self) -> Result<i16, RecordError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn unsigned_varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::BadVarint)
    }

    /// The length in front of a string: an i16, or in a flexible version an unsigned varint of length + 1.
    fn string_len(&mut self, flexible: bool) -> Result<Option<usize>, RecordError> {
        if flexible {
            return Ok(self.unsigned_varint()?.checked_sub(1).map(|len| len as usize));
        }
        match self.i16()? {
            -1 => Ok(None),
            len => usize::try_from(len).map(Some).map_err(|_| RecordError::NegativeLength(len.into())),
        }
    }

    /// The length in front of bytes or an array: an i32, or in a flexible version as for a string.
    fn long_len(&mut self, flexible: bool) -> Result<usize, RecordError> {
        if flexible {
            return self.unsigned_varint()?.checked_sub(1).map(|len| len as usize).ok_or(RecordError::Null);
        }
        let len = self.i32()?;
        usize::try_from(len).map_err(|_| RecordError::NegativeLength(len))
    }

    pub(super) fn nullable_string(&mut self, flexible: bool) -> Result<Option<Arc<str>>, RecordError> {
        let Some(len) = self.string_len(flexible)? else { return Ok(None) };
        let bytes = self.take(len)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| RecordError::NotUtf8)?;
        Ok(Some(Arc::from(text)))
    }

    pub(super) fn string(&mut self, flexible: bool) -> Result<Arc<str>, RecordError> {
        self.nullable_string(flexible)?.ok_or(RecordError::Null)
    }

    pub(super) fn bytes(&mut self, flexible: bool) -> Result<Bytes, RecordError> {
        let len = self.long_len(flexible)?;
        // A copy of its own, so that a kept subscription does not pin the whole record.
        Ok(Bytes::copy_from_slice(&self.take(len)?))
    }

    /// The number of elements of an array, each of which takes at least one byte.
    pub(super) fn array_len(&mut self, flexible: bool) -> Result<usize, RecordError> {
        let len = self.long_len(flexible)?;
        if len > self.bytes.len() {
            return Err(RecordError::Truncated { need: len, have: self.bytes.len() });
        }
        Ok(len)
    }

    /// Tagged fields end each structure of a flexible version; those that are not known are skipped.
    pub(super) fn skip_tags(&mut self, flexible: bool) -> Result<(), RecordError> {
        self.tagged_uuid(flexible, u32::MAX).map(|_| ())
    }

    /// The UUID under `wanted` among the tagged fields of a flexible version; the others are skipped.
    pub(super) fn tagged_uuid(
        &mut self,
        flexible: bool,
        wanted: u32,
    ) -> Result<Option<[u8; 16]>, RecordError> {
        let mut found = None;
        if flexible {
            for _ in 0..self.unsigned_varint()? {
                let tag = self.unsigned_varint()?;
                let len = self.unsigned_varint()? as usize;
                let mut field = Reader { bytes: self.take(len)? };
                if tag == wanted {
                    found = Some(field.array()?);
                }
            }
        }
        Ok(found)
    }
}

/// Builds one key or value.
pub(super) struct Writer {
    bytes: BytesMut,
}

impl Writer {
    pub(super) fn new(version: i16) -> Writer {
        let mut writer = Writer { bytes: BytesMut::with_capacity(64) };
        writer.i16(version);
        writer
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.bytes.put_i16(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.put_i64(value);
    }

    /// A string of at most `i16::MAX` bytes: all strings kept by the coordinator are checked against
    /// `NAME_LEN_MAX` when they come in.
    pub(super) fn string(&mut self, value: &str) {
        let len = i16::try_from(value.len()).expect("names are bounded when a request is taken in");
        self.i16(len);
        self.bytes.put_slice(value.as_bytes());
    }

    pub(super) fn nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None => self.i16(-1),
        }
    }

    /// A string of a flexible version: its length + 1 as an unsigned varint in front.
    pub(super) fn compact_string(&mut self, value: &str) {
        let len = u32::try_from(value.len()).expect("names are bounded when a request is taken in");
        self.unsigned_varint(len + 1);
        self.bytes.put_slice(value.as_bytes());
    }

    fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }

    /// Ends a structure of a flexible version with one tagged field.
    pub(super) fn tagged_uuid(&mut self, tag: u32, value: &[u8; 16]) {
        self.unsigned_varint(1);
        self.unsigned_varint(tag);
        self.unsigned_varint(16);
        self.bytes.put_slice(value);
    }

    pub(super) fn byte_array(&mut self, value: &[u8]) {
        let len = i32::try_from(value.len()).expect("a frame is shorter than 2 GiB");
        self.i32(len);
        self.bytes.put_slice(value);
    }

    pub(super) fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}
