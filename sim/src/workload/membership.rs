//! The requests of the classic group protocol, from a member's side.

use std::sync::Arc;

use bytes::Bytes;
use norn_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use norn_protocol::messages::join_group_response::JoinGroupResponseMember;
use norn_protocol::messages::leave_group_request::MemberIdentity;
use norn_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use norn_protocol::messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use norn_protocol::StrBytes;

use super::actor::Actor;
use super::commits::Committer;
use super::errors::MEMBER_ID_REQUIRED;
use crate::check::{Event, Tp};
use crate::client::{CallError, Connection};
use norn_env::clock::Duration;

/// How long the members of a group have to join again.
pub const REBALANCE_MS: i32 = 4_000;
const PROTOCOL: &str = "round-robin";

/// A member of a group, joined or not.
pub struct Membership {
    pub group: Arc<str>,
    pub instance: Option<String>,
    pub session_ms: i32,
    /// Empty before the first join, and after the group forgot us.
    pub member: String,
    pub generation: i32,
}

/// A join or a sync did not work.
pub enum Refusal {
    /// It has no answer.
    Call,
    Error(i16),
}

impl From<CallError> for Refusal {
    fn from(_: CallError) -> Self {
        Refusal::Call
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Membership {
    /// As whom the member commits.
    pub fn committer(&self) -> Committer {
        let (group, member, instance) = (self.group.clone(), self.member.clone(), self.instance.clone());
        Committer { group, generation: self.generation, member, instance }
    }

    /// Who this is for the group-exclusive checker: a static member stays itself under a new id.
    fn identity(&self) -> String {
        self.instance.clone().unwrap_or_else(|| self.member.clone())
    }

    /// Forgets the membership; the next join is that of a new member.
    pub fn reset(&mut self) {
        self.member.clear();
        self.generation = -1;
    }

    /// Joins and syncs: the partitions that fell to this member.
    pub async fn join(
        &mut self,
        actor: &mut Actor,
        connection: &Connection,
        topic: &str,
        partitions: i32,
    ) -> Result<Vec<i32>, Refusal> {
        let floor = if self.instance.is_some() { 5 } else { 0 };
        let members = loop {
            let request = |version: i16| {
                let protocol = JoinGroupRequestProtocol::default()
                    .with_name(text(PROTOCOL))
                    .with_metadata(Bytes::copy_from_slice(topic.as_bytes()));
                let request = JoinGroupRequest::default()
                    .with_group_id(text(&self.group).into())
                    .with_session_timeout_ms(self.session_ms)
                    .with_member_id(text(&self.member))
                    .with_group_instance_id(self.instance.as_deref().map(text))
                    .with_protocol_type(text("consumer"))
                    .with_protocols(vec![protocol]);
                if version >= 1 {
                    request.with_rebalance_timeout_ms(REBALANCE_MS)
                } else {
                    request
                }
            };
            let version = actor.cluster.version(connection, 11, floor)?;
            let pending = connection.send_at(version, &request(version)).await?;
            // It waits for the others, and in version 0 for as long as a session.
            let patience = Duration::from_millis(2 * self.session_ms.max(REBALANCE_MS) as u64);
            let (response, _) = pending.answer(actor.cluster.deadline() + patience).await?;
            match response.error_code {
                0 => {
                    self.member = response.member_id.to_string();
                    self.generation = response.generation_id;
                    break if response.leader == response.member_id { response.members } else { vec![] };
                }
                MEMBER_ID_REQUIRED => self.member = response.member_id.to_string(),
                error => return Err(Refusal::Error(error)),
            }
        };
        self.sync(actor, connection, topic, partitions, members).await
    }

    async fn sync(
        &mut self,
        actor: &mut Actor,
        connection: &Connection,
        topic: &str,
        partitions: i32,
        mut members: Vec<JoinGroupResponseMember>,
    ) -> Result<Vec<i32>, Refusal> {
        members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        let count = members.len() as i32;
        let share = |(i, member): (usize, &JoinGroupResponseMember)| {
            let mine: Vec<String> =
                (0..partitions).filter(|p| p % count == i as i32).map(|p| p.to_string()).collect();
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(Bytes::from(mine.join(",")))
        };
        let assignments: Vec<_> = members.iter().enumerate().map(share).collect();
        let floor = if self.instance.is_some() { 3 } else { 0 };
        let request = |version: i16| {
            let request = SyncGroupRequest::default()
                .with_group_id(text(&self.group).into())
                .with_generation_id(self.generation)
                .with_member_id(text(&self.member))
                .with_group_instance_id(self.instance.as_deref().map(text))
                .with_assignments(assignments);
            match version {
                5.. => request
                    .with_protocol_type(Some(text("consumer")))
                    .with_protocol_name(Some(text(PROTOCOL))),
                _ => request,
            }
        };
        let version = actor.cluster.version(connection, 14, floor)?;
        let pending = connection.send_at(version, &request(version)).await?;
        let patience = Duration::from_millis(2 * self.session_ms.max(REBALANCE_MS) as u64);
        let (response, span) = pending.answer(actor.cluster.deadline() + patience).await?;
        if response.error_code != 0 {
            return Err(Refusal::Error(response.error_code));
        }
        let shares = String::from_utf8_lossy(&response.assignment).into_owned();
        let mine: Vec<i32> = shares.split(',').filter_map(|p| p.parse().ok()).collect();
        actor.record(Event::Assigned {
            group: self.group.clone(),
            generation: self.generation,
            member: self.identity(),
            partitions: mine.iter().map(|p| (topic.to_owned(), *p)).collect(),
            at: span.done,
        });
        Ok(mine)
    }

    /// Says that the member lives: 0, or what else the coordinator has to say.
    pub async fn heartbeat(&self, actor: &mut Actor, connection: &Connection) -> Result<i16, CallError> {
        let floor = if self.instance.is_some() { 3 } else { 0 };
        let request = |_| {
            HeartbeatRequest::default()
                .with_group_id(text(&self.group).into())
                .with_generation_id(self.generation)
                .with_member_id(text(&self.member))
                .with_group_instance_id(self.instance.as_deref().map(text))
        };
        Ok(actor.cluster.call(connection, floor, request).await?.0.error_code)
    }

    /// Leaves the group.
    pub async fn leave(&mut self, actor: &mut Actor, connection: &Connection) -> Result<i16, CallError> {
        let floor = if self.instance.is_some() { 3 } else { 0 };
        let request = |version: i16| {
            let request = LeaveGroupRequest::default().with_group_id(text(&self.group).into());
            match version {
                ..=2 => request.with_member_id(text(&self.member)),
                _ => request.with_members(vec![MemberIdentity::default()
                    .with_member_id(text(&self.member))
                    .with_group_instance_id(self.instance.as_deref().map(text))]),
            }
        };
        let (response, _) = actor.cluster.call(connection, floor, request).await?;
        self.reset();
        Ok(response.error_code)
    }
}

/// The partitions of a topic with these numbers.
pub fn partitions_of(topic: &Arc<str>, partitions: &[i32]) -> Vec<Tp> {
    partitions.iter().map(|partition| Tp::new(topic, *partition)).collect()
}
