//! JoinGroup (Kafka's `GroupMetadataManager.classicGroupJoin`).

use std::sync::Arc;

use norn_protocol::ErrorCode;
use uuid::Uuid;

use super::action::{JoinResponse, Response};
use super::append::{Replaced, Then};
use super::config::{NEW_MEMBER_JOIN_TIMEOUT, PENDING_MEMBERS_MAX};
use super::event::{JoinRequest, Slot};
use super::member::Member;
use super::state::{Group, State};
use super::timers::Timer;
use super::turn::Turn;

impl Group {
    /// Takes a member into the next generation, or tells it of this one if nothing has changed.
    pub(super) fn join(&mut self, slot: Slot, request: JoinRequest, turn: &mut Turn) {
        if self.is_dead() {
            return turn.refuse_join(slot, request.member_id, ErrorCode::CoordinatorNotAvailable);
        }
        if !self.has_room_for(&request.member_id, turn) {
            self.drop_member(&request.member_id, turn);
            turn.refuse_join(slot, no_member(), ErrorCode::GroupMaxSizeReached);
            return self.maybe_complete_join(turn);
        }
        if !self.supports(&request.protocol_type, &request.protocols) {
            return turn.refuse_join(slot, request.member_id, ErrorCode::InconsistentGroupProtocol);
        }
        if request.member_id.is_empty() {
            self.join_unknown(slot, request, turn);
        } else if self.pending_join.contains(&request.member_id) && request.instance_id.is_none() {
            let member_id = request.member_id.clone();
            self.add_and_rebalance(slot, member_id, request, turn);
        } else {
            match self.validate_member(&request.member_id, request.instance_id.as_deref()) {
                Ok(()) => self.rejoin(slot, request, turn),
                Err(error) => turn.refuse_join(slot, request.member_id, error),
            }
        }
    }

