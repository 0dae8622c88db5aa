//! What a client knows of the brokers, and its way to them: connections kept by address, metadata, backoff.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::Request;
use norn_env::sim::Stream as Dice;
use norn_env::{clock, task};
use norn_protocol::messages::metadata_request::MetadataRequestTopic;
use norn_protocol::messages::{FindCoordinatorRequest, MetadataRequest};
use norn_protocol::StrBytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::connection::{Connection, Identity};
use super::error::CallError;
use crate::check::{History, Span};

/// Pauses between attempts double from the first to the last.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(1_000);

/// Which of the versions that both sides know a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionChoice {
    Newest,
    Oldest,
    /// Another one for each request.
    Any,
}

/// A client's manners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Style {
    pub versions: VersionChoice,
    /// From sending a request to giving it up.
    pub request_timeout_ms: u64,
}

/// A topic as the metadata last said.
#[derive(Clone, Debug)]
pub struct Topic {
    pub id: Uuid,
    /// Leaders by partition; -1 for none.
    pub leaders: BTreeMap<i32, i32>,
}

/// One client's view of the cluster. It belongs to one task.
pub struct Cluster {
    who: Identity,
    choice: VersionChoice,
    dice: Dice,
    bootstrap: Vec<SocketAddr>,
    brokers: BTreeMap<i32, SocketAddr>,
    connections: BTreeMap<SocketAddr, Arc<Connection>>,
    topics: BTreeMap<String, Topic>,
    backoff: Duration,
}

impl Cluster {
    /// Knows nothing yet but where to ask.
    pub fn new(
        client: u32,
        name: &str,
        bootstrap: Vec<SocketAddr>,
        style: &Style,
        history: History,
        dice: Dice,
    ) -> Self {
        let request_timeout = Duration::from_millis(style.request_timeout_ms);
        Self {
            who: Identity { client, name: name.into(), history, request_timeout },
            choice: style.versions,
            dice,
            bootstrap,
            brokers: BTreeMap::new(),
            connections: BTreeMap::new(),
            topics: BTreeMap::new(),
            backoff: BACKOFF_MIN,
        }
    }

    /// The client's number.
    pub fn client(&self) -> u32 {
        self.who.client
    }

    /// Where to record.
    pub fn history(&self) -> &History {
        &self.who.history
    }

    /// The client's random numbers.
    pub fn dice(&self) -> &Dice {
        &self.dice
    }

    /// When a request sent now is given up.
    pub fn deadline(&self) -> clock::Instant {
        clock::now() + self.who.request_timeout
    }

    /// Waits before another attempt, longer each time until something works.
    pub async fn pause(&mut self) {
        let most = self.backoff.as_micros() as u64;
        let jittered = Duration::from_micros(self.dice.range(most / 2..most + 1));
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        task::wait(|| "backoff".to_owned(), clock::sleep(jittered)).await;
    }

    /// The next pause is a short one again.
    pub fn worked(&mut self) {
        self.backoff = BACKOFF_MIN;
    }

    /// A version of an API on a connection.
    pub fn version(&self, connection: &Connection, key: i16, floor: i16) -> Result<i16, CallError> {
        let (min, max) = connection.versions(key, floor).ok_or(CallError::Unsupported)?;
        Ok(match self.choice {
            VersionChoice::Newest => max,
            VersionChoice::Oldest => min,
            VersionChoice::Any => min + self.dice.below((max - min + 1) as u64) as i16,
        })
    }

    /// A request and its answer. `build` is told the version, which is at least `floor`.
    pub async fn call<R: Request>(
        &mut self,
        connection: &Connection,
        floor: i16,
        build: impl FnOnce(i16) -> R,
    ) -> Result<(R::Response, Span), CallError> {
        let version = self.version(connection, R::KEY, floor)?;
        let pending = connection.send_at(version, &build(version)).await?;
        pending.answer(self.deadline()).await
    }

    /// A connection to a broker that answers, whichever: tried until there is one.
    pub async fn any(&mut self) -> Arc<Connection> {
        loop {
            let open = self.connections.values().find(|connection| connection.is_open());
            if let Some(connection) = open {
                return connection.clone();
            }
            let known: Vec<_> = self.bootstrap.iter().chain(self.brokers.values()).copied().collect();
            let addr = known[self.dice.below(known.len() as u64) as usize];
            match self.connect(addr).await {
                Ok(connection) => return connection,
                Err(_) => self.pause().await,
            }
        }
    }

