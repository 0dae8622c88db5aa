//! Removes what is not kept: expired offsets (KIP-211), offsets of deleted topics, groups that are vacant or deleted.
//!
//! A group may have more offsets than one batch holds tombstones for, and a coordinator more groups than one step can
//! look at. So a pass goes over all groups in bounded steps and orders bounded batches, a few at a time. A deletion of a
//! group writes its batches one after another, the group's own tombstone last. If the coordinator is lost in between,
//! the next one finds what is left in the log: each coordinator begins with a pass.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use norn_protocol::{ErrorCode, TopicId};

use super::action::Response;
use super::append::Then;
use super::config::CleanupLimits;
use super::coordinator::Groups;
use super::event::Slot;
use super::offsets::{self, Partition};
use super::records::{OffsetValue, Record};
use super::state::{Group, State};
use super::timers::Timer;
use super::topics::is_same;
use super::turn::Turn;
use crate::Millis;

/// When a pass is tried again whose records could not be written.
const RETRY: Duration = Duration::from_secs(10);

/// The pass under way and its limits.
#[derive(Debug, Default)]
pub(super) struct Cleanup {
    limits: CleanupLimits,
    pass: Option<Pass>,
    /// Asked for while a pass is under way: another follows, and whether it looks for expired offsets.
    again: Option<bool>,
    /// What is under way, a commit, an offset's tombstone or a whole deletion, would replace or remove an offset of a
    /// deleted topic, but may be refused: look again.
    unsure: bool,
    /// Appends of passes without an outcome.
    appends: usize,
}

#[derive(Debug)]
struct Pass {
    expires: bool,
    place: Place,
}

/// How far a pass has come.
#[derive(Debug)]
enum Place {
    Start,
    After(Arc<str>),
    /// In the middle of a group.
    Within(Arc<str>, Partition),
}

impl Cleanup {
    pub(super) fn new(limits: CleanupLimits) -> Cleanup {
        Cleanup { limits, ..Cleanup::default() }
    }

    /// Takes smaller batches if the partition has refused this one as too large; false if it cannot.
    fn shrink(&mut self, records: usize, error: ErrorCode) -> bool {
        let too_large = matches!(error, ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge);
        let shrinks = too_large && records > 1;
        if shrinks {
            self.limits.batch_bytes = (self.limits.batch_bytes / 2).max(1);
        }
        shrinks
    }
}

