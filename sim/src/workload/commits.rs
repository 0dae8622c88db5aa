//! Committing and fetching a group's offsets, for members of groups and for those who only keep offsets there.

use std::collections::BTreeMap;
use std::sync::Arc;

use norn_protocol::client::topic_name;
use norn_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use norn_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use norn_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest};
use norn_protocol::{ApiKey, StrBytes};

use super::actor::Actor;
use crate::check::{Event, Span, Tp};
use crate::client::{CallError, Connection, Pending};

/// From this version on OffsetFetch asks for several groups.
const GROUPS: i16 = 8;

/// As whom a commit is made.
#[derive(Clone, Debug)]
pub struct Committer {
    pub group: Arc<str>,
    /// -1 and an empty id outside of a membership.
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
}

/// A commit in flight: the answer, and the numbers of the commits by partition.
pub struct Commit<'a> {
    pending: Pending<'a, OffsetCommitRequest>,
    numbers: BTreeMap<(String, i32), u64>,
}

/// Sends a commit of these offsets.
pub async fn send_commit<'a>(
    actor: &Actor,
    connection: &'a Connection,
    by: &Committer,
    offsets: &[(Tp, i64)],
) -> Result<Commit<'a>, CallError> {
    // Static members are known from version 7 on.
    let floor = if by.instance.is_some() { 7 } else { 2 };
    let version = actor.cluster.version(connection, ApiKey::OffsetCommit as i16, floor)?;
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    for (tp, offset) in offsets {
        let part = OffsetCommitRequestPartition::default()
            .with_partition_index(tp.partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(StrBytes::from_string(format!("at {offset}"))));
        topics.entry(&tp.topic).or_default().push(part);
        let commit = actor.history().next_id();
        numbers.insert((tp.topic.to_string(), tp.partition), commit);
        let (group, generation, at) = (by.group.clone(), by.generation, actor.history().now());
        actor.record(Event::CommitSent { commit, group, tp: tp.clone(), offset: *offset, generation, at });
    }
    let of_topic = |(topic, parts)| {
        OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(parts)
    };
    let request = OffsetCommitRequest::default()
        .with_group_id(StrBytes::from_string(by.group.to_string()).into())
        .with_generation_id_or_member_epoch(by.generation)
        .with_member_id(StrBytes::from_string(by.member.clone()))
        .with_group_instance_id(by.instance.clone().map(StrBytes::from_string))
        .with_topics(topics.into_iter().map(of_topic).collect());
    let pending = connection.send_at(version, &request).await?;
    Ok(Commit { pending, numbers })
}

impl Commit<'_> {
    /// Waits for the answer and records it: the first error, or 0.
    pub async fn settle(self, actor: &Actor) -> Result<i16, CallError> {
        let (response, span) = self.pending.answer(actor.cluster.deadline()).await?;
        Ok(record(actor, &self.numbers, &response, span))
    }
}

fn record(
    actor: &Actor,
    numbers: &BTreeMap<(String, i32), u64>,
    response: &OffsetCommitResponse,
    span: Span,
) -> i16 {
    let mut first = 0;
    let mut answered = 0;
    for topic in &response.topics {
        for part in &topic.partitions {
            let Some(commit) = numbers.get(&(topic.name.to_string(), part.partition_index)) else { continue };
            answered += 1;
            let acked = part.error_code == 0;
            // Timed out in the broker, or refused by a coordinator on its way out: it may come into force yet.
            let is_known = acked || is_final(part.error_code);
            if is_known {
                actor.record(Event::CommitDone { commit: *commit, acked, at: span.done });
            }
            if first == 0 {
                first = part.error_code;
            }
        }
    }
    if answered < numbers.len() {
        actor.surprise(format!("a commit of {} partitions was answered for {answered}", numbers.len()));
    }
    first
}

/// Whether the coordinator says that it will not do it: it did not know the member or its generation, or was still loading.
fn is_final(error: i16) -> bool {
    matches!(error, 12 | 14 | 22 | 25 | 26 | 27 | 28 | 82)
}

/// The offsets that a group has committed for these partitions; none if the broker cannot say now.
pub async fn fetch_committed(
    actor: &mut Actor,
    connection: &Connection,
    group: &Arc<str>,
    partitions: &[Tp],
) -> Result<Option<BTreeMap<Tp, i64>>, CallError> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for tp in partitions {
        topics.entry(&tp.topic).or_default().push(tp.partition);
    }
    let stable = actor.cluster.dice().chance(0.5);
    let id = || StrBytes::from_string(group.to_string());
    let request = |version: i16| match version {
        GROUPS.. => {
            let of_topic = |(topic, parts): (&&str, &Vec<i32>)| {
                let of_topic = OffsetFetchRequestTopics::default().with_name(topic_name(topic));
                of_topic.with_partition_indexes(parts.clone())
            };
            let of_group = OffsetFetchRequestGroup::default().with_group_id(id().into());
            let of_group = of_group.with_topics(Some(topics.iter().map(of_topic).collect()));
            OffsetFetchRequest::default().with_groups(vec![of_group]).with_require_stable(stable)
        }
        _ => {
            let of_topic = |(topic, parts): (&&str, &Vec<i32>)| {
                let of_topic = OffsetFetchRequestTopic::default().with_name(topic_name(topic));
                of_topic.with_partition_indexes(parts.clone())
            };
            let request = OffsetFetchRequest::default().with_group_id(id().into());
            let request = request.with_topics(Some(topics.iter().map(of_topic).collect()));
            request.with_require_stable(stable && version >= 7)
        }
    };
    let (response, span) = actor.cluster.call(connection, 1, request).await?;
    let mut found = vec![];
    let mut errors = vec![response.error_code];
    for topic in &response.topics {
        for part in &topic.partitions {
            errors.push(part.error_code);
            found.push((topic.name.to_string(), part.partition_index, part.committed_offset, &part.metadata));
        }
    }
    for of_group in &response.groups {
        errors.push(of_group.error_code);
        for topic in &of_group.topics {
            for part in &topic.partitions {
                errors.push(part.error_code);
                found.push((
                    topic.name.to_string(),
                    part.partition_index,
                    part.committed_offset,
                    &part.metadata,
                ));
            }
        }
    }
    if errors.iter().any(|error| *error != 0) {
        return Ok(None);
    }
    let mut committed = BTreeMap::new();
    for (topic, partition, offset, metadata) in found {
        let Some(tp) = partitions.iter().find(|tp| *tp.topic == *topic && tp.partition == partition) else {
            actor.surprise(format!("OffsetFetch brought {topic}-{partition}, which was not asked for"));
            continue;
        };
        if offset >= 0 && metadata.as_ref().is_none_or(|text| **text != *format!("at {offset}")) {
            actor.surprise(format!("the commit of {offset} for {tp} has the metadata {metadata:?}"));
        }
        actor.record(Event::Committed { group: group.clone(), tp: tp.clone(), offset, span });
        committed.insert(tp.clone(), offset);
    }
    if committed.len() < partitions.len() {
        actor.surprise(format!("OffsetFetch of {} partitions found {}", partitions.len(), committed.len()));
    }
    Ok(Some(committed))
}
