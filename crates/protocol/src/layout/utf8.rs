//! Rewrites a request's body whose strings are not all UTF-8, with U+FFFD in the place of each malformed sequence. Kafka reads
//! strings so (Java's decoder replaces what it cannot read) and serves the request; the `kafka-protocol` crate refuses it.
//! Only a body that the crate has refused comes here.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Field, Kind};
use crate::wire::{lossy, put_uvarint, Reader, WireError};
use crate::ApiKey;

/// How much longer all replacements may make one request, in bytes: a replacement takes three for one. A client whose host
/// name or metadata is in another encoding is far below it.
const GROWTH_MAX: usize = 1 << 20;

/// The same request with strings that are UTF-8; `None` if they all are, or if this cannot be done. `body` has passed
/// [`super::check`].
pub(crate) fn with_utf8(key: ApiKey, version: i16, body: &Bytes) -> Option<Bytes> {
    let flexible = key.request_header_version(version) >= 2;
    let out = BytesMut::with_capacity(body.len());
    let mut rewrite = Rewrite { reader: Reader::new(body), body, version, flexible, out, grown: None };
    rewrite.structure(super::request(key)?).ok()?;
    rewrite.grown.map(|_| rewrite.out.freeze())
}

struct Rewrite<'a> {
    reader: Reader<'a>,
    body: &'a Bytes,
    version: i16,
    flexible: bool,
    out: BytesMut,
    /// By how many bytes, once a string was replaced.
    grown: Option<usize>,
}

impl Rewrite<'_> {
    fn structure(&mut self, fields: &'static [Field]) -> Result<(), WireError> {
        for field in fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(field.kind)?;
            }
        }
        if self.flexible {
            self.tags(fields)?;
        }
        Ok(())
    }

    fn tags(&mut self, fields: &'static [Field]) -> Result<(), WireError> {
        let count = self.reader.uvarint()?;
        put_uvarint(&mut self.out, count);
        for _ in 0..count {
            let (tag, size) = (self.reader.uvarint()?, self.reader.uvarint()? as usize);
            put_uvarint(&mut self.out, tag);
            // The content is written on its own first: its size may be another one.
            let outer = std::mem::take(&mut self.out);
            let content = match fields.iter().find(|field| field.tag == Some(tag)) {
                None => self.copy(|reader| reader.take(size).map(drop)),
                Some(field) => self.value(field.kind),
            };
            let inner = std::mem::replace(&mut self.out, outer);
            content?;
            put_uvarint(&mut self.out, u32::try_from(inner.len()).map_err(|_| WireError::BadTag)?);
            self.out.put_slice(&inner);
        }
        Ok(())
    }

    fn value(&mut self, kind: Kind) -> Result<(), WireError> {
        let flexible = self.flexible;
        match kind {
            Kind::Fixed(len) => self.copy(|reader| reader.take(len).map(drop)),
            Kind::Str => self.string(),
            Kind::Bytes => self.copy(|reader| {
                let len = reader.long_len(flexible)?;
                reader.take(len.unwrap_or(0)).map(drop)
            }),
            Kind::List(element) => (0..self.array()?).try_for_each(|_| self.value(*element)),
            Kind::Struct(fields) => self.structure(fields),
            Kind::Nullable(fields) => {
                let mut present = false;
                self.copy(|reader| {
                    present = reader.take(1)? == [1];
                    Ok(())
                })?;
                match present {
                    true => self.structure(fields),
                    false => Ok(()),
                }
            }
            Kind::Structs(fields) => (0..self.array()?).try_for_each(|_| self.structure(fields)),
        }
    }

    fn string(&mut self) -> Result<(), WireError> {
        let start = self.reader.position();
        let len = self.reader.string_len(self.flexible)?.unwrap_or(0);
        let bytes = self.reader.take(len)?;
        if std::str::from_utf8(bytes).is_ok() {
            self.out.put_slice(&self.body[start..self.reader.position()]);
            return Ok(());
        }
        let text = lossy(bytes)?;
        let grown = self.grown.unwrap_or(0) + text.len().saturating_sub(len);
        if grown > GROWTH_MAX {
            return Err(WireError::BadUtf8);
        }
        self.grown = Some(grown);
        match i16::try_from(text.len()) {
            Ok(len) if !self.flexible => self.out.put_i16(len),
            _ => put_uvarint(&mut self.out, text.len() as u32 + 1),
        }
        self.out.put_slice(text.as_bytes());
        Ok(())
    }

    fn array(&mut self) -> Result<usize, WireError> {
        let (flexible, mut len) = (self.flexible, 0);
        self.copy(|reader| {
            len = reader.long_len(flexible)?.unwrap_or(0);
            Ok(())
        })?;
        Ok(len)
    }

    /// Copies what `read` takes.
    fn copy(&mut self, read: impl FnOnce(&mut Reader<'_>) -> Result<(), WireError>) -> Result<(), WireError> {
        let start = self.reader.position();
        read(&mut self.reader)?;
        self.out.put_slice(&self.body[start..self.reader.position()]);
        Ok(())
    }
}
