//! The HTTP port: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever supervises the
//! process. Bound before the broker starts, so that a port that is taken is known before data is
//! touched, and a start that takes long can be watched.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{header, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::Router;
use norn_env::clock::{self, Instant};
use norn_env::descriptors;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the broker tells about itself, once it has started.
pub trait Probe: Send + Sync + 'static {
    /// All metrics in Prometheus' text format.
    fn metrics(&self) -> String;

    /// Whether all of it works, or what does not.
    fn health(&self) -> Result<(), String>;
}

/// The stages of a process, as `/readyz` tells them.
#[derive(Clone)]
pub enum Stage {
    Starting,
    Serving(Arc<dyn Probe>),
    Stopping(Arc<dyn Probe>),
}

/// Why there is no HTTP port.
#[derive(Debug, thiserror::Error)]
#[error(
    "could not listen on {address} for HTTP: {source}; set http.port to another port, or to 0 for a free one"
)]
pub struct HttpError {
    address: SocketAddr,
    source: io::Error,
}

/// The bound port.
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
}

impl Http {
    /// Binds the port; nobody is answered until `run`.
    pub async fn bind(address: SocketAddr) -> Result<Http, HttpError> {
        let failed = |source| HttpError { address, source };
        let listener = norn_env::net::Listener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr();
        Ok(Http { listener: listener.into_tcp(), address })
    }

    /// Where it listens, with the port that was free if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the process ends.
    pub async fn run(self, stage: watch::Receiver<Stage>) -> io::Result<()> {
        axum::serve(Sparing { listener: self.listener, told: None }, router(stage)).await
    }
}

/// Pause after a connection that could not be accepted, or that would have taken a file's descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that could not be accepted are logged no more often than this.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// A listener that leaves descriptors to the broker.
struct Sparing {
    listener: TcpListener,
    told: Option<Instant>,
}

impl Sparing {
    async fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        descriptors::check_probe(&stream)?;
        Ok((stream, peer))
    }
}

impl axum::serve::Listener for Sparing {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.try_accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    if self.told.is_none_or(|at| clock::now() >= at + LOG_EVERY) {
                        self.told = Some(clock::now());
                        tracing::warn!("HTTP connections could not be accepted: {error}");
                    }
                    clock::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn router(stage: watch::Receiver<Stage>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(stage)
}

type Asked = State<watch::Receiver<Stage>>;

async fn metrics(State(stage): Asked) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let stage = stage.borrow().clone();
    match stage {
        Stage::Serving(probe) | Stage::Stopping(probe) => {
            ([(header::CONTENT_TYPE, TEXT)], probe.metrics()).into_response()
        }
        Stage::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
    }
}

/// Whether someone should look after it. A start that takes long is no reason to.
async fn healthz(State(stage): Asked) -> Response {
    let stage = stage.borrow().clone();
    let health = match &stage {
        Stage::Starting => Ok(()),
        Stage::Serving(probe) | Stage::Stopping(probe) => probe.health(),
    };
    answer(health, "ok\n")
}

/// Whether clients should be sent here: what of it works is served, even if not all does.
async fn readyz(State(stage): Asked) -> Response {
    let stage = stage.borrow().clone();
    let ready = match &stage {
        Stage::Starting => Err("starting".to_owned()),
        Stage::Serving(_) => Ok(()),
        Stage::Stopping(_) => Err("stopping".to_owned()),
    };
    answer(ready, "ready\n")
}

fn answer(health: Result<(), String>, good: &'static str) -> Response {
    match health {
        Ok(()) => good.into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Fake(Result<(), String>);

    impl Probe for Fake {
        fn metrics(&self) -> String {
            "kafka_up 1\n# EOF\n".to_owned()
        }

        fn health(&self) -> Result<(), String> {
            self.0.clone()
        }
    }

    async fn ask(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: norn\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn each_stage_answers_what_a_supervisor_needs() {
        let http = Http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = http.address();
        let (change, stage) = watch::channel(Stage::Starting);
        let task = tokio::spawn(http.run(stage));
        assert_eq!(ask(address, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(ask(address, "/readyz").await, (503, "starting\n".to_owned()));
        assert_eq!(ask(address, "/metrics").await.0, 503);

        change.send_replace(Stage::Serving(Arc::new(Fake(Ok(())))));
        assert_eq!(ask(address, "/readyz").await, (200, "ready\n".to_owned()));
        assert_eq!(ask(address, "/metrics").await, (200, "kafka_up 1\n# EOF\n".to_owned()));

        change.send_replace(Stage::Serving(Arc::new(Fake(Err("no disk is online".to_owned())))));
        assert_eq!(ask(address, "/healthz").await, (503, "no disk is online\n".to_owned()));
        assert_eq!(ask(address, "/readyz").await.0, 200);

        change.send_replace(Stage::Stopping(Arc::new(Fake(Ok(())))));
        assert_eq!(ask(address, "/readyz").await, (503, "stopping\n".to_owned()));
        assert_eq!(ask(address, "/healthz").await.0, 200);
        assert_eq!(ask(address, "/nothing").await.0, 404);
        task.abort();
    }

    #[tokio::test]
    async fn a_taken_port_says_which_setting_to_change() {
        let taken = Http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let Err(error) = Http::bind(taken.address()).await else { panic!("bound twice") };
        assert!(error.to_string().contains("set http.port to another port"), "{error}");
    }
}
