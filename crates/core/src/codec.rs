//! The binary form of what `core` keeps: commands, outcomes, images, producer snapshots.
//!
//! Big-endian, lengths as `u32`, no padding: one value has one encoding, so equal states have equal
//! bytes. A *sealed* value carries a version before it and a CRC-32C after it. Decoding reads bytes
//! from a disk or a peer: it never panics, and never reserves more than the bytes at hand allow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use imbl::OrdMap;
use norn_protocol::types::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TopicId,
};
use uuid::Uuid;

use crate::Millis;

/// Why bytes are not a value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within a field.
    #[error("{missing} bytes are missing")]
    Truncated { missing: usize },
    /// Bytes follow where the value should end.
    #[error("{extra} bytes follow the end")]
    Trailing { extra: usize },
    /// Written by a version of Norn that this one does not know.
    #[error("format version {found} is not known, the newest known is {newest}")]
    UnknownVersion { found: u16, newest: u16 },
    /// The CRC-32C does not match: the bytes were damaged.
    #[error("checksum {found:08x} does not match, computed {computed:08x}")]
    Checksum { found: u32, computed: u32 },
    /// A tag names no variant of the type.
    #[error("{tag} names no {what}")]
    UnknownTag { what: &'static str, tag: u32 },
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// The fields are well formed and yet contradict each other.
    #[error("inconsistent: {0}")]
    Inconsistent(&'static str),
}

/// A value with a binary form.
pub(crate) trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError>;
}

/// `n` bytes off the front of `input`.
pub(crate) fn take_bytes<'a>(input: &mut &'a [u8], n: usize) -> Result<&'a [u8], DecodeError> {
    match input.split_at_checked(n) {
        Some((head, rest)) => {
            *input = rest;
            Ok(head)
        }
        None => Err(DecodeError::Truncated { missing: n - input.len() }),
    }
}

/// Decodes a value that must fill `input`.
pub(crate) fn take_all<T: Wire>(mut input: &[u8]) -> Result<T, DecodeError> {
    let value = T::take(&mut input)?;
    if input.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::Trailing { extra: input.len() })
    }
}

/// Version, value, CRC-32C of both.
pub(crate) fn seal<T: Wire>(version: u16, value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    version.put(&mut out);
    value.put(&mut out);
    crc32c::crc32c(&out).put(&mut out);
    out
}

/// Opens what [`seal`] made with `version`, the only one that is known yet.
pub(crate) fn unseal<T: Wire>(version: u16, bytes: &[u8]) -> Result<T, DecodeError> {
    let (found, body) = sealed_body(bytes)?;
    if found != version {
        return Err(DecodeError::UnknownVersion { found, newest: version });
    }
    take_all(body)
}

/// The version of what [`seal`] made, and the bytes of the value.
pub(crate) fn sealed_body(bytes: &[u8]) -> Result<(u16, &[u8]), DecodeError> {
    let Some(body_len) = bytes.len().checked_sub(6) else {
        return Err(DecodeError::Truncated { missing: 6 - bytes.len() });
    };
    let (body, mut crc) = bytes.split_at(2 + body_len);
    let found = u32::take(&mut crc)?;
    let computed = crc32c::crc32c(body);
    if found != computed {
        return Err(DecodeError::Checksum { found, computed });
    }
    let mut input = body;
    let version = u16::take(&mut input)?;
    Ok((version, input))
}

macro_rules! wire_ints {
    ($($int:ty),*) => {$(
        impl Wire for $int {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
                let mut bytes = [0; size_of::<$int>()];
                bytes.copy_from_slice(take_bytes(input, size_of::<$int>())?);
                Ok(<$int>::from_be_bytes(bytes))
            }
        }
    )*};
}
wire_ints!(u8, u16, i16, u32, i32, u64, i64);

/// Newtypes encode as what they wrap.
macro_rules! wire_newtypes {
    ($($name:ty),*) => {$(
        impl $crate::codec::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }
            fn take(input: &mut &[u8]) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self($crate::codec::Wire::take(input)?))
            }
        }
    )*};
}
pub(crate) use wire_newtypes;
wire_newtypes!(
    NodeId,
    BrokerEpoch,
    Offset,
    LeaderEpoch,
    ProducerId,
    ProducerEpoch,
    Sequence,
    PartitionIndex,
    TopicId,
    Millis
);