impl Turn<'_> {
    /// Begins a pass, or another after the one under way.
    pub(super) fn begin_pass(&mut self, expires: bool) {
        match &mut self.cleanup.pass {
            Some(Pass { place: Place::After(_) | Place::Within(..), .. }) => {
                self.cleanup.again = Some(expires || self.cleanup.again.unwrap_or(false));
                return;
            }
            // It has not begun, or waits to be tried again: now is the time.
            Some(pass) => pass.expires |= expires,
            None => self.cleanup.pass = Some(Pass { expires, place: Place::Start }),
        }
        self.set(Timer::Cleanup, Duration::ZERO);
    }

    /// Goes on with the pass, for one step.
    pub(super) fn clean_up(&mut self, groups: &mut Groups) {
        let Some(mut pass) = self.cleanup.pass.take() else { return };
        let mut keys = self.cleanup.limits.keys_per_step;
        while keys > 0 && self.cleanup.appends < self.cleanup.limits.appends {
            let Some((group_id, after)) = self.next_group(groups, &pass.place) else {
                return self.end_pass();
            };
            let vacant = groups.get(&group_id).is_some_and(Group::is_vacant);
            if pass.expires && vacant && after.is_some() && self.cleanup.appends > 0 {
                // Whether it can go as a whole is known once its first tombstones are in the log.
                self.cleanup.pass = Some(pass);
                return;
            }
            let (examined, place) = self.clean_group(groups, group_id, after, pass.expires, keys);
            pass.place = place;
            keys = keys.saturating_sub(examined.max(1));
        }
        self.cleanup.pass = Some(pass);
        if self.cleanup.appends < self.cleanup.limits.appends {
            self.set(Timer::Cleanup, Duration::ZERO);
        }
    }

    fn end_pass(&mut self) {
        if let Some(expires) = self.cleanup.again.take() {
            self.begin_pass(expires);
        } else if std::mem::take(&mut self.cleanup.unsure) {
            self.cleanup.pass = Some(Pass { expires: false, place: Place::Start });
            self.set(Timer::Cleanup, RETRY);
        }
    }

    /// The group that comes next, and after which of its partitions. A group whose first commit is under way counts.
    fn next_group(&self, groups: &Groups, place: &Place) -> Option<(Arc<str>, Option<Partition>)> {
        let after = match place {
            Place::Within(group, partition) => return Some((group.clone(), Some(partition.clone()))),
            Place::After(group) => Bound::Excluded(group.clone()),
            Place::Start => Bound::Unbounded,
        };
        let known = groups.range((after.clone(), Bound::Unbounded)).next().map(|(group, _)| group);
        let next = known.into_iter().chain(self.offsets.next_in_flight(after)).min()?;
        Some((next.clone(), None))
    }

    /// Orders the tombstones of up to `keys` offsets of a group, in one batch at most; returns how many it has examined.
    fn clean_group(
        &mut self,
        groups: &mut Groups,
        group_id: Arc<str>,
        after: Option<Partition>,
        expires: bool,
        keys: usize,
    ) -> (usize, Place) {
        let group = groups.get_mut(&group_id);
        if group.as_ref().is_some_and(|group| group.is_dead()) {
            self.cleanup.unsure = true;
            return (1, Place::After(group_id));
        }
        let partitions = self.offsets.written_after(&group_id, after.as_ref(), keys);
        let mut is_whole = partitions.len() < keys;
        let mut batch = Batch::new(self.cleanup.limits.batch_bytes);
        let (mut examined, mut last) = (0, after);
        let mut topic: Option<(Arc<str>, Option<TopicId>)> = None;
        for partition in partitions {
            if batch.is_full() {
                is_whole = false;
                break;
            }
            examined += 1;
            let id = match &topic {
                Some((name, id)) if *name == partition.0 => *id,
                _ => topic.insert((partition.0.clone(), self.topics.id_of(&partition.0))).1,
            };
            if self.is_obsolete(group.as_deref(), &group_id, &partition, id, expires) {
                batch.push(&group_id, partition.clone());
            } else {
                self.keep(&group_id, &partition, id);
            }
            last = Some(partition);
        }
        let mut records = batch.records;
        let place = match last {
            Some(partition) if !is_whole => Place::Within(group_id.clone(), partition),
            _ => Place::After(group_id.clone()),
        };
        match group {
            Some(group) if is_whole && expires && group.is_vacant() && self.is_all(&group_id, &records) => {
                // While it is Dead nothing can be added to it that would come after its tombstones.
                group.state = State::Dead;
                records.push(Record::Group { group: group_id.clone(), value: None });
                self.cleanup.appends += 1;
                self.append(records, None, Then::Cleaned { expires, vacant: Some(group_id) });
            }
            _ if !records.is_empty() => {
                self.cleanup.appends += 1;
                self.append(records, None, Then::Cleaned { expires, vacant: None });
            }
            _ => {}
        }
        (examined, place)
    }

    fn keep(&mut self, group_id: &Arc<str>, partition: &Partition, topic: Option<TopicId>) {
        let is_stale = |id: TopicId| !is_same(id, topic);
        let mut in_flight = self.offsets.in_flight(group_id, partition).iter();
        let committed = self.offsets.get(group_id, &partition.0, partition.1);
        if committed.is_some_and(|value| is_stale(value.topic_id))
            || in_flight.any(|record| record.topic_id.is_some_and(is_stale))
        {
            self.cleanup.unsure = true;
        } else if let Some(id) = topic {
            self.offsets.identify(group_id, partition, id);
        }
    }

    /// Whether the log has no offsets of the group but those that these tombstones remove.
    fn is_all(&self, group_id: &Arc<str>, tombstones: &[Record]) -> bool {
        self.offsets.written_after(group_id, None, tombstones.len() + 1).len() == tombstones.len()
    }

    fn is_obsolete(
        &self,
        group: Option<&Group>,
        group_id: &Arc<str>,
        partition: &Partition,
        topic: Option<TopicId>,
        expires: bool,
    ) -> bool {
        match self.offsets.in_flight(group_id, partition).last().map(|record| record.topic_id) {
            // Its tombstone is under way.
            Some(None) => false,
            // A commit under way makes the offset new, unless its topic is gone.
            Some(Some(id)) => !is_same(id, topic),
            None => self.offsets.get(group_id, &partition.0, partition.1).is_some_and(|value| {
                let expired = || group.is_some_and(|group| self.is_expired(group, &partition.0, value));
                !value.is_of(topic) || (expires && expired())
            }),
        }
    }

    fn is_expired(&self, group: &Group, topic: &Arc<str>, value: &OffsetValue) -> bool {
        let retention_ms = i64::try_from(self.config.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        let due = match (value.expires_at, group.unused_since(value)) {
            (_, None) => false,
            (Some(expires_at), Some(_)) => self.wall >= expires_at,
            (None, Some(since)) => self.wall.since(since) >= retention_ms,
        };
        due && !group.is_subscribed_to(topic)
    }

    /// Tombstones of a pass are in the log, or are not: then the pass begins again.
    pub(super) fn cleaned(
        &mut self,
        groups: &mut Groups,
        records: usize,
        result: Result<(), ErrorCode>,
        (expires, vacant): (bool, Option<Arc<str>>),
    ) {
        self.cleanup.appends -= 1;
        let Err(error) = result else {
            if let Some(group_id) = vacant {
                groups.remove(&group_id);
            }
            if self.cleanup.pass.is_some() {
                self.set(Timer::Cleanup, Duration::ZERO);
            }
            return;
        };
        if let Some(group) = vacant.and_then(|group_id| groups.get_mut(&group_id)) {
            group.state = State::Empty;
        }
        let expires = expires || self.cleanup.pass.as_ref().is_some_and(|pass| pass.expires);
        self.cleanup.pass = Some(Pass { expires, place: Place::Start });
        let delay = if self.cleanup.shrink(records, error) { Duration::ZERO } else { RETRY };
        self.set(Timer::Cleanup, delay);
    }

    /// DeleteGroups, for one group: without members it goes with all its offsets. The reply leaves with the last batch.
    pub(super) fn delete_group(&mut self, groups: &mut Groups, slot: Slot, group_id: &str) {
        let result = match groups.get_mut(group_id) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(group) if group.is_dead() => Err(ErrorCode::CoordinatorNotAvailable),
            Some(group) if !group.is_empty() => Err(ErrorCode::NonEmptyGroup),
            Some(group) => Ok(group),
        };
        match result {
            Err(error) => self.reply(slot, Response::DeleteGroup(Err(error))),
            Ok(group) => {
                for member_id in std::mem::take(&mut group.pending_join) {
                    self.cancel_session(&group.id, &member_id);
                }
                // While it is Dead nothing can be added to it that would come after its tombstones.
                group.state = State::Dead;
                self.delete_more(group.id.clone(), Some((slot, Response::DeleteGroup(Ok(())))));
            }
        }
    }

    /// Orders the next batch of a deleted group's tombstones.
    fn delete_more(&mut self, group: Arc<str>, reply: Option<(Slot, Response)>) {
        let keys = self.cleanup.limits.keys_per_step;
        let partitions = self.offsets.written_after(&group, None, keys);
        let mut is_last = partitions.len() < keys;
        let mut batch = Batch::new(self.cleanup.limits.batch_bytes);
        for partition in partitions {
            if batch.is_full() {
                is_last = false;
                break;
            }
            batch.push(&group, partition);
        }
        let mut records = batch.records;
        if is_last {
            records.push(Record::Group { group: group.clone(), value: None });
        }
        self.append(records, reply, Then::GroupDeleted { group, is_last });
    }

    /// A batch of a deleted group's tombstones is in the log, or is not. Takes the reply along to the next batch.
    pub(super) fn group_deleted(
        &mut self,
        groups: &mut Groups,
        records: usize,
        result: Result<(), ErrorCode>,
        (group, is_last): (Arc<str>, bool),
        reply: &mut Option<(Slot, Response)>,
    ) {
        let goes_on = match result {
            Ok(()) => !is_last,
            Err(error) => self.cleanup.shrink(records, error),
        };
        if goes_on {
            self.delete_more(group, reply.take());
        } else if result.is_ok() {
            groups.remove(&group);
        } else if let Some(group) = groups.get_mut(&group) {
            group.state = State::Empty;
        }
    }
}

/// Tombstones up to a number of bytes, at least one.
struct Batch {
    records: Vec<Record>,
    bytes: usize,
    bytes_max: usize,
}

impl Batch {
    fn new(bytes_max: usize) -> Batch {
        Batch { records: Vec::new(), bytes: 0, bytes_max }
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    fn push(&mut self, group: &Arc<str>, partition: Partition) {
        self.bytes += offsets::tombstone_bytes(group, &partition.0);
        self.records.push(offsets::tombstone(group, partition));
    }
}

impl Group {
    /// Since when an offset counts as unused; `None` while it may be in use.
    fn unused_since(&self, value: &OffsetValue) -> Option<Millis> {
        match (&self.protocol_type, &self.state) {
            (_, State::Dead) => None,
            (None, _) => Some(value.committed_at),
            // Kafka counts from the group's becoming empty even if the offset was committed since, by an
            // administrator's reset for example; the later of the two keeps such an offset as promised.
            (Some(_), State::Empty) => {
                Some(self.state_since.map_or(value.committed_at, |since| since.max(value.committed_at)))
            }
            (Some(_), State::Stable) if self.subscribed_topics.is_some() => Some(value.committed_at),
            (Some(_), _) => None,
        }
    }
}