    /// The connection to an address, dialled if there is none.
    pub async fn connect(&mut self, addr: SocketAddr) -> Result<Arc<Connection>, CallError> {
        if let Some(open) = self.connections.get(&addr).filter(|connection| connection.is_open()) {
            return Ok(open.clone());
        }
        let version = match self.choice {
            VersionChoice::Newest => 4,
            VersionChoice::Oldest => 0,
            VersionChoice::Any => [0, 1, 2, 3, 4, 99][self.dice.below(6) as usize],
        };
        let connection = Arc::new(Connection::open(addr, &self.who, version).await?);
        self.connections.insert(addr, connection.clone());
        Ok(connection)
    }

    /// Closes all connections, as a client does that goes to sleep.
    pub fn hang_up(&mut self) {
        self.connections.values().for_each(|connection| connection.close());
        self.connections.clear();
    }

    /// Asks for the metadata of one topic. An error of the topic is its code.
    pub async fn refresh(&mut self, topic: &str, create: bool) -> Result<i16, CallError> {
        let connection = self.any().await;
        let name = norn_protocol::client::topic_name(topic);
        let request = |version: i16| {
            let of_topic = MetadataRequestTopic::default().with_name(Some(name.clone()));
            let request = MetadataRequest::default().with_topics(Some(vec![of_topic]));
            // Older versions create always.
            request.with_allow_auto_topic_creation(create || version < 4)
        };
        // Below version 4 asking creates; below 10 topics have no ids.
        let floor = if create { 0 } else { 4 };
        let (response, _) = self.call(&connection, floor, request).await?;
        self.learn_brokers(&response.brokers);
        let Some(found) = response.topics.into_iter().find(|found| found.name.as_ref() == Some(&name)) else {
            return Ok(3);
        };
        if found.error_code == 0 {
            let leaders =
                found.partitions.iter().map(|part| (part.partition_index, part.leader_id.0)).collect();
            let old = self.topics.get(topic).map_or(Uuid::nil(), |old| old.id);
            let id = if found.topic_id.is_nil() { old } else { found.topic_id };
            self.topics.insert(topic.to_owned(), Topic { id, leaders });
            self.worked();
        }
        Ok(found.error_code)
    }

    fn learn_brokers(
        &mut self,
        brokers: &[norn_protocol::messages::metadata_response::MetadataResponseBroker],
    ) {
        for broker in brokers {
            let Ok(ip) = broker.host.parse() else { continue };
            let Ok(port) = u16::try_from(broker.port) else { continue };
            self.brokers.insert(broker.node_id.0, SocketAddr::new(ip, port));
        }
    }

    /// What was last known of a topic.
    pub fn topic(&self, topic: &str) -> Option<&Topic> {
        self.topics.get(topic)
    }

    /// Forgets what is known of a topic: its leaders moved, or it is not what it was.
    pub fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// The connection to a partition's leader and the topic's id: asked for until there is one.
    pub async fn leader(&mut self, topic: &str, partition: i32) -> (Arc<Connection>, Uuid) {
        loop {
            if let Some((id, addr)) = self.known_leader(topic, partition) {
                if let Ok(connection) = self.connect(addr).await {
                    return (connection, id);
                }
            } else if let Ok(0) = self.refresh(topic, true).await {
                if self.known_leader(topic, partition).is_some() {
                    continue;
                }
            }
            self.pause().await;
        }
    }

    fn known_leader(&self, topic: &str, partition: i32) -> Option<(Uuid, SocketAddr)> {
        let topic = self.topics.get(topic)?;
        Some((topic.id, *self.brokers.get(topic.leaders.get(&partition)?)?))
    }

    /// The connection to a group's coordinator: asked for until there is one.
    pub async fn coordinator(&mut self, group: &str) -> Arc<Connection> {
        loop {
            if let Ok(Some(addr)) = self.find_coordinator(group).await {
                if let Ok(connection) = self.connect(addr).await {
                    self.worked();
                    return connection;
                }
            }
            self.pause().await;
        }
    }

    async fn find_coordinator(&mut self, group: &str) -> Result<Option<SocketAddr>, CallError> {
        let connection = self.any().await;
        let key = StrBytes::from_string(group.to_owned());
        let request = |version: i16| match version {
            ..=3 => FindCoordinatorRequest::default().with_key(key.clone()),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![key.clone()]),
        };
        let (response, _) = self.call(&connection, 0, request).await?;
        let (error, host, port) = match response.coordinators.first() {
            Some(found) => (found.error_code, &found.host, found.port),
            None => (response.error_code, &response.host, response.port),
        };
        let addr = || Some(SocketAddr::new(host.parse().ok()?, u16::try_from(port).ok()?));
        Ok(if error == 0 { addr() } else { None })
    }
}
