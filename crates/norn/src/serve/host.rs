//! The names of this machine and of the addresses it listens on, which the configuration leaves to
//! whoever can ask the operating system.

use std::io;
use std::net::SocketAddr;

use norn_broker::config::{Config, Endpoint};

/// What is advertised where nothing says what this machine is called.
const NAMELESS: &str = "localhost";

/// This machine's name.
pub fn name() -> String {
    let stated = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = stated.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => NAMELESS.to_owned(),
        name => name.to_owned(),
    }
}

/// A listener whose host has no address.
#[derive(Debug, thiserror::Error)]
#[error("listeners: could not find {host}: {source}")]
pub struct ResolveError {
    host: String,
    source: io::Error,
}

/// Replaces the names among the listeners' hosts by the addresses they stand for.
pub async fn resolve(config: &mut Config) -> Result<(), ResolveError> {
    for listener in &mut config.listeners {
        if listener.bind.socket_addr().is_none() {
            listener.bind = resolve_one(&listener.bind).await?;
        }
    }
    Ok(())
}

async fn resolve_one(endpoint: &Endpoint) -> Result<Endpoint, ResolveError> {
    let failed = |source| ResolveError { host: endpoint.host.clone(), source };
    let mut found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await.map_err(failed)?;
    let address: SocketAddr = found.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    Ok(Endpoint { host: address.ip().to_string(), port: endpoint.port })
}

#[cfg(test)]
mod tests {
    use norn_broker::config::{Layer, Source};

    use super::*;

    #[tokio::test]
    async fn names_among_the_listeners_become_addresses() {
        let layer = Layer::new(Source::Default, "listeners", "PLAINTEXT://LocalHost:9092");
        let (mut config, _) = Config::from_layers(vec![layer]).unwrap();
        resolve(&mut config).await.unwrap();
        assert!(config.listeners[0].bind.socket_addr().is_some_and(|address| address.ip().is_loopback()));
        assert_eq!(config.listeners[0].advertised.host, "LocalHost");
        let layer = Layer::new(Source::Default, "listeners", "PLAINTEXT://no.such.host.invalid:9092");
        let (mut config, _) = Config::from_layers(vec![layer]).unwrap();
        let error = resolve(&mut config).await.unwrap_err().to_string();
        assert!(error.starts_with("listeners: could not find no.such.host.invalid: "), "{error}");
    }
}
