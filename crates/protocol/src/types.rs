//! Newtypes for the numbers that rooms exchange, so that an offset is never passed as an epoch. Kafka's sentinel values
//! (-1 for "none") are named constants; arithmetic that Kafka defines (sequence wrap-around) lives on the type.

use std::fmt;

use uuid::Uuid;

pub use kafka_protocol::ResponseError as ErrorCode;

macro_rules! newtype {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    )*};
}

newtype! {
    /// A node of the cluster (`node.id`, Kafka's broker id).
    NodeId(i32);
    /// One incarnation of a broker: rises with each registration.
    BrokerEpoch(i64);
    /// The position of a record in its partition.
    Offset(i64);
    /// The term of a partition's leader. `(epoch, offset)` names one record for ever.
    LeaderEpoch(i32);
    /// The identity of an idempotent or transactional producer.
    ProducerId(i64);
    /// The incarnation of a producer id; a higher one fences the lower.
    ProducerEpoch(i16);
    /// A producer's number for a record, within one partition and producer epoch.
    Sequence(i32);
    /// The number of a partition within its topic.
    PartitionIndex(i32);
}

impl NodeId {
    /// No node: "no leader", "any replica".
    pub const NONE: NodeId = NodeId(-1);
}

impl Offset {
    /// The first offset of a partition.
    pub const ZERO: Offset = Offset(0);
    /// Not known.
    pub const NONE: Offset = Offset(-1);

    /// The offset `count` records further on.
    pub fn plus(self, count: i64) -> Offset {
        Offset(self.0 + count)
    }
}

impl LeaderEpoch {
    /// Not known, or a client that does not speak of epochs.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

impl ProducerId {
    /// A producer without idempotence.
    pub const NONE: ProducerId = ProducerId(-1);

    /// Whether this names a producer.
    pub fn is_some(self) -> bool {
        self.0 >= 0
    }
}

impl ProducerEpoch {
    /// A producer without idempotence.
    pub const NONE: ProducerEpoch = ProducerEpoch(-1);
}

impl Sequence {
    /// A producer without idempotence.
    pub const NONE: Sequence = Sequence(-1);

    /// The sequence `count` records later: after `i32::MAX` comes 0 (Kafka's `DefaultRecordBatch.incrementSequence`).
    pub fn plus(self, count: i32) -> Sequence {
        let sum = i64::from(self.0) + i64::from(count);
        Sequence((sum & i64::from(i32::MAX)) as i32)
    }

    /// Whether it comes behind `other`: less than half of all sequences later.
    pub fn is_after(self, other: Sequence) -> bool {
        let later = self.0.wrapping_sub(other.0) & i32::MAX;
        later > 0 && later <= i32::MAX / 2
    }
}

/// The identity of a topic (KIP-516): a topic created again under the same name has another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// Not known (all bits zero).
    pub const NONE: TopicId = TopicId(Uuid::nil());
}

impl From<Uuid> for TopicId {
    fn from(value: Uuid) -> Self {
        TopicId(value)
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// As Kafka prints ids: 22 characters of URL-safe base64 without padding (`org.apache.kafka.common.Uuid`).
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 22];
        // 128 bits are 22 digits of six; the last digit holds two bits and four zeros.
        let bits = self.0.as_u128();
        for (i, digit) in text.iter_mut().enumerate() {
            let value = if i < 21 { bits >> (122 - 6 * i) } else { bits << 4 };
            *digit = BASE64_URL[(value & 63) as usize];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Reads an id as Kafka prints it; see [`TopicId`]'s `Display`.
pub fn uuid_of_text(text: &str) -> Option<Uuid> {
    if text.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    for (i, digit) in text.bytes().enumerate() {
        let value = BASE64_URL.iter().position(|other| *other == digit)? as u128;
        bits = if i < 21 { bits << 6 | value } else { bits << 2 | value >> 4 };
    }
    Some(Uuid::from_u128(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        assert_eq!(Sequence(5).plus(3), Sequence(8));
        assert_eq!(Sequence(i32::MAX).plus(0), Sequence(i32::MAX));
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(4), Sequence(2));
        assert!(Sequence(8).is_after(Sequence(5)) && Sequence(2).is_after(Sequence(i32::MAX - 1)));
        assert!(!Sequence(5).is_after(Sequence(8)) && !Sequence(5).is_after(Sequence(5)));
    }

    #[test]
    fn topic_ids_print_as_kafka_prints_them() {
        assert_eq!(TopicId::NONE.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        // Kafka's Uuid.METADATA_TOPIC_ID is new Uuid(0, 1).
        assert_eq!(TopicId(Uuid::from_u128(1)).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId(Uuid::from_u128(u128::MAX)).to_string(), "_____________________w");
        for id in [0, 1, 77 << 90, u128::MAX].map(Uuid::from_u128) {
            assert_eq!(uuid_of_text(&TopicId(id).to_string()), Some(id));
        }
        assert_eq!(uuid_of_text("AAAAAAAAAAAAAAAAAAAAA"), None);
        assert_eq!(uuid_of_text("AAAAAAAAAAAAAAAAAAAA+A"), None);
    }
}
