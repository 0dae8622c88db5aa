//! Creating the plan's topics before anybody uses them.

use norn_protocol::client::topic_name;
use norn_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use norn_protocol::messages::CreateTopicsRequest;
use norn_protocol::StrBytes;
use uuid::Uuid;

use super::errors::TOPIC_ALREADY_EXISTS;
use super::plan::{Plan, TopicPlan};
use crate::check::Event;
use crate::client::{CallError, Cluster};

const TIMEOUT_MS: i32 = 5_000;

/// Creates all topics that are to be created ahead, trying until they are there.
pub async fn create_topics(cluster: &mut Cluster, plan: &Plan) {
    let _op = cluster.history().begin(cluster.client(), "create the topics");
    let mut left: Vec<&TopicPlan> = plan.topics.iter().filter(|topic| !topic.auto).collect();
    while !left.is_empty() {
        match create(cluster, &left).await {
            Ok(created) => left.retain(|topic| !created.contains(&topic.name)),
            Err(_) => cluster.pause().await,
        }
    }
}

/// One request for some topics: those that are there now.
async fn create(cluster: &mut Cluster, topics: &[&TopicPlan]) -> Result<Vec<String>, CallError> {
    let connection = cluster.any().await;
    let creatable = |topic: &&TopicPlan| {
        let config = |(name, value): (&String, &String)| {
            let config = CreatableTopicConfig::default().with_name(StrBytes::from_string(name.clone()));
            config.with_value(Some(StrBytes::from_string(value.clone())))
        };
        CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(1)
            .with_configs(topic.configs.iter().map(config).collect())
    };
    let creatable: Vec<_> = topics.iter().map(creatable).collect();
    let request = |_| CreateTopicsRequest::default().with_topics(creatable).with_timeout_ms(TIMEOUT_MS);
    let (response, _) = cluster.call(&connection, 2, request).await?;
    let mut created = vec![];
    for result in response.topics {
        match result.error_code {
            0 | TOPIC_ALREADY_EXISTS => {
                if let Some(topic) = topics.iter().find(|topic| *topic.name == **result.name) {
                    let (topic, count) = (topic.name.as_str().into(), topic.partitions);
                    let (id, at) = (Uuid::nil(), cluster.history().now());
                    cluster.history().record(Event::PartitionsAcked { topic, id, count, at });
                }
                created.push(result.name.to_string());
            }
            error => {
                // The first attempts may find a broker that is not ready.
                tracing::debug!(topic = ?result.name, error, message = ?result.error_message, "not created");
                if matches!(error, 17 | 37 | 38 | 40 | 42) {
                    let (client, at) = (cluster.client(), cluster.history().now());
                    let detail =
                        format!("creating {:?}: error {error}: {:?}", result.name, result.error_message);
                    cluster.history().record(Event::Malformed { client, detail, at });
                    created.push(result.name.to_string());
                }
            }
        }
    }
    Ok(created)
}
