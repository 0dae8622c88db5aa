//! An administrator: describes, changes settings, deletes records where the plan foresees it; and creates, fills, deletes
//! and creates again topics of its own, whose former records must not come back.

use std::sync::Arc;

use norn_env::clock::Duration;
use norn_protocol::client::topic_name;
use norn_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use norn_protocol::messages::describe_configs_request::DescribeConfigsResource;
use norn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use norn_protocol::messages::{
    DeleteGroupsRequest, DeleteRecordsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, IncrementalAlterConfigsRequest, ListGroupsRequest, MetadataRequest,
};
use norn_protocol::StrBytes;

use super::actor::Actor;
use super::errors::UNKNOWN_TOPIC_OR_PARTITION;
use super::plan::{Role, TrimPlan};
use super::reading::{list_offset, EARLIEST, LATEST};
use super::short_lived;
use crate::check::{Event, ListedTopic, Tp};
use crate::client::{CallError, Connection};

/// The source of a setting that a topic has of its own.
const SET_FOR_THE_TOPIC: i8 = 1;
/// How long the broker may take for a change, in ms.
pub const TIMEOUT_MS: i32 = 3_000;
/// The type of a topic among the resources that have settings.
const TOPIC: i8 = 2;

/// Works until the faults have stopped, and then makes one more change.
pub async fn run(actor: &mut Actor) {
    let Role::Admin { topics } = actor.me.role.clone() else { return };
    let mut own = short_lived::Names::new(actor);
    while actor.works() {
        let connection = actor.cluster.any().await;
        if act(actor, &connection, &topics).await.is_err() {
            actor.cluster.pause().await;
        }
        if actor.cluster.dice().chance(0.2) {
            short_lived::live(actor, &mut own).await;
        }
        let pause = Duration::from_millis(actor.cluster.dice().range(0..800));
        actor.rest(pause).await;
    }
    let _op = actor.begin("change a setting");
    loop {
        let connection = actor.cluster.any().await;
        if alter(actor, &connection, &topics).await == Ok(true) {
            return;
        }
        actor.cluster.pause().await;
    }
}

async fn act(actor: &mut Actor, connection: &Connection, topics: &[usize]) -> Result<(), CallError> {
    match actor.cluster.dice().below(8) {
        0 => match pick(actor, topics) {
            Some(topic) => describe_configs(actor, connection, &topic).await,
            None => Ok(()),
        },
        1 => alter(actor, connection, topics).await.map(drop),
        2 => groups(actor, connection).await,
        3 => actor.cluster.call(connection, 0, |_| DescribeClusterRequest::default()).await.map(drop),
        4 => list_topics(actor, connection, 0).await.map(drop),
        _ => delete_records(actor, connection, topics).await,
    }
}

/// Lists all topics but internal ones, in a version that is at least `floor`.
pub async fn list_topics(
    actor: &mut Actor,
    connection: &Connection,
    floor: i16,
) -> Result<Vec<ListedTopic>, CallError> {
    let all = |version: i16| {
        // In version 0 no topics at all means all of them.
        let request = MetadataRequest::default();
        if version == 0 {
            request.with_topics(Some(vec![]))
        } else {
            request.with_topics(None)
        }
    };
    let (response, span) = actor.cluster.call(connection, floor, all).await?;
    // Version 0 does not tell which are internal.
    let users = response.topics.into_iter().filter(|topic| !topic.is_internal && topic.error_code == 0);
    let listed = users.filter_map(|topic| {
        let partitions = topic.partitions.iter().map(|part| part.partition_index).collect();
        Some(ListedTopic { name: topic.name?.as_str().into(), id: topic.topic_id, partitions })
    });
    let topics: Vec<ListedTopic> = listed.collect();
    actor.record(Event::Listed { topics: topics.clone(), span });
    Ok(topics)
}

/// Describes one topic's settings: each must be there.
pub async fn describe_configs(
    actor: &mut Actor,
    connection: &Connection,
    topic: &str,
) -> Result<(), CallError> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configuration_keys(None);
    let request = |_| DescribeConfigsRequest::default().with_resources(vec![resource]);
    let (response, span) = actor.cluster.call(connection, 1, request).await?;
    for result in response.results.iter().filter(|result| result.error_code == 0) {
        if !result.configs.iter().any(|config| &*config.name == "retention.ms") {
            actor.surprise(format!("the settings of {topic} have no retention.ms"));
        }
        let own = result.configs.iter().filter(|config| config.config_source == SET_FOR_THE_TOPIC);
        let settings =
            own.filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())));
        let settings = settings.collect();
        actor.record(Event::SettingsDescribed { topic: topic.into(), settings, span });
    }
    Ok(())
}

