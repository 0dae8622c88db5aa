//! `norn topic`: what the commands about topics ask of a broker, and how they show the answers.

use std::fmt::Write;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest, MetadataRequest, TopicName,
};
use norn_protocol::{ErrorCode, StrBytes};

use crate::client::{Client, ClientError};
use crate::columns::Columns;

/// How long a broker may take to create or delete topics.
const ADMIN_TIMEOUT_MS: i32 = 15_000;
/// `ConfigResource.Type.TOPIC`.
const TOPIC_RESOURCE: i8 = 2;
/// `ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG`: set on the topic itself.
const OF_THE_TOPIC: i8 = 1;

/// A topic to be created.
pub struct NewTopic {
    pub name: String,
    /// The broker's default if not said.
    pub partitions: Option<i32>,
    /// The broker's default if not said.
    pub replication_factor: Option<i16>,
    pub configs: Vec<(String, String)>,
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// Creates a topic. With `if_not_exists`, one that exists is no error.
pub async fn create(client: &mut Client, new: &NewTopic, if_not_exists: bool) -> Result<String, ClientError> {
    let config = |(name, value): &(String, String)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(&new.name)))
        .with_num_partitions(new.partitions.unwrap_or(-1))
        .with_replication_factor(new.replication_factor.unwrap_or(-1))
        .with_configs(new.configs.iter().map(config).collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(ADMIN_TIMEOUT_MS);
    let response = client.call(&request).await?;
    let mut out = String::new();
    for topic in response.topics {
        let name = topic.name.0.to_string();
        if if_not_exists && topic.error_code == ErrorCode::TopicAlreadyExists.code() {
            out.push_str(&format!("topic {name} exists already\n"));
            continue;
        }
        let what = || format!("topic {name} was not created");
        ClientError::check(what, topic.error_code, topic.error_message.as_deref())?;
        let size = match (topic.num_partitions, topic.replication_factor) {
            (partitions, replicas) if partitions > 0 => {
                format!(" ({})", size(partitions.into(), replicas.into()))
            }
            _ => String::new(),
        };
        out.push_str(&format!("created topic {name}{size}\n"));
    }
    Ok(out)
}

/// Lists the names of all topics, one in a line.
pub async fn list(client: &mut Client, internal: bool) -> Result<String, ClientError> {
    let request = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
    let response = client.metadata(&request).await?;
    let shown = response.topics.iter().filter(|topic| internal || !topic.is_internal);
    let mut names: Vec<&str> = shown.filter_map(|topic| topic.name.as_ref().map(|name| &*name.0)).collect();
    names.sort_unstable();
    Ok(names.iter().map(|name| format!("{name}\n")).collect())
}

/// Deletes topics. With `if_exists`, one that does not exist is no error.
pub async fn delete(client: &mut Client, names: &[String], if_exists: bool) -> Result<String, ClientError> {
    let by_id = client.any().version_of::<DeleteTopicsRequest>()? >= 6;
    let request = DeleteTopicsRequest::default().with_timeout_ms(ADMIN_TIMEOUT_MS);
    let request = if by_id {
        let topic = |name: &String| DeleteTopicState::default().with_name(Some(TopicName(text(name))));
        request.with_topics(names.iter().map(topic).collect())
    } else {
        request.with_topic_names(names.iter().map(|name| TopicName(text(name))).collect())
    };
    let response = client.call(&request).await?;
    let (mut out, mut refused) = (String::new(), vec![]);
    for result in response.responses {
        let name = result.name.map(|name| name.0.to_string()).unwrap_or_default();
        if if_exists && result.error_code == ErrorCode::UnknownTopicOrPartition.code() {
            out.push_str(&format!("topic {name} does not exist\n"));
            continue;
        }
        let what = || format!("topic {name} was not deleted");
        match ClientError::check(what, result.error_code, result.error_message.as_deref()) {
            Ok(()) => out.push_str(&format!("deleted topic {name}\n")),
            Err(error) => refused.push(error),
        }
    }
    ClientError::partly(out, refused)
}

/// Describes the named topics, or all that are not internal.
pub async fn describe(client: &mut Client, names: &[String]) -> Result<String, ClientError> {
    let topic = |name: &String| MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
    let named = (!names.is_empty()).then(|| names.iter().map(topic).collect());
    let request = MetadataRequest::default().with_topics(named).with_allow_auto_topic_creation(false);
    let mut topics = client.metadata(&request).await?.topics;
    topics.retain(|topic| !names.is_empty() || !topic.is_internal);
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut out, mut refused) = (String::new(), vec![]);
    for topic in &topics {
        let name = topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default();
        if let Err(error) = ClientError::check(|| format!("topic {name}"), topic.error_code, None) {
            refused.push(error);
            continue;
        }
        let configs = own_configs(client, &name).await?;
        if !out.is_empty() {
            out.push('\n');
        }
        show(&mut out, &name, topic, &configs);
    }
    ClientError::partly(out, refused)
}

/// What is set on the topic itself, not inherited.
async fn own_configs(client: &mut Client, name: &str) -> Result<Vec<String>, ClientError> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC_RESOURCE)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let response = client.call(&DescribeConfigsRequest::default().with_resources(vec![resource])).await?;
    let mut own = Vec::new();
    for result in response.results {
        let what = || format!("settings of topic {name}");
        ClientError::check(what, result.error_code, result.error_message.as_deref())?;
        for config in result.configs.iter().filter(|config| config.config_source == OF_THE_TOPIC) {
            own.push(format!("{}={}", &*config.name, config.value.as_deref().unwrap_or("(hidden)")));
        }
    }
    Ok(own)
}

fn show(out: &mut String, name: &str, topic: &MetadataResponseTopic, configs: &[String]) {
    let partitions = &topic.partitions;
    let replicas = partitions.first().map_or(0, |partition| partition.replica_nodes.len());
    let internal = if topic.is_internal { ", internal" } else { "" };
    let size = size(partitions.len() as i64, replicas as i64);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "topic {name}: {size}, id {}{internal}", topic.topic_id);
    for config in configs {
        let _ = writeln!(out, "  {config}");
    }
    let mut columns = Columns::new(&["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "OFFLINE"]);
    let mut sorted: Vec<_> = partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.partition_index);
    for partition in sorted {
        let leader =
            if partition.leader_id.0 < 0 { "none".to_owned() } else { partition.leader_id.0.to_string() };
        columns.row([
            partition.partition_index.to_string(),
            leader,
            partition.leader_epoch.to_string(),
            ids(&partition.replica_nodes),
            ids(&partition.isr_nodes),
            ids(&partition.offline_replicas),
        ]);
    }
    out.push_str(&columns.to_string());
}

fn ids(ids: &[BrokerId]) -> String {
    ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",")
}

fn size(partitions: i64, replicas: i64) -> String {
    let count = |number: i64, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    format!("{} and {}", count(partitions, "partition"), count(replicas, "replica"))
}
