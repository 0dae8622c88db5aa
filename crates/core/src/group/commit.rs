//! Offsets as clients commit and delete them (Kafka's `OffsetMetadataManager`).

use std::sync::Arc;

use norn_protocol::{ErrorCode, PartitionIndex, TopicId};

use super::action::{OffsetsResponse, PartitionOutcome, Response};
use super::append::Then;
use super::config::NAME_LEN_MAX;
use super::coordinator::Groups;
use super::event::{CommitRequest, DeleteOffsetsRequest, PartitionCommit, Slot};
use super::offsets;
use super::records::{OffsetValue, Record};
use super::state::Group;
use super::topics::is_same;
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
            // Deleted since the request came: nobody would remove an offset that is committed now.
            let is_gone = !is_same(topic.topic_id, self.topics.id_of(&topic.topic));
            for commit in topic.partitions {
                let error = match self.validate_partition(&topic.topic, &commit) {
                    Ok(()) => is_gone.then_some(ErrorCode::UnknownTopicOrPartition),
                    Err(error) => Some(error),
                };
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
        let mut records = Vec::new();
        let mut outcome = |topic: &Arc<str>, partition: PartitionIndex| {
            let error = group.is_subscribed_to(topic).then_some(ErrorCode::GroupSubscribedToTopic);
            let key = (topic.clone(), partition);
            if error.is_none() && self.offsets.is_written(&group.id, &key) {
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
}
