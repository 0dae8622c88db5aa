//! The order of start-up and shutdown. It lives here, and not in the binary, so that the simulator runs it too.
//!
//! Start: take the ports, open the data directories, recover the metadata and lead its quorum, register this incarnation,
//! open every partition, then accept clients. Shutdown goes the other way, and everything is durable when it ends.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use futures::{future::BoxFuture, FutureExt};
use norn_core::{
    group::{CleanupLimits, GroupConfig},
    metadata::{Command, Endpoint, Image},
};
use norn_env::{
    clock::{self, Duration, Instant},
    select,
    task::{self, Handle, Shutdown, ShutdownTrigger, Tasks},
};
use norn_log::{
    dir::{DirError, DirExit, FoundLogs, LogDir},
    LogId,
};
use norn_protocol::types::NodeId;
use norn_quorum::{Quorum, QuorumConfig, QuorumError, QuorumExit};
use tokio::sync::{watch, Semaphore};
use tracing::{error, info, warn};

use crate::{
    api::{Context, Creations, HANDLED},
    budgets::Budgets,
    config::{Config, Listener},
    controller::{propose, Controller, MetadataMachine, Registration},
    coordinator::{CoordinatorManager, Coordinators},
    data_dirs::DataDirs,
    dirs,
    layers::BrokerLayers,
    metrics::Metrics,
    partition::{Ended, Manager, ManagerSetup, PartitionTable},
    probe::Probe,
    producer_ids::ProducerIds,
    server::{Bound, ConnectionLimits, Server},
    shutdown,
};

/// How long the quorum may take to elect this node, and the registration to be decided.
const METADATA_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the partitions may take to open before clients are let in; the others open while they are served.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// What clients know of features: level 1 is the first.
const FEATURE_LEVEL: u16 = 1;

/// Why a broker could not start, or ended on its own.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error(
        "cannot listen on {listener}: {source}; set listeners to an address of this machine and a free port"
    )]
    Bind { listener: String, source: io::Error },
    #[error("{listener} names a host that is not an IP address of this machine; set listeners to one, or leave it empty for all")]
    BindHost { listener: String },
    #[error("log.dirs: {dir} cannot be used: {source}")]
    Disk { dir: String, source: io::Error },
    #[error(transparent)]
    Dir(#[from] DirError),
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    #[error("the metadata quorum did not come up within {0:?}")]
    NoLeader(Duration),
    #[error("the broker could not register: {0}")]
    Register(String),
    #[error(
        "the metadata in {dir}/__cluster_metadata is missing, but there are logs of {logs} partitions: restore it, or move \
         the logs away to start anew"
    )]
    MetadataMissing { dir: String, logs: usize },
    #[error(
        "the cluster's metadata are in {found}/__cluster_metadata, but they are looked for in {expected}, the first \
         directory of log.dirs: put {found} first"
    )]
    MetadataElsewhere { found: String, expected: String },
    #[error(
        "{dirs} have a __cluster_metadata each, and only one can be that of this cluster's topics: move the others out of \
         their directories, and put the one with the right metadata first in log.dirs"
    )]
    MetadataTwice { dirs: String },
    #[error(
        "there are logs of {logs} partitions with {files} segments, each an open file, and {descriptors} file descriptors for \
         them: raise the limit of open files (ulimit -n)"
    )]
    OpenFiles { logs: u64, files: u64, descriptors: u64 },
    #[error("{0} ended unexpectedly")]
    TaskEnded(&'static str),
    #[error("not everything could be closed in order: {0}; the next start recovers it")]
    Unclean(String),
}

/// A running broker.
pub struct Broker {
    listeners: Vec<(String, SocketAddr)>,
    metrics: Arc<Metrics>,
    parts: Parts,
    shutdown: Shutdown,
}

/// The tasks of a broker, in the order of starting.
struct Parts {
    dirs: Vec<LogDir>,
    /// Data directories that could not be opened, and why.
    lost: Vec<(String, String)>,
    dir_tasks: Tasks<DirExit>,
    quorum: Quorum,
    quorum_task: Handle<QuorumExit>,
    partitions: Handle<Ended>,
    coordinators: Handle<()>,
    servers: Tasks<()>,
    /// Each room is told by its own signal, so that they end in order.
    stop_servers: ShutdownTrigger,
    stop_coordinators: ShutdownTrigger,
    stop_partitions: ShutdownTrigger,
}

