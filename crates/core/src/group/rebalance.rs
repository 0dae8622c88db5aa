//! A group on its way to its next generation, and the deadlines that push it on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use norn_protocol::ErrorCode;

use super::action::Response;
use super::append::Then;
use super::state::{Group, Initial, Joining, State};
use super::timers::Timer;
use super::turn::Turn;

/// Looks again for static members that all fail to rejoin no sooner than after this, whatever rebalance
/// timeout they ask for, until their sessions end.
const REJOIN_WAIT_MIN: Duration = Duration::from_millis(100);

impl Group {
    /// Begins a rebalance, or goes on with the one under way.
    pub(super) fn rebalance(&mut self, turn: &mut Turn) {
        match &self.state {
            State::Empty => self.begin_initial(turn),
            State::CompletingRebalance { .. } | State::Stable => self.begin_rebalance(turn),
            State::PreparingRebalance(_) => self.maybe_complete_join(turn),
            State::Dead => {}
        }
    }

    /// The first members of an empty group wait for others, so that not each of them makes a generation.
    fn begin_initial(&mut self, turn: &mut Turn) {
        let delay = turn.config.initial_rebalance_delay;
        let remaining = self.rebalance_timeout().saturating_sub(delay);
        turn.set(Timer::Join { group: self.id.clone() }, delay);
        let initial = Some(Initial { delay, remaining, member_added: false });
        self.enter(State::PreparingRebalance(Joining { initial }), turn.wall);
    }

    fn begin_rebalance(&mut self, turn: &mut Turn) {
        if self.is_completing() {
            self.fail_syncs(ErrorCode::RebalanceInProgress, turn);
        }
        self.pending_sync.clear();
        turn.timers.cancel(&Timer::Sync { group: self.id.clone() });
        self.enter(State::PreparingRebalance(Joining::default()), turn.wall);
        if self.has_all_joined() {
            self.complete_join(turn);
        } else {
            turn.set(Timer::Join { group: self.id.clone() }, self.rebalance_timeout());
        }
    }

    /// Completes the join phase if nobody is missing. The first one of a group always takes its delay.
    pub(super) fn maybe_complete_join(&mut self, turn: &mut Turn) {
        if self.state == State::PreparingRebalance(Joining::default()) && self.has_all_joined() {
            self.complete_join(turn);
        }
    }

    /// The time to join is over, or for a group that was empty, one delay of it.
    pub(super) fn join_deadline(&mut self, turn: &mut Turn) {
        let State::PreparingRebalance(joining) = &mut self.state else { return };
        match &mut joining.initial {
            Some(initial) if initial.member_added && !initial.remaining.is_zero() => {
                let delay = turn.config.initial_rebalance_delay.min(initial.remaining);
                let remaining = initial.remaining.saturating_sub(initial.delay);
                *initial = Initial { delay, remaining, member_added: false };
                turn.set(Timer::Join { group: self.id.clone() }, delay);
            }
            _ => self.complete_join(turn),
        }
    }

    /// Those that have joined make the next generation. Static members keep their place although they
    /// have not; they may be restarting.
    fn complete_join(&mut self, turn: &mut Turn) {
        turn.timers.cancel(&Timer::Join { group: self.id.clone() });
        let missing =
            self.members.iter().filter(|member| member.awaiting_join.is_none() && !member.is_static());
        let missing: Vec<_> = missing.map(|member| member.id.clone()).collect();
        for member_id in missing {
            self.drop_member(&member_id, turn);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // Only static members are left, and none is here: wait for one of them, or for their sessions.
            self.state = State::PreparingRebalance(Joining::default());
            let wait = self.rebalance_timeout().max(REJOIN_WAIT_MIN);
            return turn.set(Timer::Join { group: self.id.clone() }, wait);
        }
        self.begin_generation(turn.wall);
        if self.members.is_empty() {
            // If this is not written, the old generation comes back with the next coordinator, and ends as
            // its members' sessions do.
            turn.append(vec![self.record(&BTreeMap::new())], None, Then::Nothing);
        } else {
            self.announce_generation(turn);
        }
    }

    /// Answers the JoinGroups; from here on the members' sessions count, and they have to sync.
    fn announce_generation(&mut self, turn: &mut Turn) {
        let ids: Vec<Arc<str>> = self.members.iter().map(|member| member.id.clone()).collect();
        for member_id in ids {
            let member = self.members.get_mut(&member_id).expect("listed above");
            member.is_new = false;
            let parked = member.awaiting_join.take();
            turn.set_session(&self.id, &member_id, member.session_timeout());
            if let Some(parked) = parked {
                let response = self.join_response(&member_id, false);
                turn.reply(parked.slot, Response::Join(response));
            }
            self.pending_sync.insert(member_id);
        }
        turn.set(Timer::Sync { group: self.id.clone() }, self.rebalance_timeout());
    }

    /// Answers those that wait for an assignment with an error.
    pub(super) fn fail_syncs(&mut self, error: ErrorCode, turn: &mut Turn) {
        for member in self.members.iter_mut() {
            if let Some(slot) = member.awaiting_sync.take() {
                turn.set_session(&self.id, &member.id, member.session_timeout());
                turn.refuse_sync(slot, error);
            }
        }
    }

    /// Members that have joined but not synced within the rebalance timeout are taken to be gone.
    pub(super) fn sync_deadline(&mut self, turn: &mut Turn) {
        if !(self.is_completing() || self.is_stable()) || self.pending_sync.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut self.pending_sync) {
            self.drop_member(&member_id, turn);
        }
        self.rebalance(turn);
    }

    /// A member, or an id that was to join, has been silent for too long.
    pub(super) fn session_deadline(&mut self, member_id: &Arc<str>, turn: &mut Turn) {
        if self.is_dead() {
            return;
        }
        if self.pending_join.remove(member_id) {
            return self.maybe_complete_join(turn);
        }
        if self.members.get(member_id).is_some_and(|member| member.is_expired_by_silence()) {
            self.drop_member(member_id, turn);
            self.rebalance_after_removal(turn);
        }
    }

    /// Members are gone: the others make a new generation.
    pub(super) fn rebalance_after_removal(&mut self, turn: &mut Turn) {
        match &self.state {
            State::CompletingRebalance { .. } | State::Stable => self.begin_rebalance(turn),
            State::PreparingRebalance(_) => self.maybe_complete_join(turn),
            State::Empty | State::Dead => {}
        }
    }
}
