//! What can be read of a coordinator: committed offsets, and its groups for ListGroups and DescribeGroups.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use norn_protocol::{LeaderEpoch, Offset, PartitionIndex};

use super::coordinator::Coordinator;
use super::records::OffsetValue;
use super::state::{Group, State};

/// A committed offset as OffsetFetch answers it; `Offset::NONE` where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    pub partition: PartitionIndex,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
}

/// The committed offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    pub topic: Arc<str>,
    pub partitions: Vec<FetchedOffset>,
}

/// A group as ListGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub group_id: Arc<str>,
    /// Empty for a group that only commits offsets.
    pub protocol_type: Arc<str>,
    pub state: &'static str,
}

/// A group as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    pub group_id: Arc<str>,
    pub state: &'static str,
    pub protocol_type: Arc<str>,
    /// The chosen protocol; empty unless the group is Stable.
    pub protocol: Arc<str>,
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it; metadata and assignment only while the group is Stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

impl Coordinator {
    /// OffsetFetch for these partitions. A group that does not exist has no offsets; that is no error.
    pub fn fetch_offsets(
        &self,
        group_id: &str,
        topics: &[(Arc<str>, Vec<PartitionIndex>)],
    ) -> Vec<FetchedTopic> {
        let fetch = |topic: &Arc<str>, partition: &PartitionIndex| {
            FetchedOffset::new(*partition, self.offsets.get(group_id, topic, *partition))
        };
        let fetch_topic = |(topic, partitions): &(Arc<str>, Vec<PartitionIndex>)| FetchedTopic {
            topic: topic.clone(),
            partitions: partitions.iter().map(|partition| fetch(topic, partition)).collect(),
        };
        topics.iter().map(fetch_topic).collect()
    }

    /// OffsetFetch for all partitions that the group has offsets for.
    pub fn fetch_all_offsets(&self, group_id: &str) -> Vec<FetchedTopic> {
        let mut topics: Vec<FetchedTopic> = Vec::new();
        for ((topic, partition), value) in self.offsets.of_group(group_id) {
            let fetched = FetchedOffset::new(*partition, Some(value));
            match topics.last_mut() {
                Some(last) if last.topic == *topic => last.partitions.push(fetched),
                _ => topics.push(FetchedTopic { topic: topic.clone(), partitions: vec![fetched] }),
            }
        }
        topics
    }

    /// All groups, or those in one of these states (whatever their case), in the order of their ids.
    pub fn list_groups(&self, states: &[Arc<str>]) -> Vec<ListedGroup> {
        // There are few states, but a request may name very many.
        let mut wanted: BTreeMap<&str, bool> = BTreeMap::new();
        let is_wanted = |group: &&Group| {
            let name = group.state_name();
            let named = || states.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
            *wanted.entry(name).or_insert_with(|| states.is_empty() || named())
        };
        let list = |group: &Group| ListedGroup {
            group_id: group.id.clone(),
            protocol_type: group.protocol_type.clone().unwrap_or_else(nothing),
            state: group.state_name(),
        };
        self.groups.values().filter(is_wanted).map(list).collect()
    }

    /// One group; `None` if it does not exist (GROUP_ID_NOT_FOUND from DescribeGroups 6 on, before that a
    /// group in state "Dead").
    pub fn describe_group(&self, group_id: &str) -> Option<DescribedGroup> {
        let group = self.groups.get(group_id)?;
        let stable = group.is_stable();
        let protocol = group.protocol.clone().filter(|_| stable).unwrap_or_else(nothing);
        let members = group.members.iter().map(|member| DescribedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { member.metadata(&protocol) } else { Bytes::new() },
            assignment: if stable { member.assignment.clone() } else { Bytes::new() },
        });
        Some(DescribedGroup {
            group_id: group.id.clone(),
            state: group.state_name(),
            protocol_type: group.protocol_type.clone().unwrap_or_else(nothing),
            members: members.collect(),
            protocol,
        })
    }
}

impl FetchedOffset {
    fn new(partition: PartitionIndex, value: Option<&OffsetValue>) -> FetchedOffset {
        FetchedOffset {
            partition,
            offset: value.map_or(Offset::NONE, |value| value.offset),
            leader_epoch: value.map_or(LeaderEpoch::NONE, |value| value.leader_epoch),
            metadata: value.map_or_else(nothing, |value| value.metadata.clone()),
        }
    }
}

impl Group {
    /// The state's name in Kafka's answers.
    pub(super) fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::PreparingRebalance(_) => "PreparingRebalance",
            State::CompletingRebalance { .. } => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

fn nothing() -> Arc<str> {
    Arc::from("")
}