/// Changes a setting that no promise depends on; whether it worked.
async fn alter(actor: &mut Actor, connection: &Connection, topics: &[usize]) -> Result<bool, CallError> {
    let Some(topic) = pick(actor, topics) else { return Ok(true) };
    let dice = actor.cluster.dice();
    let (name, value) = match dice.below(3) {
        0 => ("segment.bytes", dice.range(1 << 20..4 << 20)),
        1 => ("segment.ms", dice.range(2_000..60_000)),
        _ => ("index.interval.bytes", dice.range(64..8_192)),
    };
    // Set or take away.
    let operation = if dice.chance(0.7) { 0 } else { 1 };
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str(name))
        .with_config_operation(operation)
        .with_value((operation == 0).then(|| StrBytes::from_string(value.to_string())));
    let value = (operation == 0).then(|| value.to_string());
    let change = actor.history().set_setting(&topic, name, value);
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(StrBytes::from_string(topic))
        .with_configs(vec![config]);
    let request = |_| IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let (response, span) = actor.cluster.call(connection, 0, request).await?;
    if let Some(error) = response.responses.first().map(|response| response.error_code) {
        // What timed out in the broker may come into force yet.
        if error == 0 || error == UNKNOWN_TOPIC_OR_PARTITION {
            actor.record(Event::SettingDone { change, acked: error == 0, at: span.done });
        }
    }
    // A topic that is only made when it is used may not be there.
    Ok(response.responses.iter().all(|response| matches!(response.error_code, 0 | 3)))
}

/// Lists all groups, describes some, and tries to delete one that nobody has.
async fn groups(actor: &mut Actor, connection: &Connection) -> Result<(), CallError> {
    let (listed, _) = actor.cluster.call(connection, 0, |_| ListGroupsRequest::default()).await?;
    let groups: Vec<_> = listed.groups.iter().map(|group| group.group_id.clone()).collect();
    let request = |_| DescribeGroupsRequest::default().with_groups(groups.clone());
    let (described, _) = actor.cluster.call(connection, 0, request).await?;
    if described.groups.len() != groups.len() {
        actor.surprise(format!("{} groups were described of {}", described.groups.len(), groups.len()));
    }
    let nobody = StrBytes::from_static_str("nobody");
    let request = |_| DeleteGroupsRequest::default().with_groups_names(vec![nobody.into()]);
    actor.cluster.call(connection, 0, request).await.map(drop)
}

/// Deletes records of a topic of which the plan foresees it.
async fn delete_records(
    actor: &mut Actor,
    connection: &Connection,
    topics: &[usize],
) -> Result<(), CallError> {
    let trimmed: Vec<_> =
        actor.topics(topics).into_iter().filter(|topic| topic.trim == TrimPlan::Records).collect();
    let dice = actor.cluster.dice().clone();
    if trimmed.is_empty() {
        return Ok(());
    }
    let topic = &trimmed[dice.below(trimmed.len() as u64) as usize];
    let name: Arc<str> = topic.name.as_str().into();
    let tp = Tp::new(&name, dice.below(topic.partitions as u64) as i32);
    let start = list_offset(actor, connection, &tp, EARLIEST).await?;
    let end = list_offset(actor, connection, &tp, LATEST).await?;
    let (Some(start), Some(end)) = (start, end) else { return Ok(()) };
    let before = dice.range(start as u64..end.max(start) as u64 + 1) as i64;
    // -1 stands for the high watermark, wherever that is.
    let to_the_end = dice.chance(0.05);
    let asked = if to_the_end { i64::MAX } else { before };
    actor.record(Event::DeleteRecordsAsked { tp: tp.clone(), before: asked });
    let part = DeleteRecordsPartition::default()
        .with_partition_index(tp.partition)
        .with_offset(if to_the_end { -1 } else { before });
    let of_topic = DeleteRecordsTopic::default().with_name(topic_name(&tp.topic)).with_partitions(vec![part]);
    let request = |_| DeleteRecordsRequest::default().with_topics(vec![of_topic]).with_timeout_ms(TIMEOUT_MS);
    let (response, span) = actor.cluster.call(connection, 0, request).await?;
    for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
        if answer.error_code == 0 {
            actor.record(Event::Start { tp: tp.clone(), start: answer.low_watermark, span });
        }
        let kept = answer.error_code == 0 && !to_the_end && answer.low_watermark < before;
        if kept {
            let low = answer.low_watermark;
            actor.surprise(format!("DeleteRecords of {tp} before {before} left a low watermark of {low}"));
        }
    }
    Ok(())
}

fn pick(actor: &Actor, topics: &[usize]) -> Option<String> {
    let place = topics.get(actor.cluster.dice().below(topics.len().max(1) as u64) as usize)?;
    Some(actor.plan.topics.get(*place)?.name.clone())
}
