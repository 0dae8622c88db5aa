//! One group: its state, its members, and what follows from them without passing time or writing.
//!
//! The rules are those of Kafka's `ClassicGroup`. What happens to a group lives beside this file: joining
//! (`join`), rebalancing (`rebalance`), syncing, heartbeats and leaving (`membership`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use norn_protocol::ErrorCode;

use super::action::JoinedMember;
use super::event::{AppendToken, Protocol};
use super::member::{Member, Members};
use super::records::{GroupValue, MemberValue, Record};
use super::subscription::{self, CONSUMER_PROTOCOL};
use crate::Millis;

/// Where a group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No members; perhaps offsets.
    Empty,
    /// Members are asked to join the next generation.
    PreparingRebalance(Joining),
    /// A generation has its members and waits for the leader's assignment to be in the log.
    CompletingRebalance {
        /// The leader's assignment is being written; a second one for the generation is not taken.
        assignment: Option<AssignmentAppend>,
    },
    /// The members have their assignment.
    Stable,
    /// Its tombstone is being written.
    Dead,
}

/// How a rebalance waits for members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Joining {
    /// The group was empty: wait for a delay, and again while members come, in this much time at most.
    pub(super) initial: Option<Initial>,
}

/// The first rebalance of a group that was empty (`group.initial.rebalance.delay.ms`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Initial {
    pub(super) delay: Duration,
    pub(super) remaining: Duration,
    pub(super) member_added: bool,
}

/// The append of a leader's assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AssignmentAppend {
    pub(super) token: AppendToken,
    /// Its deadline has passed: who syncs now is not kept waiting.
    pub(super) overdue: bool,
}

/// A group of the classic protocol.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) id: Arc<str>,
    pub(super) state: State,
    pub(super) state_since: Option<Millis>,
    /// `None` for a group that only ever committed offsets (a "simple" one).
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) generation: i32,
    pub(super) leader: Option<Arc<str>>,
    pub(super) members: Members,
    /// Ids given out with MEMBER_ID_REQUIRED that have yet to join.
    pub(super) pending_join: BTreeSet<Arc<str>>,
    /// Members of this generation that have yet to sync.
    pub(super) pending_sync: BTreeSet<Arc<str>>,
    /// Member ids by instance id.
    pub(super) static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// The topics of all members, where they are consumers whose metadata could be read.
    pub(super) subscribed_topics: Option<BTreeSet<Arc<str>>>,
}

impl Group {
    pub(super) fn new(id: Arc<str>) -> Group {
        Group {
            id,
            state: State::Empty,
            state_since: None,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: Members::default(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            static_members: BTreeMap::new(),
            subscribed_topics: None,
        }
    }

    /// The group as a record of the log has it.
    pub(super) fn loaded(id: Arc<str>, value: GroupValue) -> Group {
        let mut group = Group::new(id);
        group.generation = value.generation;
        group.state_since = value.state_since;
        group.protocol_type = Some(value.protocol_type).filter(|kind| !kind.is_empty());
        group.protocol = value.protocol;
        let protocol = group.protocol.clone().unwrap_or_else(|| Arc::from(""));
        for member in value.members {
            let member = Member::loaded(&protocol, member);
            if let Some(instance_id) = &member.instance_id {
                group.static_members.insert(instance_id.clone(), member.id.clone());
            }
            group.members.push(member);
        }
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group.leader = value.leader.filter(|leader| group.members.contains(leader));
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    pub(super) fn enter(&mut self, state: State, wall: Millis) {
        self.state = state;
        self.state_since = Some(wall);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state == State::Dead
    }

    pub(super) fn is_stable(&self) -> bool {
        self.state == State::Stable
    }

    pub(super) fn is_preparing(&self) -> bool {
        matches!(self.state, State::PreparingRebalance(_))
    }

    pub(super) fn is_completing(&self) -> bool {
        matches!(self.state, State::CompletingRebalance { .. })
    }

    /// Whether nothing would be lost with the group but its generation number.
    pub(super) fn is_vacant(&self) -> bool {
        self.is_empty() && self.pending_join.is_empty()
    }

    /// Whether the group has never been anything.
    pub(super) fn is_untouched(&self) -> bool {
        self.is_vacant() && self.generation == 0 && self.protocol_type.is_none()
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn has_all_joined(&self) -> bool {
        self.pending_join.is_empty() && self.members.iter().all(|member| member.awaiting_join.is_some())
    }

    pub(super) fn awaiting_join(&self) -> usize {
        self.members.iter().filter(|member| member.awaiting_join.is_some()).count()
    }

    /// The longest rebalance timeout of a member.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members.iter().map(Member::rebalance_timeout).max().unwrap_or_default()
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL)
    }

    /// Whether a member with these protocols fits: one of them is supported by all.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && !self.supported_by_all(names(protocols).collect()).is_empty()
    }

