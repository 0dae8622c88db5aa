//! One running node: signals, HTTP port and broker, in the order in which they start and end.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use norn_broker::config::Config;
use norn_broker::{Broker, BrokerError};
use norn_env::task::{self, Shutdown};
use tokio::sync::watch;

use super::host::{self, ResolveError};
use super::http::{Http, HttpError, Probe, Stage};
use super::signals::Signals;

/// Why a node did not start, or did not end as it was told to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("could not start the runtime: {0}")]
    Runtime(io::Error),
    #[error("could not catch signals: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Runs a node until a signal, or something that it cannot go on after, ends it.
pub async fn run(mut config: Config) -> Result<(), NodeError> {
    let signals = Signals::catch().map_err(NodeError::Signals)?;
    host::resolve(&mut config).await?;
    let http = match http_address(&config) {
        Some(address) => Some(Http::bind(address).await?),
        None => None,
    };
    let http_address = http.as_ref().map(Http::address);
    let (trigger, shutdown) = task::shutdown();
    let (changes, stage) = watch::channel(Stage::Starting);
    let _signals = task::spawn("signals", signals.watch(trigger));
    let _http = http.map(|http| task::spawn("http", serve_http(http, stage)));

    let data: Vec<String> = config.storage.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.node_id,
        data = data.join(","),
        "starting"
    );
    let broker = norn_broker::start(config, shutdown.clone()).await?;
    announce(&broker, http_address);
    let _stages = task::spawn("stages", tell_stages(changes, Arc::new(broker.probe()), shutdown));
    Ok(broker.run().await?)
}

impl Probe for norn_broker::Probe {
    fn metrics(&self) -> String {
        norn_broker::Probe::metrics(self)
    }

    fn health(&self) -> Result<(), String> {
        norn_broker::Probe::health(self)
    }
}

/// Where HTTP listens: on the host of the first listener, so that what is local stays local.
fn http_address(config: &Config) -> Option<SocketAddr> {
    let first = config.listeners.first().and_then(|listener| listener.bind.socket_addr());
    let host = first.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
    config.http_port.map(|port| SocketAddr::new(host, port))
}

/// Tells programs, on standard output, where this node listens; the log tells people.
fn announce(broker: &Broker, http: Option<SocketAddr>) {
    let mut lines = String::new();
    for (_, address) in broker.listeners() {
        lines.push_str(&format!("kafka {address}\n"));
    }
    if let Some(address) = http {
        tracing::info!("metrics and health on http://{address}");
        lines.push_str(&format!("http {address}\n"));
    }
    // On a thread of its own: whoever started this may have closed its end, and nobody wants to know, or may not read.
    let _could_not_start = std::thread::Builder::new().name("norn-ports".into()).spawn(move || {
        let mut out = io::stdout();
        let _nobody = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    });
}

async fn serve_http(http: Http, stage: watch::Receiver<Stage>) {
    if let Err(error) = http.run(stage).await {
        tracing::error!("HTTP ended: {error}");
    }
}

async fn tell_stages(changes: watch::Sender<Stage>, probe: Arc<dyn Probe>, mut shutdown: Shutdown) {
    changes.send_replace(Stage::Serving(probe.clone()));
    shutdown.signaled().await;
    changes.send_replace(Stage::Stopping(probe));
    // Keeps the channel open: HTTP answers "stopping" until the process ends.
    std::future::pending::<()>().await;
}
