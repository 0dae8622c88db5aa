//! The Kafka listener: binds the port, accepts connections while there is a place for them, and notices the end of each.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use norn_core::metadata::Endpoint;
use norn_env::{
    clock::{self, Instant},
    net::{Listener, Port},
    select,
    task::{Shutdown, Tasks},
};
use tracing::{debug, warn};

use super::connection;
use crate::api::Context;

/// Pause after a failed accept (too few file descriptors left), so that the loop neither spins nor gives up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Failed accepts are logged no more often than this.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How long connections may take to finish what they owe at shutdown.
const DRAIN: Duration = Duration::from_secs(6);

/// The port of one Kafka endpoint, from before the broker is ready: clients are refused, and try again soon. A request
/// that waited in an open port's backlog would be given up by its client first. (Kafka's acceptors open their ports late, too.)
pub(crate) struct Bound {
    port: Port,
    advertised: Endpoint,
}

impl Bound {
    /// Takes the port before anything else is started, so that a taken one fails the start at once.
    ///
    /// An advertised port of 0 becomes the port that was free.
    pub fn bind(addr: SocketAddr, mut advertised: Endpoint) -> std::io::Result<Self> {
        let port = Port::bind(addr)?;
        if advertised.port == 0 {
            advertised.port = port.local_addr().port();
        }
        Ok(Bound { port, advertised })
    }

    /// What clients that come in here are told to connect to.
    pub fn advertised(&self) -> &Endpoint {
        &self.advertised
    }

    /// Listens from now on.
    pub fn listen(self) -> std::io::Result<Server> {
        Ok(Server { listener: self.port.listen()?, advertised: self.advertised })
    }
}

/// The listener of one Kafka endpoint. Owns its connections' tasks; when it ends, all have ended.
pub(crate) struct Server {
    listener: Listener,
    advertised: Endpoint,
}

impl Server {
    /// What clients that come in here are told to connect to.
    pub fn advertised(&self) -> &Endpoint {
        &self.advertised
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Accepts until shutdown, then waits for the connections to drain.
    pub async fn run(self, ctx: Arc<Context>, mut shutdown: Shutdown) {
        let mut connections: Tasks<()> = Tasks::new();
        let mut failures = Failures::default();
        loop {
            let accepted = select! {
                _ = shutdown.signaled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match ctx.connections.admit(peer.ip(), ctx.connection_bounds()) {
                    Ok(admission) => {
                        debug!(%peer, "connection accepted");
                        let (endpoint, ctx, shutdown) =
                            (self.advertised.clone(), ctx.clone(), shutdown.clone());
                        connections.spawn(format!("connection {peer}"), async move {
                            ctx.metrics.connections(ctx.connections.open());
                            connection::serve(stream, peer, endpoint, &ctx, shutdown).await;
                            drop(admission);
                            ctx.metrics.connections(ctx.connections.open());
                        });
                    }
                    Err(setting) => warn!(%peer, "connection refused: {setting} reached"),
                },
                Err(error) => {
                    failures.note(&error);
                    clock::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        let deadline = clock::now() + DRAIN;
        while let Ok(Some(_)) = clock::timeout_at(deadline, connections.join_next()).await {}
        connections.abort_all();
    }
}

/// Accepts that failed since it was last logged.
#[derive(Default)]
struct Failures {
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl Failures {
    /// Logs it, unless one was logged a moment ago.
    fn note(&mut self, error: &std::io::Error) {
        self.unlogged += 1;
        let now = clock::now();
        if self.logged_at.is_none_or(|at| now >= at + LOG_EVERY) {
            warn!(times = self.unlogged, "connections could not be accepted: {error}");
            (self.unlogged, self.logged_at) = (0, Some(now));
        }
    }
}
