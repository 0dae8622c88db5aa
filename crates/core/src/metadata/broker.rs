//! A broker as the cluster knows it.

use norn_protocol::types::{BrokerEpoch, NodeId};
use uuid::Uuid;

use crate::codec::wire_structs;

/// Where clients reach a broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

/// A registered broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker {
    pub node: NodeId,
    /// The index of the command that registered it.
    pub epoch: BrokerEpoch,
    /// Drawn at each start of the process: tells a retried registration from a new start.
    pub incarnation: Uuid,
    /// The ids of its data directories, from their `meta.properties`.
    pub directories: Vec<Uuid>,
    pub endpoint: Endpoint,
    pub rack: Option<String>,
    /// It is not to lead or to be given replicas: it has not been heard.
    pub fenced: bool,
}

wire_structs! {
    Endpoint { host, port }
    Broker { node, epoch, incarnation, directories, endpoint, rack, fenced }
}
