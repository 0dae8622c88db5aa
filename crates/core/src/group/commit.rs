//! Offsets and groups as such: commit, delete, expire (Kafka's `OffsetMetadataManager`).

use std::sync::Arc;

use norn_protocol::{ErrorCode, PartitionIndex, TopicId};

use super::action::{OffsetsResponse, PartitionOutcome, Response};
use super::append::Then;
use super::config::NAME_LEN_MAX;
use super::coordinator::Groups;
use super::event::{CommitRequest, DeleteOffsetsRequest, PartitionCommit, Slot};
use super::offsets;
use super::records::{OffsetValue, Record};
use super::state::{Group, State};
use super::timers::Timer;
use super::turn::Turn;
use crate::Millis;

impl Turn<'_> {
    /// OffsetCommit: from a member of the generation, or from anyone while the group has no members.
    pub(super) fn commit_offsets(&mut self, groups: &mut Groups, slot: Slot, request: CommitRequest) {
        if let Err(error) = self.validate_commit(groups, &request) {
            let response = OffsetsResponse::of_commit(&request, error);
            return self.reply(slot, Response::CommitOffsets(response));
        }
        // An explicit retention counts from now (OffsetCommit 2 to 4).
        let expires_at = request.retention_ms.map(|ms| Millis(self.wall.0.saturating_add(ms)));
        let mut records = Vec::new();
        let mut response = OffsetsResponse { topics: Vec::with_capacity(request.topics.len()) };
        for topic in request.topics {
            let mut outcomes = Vec::with_capacity(topic.partitions.len());
            for commit in topic.partitions {
                let error = self.validate_partition(&topic.topic, &commit).err();
                outcomes.push(PartitionOutcome { partition: commit.partition, error });
                if error.is_none() {
                    records.push(Record::Offset {
                        group: request.group_id.clone(),
                        topic: topic.topic.clone(),
                        partition: commit.partition,
                        value: Some(self.value(commit, expires_at, topic.topic_id)),
                    });
                }
            }
            response.topics.push((topic.topic, outcomes));
        }
        let response = Response::CommitOffsets(response);
        if records.is_empty() {
            self.reply(slot, response);
        } else {
            self.append(records, Some((slot, response)), Then::Nothing);
        }
    }

    fn value(&self, commit: PartitionCommit, expires_at: Option<Millis>, topic_id: TopicId) -> OffsetValue {
        OffsetValue {
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata.unwrap_or_else(|| Arc::from("")),
            committed_at: self.wall,
            expires_at,
            topic_id,
        }
    }

    fn validate_partition(&self, topic: &str, commit: &PartitionCommit) -> Result<(), ErrorCode> {
        let metadata_len_max = self.config.offset_metadata_len_max.min(NAME_LEN_MAX);
        if topic.len() > NAME_LEN_MAX {
            return Err(ErrorCode::InvalidTopicException);
        }
        if commit.metadata.as_ref().is_some_and(|metadata| metadata.len() > metadata_len_max) {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        Ok(())
    }

    fn validate_commit(&mut self, groups: &Groups, request: &CommitRequest) -> Result<(), ErrorCode> {
        if request.group_id.len() > NAME_LEN_MAX {
            return Err(ErrorCode::InvalidGroupId);
        }
        let Some(group) = groups.get(&request.group_id) else {
            // A consumer that assigns its own partitions; the group begins to exist with the commit.
            return match request.generation {
                ..0 => Ok(()),
                _ if request.knows_group_id_not_found => Err(ErrorCode::GroupIdNotFound),
                _ => Err(ErrorCode::IllegalGeneration),
            };
        };
        group.validate_commit(request)?;
        if group.is_stable() || group.is_preparing() {
            group.keep_session(&request.member_id, self);
        }
        Ok(())
    }

    /// OffsetDelete: of topics that no member reads.
    pub(super) fn delete_offsets(&mut self, groups: &mut Groups, slot: Slot, request: DeleteOffsetsRequest) {
        let group = match groups.get(&request.group_id) {
            None => return self.reply(slot, Response::DeleteOffsets(Err(ErrorCode::GroupIdNotFound))),
            Some(group) => group,
        };
        if group.is_dead() {
            return self.reply(slot, Response::DeleteOffsets(Err(ErrorCode::CoordinatorNotAvailable)));
        }
        if !group.is_empty() && !group.uses_consumer_protocol() {
            return self.reply(slot, Response::DeleteOffsets(Err(ErrorCode::NonEmptyGroup)));
        }
        let written = self.offsets.written(&group.id);
        let mut records = Vec::new();
        let mut outcome = |topic: &Arc<str>, partition: PartitionIndex| {
            let error = group.is_subscribed_to(topic).then_some(ErrorCode::GroupSubscribedToTopic);
            let key = (topic.clone(), partition);
            if error.is_none() && written.binary_search(&key).is_ok() {
                records.push(offsets::tombstone(&group.id, key));
            }
            PartitionOutcome { partition, error }
        };
        let topics = request.topics.into_iter().map(|(topic, partitions)| {
            let outcomes = partitions.into_iter().map(|partition| outcome(&topic, partition)).collect();
            (topic, outcomes)
        });
        let response = Response::DeleteOffsets(Ok(OffsetsResponse { topics: topics.collect() }));
        if records.is_empty() {
            self.reply(slot, response);
        } else {
            self.append(records, Some((slot, response)), Then::Nothing);
        }
    }

    /// DeleteGroups, for one group: without members it goes with all its offsets.
    pub(super) fn delete_group(&mut self, groups: &mut Groups, slot: Slot, group_id: &str) {
        let result = match groups.get_mut(group_id) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(group) if group.is_dead() => Err(ErrorCode::CoordinatorNotAvailable),
            Some(group) if !group.is_empty() => Err(ErrorCode::NonEmptyGroup),
            Some(group) => Ok(group),
        };
        match result {
            Err(error) => self.reply(slot, Response::DeleteGroup(Err(error))),
            Ok(group) => self.bury(group, Some((slot, Response::DeleteGroup(Ok(()))))),
        }
    }

    /// Writes the tombstones of an empty group and of all that the log may have of its offsets.
    fn bury(&mut self, group: &mut Group, reply: Option<(Slot, Response)>) {
        for member_id in std::mem::take(&mut group.pending_join) {
            self.cancel_session(&group.id, &member_id);
        }
        let offsets = self.offsets.written(&group.id);
        let mut records: Vec<_> = offsets.into_iter().map(|key| offsets::tombstone(&group.id, key)).collect();
        records.push(Record::Group { group: group.id.clone(), value: None });
        // While it is Dead nothing can be added to it that would come after its tombstones.
        group.state = State::Dead;
        self.append(records, reply, Then::GroupDeleted { group: group.id.clone() });
    }

    /// The tombstones of a group are in the log, or are not.
    pub(super) fn group_deleted(
        &mut self,
        groups: &mut Groups,
        group_id: &str,
        result: Result<(), ErrorCode>,
    ) {
        match result {
            Ok(()) => {
                groups.remove(group_id);
            }
            Err(_) => {
                if let Some(group) = groups.get_mut(group_id) {
                    group.state = State::Empty;
                }
            }
        }
    }

    /// A topic is gone: so is what groups have committed for it.
    pub(super) fn topic_deleted(&mut self, topic: &str, topic_id: TopicId) {
        for (group, partitions) in self.offsets.of_topic(topic, topic_id) {
            let records = partitions.into_iter().map(|key| offsets::tombstone(&group, key)).collect();
            self.append(records, None, Then::Nothing);
        }
    }

    /// Removes offsets that nobody has committed for `offsets.retention.minutes` (KIP-211), and groups
    /// that have neither members nor offsets left.
    pub(super) fn expire_offsets(&mut self, groups: &mut Groups) {
        self.set(Timer::Retention, self.config.retention_check_interval);
        for group in groups.values_mut() {
            let expired = self.expired_offsets(group);
            let keeps_offsets = expired.len() < self.offsets.written(&group.id).len();
            if group.is_vacant() && !keeps_offsets {
                self.bury(group, None);
            } else if !expired.is_empty() {
                self.append(expired, None, Then::Nothing);
            }
        }
    }

    fn expired_offsets(&self, group: &Group) -> Vec<Record> {
        let retention_ms = i64::try_from(self.config.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        let is_expired = |value: &OffsetValue| match (value.expires_at, group.unused_since(value)) {
            (_, None) => false,
            (Some(expires_at), Some(_)) => self.wall >= expires_at,
            (None, Some(since)) => self.wall.since(since) >= retention_ms,
        };
        let expired = self.offsets.of_group(&group.id).filter(|(key, value)| {
            // A commit under way makes the offset new.
            is_expired(value) && !group.is_subscribed_to(&key.0) && !self.offsets.is_in_flight(&group.id, key)
        });
        expired.map(|(key, _)| offsets::tombstone(&group.id, key.clone())).collect()
    }
}

impl Group {
    /// Kafka's `ClassicGroup.validateOffsetCommit`.
    fn validate_commit(&self, request: &CommitRequest) -> Result<(), ErrorCode> {
        if self.is_dead() {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if request.generation < 0 && self.is_empty() {
            return Ok(());
        }
        if request.generation < 0 && request.member_id.is_empty() && request.instance_id.is_none() {
            // An administrator, or a consumer on its own, among members that use the group.
            return Err(ErrorCode::UnknownMemberId);
        }
        self.validate_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if self.is_completing() {
            // The member knows the new generation, but whether it keeps the partition is yet to be said.
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

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
