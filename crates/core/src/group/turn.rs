//! What one step of the coordinator works with: the time, the settings, the timers, and where its orders go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use norn_protocol::ErrorCode;

use super::action::{Action, JoinResponse, Response, SyncResponse};
use super::append::{Appends, Then};
use super::cleanup::Cleanup;
use super::config::GroupConfig;
use super::event::{AppendToken, Slot};
use super::offsets::Offsets;
use super::records::Record;
use super::timers::{Timer, Timers};
use super::topics::Topics;
use crate::Millis;

/// One step's share of the coordinator: all but the groups, so that a group can act on it.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) wall: Millis,
    pub(super) config: &'a GroupConfig,
    pub(super) timers: &'a mut Timers,
    pub(super) appends: &'a mut Appends,
    pub(super) offsets: &'a mut Offsets,
    pub(super) cleanup: &'a mut Cleanup,
    pub(super) topics: &'a dyn Topics,
    pub(super) actions: &'a mut Vec<Action>,
    /// The append that this step has ordered last.
    pub(super) appended: Option<AppendToken>,
}

impl Turn<'_> {
    pub(super) fn reply(&mut self, slot: Slot, response: Response) {
        self.actions.push(Action::Reply { slot, response });
    }

    pub(super) fn refuse_join(&mut self, slot: Slot, member_id: Arc<str>, error: ErrorCode) {
        self.reply(slot, Response::Join(JoinResponse::refused(member_id, error)));
    }

    pub(super) fn refuse_sync(&mut self, slot: Slot, error: ErrorCode) {
        self.reply(slot, Response::Sync(SyncResponse::refused(error)));
    }

    /// Replies when what this step has written is committed; at once if it has written nothing.
    pub(super) fn reply_when_written(&mut self, slot: Slot, response: Response) {
        match self.appended.and_then(|token| self.appends.get_mut(token)) {
            Some(append) if append.reply.is_none() => append.reply = Some((slot, response)),
            _ => self.reply(slot, response),
        }
    }

    /// Orders an append; `reply` leaves when it is committed, or at its deadline without that.
    pub(super) fn append(
        &mut self,
        records: Vec<Record>,
        reply: Option<(Slot, Response)>,
        then: Then,
    ) -> AppendToken {
        let token = self.appends.push(records.clone(), reply, then);
        self.offsets.begin(token, &records);
        self.timers.set(Timer::Append(token), self.now + self.config.append_timeout);
        self.actions.push(Action::Append { token, records });
        self.appended = Some(token);
        token
    }

    pub(super) fn set(&mut self, timer: Timer, after: Duration) {
        self.timers.set(timer, self.now + after);
    }

    pub(super) fn set_session(&mut self, group: &Arc<str>, member: &Arc<str>, after: Duration) {
        self.set(Timer::Session { group: group.clone(), member: member.clone() }, after);
    }

    pub(super) fn cancel_session(&mut self, group: &Arc<str>, member: &Arc<str>) {
        self.timers.cancel(&Timer::Session { group: group.clone(), member: member.clone() });
    }
}
