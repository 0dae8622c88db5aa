//! What can be read of a coordinator: committed offsets, and its groups for ListGroups and DescribeGroups.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use norn_protocol::{LeaderEpoch, Offset, PartitionIndex};

use super::coordinator::Coordinator;
use super::records::OffsetValue;
use super::state::{Group, State};
use super::topics::Topics;

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

/// Some of the committed offsets of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPart {
    pub topics: Vec<FetchedTopic>,
    /// The last partition that was looked at; `None` if there was none left.
    pub last: Option<(Arc<str>, PartitionIndex)>,
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

/// The states that ListGroups asks for, whatever their case; all if it names none. A request may name very many.
#[derive(Clone, Debug, Default)]
pub struct StateFilter {
    names_any: bool,
    wanted: BTreeSet<&'static str>,
}

impl StateFilter {
    /// Adds a state by the name that the request gives it.
    pub fn add(&mut self, name: &str) {
        self.names_any = true;
        self.wanted.extend(STATE_NAMES.into_iter().find(|state| state.eq_ignore_ascii_case(name)));
    }

    fn has(&self, state: &'static str) -> bool {
        !self.names_any || self.wanted.contains(state)
    }
}

impl Coordinator {
    /// OffsetFetch for these partitions. A group that does not exist has no offsets; that is no error. What was
    /// committed for a topic that is gone from `now`, or has a successor there, is not served.
    pub fn fetch_offsets(
        &self,
        group_id: &str,
        asked: &[(Arc<str>, Vec<PartitionIndex>)],
        now: &dyn Topics,
    ) -> Vec<FetchedTopic> {
        let fetch_topic = |(topic, partitions): &(Arc<str>, Vec<PartitionIndex>)| {
            let id = now.id_of(topic);
            let fetch = |partition: &PartitionIndex| {
                let value = self.offsets.get(group_id, topic, *partition).filter(|value| value.is_of(id));
                FetchedOffset::new(*partition, value)
            };
            FetchedTopic { topic: topic.clone(), partitions: partitions.iter().map(fetch).collect() }
        };
        asked.iter().map(fetch_topic).collect()
    }

    /// OffsetFetch for the first `most` partitions after `after` that the group has offsets for; whether there are more is
    /// known by asking again after the last.
    pub fn fetch_all_offsets(
        &self,
        group_id: &str,
        after: Option<&(Arc<str>, PartitionIndex)>,
        most: usize,
        now: &dyn Topics,
    ) -> FetchedPart {
        let mut part = FetchedPart { topics: Vec::new(), last: None };
        let mut id = (None, None);
        for (key, value) in self.offsets.of_group(group_id, after).take(most) {
            let (topic, partition) = key;
            part.last = Some(key.clone());
            if id.0 != Some(topic) {
                id = (Some(topic), now.id_of(topic));
            }
            if !value.is_of(id.1) {
                continue;
            }
            let fetched = FetchedOffset::new(*partition, Some(value));
            match part.topics.last_mut() {
                Some(last) if last.topic == *topic => last.partitions.push(fetched),
                _ => part.topics.push(FetchedTopic { topic: topic.clone(), partitions: vec![fetched] }),
            }
        }
        part
    }

    /// The groups in wanted states among the first `most` after the one with the id `after`, in the order of their ids;
    /// and the last that was looked at, `None` if there was none left.
    pub fn list_groups(
        &self,
        wanted: &StateFilter,
        after: Option<&Arc<str>>,
        most: usize,
    ) -> (Vec<ListedGroup>, Option<Arc<str>>) {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        let mut listed = Vec::new();
        for (id, group) in self.groups.range::<Arc<str>, _>((after, Bound::Unbounded)).take(most) {
            last = Some(id.clone());
            if wanted.has(group.state_name()) {
                listed.push(ListedGroup {
                    group_id: id.clone(),
                    protocol_type: group.protocol_type.clone().unwrap_or_else(nothing),
                    state: group.state_name(),
                });
            }
        }
        (listed, last)
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

const EMPTY: &str = "Empty";
const PREPARING: &str = "PreparingRebalance";
const COMPLETING: &str = "CompletingRebalance";
const STABLE: &str = "Stable";
const DEAD: &str = "Dead";
const STATE_NAMES: [&str; 5] = [EMPTY, PREPARING, COMPLETING, STABLE, DEAD];

impl Group {
    /// The state's name in Kafka's answers.
    pub(super) fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => EMPTY,
            State::PreparingRebalance(_) => PREPARING,
            State::CompletingRebalance { .. } => COMPLETING,
            State::Stable => STABLE,
            State::Dead => DEAD,
        }
    }
}

fn nothing() -> Arc<str> {
    Arc::from("")
}