/// Starts a broker. It serves clients when this returns, until `shutdown` is signaled; [`Broker::run`] waits for that.
/// Boxed, so that it is compiled here and not again in each crate that starts one.
pub fn start(config: Config, shutdown: Shutdown) -> BoxFuture<'static, Result<Broker, BrokerError>> {
    bring_up(config, shutdown).boxed()
}

async fn bring_up(mut config: Config, shutdown: Shutdown) -> Result<Broker, BrokerError> {
    let began = clock::now();
    let bound = bind(&mut config.listeners)?;
    let dirs::OpenDirs { dirs, tasks: dir_tasks, mut lost, logs } = dirs::open_dirs(&config).await?;
    let deadline = clock::now() + METADATA_TIMEOUT;
    let recovered = recover(&config, &dirs, logs, deadline).await;
    if recovered.is_err() {
        // No log has been opened: a refused start leaves the marks of a clean shutdown as they were.
        for dir in &dirs {
            let _without_mark = clock::timeout_at(deadline, dir.close()).await;
        }
    }
    let Recovered { quorum, quorum_task, image, found, unidentified } = recovered?;
    let node = NodeId(config.node_id);
    let advertised = bound[0].advertised().clone();
    let directories = dirs::with_absent(&image.borrow().clone(), node, &dirs, &found, &mut lost);
    let registration = Registration { node, directories, endpoint: advertised, rack: config.rack.clone() };
    let registered = Controller::register(quorum.clone(), image.clone(), registration, deadline).await;
    let controller = registered.map_err(|error| BrokerError::Register(error.to_string()))?;
    let image = controller.image();
    let cluster_id = image.cluster_id().unwrap_or_default().to_owned();

    let metrics = Metrics::new(HANDLED);
    metrics.active_controller(true);
    metrics.offline_dirs(lost.len());
    let paths = dirs.iter().map(|dir| dir.disk().root().display().to_string());
    let budgets = Budgets::new(config.network.queued_max_request_bytes, paths);
    metrics.tell_budgets(budgets.clone());
    let layers = Arc::new(BrokerLayers::new(&config));
    let (stop_servers, server_shutdown) = task::shutdown();
    let (stop_coordinators, coordinator_shutdown) = task::shutdown();
    let (stop_partitions, partition_shutdown) = task::shutdown();
    let manager_setup = ManagerSetup {
        node,
        dirs: dirs.clone(),
        controller: controller.clone(),
        layers: layers.clone(),
        metrics: metrics.clone(),
        retention_check: config.storage.retention_check_interval,
        shutdown: partition_shutdown,
    };
    let (mut manager, partitions) = Manager::new(manager_setup, found);
    manager.clear_up(&image, unidentified).await;
    if !lost.is_empty() {
        manager.miss(&image);
    }
    let manager = task::spawn("partition manager", manager.run());
    wait_until_open(&image, node, partitions.clone()).await;
    let (coordinator_manager, coordinator_table) =
        CoordinatorManager::new(partitions.clone(), controller.clone(), group_config(&config));
    let coordinators = task::spawn("coordinator manager", coordinator_manager.run(coordinator_shutdown));

    let ctx = Arc::new(Context {
        node,
        cluster_id,
        coordinators: Coordinators::new(coordinator_table, controller.clone()),
        data_dirs: Arc::new(DataDirs::new(&config.storage.log_dirs, &dirs)),
        producer_ids: ProducerIds::new(controller.clone(), node),
        controller,
        partitions,
        metrics: metrics.clone(),
        budgets,
        fetch_session_slots: fetch_session_slots(&config),
        connections: ConnectionLimits::default(),
        stopping: server_shutdown.clone(),
        creations: Creations::new(),
        layers,
        config: Arc::new(config),
    });
    let mut listeners = vec![];
    let mut server_tasks = Tasks::new();
    for (name, server) in listen(&ctx.config.listeners, bound)? {
        info!(
            "listening on {name}://{}, advertised as {}:{}",
            server.local_addr(),
            server.advertised().host,
            server.advertised().port
        );
        listeners.push((name.clone(), server.local_addr()));
        server_tasks.spawn(format!("listener {name}"), server.run(ctx.clone(), server_shutdown.clone()));
    }
    info!(node = %node, cluster = ctx.cluster_id, "broker started in {:?}", clock::now() - began);
    let parts = Parts {
        dirs,
        lost,
        dir_tasks,
        quorum,
        quorum_task,
        partitions: manager,
        coordinators,
        servers: server_tasks,
        stop_servers,
        stop_coordinators,
        stop_partitions,
    };
    Ok(Broker { listeners, metrics, parts, shutdown })
}

