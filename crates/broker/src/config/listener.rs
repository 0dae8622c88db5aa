//! Listeners: `NAME://host:port` for what is opened, what clients are told, and which protocol a name stands
//! for. The rules are those of `KafkaConfig.validateValues` and
//! `SocketServerConfigs.listenerListToEndPoints`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use norn_core::metadata::list;

/// Host and port as written. An empty host is every interface where it is bound and this machine's name
/// where it is advertised; port 0 is whichever port was free when it was bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// The address to bind, if that needs no name service: an IP address, an empty host or `localhost`.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let ip = match self.host.as_str() {
            "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.parse().ok()?,
        };
        Some(SocketAddr::new(ip, self.port))
    }

    /// Whether the host is an address that no client can connect to (0.0.0.0 or [::]).
    fn is_wildcard(&self) -> bool {
        match self.host.parse() {
            Ok(IpAddr::V4(ip)) => ip == Ipv4Addr::UNSPECIFIED,
            Ok(IpAddr::V6(ip)) => ip == Ipv6Addr::UNSPECIFIED,
            Err(_) => false,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One listener that this node opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Upper case, such as `PLAINTEXT` or `EXTERNAL`.
    pub name: String,
    pub bind: Endpoint,
    /// What clients that came in here are told to connect to.
    pub advertised: Endpoint,
}

/// A listener as written, before its name is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub name: String,
    pub endpoint: Endpoint,
}

/// Why a list of listeners is not one; each ends the sentence "must be ...".
pub(super) const ALLOWED: &str =
    "NAME://host:port, such as PLAINTEXT://127.0.0.1:9092, several separated by commas, \
                                  each name and each port once";

/// Parses a list of `NAME://host:port`. `None` if one is malformed or a name or a port (other than 0) comes
/// twice.
pub(super) fn parse_list(value: &str) -> Option<Vec<Written>> {
    let mut all: Vec<Written> = Vec::new();
    for item in list(value) {
        let new = parse_one(item)?;
        let clash = |old: &Written| {
            old.name == new.name
                || (new.endpoint.port != 0
                    && old.endpoint.port == new.endpoint.port
                    && old.endpoint.host == new.endpoint.host)
        };
        if all.iter().any(clash) {
            return None;
        }
        all.push(new);
    }
    (!all.is_empty()).then_some(all)
}

fn parse_one(item: &str) -> Option<Written> {
    let (name, address) = item.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|ip| ip.parse::<Ipv6Addr>().is_ok())?,
        None => host,
    };
    let is_name =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '%'));
    if name.is_empty() || !is_name(name) || !(is_name(host) || host.parse::<Ipv6Addr>().is_ok()) {
        return None;
    }
    let endpoint = Endpoint { host: host.to_owned(), port: port.parse().ok()? };
    Some(Written { name: name.to_ascii_uppercase(), endpoint })
}

/// Parses `NAME:PROTOCOL,...`, the map from listener names to protocols.
pub(super) fn parse_protocol_map(value: &str) -> Option<Vec<(String, String)>> {
    list(value)
        .into_iter()
        .map(|item| {
            let (name, protocol) = item.split_once(':')?;
            let protocol = protocol.trim().to_ascii_uppercase();
            let known = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"].contains(&protocol.as_str());
            known.then(|| (name.trim().to_ascii_uppercase(), protocol))
        })
        .collect()
}

/// What clients of `written` are told: the advertised address of the same name, or its own. `None` if that
/// is a wildcard.
pub(super) fn advertised(written: &Written, advertised: &[Written]) -> Option<Endpoint> {
    let stated = advertised.iter().find(|other| other.name == written.name);
    let endpoint = stated.unwrap_or(written).endpoint.clone();
    (!endpoint.is_wildcard()).then_some(endpoint)
}
