//! The coordinator of all groups that belong to one partition of `__consumer_offsets`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use norn_protocol::ErrorCode;

use super::action::{Action, LeftMember, Response};
use super::append::{Appends, PendingAppend, Then};
use super::cleanup::Cleanup;
use super::config::{GroupConfig, NAME_LEN_MAX};
use super::error;
use super::event::{
    AppendToken, Event, HeartbeatRequest, JoinRequest, LeaveRequest, LeavingMember, Slot, SyncRequest,
};
use super::offsets::Offsets;
use super::records::Record;
use super::state::Group;
use super::timers::{Timer, Timers};
use super::topics::Topics;
use super::turn::Turn;
use crate::Millis;

/// The groups of one partition, loaded and in charge. Made by a [`Loader`](super::Loader).
///
/// It never writes by itself: it orders an append and takes the replies that depend on it back until it is
/// told that the records are committed. Requests are taken in, and appends must be carried out, in the
/// order given.
#[derive(Debug, Default)]
pub struct Coordinator {
    pub(super) config: GroupConfig,
    pub(super) groups: BTreeMap<Arc<str>, Group>,
    pub(super) offsets: Offsets,
    pub(super) timers: Timers,
    pub(super) appends: Appends,
    pub(super) cleanup: Cleanup,
}

impl Coordinator {
    /// Takes in one event at `now`, with the topics that exist now. `wall` stamps what is committed. Adds to `actions`
    /// what is to be done.
    pub fn step(
        &mut self,
        event: Event,
        now: Instant,
        wall: Millis,
        topics: &dyn Topics,
        actions: &mut Vec<Action>,
    ) {
        let (groups, turn) = &mut self.turn(now, wall, topics, actions);
        match event {
            Event::Join { slot, request } => join(groups, slot, request, turn),
            Event::Sync { slot, request } => sync(groups, slot, request, turn),
            Event::Heartbeat { slot, request } => heartbeat(groups, slot, &request, turn),
            Event::Leave { slot, request } => leave(groups, slot, request, turn),
            Event::CommitOffsets { slot, request } => turn.commit_offsets(groups, slot, request),
            Event::DeleteOffsets { slot, request } => turn.delete_offsets(groups, slot, request),
            Event::DeleteGroup { slot, group_id } => turn.delete_group(groups, slot, &group_id),
            Event::TopicsDeleted => turn.begin_pass(false),
            Event::Appended { token, result } => appended(groups, token, result, turn),
            Event::DeadlineReached => deadline_reached(groups, turn),
        }
    }

    /// When [`Event::DeadlineReached`] is to be told.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Ends the coordinator because its partition is led elsewhere, or its log has failed: everyone who
    /// waits is told to look for another.
    pub fn unload(mut self, actions: &mut Vec<Action>) {
        let error = ErrorCode::NotCoordinator;
        for append in self.appends.drain() {
            if let Some((slot, response)) = append.reply {
                actions.push(Action::Reply { slot, response: response.failed(error) });
            }
        }
        for group in self.groups.values_mut() {
            group.refuse_all(error, actions);
        }
    }

    pub(super) fn turn<'a>(
        &'a mut self,
        now: Instant,
        wall: Millis,
        topics: &'a dyn Topics,
        actions: &'a mut Vec<Action>,
    ) -> (&'a mut Groups, Turn<'a>) {
        let Coordinator { config, groups, offsets, timers, appends, cleanup } = self;
        let turn =
            Turn { now, wall, config, timers, appends, offsets, cleanup, topics, actions, appended: None };
        (groups, turn)
    }
}

pub(super) type Groups = BTreeMap<Arc<str>, Group>;

fn join(groups: &mut Groups, slot: Slot, request: JoinRequest, turn: &mut Turn) {
    if let Err(error) = validate_join(&request, turn.config) {
        return turn.refuse_join(slot, request.member_id, error);
    }
    let group_id = request.group_id.clone();
    if request.member_id.is_empty() {
        groups.entry(group_id.clone()).or_insert_with(|| Group::new(group_id.clone()));
    }
    let Some(group) = groups.get_mut(&group_id) else {
        return turn.refuse_join(slot, request.member_id, ErrorCode::UnknownMemberId);
    };
    group.join(slot, request, turn);
    if group.is_untouched() && !turn.offsets.has_any(&group_id) {
        groups.remove(&group_id);
    }
}

