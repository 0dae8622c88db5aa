//! The layers of settings that hold on this broker: what it was started with, and what the image has on top.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use norn_core::metadata::{unkept_sync_interval, ConfigLayers, ConfigMap, Image, Topic, TopicConfig};
use norn_env::clock::Duration;
use norn_protocol::types::{NodeId, TopicId};
use tracing::{error, warn};

use crate::{config::Config, server::ConnectionBounds};

/// What this broker was started with, in the form in which the layers are asked.
#[derive(Clone, Debug)]
pub(crate) struct BrokerLayers {
    node: NodeId,
    started_with: Config,
    file: ConfigMap,
    none: ConfigMap,
    /// What the log has said of topics' settings: they are asked for all the time.
    said: Arc<Mutex<BTreeMap<TopicId, String>>>,
}

impl BrokerLayers {
    pub fn new(config: &Config) -> Self {
        BrokerLayers {
            node: NodeId(config.node_id),
            started_with: config.clone(),
            file: config.values().effective(),
            none: ConfigMap::new(),
            said: Arc::default(),
        }
    }

    pub fn file(&self) -> &ConfigMap {
        &self.file
    }

    /// The layers of a topic with these settings of its own.
    pub fn of<'a>(&'a self, image: &'a Image, topic: &'a ConfigMap) -> ConfigLayers<'a> {
        ConfigLayers {
            topic,
            broker: image.broker_configs(self.node).unwrap_or(&self.none),
            cluster: image.cluster_configs(),
            file: &self.file,
        }
    }

    /// The layers without a topic.
    pub fn of_broker<'a>(&'a self, image: &'a Image) -> ConfigLayers<'a> {
        self.of(image, &self.none)
    }

    /// How long a partition remembers an idempotent producer, as it is set now.
    pub fn producer_ttl(&self, image: &Image) -> Duration {
        let broker = image.broker_configs(self.node).unwrap_or(&self.none);
        let changes = image.cluster_configs().iter().chain(broker);
        let now = self.started_with.overridden(changes.map(|(name, value)| (name.as_str(), value.as_str())));
        now.producers.id_expiration
    }

    /// How many connections there may be, as it is set now.
    pub fn connection_bounds(&self, image: &Image) -> ConnectionBounds {
        let broker = image.broker_configs(self.node).unwrap_or(&self.none);
        let changed = |name: &str| {
            let value = broker.get(name).or_else(|| image.cluster_configs().get(name));
            value.and_then(|value| value.parse().ok())
        };
        let network = &self.started_with.network;
        ConnectionBounds {
            max: changed("max.connections").unwrap_or(network.max_connections),
            per_ip_max: changed("max.connections.per.ip").unwrap_or(network.max_connections_per_ip),
        }
    }

    /// The settings that hold for a topic here. What the image holds was checked when it was set; if a newer default
    /// makes it impossible, the topic goes by the defaults, and the log says so.
    pub fn topic_config(&self, image: &Image, topic: &Topic) -> TopicConfig {
        let layers = self.of(image, &topic.configs);
        if let Err(cause) = unkept_sync_interval(&layers) {
            if self.is_news(topic.id, cause.to_string()) {
                warn!(topic = %topic.name, "it is synced as with flush.mode=sync: {cause}");
            }
        }
        TopicConfig::resolve(&layers).unwrap_or_else(|cause| {
            if self.is_news(topic.id, cause.to_string()) {
                error!(topic = %topic.name, "its settings contradict each other, defaults are used: {cause}");
            }
            TopicConfig::default()
        })
    }

    /// Whether the log has not said this of the topic yet.
    fn is_news(&self, topic: TopicId, cause: String) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(topic, cause.clone()) != Some(cause)
    }
}
