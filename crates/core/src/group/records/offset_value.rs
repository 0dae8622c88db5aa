//! The value of a committed offset (`OffsetCommitValue`).

use std::sync::Arc;

use bytes::Bytes;
use norn_protocol::{LeaderEpoch, Offset, TopicId};
use uuid::Uuid;

use super::wire::{Reader, Writer};
use super::RecordError;
use crate::Millis;

const VERSION_MAX: i16 = 4;
const NO_EXPIRY: i64 = -1;

/// An offset that a group has committed, with what came along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetValue {
    pub offset: Offset,
    /// Of the last record that was consumed; `LeaderEpoch::NONE` if the client did not say.
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
    pub committed_at: Millis,
    /// Only in records of old clients that chose their own retention (OffsetCommit 2 to 4).
    pub expires_at: Option<Millis>,
    /// Tells a topic from one that was deleted and created anew under its name; `TopicId::NONE` where
    /// the record does not say.
    pub topic_id: TopicId,
}

impl OffsetValue {
    /// Version 4 carries the topic's id; without one version 3 says the same, for readers older than
    /// Kafka 4.2. Version 1 is the only one with an expiry of its own.
    pub(super) fn encode(&self) -> Bytes {
        match (self.expires_at, self.topic_id) {
            (Some(expires_at), _) => {
                let mut writer = Writer::new(1);
                writer.i64(self.offset.0);
                writer.string(&self.metadata);
                writer.i64(self.committed_at.0);
                writer.i64(expires_at.0);
                writer.finish()
            }
            (None, TopicId::NONE) => {
                let mut writer = Writer::new(3);
                writer.i64(self.offset.0);
                writer.i32(self.leader_epoch.0);
                writer.string(&self.metadata);
                writer.i64(self.committed_at.0);
                writer.finish()
            }
            (None, topic_id) => {
                let mut writer = Writer::new(4);
                writer.i64(self.offset.0);
                writer.i32(self.leader_epoch.0);
                writer.compact_string(&self.metadata);
                writer.i64(self.committed_at.0);
                // The one tagged field: tag 0, 16 bytes.
                writer.tagged_uuid(0, topic_id.0.as_bytes());
                writer.finish()
            }
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<OffsetValue, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=VERSION_MAX).contains(&version) {
            return Err(RecordError::UnknownVersion { format: "OffsetCommitValue", version });
        }
        let flexible = version >= 4;
        let offset = Offset(reader.i64()?);
        let leader_epoch = if version >= 3 { LeaderEpoch(reader.i32()?) } else { LeaderEpoch::NONE };
        let metadata = reader.string(flexible)?;
        let committed_at = Millis(reader.i64()?);
        let expires_at = if version == 1 { Some(reader.i64()?).filter(|&at| at != NO_EXPIRY) } else { None };
        let topic_id = reader.tagged_uuid(flexible, 0)?.map(Uuid::from_bytes);
        Ok(OffsetValue {
            offset,
            leader_epoch,
            metadata,
            committed_at,
            expires_at: expires_at.map(Millis),
            topic_id: topic_id.map_or(TopicId::NONE, TopicId),
        })
    }
}