fn validate_join(request: &JoinRequest, config: &GroupConfig) -> Result<(), ErrorCode> {
    let valid_session = config.session_timeout_ms_min..=config.session_timeout_ms_max;
    if !is_valid_group_id(&request.group_id) {
        return Err(ErrorCode::InvalidGroupId);
    }
    if !valid_session.contains(&request.session_timeout_ms) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    let names = [&request.client_id, &request.client_host, &request.protocol_type];
    let names = names.into_iter().chain(&request.instance_id);
    let names = names.chain(request.protocols.iter().map(|protocol| &protocol.name));
    if names.into_iter().any(|name| name.len() > NAME_LEN_MAX) {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(())
}

/// Whether a group with members may have this id. One that only commits offsets may have the empty one.
fn is_valid_group_id(group_id: &str) -> bool {
    !group_id.is_empty() && group_id.len() <= NAME_LEN_MAX
}

fn sync(groups: &mut Groups, slot: Slot, request: SyncRequest, turn: &mut Turn) {
    match find(groups, &request.group_id) {
        Ok(group) => group.sync(slot, request, turn),
        Err(error) => turn.refuse_sync(slot, error),
    }
}

fn heartbeat(groups: &mut Groups, slot: Slot, request: &HeartbeatRequest, turn: &mut Turn) {
    let result = find(groups, &request.group_id).and_then(|group| group.heartbeat(request, turn));
    turn.reply(slot, Response::Heartbeat(result));
}

fn leave(groups: &mut Groups, slot: Slot, request: LeaveRequest, turn: &mut Turn) {
    match find(groups, &request.group_id) {
        Ok(group) => group.leave(slot, request.members, turn),
        // Of a group that is not there each member is told for itself, as in Kafka's `GroupCoordinatorService.leaveGroup`.
        Err(ErrorCode::UnknownMemberId) => {
            let unknown = |member: LeavingMember| LeftMember {
                member_id: member.member_id,
                instance_id: member.instance_id,
                error: Some(ErrorCode::UnknownMemberId),
            };
            let members = request.members.into_iter().map(unknown).collect();
            turn.reply(slot, Response::Leave(Ok(members)));
        }
        Err(error) => turn.reply(slot, Response::Leave(Err(error))),
    }
}

/// A member's group; one that does not exist has no members.
fn find<'a>(groups: &'a mut Groups, group_id: &str) -> Result<&'a mut Group, ErrorCode> {
    if !is_valid_group_id(group_id) {
        return Err(ErrorCode::InvalidGroupId);
    }
    groups.get_mut(group_id).ok_or(ErrorCode::UnknownMemberId)
}

fn appended(groups: &mut Groups, token: AppendToken, result: Result<(), ErrorCode>, turn: &mut Turn) {
    turn.appends.ended(token, result);
    while let Some((ended, append, result)) = turn.appends.next_ended(token) {
        turn.timers.cancel(&Timer::Append(ended));
        turn.offsets.end(ended, &append.records);
        take_in(groups, ended, append, result, turn);
    }
}

/// Makes the records of an append visible, and lets those go who waited for it.
fn take_in(
    groups: &mut Groups,
    token: AppendToken,
    append: PendingAppend,
    appended: Result<(), ErrorCode>,
    turn: &mut Turn,
) {
    let PendingAppend { records, mut reply, then, .. } = append;
    let count = records.len();
    if appended.is_ok() {
        for record in records {
            if let Record::Offset { group, topic, partition, value } = record {
                if value.is_some() {
                    groups.entry(group.clone()).or_insert_with(|| Group::new(group.clone()));
                }
                turn.offsets.apply(group, (topic, partition), value);
            }
        }
    }
    let result = appended.map_err(error::of_append);
    match then {
        Then::Nothing => {}
        Then::Assignment { group, assignments } => {
            if let Some(group) = groups.get_mut(&group) {
                group.assignment_written(token, assignments, result, turn);
            }
        }
        Then::StaticMember { group, replaced } => {
            if let Some(group) = groups.get_mut(&group) {
                group.static_member_written(*replaced, result, turn);
            }
        }
        Then::GroupDeleted { group, is_last } => {
            turn.group_deleted(groups, count, appended, (group, is_last), &mut reply)
        }
        Then::Cleaned { expires, vacant } => turn.cleaned(groups, count, appended, (expires, vacant)),
    }
    if let Some((slot, response)) = reply {
        let response = match result {
            Ok(()) => response,
            Err(error) => response.failed(error),
        };
        turn.reply(slot, response);
    }
}

fn deadline_reached(groups: &mut Groups, turn: &mut Turn) {
    for timer in turn.timers.due(turn.now) {
        if !turn.timers.take_due(&timer, turn.now) {
            continue;
        }
        match timer {
            Timer::Append(token) => append_deadline(groups, token, turn),
            Timer::Retention => {
                turn.set(Timer::Retention, turn.config.retention_check_interval);
                turn.begin_pass(true);
            }
            Timer::Cleanup => turn.clean_up(groups),
            Timer::Session { group, member } => {
                if let Some(group) = groups.get_mut(&group) {
                    group.session_deadline(&member, turn);
                }
            }
            Timer::Join { group } => {
                if let Some(group) = groups.get_mut(&group) {
                    group.join_deadline(turn);
                }
            }
            Timer::Sync { group } => {
                if let Some(group) = groups.get_mut(&group) {
                    group.sync_deadline(turn);
                }
            }
        }
    }
}

/// The records may still be committed, and are taken in then; those who wait are not kept any longer.
fn append_deadline(groups: &mut Groups, token: AppendToken, turn: &mut Turn) {
    let error = error::of_append(ErrorCode::RequestTimedOut);
    let Some(append) = turn.appends.get_mut(token) else { return };
    let reply = append.reply.take();
    match &append.then {
        Then::Assignment { group, .. } => {
            if let Some(group) = groups.get_mut(group) {
                group.assignment_overdue(token, error, turn);
            }
        }
        Then::StaticMember { group, replaced } => {
            if let Some(group) = groups.get_mut(group) {
                let member_id = replaced.new_id.clone();
                group.static_member_overdue(&member_id, error, turn);
            }
        }
        Then::Nothing | Then::GroupDeleted { .. } | Then::Cleaned { .. } => {}
    }
    if let Some((slot, response)) = reply {
        turn.reply(slot, response.failed(error));
    }
}
