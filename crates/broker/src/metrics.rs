//! The broker's metrics in a registry of its own, under the names that Kafka dashboards know (JMX exporter, Strimzi).
//! Counting costs one relaxed add on the hot path; everything else is read when `/metrics` is asked.

use std::sync::{
    atomic::{AtomicI64, AtomicU64},
    Arc, Mutex, PoisonError,
};

use kafka_protocol::messages::ApiKey;
use norn_env::clock::{self, Instant};
use prometheus_client::{
    encoding::{text::encode, EncodeLabelSet},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{api::api_name, budgets::Budgets};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabel {
    request: &'static str,
}

/// Upper bounds of the request-time buckets in seconds.
const REQUEST_SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    bytes_in: Counter,
    bytes_out: Counter,
    messages_in: Counter,
    produce_failed: Counter,
    fetch_failed: Counter,
    corrupt_batches: Counter,
    connections: Gauge,
    partitions: Gauge<i64, AtomicI64>,
    leaders: Gauge<i64, AtomicI64>,
    offline: Gauge<i64, AtomicI64>,
    offline_dirs: Gauge<i64, AtomicI64>,
    active_controller: Gauge<i64, AtomicI64>,
    compacted_bytes: Gauge<i64, AtomicI64>,
    requests: Family<RequestLabel, Counter>,
    request_seconds: Family<RequestLabel, Histogram>,
    by_api: Vec<(i16, Counter, Histogram)>,
    unknown_api: Counter<u64, AtomicU64>,
}