/// What a start knows before it opens a log.
struct Recovered {
    quorum: Quorum,
    quorum_task: Handle<QuorumExit>,
    image: watch::Receiver<Arc<Image>>,
    found: BTreeMap<LogId, usize>,
    /// See [`dirs::logs_on_disk`].
    unidentified: Vec<(LogId, usize)>,
}

/// Recovers the metadata, and refuses directories that do not go with them.
async fn recover(
    config: &Config,
    dirs: &[LogDir],
    logs: Vec<FoundLogs>,
    deadline: Instant,
) -> Result<Recovered, BrokerError> {
    let (machine, image) = MetadataMachine::new();
    let quorum_config = QuorumConfig {
        snapshot_entries: config.storage.metadata_snapshot_entries,
        ..QuorumConfig::new(config.node_id as u64)
    };
    let (quorum, mut quorum_task) =
        norn_quorum::start(quorum_config, dirs[0].disk().clone(), machine).await?;
    lead(&quorum, &mut quorum_task, config.node_id as u64, deadline).await?;
    let (found, unidentified) = dirs::logs_on_disk(dirs, logs, &image, NodeId(config.node_id)).await?;
    form_cluster(&quorum, &image, &dirs[0], found.len() + unidentified.len(), deadline).await?;
    Ok(Recovered { quorum, quorum_task, image, found, unidentified })
}

fn fetch_session_slots(config: &Config) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(config.network.fetch_session_slots.min(Semaphore::MAX_PERMITS)))
}

/// Takes the ports of the listeners.
fn bind(listeners: &mut [Listener]) -> Result<Vec<Bound>, BrokerError> {
    let mut ports = vec![];
    for listener in listeners {
        let addr = listener.bind.socket_addr();
        let addr = addr.ok_or_else(|| BrokerError::BindHost { listener: shown(listener) })?;
        let advertised = Endpoint { host: listener.advertised.host.clone(), port: listener.advertised.port };
        let bound = Bound::bind(addr, advertised).map_err(|source| cannot_listen(listener, source))?;
        listener.advertised.port = bound.advertised().port;
        ports.push(bound);
    }
    Ok(ports)
}

/// Opens the ports of the listeners. Gives the listeners' names with them.
fn listen(listeners: &[Listener], ports: Vec<Bound>) -> Result<Vec<(String, Server)>, BrokerError> {
    let mut servers = vec![];
    for (listener, port) in listeners.iter().zip(ports) {
        let server = port.listen().map_err(|source| cannot_listen(listener, source))?;
        servers.push((listener.name.clone(), server));
    }
    Ok(servers)
}

fn cannot_listen(listener: &Listener, source: io::Error) -> BrokerError {
    BrokerError::Bind { listener: shown(listener), source }
}

fn shown(listener: &Listener) -> String {
    format!("{}://{}", listener.name, listener.bind)
}

/// Waits until this node leads the quorum.
async fn lead(
    quorum: &Quorum,
    task: &mut Handle<QuorumExit>,
    node: u64,
    deadline: Instant,
) -> Result<(), BrokerError> {
    let mut status = quorum.status();
    let led = task::wait(
        || "this node to lead the metadata quorum".into(),
        clock::timeout_at(deadline, status.wait_for(|status| status.leader == Some(node))),
    );
    select! {
        exit = task => match exit {
            Ok(Err(error)) => Err(error.into()),
            _ => Err(BrokerError::TaskEnded("the metadata quorum")),
        },
        led = led => match led {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(BrokerError::TaskEnded("the metadata quorum")),
            Err(_) => Err(BrokerError::NoLeader(METADATA_TIMEOUT)),
        },
    }
}

/// Gives a new cluster its id, that of the data directory. Logs without metadata are not a new cluster: starting one would
/// take them for deleted.
async fn form_cluster(
    quorum: &Quorum,
    image: &watch::Receiver<Arc<Image>>,
    dir: &LogDir,
    logs: usize,
    deadline: Instant,
) -> Result<(), BrokerError> {
    if let Some(expected) = image.borrow().cluster_id() {
        let (dir, meta) = (dir.disk().root().display().to_string(), dir.meta());
        return match meta.cluster_id == expected {
            true => Ok(()),
            false => {
                let (found, expected) = (meta.cluster_id.clone(), expected.to_owned());
                Err(DirError::OtherCluster { dir, found, expected }.into())
            }
        };
    }
    if logs > 0 {
        return Err(BrokerError::MetadataMissing { dir: dir.disk().root().display().to_string(), logs });
    }
    let command =
        Command::FormCluster { cluster_id: dir.meta().cluster_id.clone(), feature_level: FEATURE_LEVEL };
    propose(quorum, command.into(), deadline)
        .await
        .map_err(|error| BrokerError::Register(error.to_string()))?;
    Ok(())
}

