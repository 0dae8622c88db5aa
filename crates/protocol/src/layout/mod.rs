//! A check of a request's structure before the `kafka-protocol` crate decodes it. That crate reserves memory for as many
//! elements as an array's length claims (`Vec::with_capacity(n)`), so that twenty bytes can ask for hundreds of
//! gigabytes; where a failed reservation aborts the process, no error handling behind it helps. Its decoders are generic
//! over the buffer but not over the array, and a length looks like any other number to a buffer: so the structure must
//! be known. `requests.rs` holds it as a table; [`check`] walks a body along it, with every length held against the bytes
//! that are left. What passes holds as many elements as it claims.
//!
//! Apart from those reservations the crate's decoders are sound: their reads are checked, nesting is as deep as the
//! schema, negative lengths are errors. The nulls are left to them, and so is a string's UTF-8: for what they refuse there is
//! `utf8.rs`.

mod admin;
mod requests;
mod utf8;

use bytes::Bytes;

pub(crate) use self::utf8::with_utf8;
use crate::wire::{Reader, WireError};
use crate::ApiKey;

/// How many array elements and unknown tagged fields one request may have in all. An element is a few hundred bytes
/// decoded, and again where it is answered, but may be one byte encoded; this bounds what a frame of
/// `socket.request.max.bytes` can make of that, far above what any client asks of one broker at once.
pub const ELEMENTS_MAX: usize = 1 << 18;

/// What a field is made of, as far as its length on the wire goes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string: 16-bit length, or compact.
    Str,
    /// Bytes: 32-bit length, or compact.
    Bytes,
    /// An array of strings or numbers.
    List(&'static Kind),
    /// A structure, with tagged fields at its end in flexible versions.
    Struct(&'static [Field]),
    /// A byte that is 1 before a structure, and -1 for null.
    Nullable(&'static [Field]),
    /// An array of structures.
    Structs(&'static [Field]),
}

/// A field and the versions that have it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// What it is made of.
    pub kind: Kind,
    /// The first version that has it.
    pub from: i16,
    /// The last version that has it.
    pub to: i16,
    /// Its tag, if it is among the tagged fields of its structure.
    pub tag: Option<u32>,
}

impl Field {
    /// Whether this version has it.
    pub fn is_in(&self, version: i16) -> bool {
        (self.from..=self.to).contains(&version)
    }
}

/// The structure of an API's requests, for the APIs of [`crate::versions::TABLE`].
pub fn request(key: ApiKey) -> Option<&'static [Field]> {
    let mut all = requests::TABLE.iter().chain(admin::TABLE);
    all.find(|(api, _)| *api == key).map(|(_, fields)| *fields)
}

/// Checks that `body` begins with a request of this API and version. An API that has no layout has no bytes that pass.
///
/// Bytes behind it are nobody's, as in Kafka: librdkafka asks for the metadata of all topics with three zero bytes too
/// many from version 9 on, where its place for the topics' count does not shrink with the count.
pub fn check(key: ApiKey, version: i16, body: &Bytes) -> Result<(), WireError> {
    let Some(fields) = request(key) else { return Reader::new(body).finish() };
    let flexible = key.request_header_version(version) >= 2;
    let mut walk = Walk { reader: Reader::new(body), version, flexible, elements: 0 };
    walk.structure(fields)
}

struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Walk<'_> {
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
        for _ in 0..self.reader.uvarint()? {
            self.count(1)?;
            let tag = self.reader.uvarint()?;
            let size = self.reader.uvarint()? as usize;
            match fields.iter().find(|field| field.tag == Some(tag)) {
                None => {
                    self.reader.take(size)?;
                }
                Some(field) => {
                    let end = self.reader.position().saturating_add(size);
                    if !field.is_in(self.version) {
                        return Err(WireError::BadTag);
                    }
                    self.value(field.kind)?;
                    if self.reader.position() != end {
                        return Err(WireError::BadTag);
                    }
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, kind: Kind) -> Result<(), WireError> {
        match kind {
            Kind::Fixed(len) => self.reader.take(len).map(drop),
            Kind::Str => {
                let len = self.reader.string_len(self.flexible)?;
                self.reader.take(len.unwrap_or(0)).map(drop)
            }
            Kind::Bytes => {
                let len = self.reader.long_len(self.flexible)?;
                self.reader.take(len.unwrap_or(0)).map(drop)
            }
            Kind::List(element) => (0..self.array()?).try_for_each(|_| self.value(*element)),
            Kind::Struct(fields) => self.structure(fields),
            Kind::Nullable(fields) => match self.reader.take(1)? {
                [1] => self.structure(fields),
                // The crate takes every other byte for null.
                _ => Ok(()),
            },
            Kind::Structs(fields) => (0..self.array()?).try_for_each(|_| self.structure(fields)),
        }
    }

    /// The length of an array, whose elements take at least a byte each.
    fn array(&mut self) -> Result<usize, WireError> {
        let len = self.reader.long_len(self.flexible)?.unwrap_or(0);
        if len > self.reader.remaining() {
            return Err(WireError::Truncated);
        }
        self.count(len)?;
        Ok(len)
    }

    fn count(&mut self, elements: usize) -> Result<(), WireError> {
        self.elements += elements;
        if self.elements > ELEMENTS_MAX {
            return Err(WireError::TooManyElements);
        }
        Ok(())
    }
}