impl Metrics {
    /// `apis`: the APIs that are served; each gets its request counter and time histogram up front.
    pub fn new(apis: &[ApiKey]) -> Arc<Self> {
        let requests = Family::<RequestLabel, Counter>::default();
        let request_seconds =
            Family::<RequestLabel, Histogram>::new_with_constructor(|| Histogram::new(REQUEST_SECONDS));
        let by_api = apis
            .iter()
            .map(|key| {
                let label = RequestLabel { request: api_name(*key) };
                let count = requests.get_or_create(&label).clone();
                let seconds = request_seconds.get_or_create(&label).clone();
                (*key as i16, count, seconds)
            })
            .collect();
        let metrics = Metrics {
            registry: Mutex::new(Registry::default()),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            messages_in: Counter::default(),
            produce_failed: Counter::default(),
            fetch_failed: Counter::default(),
            corrupt_batches: Counter::default(),
            connections: Gauge::default(),
            partitions: Gauge::default(),
            leaders: Gauge::default(),
            offline: Gauge::default(),
            offline_dirs: Gauge::default(),
            active_controller: Gauge::default(),
            compacted_bytes: Gauge::default(),
            requests,
            request_seconds,
            by_api,
            unknown_api: Counter::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let topics = "kafka_server_brokertopicmetrics_";
        let r = &mut *registry;
        r.register(format!("{topics}bytesin"), "Bytes of produced record batches", self.bytes_in.clone());
        r.register(format!("{topics}bytesout"), "Bytes of fetched record batches", self.bytes_out.clone());
        r.register(format!("{topics}messagesin"), "Produced records", self.messages_in.clone());
        r.register(
            format!("{topics}failedproducerequests"),
            "Produce requests with an error",
            self.produce_failed.clone(),
        );
        r.register(
            format!("{topics}failedfetchrequests"),
            "Fetch requests with an error",
            self.fetch_failed.clone(),
        );
        r.register("norn_corrupt_batches", "Reads that met a damaged batch", self.corrupt_batches.clone());
        r.register(
            "kafka_server_socketservermetrics_connection_count",
            "Open connections",
            self.connections.clone(),
        );
        let replicas = "kafka_server_replicamanager_";
        r.register(format!("{replicas}partitioncount"), "Partitions on this broker", self.partitions.clone());
        r.register(
            format!("{replicas}leadercount"),
            "Partitions that this broker leads",
            self.leaders.clone(),
        );
        r.register(
            format!("{replicas}offlinereplicacount"),
            "Replicas whose log is offline",
            self.offline.clone(),
        );
        r.register(
            "kafka_log_logmanager_offlinelogdirectorycount",
            "Log directories offline",
            self.offline_dirs.clone(),
        );
        let controller = "kafka_controller_kafkacontroller_activecontrollercount";
        r.register(controller, "1 on the broker that is the controller", self.active_controller.clone());
        let growing = "Bytes in compacted topics, which only grow while there is no cleaner";
        r.register("norn_log_compacted_topics_bytes", growing, self.compacted_bytes.clone());
        let requests = "kafka_network_requestmetrics_";
        r.register(format!("{requests}requests"), "Requests received", self.requests.clone());
        r.register(
            format!("{requests}totaltime_seconds"),
            "From arrival to the last byte sent",
            self.request_seconds.clone(),
        );
        r.register(
            "norn_unknown_requests",
            "Requests of an API that is not served",
            self.unknown_api.clone(),
        );
    }

    /// Tells of these budgets too.
    pub(crate) fn tell_budgets(&self, budgets: Budgets) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(budgets));
    }

    /// The registry in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a `String` cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }

    /// Starts the clock of a request from the first two bytes of its frame, its API key.
    pub(crate) fn request_started(&self, key: Option<&[u8]>) -> RequestTimer {
        let key = key.and_then(|bytes| bytes.try_into().ok()).map(i16::from_be_bytes);
        let entry = key.and_then(|key| self.by_api.binary_search_by_key(&key, |(k, ..)| *k).ok());
        match entry {
            Some(at) => {
                let (_, count, seconds) = &self.by_api[at];
                count.inc();
                RequestTimer { started: clock::now(), seconds: Some(seconds.clone()) }
            }
            None => {
                self.unknown_api.inc();
                RequestTimer { started: clock::now(), seconds: None }
            }
        }
    }

    pub(crate) fn produced(&self, records: u64, bytes: u64) {
        self.messages_in.inc_by(records);
        self.bytes_in.inc_by(bytes);
    }

    pub(crate) fn fetched(&self, bytes: u64) {
        self.bytes_out.inc_by(bytes);
    }

    pub(crate) fn produce_failed(&self) {
        self.produce_failed.inc();
    }

    pub(crate) fn fetch_failed(&self) {
        self.fetch_failed.inc();
    }

    pub(crate) fn corrupt_batch(&self) {
        self.corrupt_batches.inc();
    }

    pub(crate) fn connections(&self, open: usize) {
        self.connections.set(open as i64);
    }

    pub(crate) fn offline_partitions(&self) -> i64 {
        self.offline.get()
    }

    pub(crate) fn offline_dirs(&self, offline: usize) {
        self.offline_dirs.set(offline as i64);
    }

    pub(crate) fn active_controller(&self, active: bool) {
        self.active_controller.set(active.into());
    }

    pub(crate) fn compacted_bytes(&self, bytes: u64) {
        self.compacted_bytes.set(bytes as i64);
    }
}

/// The clock of one request; told when its last byte was sent.
pub(crate) struct RequestTimer {
    started: Instant,
    seconds: Option<Histogram>,
}

impl RequestTimer {
    pub fn done(self) {
        if let Some(seconds) = self.seconds {
            seconds.observe((clock::now() - self.started).as_secs_f64());
        }
    }
}

/// What a partition counts as in the gauges of partitions, until it is dropped.
pub(crate) struct PartitionCount {
    metrics: Arc<Metrics>,
    leads: bool,
    offline: bool,
}

impl PartitionCount {
    /// One that neither leads nor is offline.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.partitions.inc();
        PartitionCount { metrics, leads: false, offline: false }
    }

    pub(crate) fn set(&mut self, leads: bool, offline: bool) {
        self.metrics.leaders.inc_by(i64::from(leads) - i64::from(self.leads));
        self.metrics.offline.inc_by(i64::from(offline) - i64::from(self.offline));
        (self.leads, self.offline) = (leads, offline);
    }
}

impl Drop for PartitionCount {
    fn drop(&mut self) {
        self.set(false, false);
        self.metrics.partitions.dec();
    }
}
