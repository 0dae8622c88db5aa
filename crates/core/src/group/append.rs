//! Appends without an outcome yet: their records, who waits for them, and what they set off.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use norn_protocol::ErrorCode;

use super::action::Response;
use super::event::{AppendToken, Protocol, Slot};
use super::records::Record;

/// An append that was ordered.
#[derive(Debug)]
pub(super) struct PendingAppend {
    pub(super) records: Vec<Record>,
    /// Leaves when the records are committed; gone when it has been answered at its deadline.
    pub(super) reply: Option<(Slot, Response)>,
    pub(super) then: Then,
    outcome: Option<Result<(), ErrorCode>>,
}

/// What follows when the outcome of an append is known.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing but the reply and the offsets.
    Nothing,
    /// The members that have synced get these assignments and the group is Stable.
    Assignment { group: Arc<str>, assignments: BTreeMap<Arc<str>, Bytes> },
    /// The static member that came back under a new id is told so.
    StaticMember { group: Arc<str>, replaced: Box<Replaced> },
    /// The next batch of the deleted group's tombstones is ordered, or after the last one the group is removed.
    GroupDeleted { group: Arc<str>, is_last: bool },
    /// The cleanup goes on; with the last offsets of a vacant group, the group is removed.
    Cleaned { expires: bool, vacant: Option<Arc<str>> },
}

/// A static member before it came back, to be restored if its new id cannot be written.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) generation: i32,
    pub(super) new_id: Arc<str>,
    pub(super) old_id: Arc<str>,
    /// The leader before; the old id, if this member was it.
    pub(super) leader: Option<Arc<str>>,
    pub(super) protocols: Vec<Protocol>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
}

/// All appends under way, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Appends {
    pending: BTreeMap<AppendToken, PendingAppend>,
    ordered_ever: u64,
}

impl Appends {
    pub(super) fn push(
        &mut self,
        records: Vec<Record>,
        reply: Option<(Slot, Response)>,
        then: Then,
    ) -> AppendToken {
        let token = AppendToken(self.ordered_ever);
        self.ordered_ever += 1;
        self.pending.insert(token, PendingAppend { records, reply, then, outcome: None });
        token
    }

    pub(super) fn get_mut(&mut self, token: AppendToken) -> Option<&mut PendingAppend> {
        self.pending.get_mut(&token)
    }

    /// The last known good of a static member, when the id that `failed` gave it was not written: whoever
    /// has replaced that id since goes back further if he fails too.
    pub(super) fn restore_past(&mut self, failed: &Replaced) {
        for append in self.pending.values_mut() {
            if let Then::StaticMember { replaced, .. } = &mut append.then {
                if replaced.old_id == failed.new_id {
                    replaced.old_id = failed.old_id.clone();
                    replaced.leader = failed.leader.clone();
                    replaced.protocols = failed.protocols.clone();
                    replaced.session_timeout_ms = failed.session_timeout_ms;
                    replaced.rebalance_timeout_ms = failed.rebalance_timeout_ms;
                }
            }
        }
    }

    /// Notes an outcome. Unknown and repeated tokens are ignored.
    pub(super) fn ended(&mut self, token: AppendToken, outcome: Result<(), ErrorCode>) {
        if let Some(append) = self.pending.get_mut(&token) {
            append.outcome.get_or_insert(outcome);
        }
    }

    /// The next append to be taken in. A refusal may overtake; commits are taken in in the order of the
    /// log whatever the order in which they are told, so that an older offset never replaces a newer.
    pub(super) fn next_ended(
        &mut self,
        told: AppendToken,
    ) -> Option<(AppendToken, PendingAppend, Result<(), ErrorCode>)> {
        let refused = |append: &PendingAppend| matches!(append.outcome, Some(Err(_)));
        let token = match self.pending.get(&told) {
            Some(append) if refused(append) => told,
            _ => *self.pending.first_key_value()?.0,
        };
        let outcome = self.pending.get(&token)?.outcome?;
        let append = self.pending.remove(&token)?;
        Some((token, append, outcome))
    }

    /// Everything under way, when the coordinator is unloaded.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = PendingAppend> {
        std::mem::take(&mut self.pending).into_values()
    }
}
