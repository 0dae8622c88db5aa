//! The records of `__consumer_offsets`, in Kafka's own formats.
//!
//! A record's key starts with its type (Kafka's `CoordinatorRecordType`): 0 and 1 an offset commit, 2 a
//! group's metadata, 3 and up what the newer group protocols write. Its value starts with the version of
//! its own format; a null value is a tombstone. Schemas: `OffsetCommitKey.json`, `OffsetCommitValue.json`,
//! `GroupMetadataKey.json`, `GroupMetadataValue.json` of Kafka 4.3. A log that Kafka wrote can be read
//! here, and the other way round.

mod group_value;
mod offset_value;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use norn_protocol::PartitionIndex;
use thiserror::Error;

pub use group_value::{GroupValue, MemberValue};
pub use offset_value::OffsetValue;
use wire::{Reader, Writer};

const OFFSET_COMMIT_KEY_LEGACY: i16 = 0;
const OFFSET_COMMIT_KEY: i16 = 1;
const GROUP_METADATA_KEY: i16 = 2;

/// Why the bytes of a key or value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("{need} bytes needed where {have} are left")]
    Truncated { need: usize, have: usize },
    #[error("a length of {0}")]
    NegativeLength(i32),
    #[error("null where the format has no null")]
    Null,
    #[error("an unsigned varint of more than five bytes")]
    BadVarint,
    #[error("a string that is not UTF-8")]
    NotUtf8,
    #[error("version {version} of {format}, which this node does not know")]
    UnknownVersion { format: &'static str, version: i16 },
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// The offset that a group committed for a partition.
    Offset { group: Arc<str>, topic: Arc<str>, partition: PartitionIndex },
    /// The members and the assignment of a group.
    Group { group: Arc<str> },
    /// A record of a kind that the classic protocol does not have; it is skipped.
    Other { kind: i16 },
}

impl RecordKey {
    /// Reads the key of a record.
    pub fn decode(bytes: &[u8]) -> Result<RecordKey, RecordError> {
        let mut reader = Reader::new(bytes);
        match reader.i16()? {
            OFFSET_COMMIT_KEY_LEGACY | OFFSET_COMMIT_KEY => Ok(RecordKey::Offset {
                group: reader.string(false)?,
                topic: reader.string(false)?,
                partition: PartitionIndex(reader.i32()?),
            }),
            GROUP_METADATA_KEY => Ok(RecordKey::Group { group: reader.string(false)? }),
            kind => Ok(RecordKey::Other { kind }),
        }
    }

    fn encode(&self) -> Bytes {
        match self {
            RecordKey::Offset { group, topic, partition } => {
                let mut writer = Writer::new(OFFSET_COMMIT_KEY);
                writer.string(group);
                writer.string(topic);
                writer.i32(partition.0);
                writer.finish()
            }
            RecordKey::Group { group } => {
                let mut writer = Writer::new(GROUP_METADATA_KEY);
                writer.string(group);
                writer.finish()
            }
            RecordKey::Other { kind } => Writer::new(*kind).finish(),
        }
    }
}

/// One record as the coordinator decides it; `None` where a value could stand is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Offset { group: Arc<str>, topic: Arc<str>, partition: PartitionIndex, value: Option<OffsetValue> },
    Group { group: Arc<str>, value: Option<GroupValue> },
}

impl Record {
    /// The key and the value to be written; a null value where it is `None`.
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        match self {
            Record::Offset { group, topic, partition, value } => {
                let key =
                    RecordKey::Offset { group: group.clone(), topic: topic.clone(), partition: *partition };
                (key.encode(), value.as_ref().map(OffsetValue::encode))
            }
            Record::Group { group, value } => {
                let key = RecordKey::Group { group: group.clone() };
                (key.encode(), value.as_ref().map(GroupValue::encode))
            }
        }
    }

    /// Reads a record of the log; `None` if it is of a kind that the classic protocol does not have.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Record>, RecordError> {
        Ok(match RecordKey::decode(key)? {
            RecordKey::Offset { group, topic, partition } => {
                let value = value.map(OffsetValue::decode).transpose()?;
                Some(Record::Offset { group, topic, partition, value })
            }
            RecordKey::Group { group } => {
                let value = value.map(GroupValue::decode).transpose()?;
                Some(Record::Group { group, value })
            }
            RecordKey::Other { .. } => None,
        })
    }
}
