//! One member of a group, and the members of a group in the order in which they joined.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::event::{JoinRequest, Protocol, Slot};
use super::records::MemberValue;

/// A member of a group (Kafka's `ClassicGroupMember`).
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// Has yet to hear its id: its first JoinGroup is unanswered.
    pub(super) is_new: bool,
    pub(super) awaiting_join: Option<ParkedJoin>,
    pub(super) awaiting_sync: Option<Slot>,
}

/// A JoinGroup that waits for its rebalance, or for its static member's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParkedJoin {
    pub(super) slot: Slot,
    pub(super) knows_skip_assignment: bool,
}

impl Member {
    pub(super) fn new(id: Arc<str>, slot: Slot, request: JoinRequest) -> Member {
        Member {
            rebalance_timeout_ms: request.rebalance_timeout_ms(),
            awaiting_join: Some(request.parked_at(slot)),
            id,
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            is_new: true,
            awaiting_sync: None,
        }
    }

    /// A member as the log has it: it supports the one protocol that its generation had chosen.
    pub(super) fn loaded(protocol: &Arc<str>, value: MemberValue) -> Member {
        Member {
            id: value.member_id,
            instance_id: value.instance_id,
            client_id: value.client_id,
            client_host: value.client_host,
            session_timeout_ms: value.session_timeout_ms,
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            protocols: vec![Protocol { name: protocol.clone(), metadata: value.subscription }],
            assignment: value.assignment,
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    pub(super) fn session_timeout(&self) -> Duration {
        millis(self.session_timeout_ms)
    }

    pub(super) fn rebalance_timeout(&self) -> Duration {
        millis(self.rebalance_timeout_ms)
    }

    pub(super) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    /// What the member said for a protocol; empty if it does not support it.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let supported = self.protocols.iter().find(|supported| &*supported.name == protocol);
        supported.map_or_else(Bytes::new, |supported| supported.metadata.clone())
    }

    /// Whether silence until the session's deadline means that the member is gone. One that waits for a
    /// reply cannot be heard, unless it waits for its first and does not even know its id.
    pub(super) fn is_expired_by_silence(&self) -> bool {
        self.is_new || (self.awaiting_join.is_none() && self.awaiting_sync.is_none())
    }
}

impl JoinRequest {
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        if self.rebalance_timeout_ms < 0 {
            self.session_timeout_ms
        } else {
            self.rebalance_timeout_ms
        }
    }

    pub(super) fn session_timeout(&self) -> Duration {
        millis(self.session_timeout_ms)
    }

    pub(super) fn parked_at(&self, slot: Slot) -> ParkedJoin {
        ParkedJoin { slot, knows_skip_assignment: self.knows_skip_assignment }
    }
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// The members of a group by id; iteration is in the order of joining, on every node and in every run.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    in_order: BTreeMap<u64, Member>,
    order_of: BTreeMap<Arc<str>, u64>,
    joined_ever: u64,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.in_order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.order_of.contains_key(id)
    }

    pub(super) fn get(&self, id: &str) -> Option<&Member> {
        self.in_order.get(self.order_of.get(id)?)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.in_order.get_mut(self.order_of.get(id)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.in_order.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.in_order.values_mut()
    }

    /// Adds a member at the end, in place of one with its id.
    pub(super) fn push(&mut self, member: Member) {
        self.remove(&member.id.clone());
        self.order_of.insert(member.id.clone(), self.joined_ever);
        self.in_order.insert(self.joined_ever, member);
        self.joined_ever += 1;
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        self.in_order.remove(&self.order_of.remove(id)?)
    }

    /// Gives a member another id in its old place.
    pub(super) fn rename(&mut self, old_id: &str, new_id: Arc<str>) -> Option<&mut Member> {
        let order = self.order_of.remove(old_id)?;
        self.order_of.insert(new_id.clone(), order);
        let member = self.in_order.get_mut(&order)?;
        member.id = new_id;
        Some(member)
    }
}
