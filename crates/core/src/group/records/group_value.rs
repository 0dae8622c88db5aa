//! The value of a group's metadata (`GroupMetadataValue`).

use std::sync::Arc;

use bytes::Bytes;

use super::wire::{Reader, Writer};
use super::RecordError;
use crate::Millis;

/// What is written: Kafka 4.3 writes 3 too, and reads up to 4.
const VERSION_WRITTEN: i16 = 3;
const VERSION_MAX: i16 = 4;
const NO_TIMESTAMP: i64 = -1;

/// A generation of a group as it stands in the log: without members it is Empty, else it was Stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupValue {
    pub protocol_type: Arc<str>,
    pub generation: i32,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<Arc<str>>,
    /// When the group came into its state; unknown in records before version 2.
    pub state_since: Option<Millis>,
    pub members: Vec<MemberValue>,
}

/// A member of that generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberValue {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The metadata of the chosen protocol; other protocols' are not kept.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl GroupValue {
    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(VERSION_WRITTEN);
        writer.string(&self.protocol_type);
        writer.i32(self.generation);
        writer.nullable_string(self.protocol.as_deref());
        writer.nullable_string(self.leader.as_deref());
        writer.i64(self.state_since.map_or(NO_TIMESTAMP, |at| at.0));
        writer.i32(i32::try_from(self.members.len()).expect("a group has fewer than 2^31 members"));
        for member in &self.members {
            writer.string(&member.member_id);
            writer.nullable_string(member.instance_id.as_deref());
            writer.string(&member.client_id);
            writer.string(&member.client_host);
            writer.i32(member.rebalance_timeout_ms);
            writer.i32(member.session_timeout_ms);
            writer.byte_array(&member.subscription);
            writer.byte_array(&member.assignment);
        }
        writer.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<GroupValue, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=VERSION_MAX).contains(&version) {
            return Err(RecordError::UnknownVersion { format: "GroupMetadataValue", version });
        }
        let flexible = version >= 4;
        let protocol_type = reader.string(flexible)?;
        let generation = reader.i32()?;
        let protocol = reader.nullable_string(flexible)?;
        let leader = reader.nullable_string(flexible)?;
        let state_since =
            if version >= 2 { Some(reader.i64()?).filter(|&at| at != NO_TIMESTAMP) } else { None };
        let members = (0..reader.array_len(flexible)?)
            .map(|_| MemberValue::decode(&mut reader, version, flexible))
            .collect::<Result<Vec<_>, _>>()?;
        reader.skip_tags(flexible)?;
        Ok(GroupValue {
            protocol_type,
            generation,
            protocol,
            leader,
            state_since: state_since.map(Millis),
            members,
        })
    }
}

impl MemberValue {
    fn decode(reader: &mut Reader, version: i16, flexible: bool) -> Result<MemberValue, RecordError> {
        let member_id = reader.string(flexible)?;
        let instance_id = if version >= 3 { reader.nullable_string(flexible)? } else { None };
        let client_id = reader.string(flexible)?;
        let client_host = reader.string(flexible)?;
        // Before version 1 the session timeout bounded the rebalance too.
        let rebalance_timeout_ms =
            if version >= 1 { Some(reader.i32()?).filter(|&ms| ms >= 0) } else { None };
        let session_timeout_ms = reader.i32()?;
        let subscription = reader.bytes(flexible)?;
        let assignment = reader.bytes(flexible)?;
        reader.skip_tags(flexible)?;
        Ok(MemberValue {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription,
            assignment,
        })
    }
}
