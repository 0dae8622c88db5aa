//! A small Kafka client for the commands: finds the brokers, keeps one connection to each, and asks
//! again what a starting broker cannot answer yet. Speaks to any Kafka broker, Norn or not.

mod connection;
mod error;

use std::collections::BTreeMap;

use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::Request;
use norn_env::clock::{self, Duration};
use norn_protocol::StrBytes;

pub use connection::Connection;
pub use error::ClientError;

/// How long a broker or a coordinator may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Connections to a cluster, opened when they are needed.
pub struct Client {
    first: Connection,
    /// `host:port` by node id, as the cluster's metadata told.
    brokers: BTreeMap<i32, String>,
    connections: BTreeMap<i32, Connection>,
}

impl Client {
    /// Connects to the first of the comma-separated addresses that answers.
    pub async fn connect(bootstrap: &str) -> Result<Client, ClientError> {
        let mut failure = ClientError::Address { address: bootstrap.to_owned() };
        for address in bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match Connection::open(address).await {
                Ok(first) => {
                    return Ok(Client { first, brokers: BTreeMap::new(), connections: BTreeMap::new() })
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The connection that was asked first, for what any broker answers.
    pub fn any(&mut self) -> &mut Connection {
        &mut self.first
    }

    /// Asks any broker.
    pub async fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        self.first.call(request).await
    }

    /// Asks for metadata, and learns where the brokers are.
    pub async fn metadata(&mut self, request: &MetadataRequest) -> Result<MetadataResponse, ClientError> {
        let response = self.first.call(request).await?;
        for broker in &response.brokers {
            self.brokers.insert(broker.node_id.0, host_port(&broker.host, broker.port));
        }
        Ok(response)
    }

    /// Node ids of the brokers that the last metadata named.
    pub fn brokers(&self) -> Vec<i32> {
        self.brokers.keys().copied().collect()
    }

    /// The connection to a broker that metadata or a coordinator's answer has named.
    pub async fn broker(&mut self, id: i32) -> Result<&mut Connection, ClientError> {
        if !self.connections.contains_key(&id) {
            let address = self.brokers.get(&id).ok_or(ClientError::NoBroker(id))?;
            let opened = Connection::open(address).await?;
            self.connections.insert(id, opened);
        }
        self.connections.get_mut(&id).ok_or(ClientError::NoBroker(id))
    }

    /// The node id of the group's coordinator.
    pub async fn coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        let key = StrBytes::from_string(group.to_owned());
        let batched = self.first.version_of::<FindCoordinatorRequest>()? >= 4;
        let request = if batched {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![key])
        } else {
            FindCoordinatorRequest::default().with_key(key)
        };
        let what = || format!("finding the coordinator of group {group}");
        let response = self.first.call(&request).await?;
        let (BrokerId(id), host, port) = match response.coordinators.first() {
            Some(found) => {
                ClientError::check(what, found.error_code, found.error_message.as_deref())?;
                (found.node_id, found.host.clone(), found.port)
            }
            None => {
                ClientError::check(what, response.error_code, response.error_message.as_deref())?;
                (response.node_id, response.host, response.port)
            }
        };
        self.brokers.insert(id, host_port(&host, port));
        Ok(id)
    }
}

fn host_port(host: &str, port: i32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Repeats `attempt` while it fails in a way that passes, for at most `READY_TIMEOUT`.
pub async fn until_ready<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let deadline = clock::now() + READY_TIMEOUT;
    loop {
        match attempt().await {
            Err(error) if error.is_passing() && clock::now() < deadline => clock::sleep(RETRY_PAUSE).await,
            result => return result,
        }
    }
}