/// Structs encode as their fields in the order given.
macro_rules! wire_structs {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl $crate::codec::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::codec::Wire::put(&self.$field, out);)*
            }
            fn take(input: &mut &[u8]) -> Result<Self, $crate::codec::DecodeError> {
                Ok($name { $($field: $crate::codec::Wire::take(input)?),* })
            }
        }
    )*};
}
pub(crate) use wire_structs;

/// A byte to tell variants apart, then their fields.
macro_rules! wire_variants {
    ($type:ident, $what:literal: $($tag:literal => $name:ident { $($field:ident),* })*) => {
        impl $crate::codec::Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($type::$name { $($field),* } => {
                        <u8 as $crate::codec::Wire>::put(&$tag, out);
                        $($crate::codec::Wire::put($field, out);)*
                    })*
                }
            }

            fn take(input: &mut &[u8]) -> Result<Self, $crate::codec::DecodeError> {
                Ok(match <u8 as $crate::codec::Wire>::take(input)? {
                    $($tag => $type::$name { $($field: $crate::codec::Wire::take(input)?),* },)*
                    tag => return Err($crate::codec::DecodeError::UnknownTag { what: $what, tag: tag.into() }),
                })
            }
        }
    };
}
pub(crate) use wire_variants;

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match u8::take(input)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(DecodeError::UnknownTag { what: "boolean", tag: tag.into() }),
        }
    }
}

impl Wire for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(take_bytes(input, 16)?);
        Ok(Uuid::from_bytes(bytes))
    }
}

fn put_len(len: usize, out: &mut Vec<u8>) {
    u32::try_from(len).expect("nothing that core keeps has 2^32 parts").put(out);
}

/// A count of parts of at least one byte each, so never more than the bytes left.
fn take_len(input: &mut &[u8]) -> Result<usize, DecodeError> {
    let len = u32::take(input)? as usize;
    if len > input.len() {
        return Err(DecodeError::Truncated { missing: len - input.len() });
    }
    Ok(len)
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let len = take_len(input)?;
        let text = std::str::from_utf8(take_bytes(input, len)?).map_err(|_| DecodeError::NotUtf8)?;
        Ok(text.to_owned())
    }
}

impl Wire for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        String::take(input).map(Arc::from)
    }
}

impl<T: Wire> Wire for Arc<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        T::take(input).map(Arc::new)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(if bool::take(input)? { Some(T::take(input)?) } else { None })
    }
}

/// Collections encode as a count and their parts in order.
macro_rules! wire_collections {
    ($($name:ident<T: $($bound:ident)+>),*) => {$(
        impl<T: $($bound +)+> Wire for $name<T> {
            fn put(&self, out: &mut Vec<u8>) {
                put_len(self.len(), out);
                self.iter().for_each(|part| part.put(out));
            }
            fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
                (0..take_len(input)?).map(|_| T::take(input)).collect()
            }
        }
    )*};
}
wire_collections!(Vec<T: Wire>, VecDeque<T: Wire>, BTreeSet<T: Wire Ord>);

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.len(), out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        (0..take_len(input)?).map(|_| <(K, V)>::take(input)).collect()
    }
}

/// As a [`BTreeMap`] of the same.
impl<K: Wire + Ord + Clone, V: Wire + Clone> Wire for OrdMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.len(), out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        (0..take_len(input)?).map(|_| <(K, V)>::take(input)).collect()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok((A::take(input)?, B::take(input)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_beyond_the_bytes_is_refused_before_anything_is_reserved() {
        let bytes = u32::MAX.to_be_bytes();
        assert!(matches!(take_all::<Vec<u64>>(&bytes), Err(DecodeError::Truncated { .. })));
        assert!(matches!(take_all::<String>(&bytes), Err(DecodeError::Truncated { .. })));
    }

    #[test]
    fn any_flipped_bit_of_a_sealed_value_is_noticed() {
        let sealed = seal(3, &vec![String::from("norn"), String::from("urd")]);
        assert!(unseal::<Vec<String>>(3, &sealed).is_ok());
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(unseal::<Vec<String>>(3, &damaged), Err(DecodeError::Checksum { .. })));
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let sealed = seal(4, &7_u64);
        assert_eq!(unseal::<u64>(3, &sealed), Err(DecodeError::UnknownVersion { found: 4, newest: 3 }));
    }
}