    /// During a rebalance those that wait count, so that the last to rejoin are kept out; later all do.
    fn has_room_for(&self, member_id: &str, turn: &Turn) -> bool {
        match &self.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance(_) => {
                let waits = self.members.get(member_id).is_some_and(|member| member.awaiting_join.is_some());
                waits || self.awaiting_join() < turn.config.members_max
            }
            State::CompletingRebalance { .. } | State::Stable => {
                self.members.contains(member_id) || self.members.len() < turn.config.members_max
            }
        }
    }

    fn join_unknown(&mut self, slot: Slot, request: JoinRequest, turn: &mut Turn) {
        let new_id =
            member_id_for(request.instance_id.as_ref().unwrap_or(&request.client_id), request.fresh_id);
        let existing = request.instance_id.as_ref().and_then(|instance| self.static_members.get(instance));
        if let Some(old_id) = existing.cloned() {
            self.replace_static(slot, old_id, new_id, request, turn);
        } else if request.instance_id.is_none() && request.requires_known_member_id {
            if self.pending_join.len() >= turn.config.members_max.min(PENDING_MEMBERS_MAX) {
                return turn.refuse_join(slot, no_member(), ErrorCode::GroupMaxSizeReached);
            }
            self.pending_join.insert(new_id.clone());
            let session_timeout = request.session_timeout();
            turn.set_session(&self.id, &new_id, session_timeout);
            turn.refuse_join(slot, new_id, ErrorCode::MemberIdRequired);
        } else {
            self.add_and_rebalance(slot, new_id, request, turn);
        }
    }

    fn add_and_rebalance(
        &mut self,
        slot: Slot,
        member_id: Arc<str>,
        mut request: JoinRequest,
        turn: &mut Turn,
    ) {
        if let State::PreparingRebalance(joining) = &mut self.state {
            if let Some(initial) = &mut joining.initial {
                initial.member_added = true;
            }
        }
        let protocol_type = std::mem::replace(&mut request.protocol_type, no_member());
        self.add(Member::new(member_id.clone(), slot, request), protocol_type);
        turn.set_session(&self.id, &member_id, NEW_MEMBER_JOIN_TIMEOUT);
        self.rebalance(turn);
    }

    /// A known member joins again. Whether that is news depends on the state.
    fn rejoin(&mut self, slot: Slot, request: JoinRequest, turn: &mut Turn) {
        let member = self.members.get(&request.member_id).expect("validated");
        let unchanged = member.protocols == request.protocols;
        let tell_current = match &self.state {
            // Its first answer may have been lost.
            State::CompletingRebalance { .. } => unchanged,
            // A leader that joins again asks for a rebalance: topics may have changed.
            State::Stable => unchanged && !self.is_leader(&request.member_id),
            State::PreparingRebalance(_) => false,
            State::Empty | State::Dead => {
                return turn.refuse_join(slot, request.member_id, ErrorCode::UnknownMemberId)
            }
        };
        if tell_current {
            let response = self.join_response(&request.member_id, false);
            turn.reply(slot, Response::Join(response));
        } else {
            self.park_join(slot, request, turn);
            self.rebalance(turn);
        }
    }

    /// Takes over what a member says of itself and lets it wait for the rebalance.
    fn park_join(&mut self, slot: Slot, request: JoinRequest, turn: &mut Turn) {
        let parked = request.parked_at(slot);
        let member = self.members.get_mut(&request.member_id).expect("the caller has looked it up");
        member.rebalance_timeout_ms = request.rebalance_timeout_ms();
        member.session_timeout_ms = request.session_timeout_ms;
        member.protocols = request.protocols;
        if let Some(earlier) = member.awaiting_join.replace(parked) {
            // Sent again, most likely on another connection; nobody reads this reply.
            turn.refuse_join(earlier.slot, request.member_id, ErrorCode::RebalanceInProgress);
        }
    }

    /// A static member comes back without its id, as after a restart: it takes its old place under a new
    /// id, and whoever still uses the old one is fenced (KIP-345).
    fn replace_static(
        &mut self,
        slot: Slot,
        old_id: Arc<str>,
        new_id: Arc<str>,
        mut request: JoinRequest,
        turn: &mut Turn,
    ) {
        let leader = self.leader.clone();
        self.rename_static(&old_id, &new_id, turn);
        let member = self.members.get_mut(&new_id).expect("just renamed");
        let replaced = Replaced {
            generation: self.generation,
            new_id: new_id.clone(),
            old_id,
            leader,
            protocols: member.protocols.clone(),
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
        };
        request.member_id = new_id.clone();
        self.park_join(slot, request, turn);
        let session_timeout = self.members.get(&new_id).expect("just renamed").session_timeout();
        turn.set_session(&self.id, &new_id, session_timeout);
        match &self.state {
            State::Stable if self.select_protocol() == self.protocol => {
                let assignments = self
                    .members
                    .iter()
                    .map(|member| (member.id.clone(), member.assignment.clone()))
                    .collect();
                let record = self.record(&assignments);
                let then = Then::StaticMember { group: self.id.clone(), replaced: Box::new(replaced) };
                turn.append(vec![record], None, then);
            }
            // In CompletingRebalance the leader may already assign to the old id: everyone joins anew.
            _ => self.rebalance(turn),
        }
    }

    /// Gives a static member another id. Requests that wait under the old one are fenced.
    fn rename_static(&mut self, old_id: &Arc<str>, new_id: &Arc<str>, turn: &mut Turn) {
        let Some(member) = self.members.rename(old_id, new_id.clone()) else { return };
        member.is_new = false;
        let (join, sync) = (member.awaiting_join.take(), member.awaiting_sync.take());
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), new_id.clone());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.clone());
        }
        turn.cancel_session(&self.id, old_id);
        if let Some(parked) = join {
            turn.refuse_join(parked.slot, old_id.clone(), ErrorCode::FencedInstanceId);
        }
        if let Some(slot) = sync {
            turn.refuse_sync(slot, ErrorCode::FencedInstanceId);
        }
    }

    /// The new id of a static member is in the log, or is not.
    pub(super) fn static_member_written(
        &mut self,
        replaced: Replaced,
        result: Result<(), ErrorCode>,
        turn: &mut Turn,
    ) {
        if result.is_err() {
            turn.appends.restore_past(&replaced);
        }
        let Some(member) = self.members.get_mut(&replaced.new_id) else { return };
        // Meanwhile a rebalance may have begun, which answers the join itself.
        if self.state != State::Stable || self.generation != replaced.generation {
            return;
        }
        // In a Stable group nothing but this lets a join of the member wait.
        let parked = member.awaiting_join.take();
        let session_timeout = member.session_timeout();
        if let Err(error) = result {
            if let Some(parked) = parked {
                turn.refuse_join(parked.slot, no_member(), error);
            }
            member.protocols = replaced.protocols;
            member.session_timeout_ms = replaced.session_timeout_ms;
            member.rebalance_timeout_ms = replaced.rebalance_timeout_ms;
            let session_timeout = member.session_timeout();
            self.rename_static(&replaced.new_id, &replaced.old_id, turn);
            return turn.set_session(&self.id, &replaced.old_id, session_timeout);
        }
        turn.set_session(&self.id, &replaced.new_id, session_timeout);
        if let Some(parked) = parked {
            let response = if parked.knows_skip_assignment {
                self.join_response(&replaced.new_id, true)
            } else {
                // An older client that heard itself named as leader would compute an assignment, which a
                // Stable group does not take.
                let leader = replaced.leader.unwrap_or_else(no_member);
                JoinResponse { leader, members: Vec::new(), ..self.join_response(&replaced.new_id, false) }
            };
            turn.reply(parked.slot, Response::Join(response));
        }
    }

    /// The new id has been on its way to the log for too long. The member keeps it, and may ask again.
    pub(super) fn static_member_overdue(&mut self, member_id: &str, error: ErrorCode, turn: &mut Turn) {
        // If the group is no longer Stable, the rebalance answers.
        if !self.is_stable() {
            return;
        }
        let Some(member) = self.members.get_mut(member_id) else { return };
        if let Some(parked) = member.awaiting_join.take() {
            turn.set_session(&self.id, &member.id, member.session_timeout());
            turn.refuse_join(parked.slot, no_member(), error);
        }
    }

    /// The answer that tells a member of the current generation.
    pub(super) fn join_response(&self, member_id: &Arc<str>, skip_assignment: bool) -> JoinResponse {
        let leads = self.is_leader(member_id);
        JoinResponse {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(no_member),
            skip_assignment: skip_assignment && leads,
            member_id: member_id.clone(),
            members: if leads { self.joined_members() } else { Vec::new() },
        }
    }

    /// Removes a member without a rebalance; requests of it that wait are told so.
    pub(super) fn drop_member(&mut self, member_id: &Arc<str>, turn: &mut Turn) {
        turn.cancel_session(&self.id, member_id);
        let Some(member) = self.remove(member_id) else { return };
        if let Some(parked) = member.awaiting_join {
            turn.refuse_join(parked.slot, no_member(), ErrorCode::UnknownMemberId);
        }
        if let Some(slot) = member.awaiting_sync {
            turn.refuse_sync(slot, ErrorCode::UnknownMemberId);
        }
        if self.pending_sync.is_empty() {
            turn.timers.cancel(&Timer::Sync { group: self.id.clone() });
        }
    }
}

/// The empty id: makes a client forget the one it has.
fn no_member() -> Arc<str> {
    Arc::from("")
}

fn member_id_for(name: &str, fresh: Uuid) -> Arc<str> {
    Arc::from(format!("{name}-{fresh}"))
}