/// Waits until the partitions of the image are open, so that the first client finds them.
async fn wait_until_open(image: &Image, node: NodeId, mut partitions: watch::Receiver<Arc<PartitionTable>>) {
    let wanted = image.replicas_on(node).all;
    let opened = partitions.wait_for(|table| table.settled_count() >= wanted);
    let opened = clock::timeout_at(clock::now() + OPEN_TIMEOUT, opened);
    if task::wait(|| "the partitions to open".into(), opened).await.is_err() {
        warn!("not all partitions are open after {OPEN_TIMEOUT:?}; serving those that are");
    }
}

fn group_config(config: &Config) -> GroupConfig {
    let (groups, offsets) = (&config.groups, &config.offsets);
    let millis = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    GroupConfig {
        initial_rebalance_delay: groups.initial_rebalance_delay,
        session_timeout_ms_min: millis(groups.min_session_timeout),
        session_timeout_ms_max: millis(groups.max_session_timeout),
        members_max: groups.max_size,
        offset_metadata_len_max: offsets.metadata_max_bytes,
        offsets_retention: offsets.retention,
        retention_check_interval: offsets.retention_check_interval,
        append_timeout: offsets.commit_timeout,
        cleanup: CleanupLimits::default(),
    }
}

impl Broker {
    /// The listeners with the addresses that were bound (port 0 took a free one).
    pub fn listeners(&self) -> &[(String, SocketAddr)] {
        &self.listeners
    }

    /// What tells whether the broker can do its work, for whoever is asked.
    pub fn probe(&self) -> Probe {
        let dirs = &self.parts.dirs;
        let dirs = dirs.iter().map(|dir| (dir.disk().root().display().to_string(), dir.health())).collect();
        Probe { metrics: self.metrics.clone(), dirs, lost: self.parts.lost.clone() }
    }

    /// Runs until the shutdown signal and closes everything in order, or until a part of the broker that it cannot go on
    /// without has ended.
    ///
    /// Boxed, so that it is compiled here and not again in each crate that runs a broker.
    pub fn run(self) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.supervise().boxed()
    }

    async fn supervise(self) -> Result<(), BrokerError> {
        let Broker { mut parts, mut shutdown, metrics, .. } = self;
        let mut offline = 0;
        let ended = loop {
            select! {
                _ = shutdown.signaled() => break Ok(()),
                exit = &mut parts.quorum_task => break Err(match exit {
                    Ok(Err(error)) => error.into(),
                    _ => BrokerError::TaskEnded("the metadata quorum"),
                }),
                _ = &mut parts.partitions => break Err(BrokerError::TaskEnded("the partition manager")),
                _ = &mut parts.coordinators => break Err(BrokerError::TaskEnded("the coordinator manager")),
                Some(_) = parts.servers.join_next() => break Err(BrokerError::TaskEnded("a listener")),
                Some((_, exit)) = parts.dir_tasks.join_next(), if !parts.dir_tasks.is_empty() => {
                    offline += 1;
                    metrics.offline_dirs(offline + parts.lost.len());
                    match exit {
                        Ok(Err(cause)) => error!("{cause}; its partitions are offline, the others go on"),
                        _ => error!("a data directory was closed"),
                    }
                    if offline == parts.dirs.len() {
                        break Err(BrokerError::TaskEnded("every data directory"));
                    }
                }
            }
        };
        ended?;
        info!("shutting down");
        parts.close().await
    }
}

impl Parts {
    async fn close(mut self) -> Result<(), BrokerError> {
        let began = clock::now();
        self.stop_servers.signal();
        while self.servers.join_next().await.is_some() {}
        self.stop_coordinators.signal();
        let _ = self.coordinators.await;
        self.stop_partitions.signal();
        let ended = self.partitions.await.unwrap_or_else(|_| Ended {
            failed: vec!["the partition manager was stopped".into()],
            ..Ended::default()
        });
        shutdown::close(ended, self.quorum, self.quorum_task, &self.dirs, began).await
    }
}