    /// Those of these protocols that each member supports. As sets, since members name as many as they like.
    fn supported_by_all<'a>(&'a self, protocols: BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        self.members.iter().fold(protocols, |common, member| {
            names(&member.protocols).filter(|name| common.contains(name)).collect()
        })
    }

    /// The protocol of the next generation: each member votes for the first of its own that all support;
    /// among those with the most votes, the one voted for first. `None` without members.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: Vec<(Arc<str>, usize)> = Vec::new();
        let first = self.members.iter().next()?;
        let common = self.supported_by_all(names(&first.protocols).collect());
        for member in self.members.iter() {
            let choice = member.protocols.iter().find(|protocol| common.contains(&*protocol.name));
            let choice = &choice.expect("a joining member is refused unless all share a protocol").name;
            match votes.iter_mut().find(|(voted, _)| voted == choice) {
                Some((_, count)) => *count += 1,
                None => votes.push((choice.clone(), 1)),
            }
        }
        // `max_by_key` gives the last of equals, hence the reversal.
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(protocol, _)| protocol)
    }

    /// Whether a request speaks for a member of the group (Kafka's `ClassicGroup.validateMember`).
    pub(super) fn validate_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            let current = self.static_members.get(instance_id).ok_or(ErrorCode::UnknownMemberId)?;
            if &**current != member_id {
                return Err(ErrorCode::FencedInstanceId);
            }
        }
        if self.members.contains(member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    /// Adds a member that joins. The first one leads, and sets the group's protocol type.
    pub(super) fn add(&mut self, member: Member, protocol_type: Arc<str>) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type);
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_join.remove(&member.id);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        self.members.push(member);
    }

    /// Forgets a member, or an id that was to join. If it led, the member that joined first leads.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
        let member = self.members.remove(member_id)?;
        if let Some(instance_id) = &member.instance_id {
            if self.static_members.get(instance_id) == Some(&member.id) {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.iter().next().map(|member| member.id.clone());
        }
        Some(member)
    }

    /// Lets the leader be one that has joined; false if none has.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let leader = self.leader.as_deref().and_then(|leader| self.members.get(leader));
        if leader.is_some_and(|leader| leader.awaiting_join.is_some()) {
            return true;
        }
        let joined = self.members.iter().find(|member| member.awaiting_join.is_some());
        match joined.map(|member| member.id.clone()) {
            Some(member_id) => {
                self.leader = Some(member_id);
                true
            }
            None => false,
        }
    }

    /// The next generation of the members that are left.
    pub(super) fn begin_generation(&mut self, wall: Millis) {
        // Only a group that rebalances every second for 68 years comes here twice.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.select_protocol();
        self.pending_sync.clear();
        self.subscribed_topics = self.compute_subscribed_topics();
        if self.members.is_empty() {
            self.enter(State::Empty, wall);
        } else {
            self.enter(State::CompletingRebalance { assignment: None }, wall);
        }
    }

    fn compute_subscribed_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.iter() {
            topics.append(&mut subscription::topics(&member.metadata(protocol))?);
        }
        Some(topics)
    }

    /// Whether members may be reading the topic, so that its offsets must stay.
    pub(super) fn is_subscribed_to(&self, topic: &Arc<str>) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// What the leader is told of all members.
    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let joined = |member: &Member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(joined).collect()
    }

    /// The record that makes this generation, with these assignments, survive the coordinator.
    pub(super) fn record(&self, assignments: &BTreeMap<Arc<str>, Bytes>) -> Record {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let value = |member: &Member| MemberValue {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: assignments.get(&member.id).cloned().unwrap_or_default(),
        };
        let value = GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since: self.state_since,
            members: self.members.iter().map(value).collect(),
        };
        Record::Group { group: self.id.clone(), value: Some(value) }
    }
}

fn names(protocols: &[Protocol]) -> impl Iterator<Item = &str> {
    protocols.iter().map(|protocol| &*protocol.name)
}
