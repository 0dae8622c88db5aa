//! What members do between rebalances: sync, heartbeat, leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use norn_protocol::ErrorCode;

use super::action::{LeftMember, Response, SyncResponse};
use super::append::Then;
use super::event::{AppendToken, HeartbeatRequest, LeavingMember, Slot, SyncRequest};
use super::member::Member;
use super::state::{AssignmentAppend, Group, State};
use super::timers::Timer;
use super::turn::Turn;

impl Group {
    /// SyncGroup: the leader brings the assignment, everybody waits for it to be in the log.
    pub(super) fn sync(&mut self, slot: Slot, request: SyncRequest, turn: &mut Turn) {
        if let Err(error) = self.validate_sync(&request) {
            return turn.refuse_sync(slot, error);
        }
        match &self.state {
            State::Empty => turn.refuse_sync(slot, ErrorCode::UnknownMemberId),
            State::Dead => turn.refuse_sync(slot, ErrorCode::CoordinatorNotAvailable),
            State::PreparingRebalance(_) => turn.refuse_sync(slot, ErrorCode::RebalanceInProgress),
            State::CompletingRebalance { assignment } => {
                let assignment = *assignment;
                self.synced(&request.member_id, turn);
                self.await_assignment(slot, request, assignment, turn);
            }
            State::Stable => {
                self.synced(&request.member_id, turn);
                let response = self.sync_response(&request.member_id);
                turn.reply(slot, Response::Sync(response));
            }
        }
    }

    fn validate_sync(&self, request: &SyncRequest) -> Result<(), ErrorCode> {
        if self.is_dead() {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.validate_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |asked: &Option<Arc<str>>, ours: &Option<Arc<str>>| {
            asked.is_some() && ours.is_some() && asked != ours
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn synced(&mut self, member_id: &str, turn: &mut Turn) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            turn.timers.cancel(&Timer::Sync { group: self.id.clone() });
        }
    }

    fn await_assignment(
        &mut self,
        slot: Slot,
        request: SyncRequest,
        assignment: Option<AssignmentAppend>,
        turn: &mut Turn,
    ) {
        if assignment.is_some_and(|append| append.overdue) {
            return turn.refuse_sync(slot, ErrorCode::CoordinatorNotAvailable);
        }
        let member = self.members.get_mut(&request.member_id).expect("validated");
        if let Some(earlier) = member.awaiting_sync.replace(slot) {
            // Sent again, most likely on another connection; nobody reads this reply.
            turn.refuse_sync(earlier, ErrorCode::RebalanceInProgress);
        }
        // The first assignment of a generation is the one in the log: a leader that asks again gets it.
        if self.is_leader(&request.member_id) && assignment.is_none() {
            let given: BTreeMap<Arc<str>, Bytes> = request.assignments.into_iter().collect();
            let of = |id: &Arc<str>| given.get(id).cloned().unwrap_or_default();
            let assignments: BTreeMap<_, _> =
                self.members.iter().map(|member| (member.id.clone(), of(&member.id))).collect();
            let record = self.record(&assignments);
            let then = Then::Assignment { group: self.id.clone(), assignments };
            let token = turn.append(vec![record], None, then);
            let assignment = Some(AssignmentAppend { token, overdue: false });
            self.state = State::CompletingRebalance { assignment };
        }
    }

    fn sync_response(&self, member_id: &str) -> SyncResponse {
        SyncResponse {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self
                .members
                .get(member_id)
                .map(|member| member.assignment.clone())
                .unwrap_or_default(),
        }
    }

    /// The append of this generation's assignment, if it is the one of this token.
    pub(super) fn assignment_append(&mut self, token: AppendToken) -> Option<&mut AssignmentAppend> {
        match &mut self.state {
            State::CompletingRebalance { assignment } => {
                assignment.as_mut().filter(|append| append.token == token)
            }
            _ => None,
        }
    }

    /// The assignment is in the log, or is not. If the group has moved on, that is history.
    pub(super) fn assignment_written(
        &mut self,
        token: AppendToken,
        assignments: BTreeMap<Arc<str>, Bytes>,
        result: Result<(), ErrorCode>,
        turn: &mut Turn,
    ) {
        if self.assignment_append(token).is_none() {
            return;
        }
        if let Err(error) = result {
            self.fail_syncs(error, turn);
            self.state = State::CompletingRebalance { assignment: None };
            return self.rebalance(turn);
        }
        self.enter(State::Stable, turn.wall);
        for (member_id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&member_id) {
                member.assignment = assignment;
            }
        }
        let waiting = |member: &mut Member| {
            member.awaiting_sync.take().map(|slot| (member.id.clone(), member.session_timeout(), slot))
        };
        let waiting: Vec<_> = self.members.iter_mut().filter_map(waiting).collect();
        for (member_id, session_timeout, slot) in waiting {
            turn.set_session(&self.id, &member_id, session_timeout);
            turn.reply(slot, Response::Sync(self.sync_response(&member_id)));
        }
    }

    /// The assignment has been on its way to the log for too long. It may still arrive, and then counts;
    /// another one would leave open which of the two a later coordinator finds.
    pub(super) fn assignment_overdue(&mut self, token: AppendToken, error: ErrorCode, turn: &mut Turn) {
        if let Some(append) = self.assignment_append(token) {
            append.overdue = true;
            self.fail_syncs(error, turn);
        }
    }

    /// Heartbeat: keeps the session, and tells of a rebalance.
    pub(super) fn heartbeat(&mut self, request: &HeartbeatRequest, turn: &mut Turn) -> Result<(), ErrorCode> {
        if self.is_dead() {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.validate_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        self.keep_session(&request.member_id, turn);
        match &self.state {
            State::PreparingRebalance(_) => Err(ErrorCode::RebalanceInProgress),
            // Members send heartbeats from their JoinGroup's answer on.
            State::CompletingRebalance { .. } | State::Stable => Ok(()),
            State::Empty | State::Dead => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// The member has been heard of.
    pub(super) fn keep_session(&self, member_id: &str, turn: &mut Turn) {
        if let Some(member) = self.members.get(member_id) {
            turn.set_session(&self.id, &member.id, member.session_timeout());
        }
    }

    /// LeaveGroup: removes those that it names, then makes a new generation of the others.
    pub(super) fn leave(&mut self, slot: Slot, leaving: Vec<LeavingMember>, turn: &mut Turn) {
        if self.is_dead() {
            return turn.reply(slot, Response::Leave(Err(ErrorCode::CoordinatorNotAvailable)));
        }
        let mut left = Vec::with_capacity(leaving.len());
        for member in leaving {
            let error = self.remove_leaving(&member, turn).err();
            left.push(LeftMember { member_id: member.member_id, instance_id: member.instance_id, error });
        }
        if left.iter().any(|member| member.error.is_none()) {
            self.rebalance_after_removal(turn);
        }
        turn.reply_when_written(slot, Response::Leave(Ok(left)));
    }

    fn remove_leaving(&mut self, leaving: &LeavingMember, turn: &mut Turn) -> Result<(), ErrorCode> {
        let instance_id = leaving.instance_id.as_deref();
        let member_id = if leaving.member_id.is_empty() {
            let by_instance = instance_id.and_then(|instance_id| self.static_members.get(instance_id));
            by_instance.ok_or(ErrorCode::UnknownMemberId)?.clone()
        } else {
            if !self.pending_join.contains(&leaving.member_id) {
                self.validate_member(&leaving.member_id, instance_id)?;
            }
            leaving.member_id.clone()
        };
        self.drop_member(&member_id, turn);
        Ok(())
    }
}
