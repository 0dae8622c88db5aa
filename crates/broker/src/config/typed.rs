//! The configuration as the rooms of the broker read it: typed, with defaults filled in, its parts checked
//! against each other. Made once, from layers; a dynamic change makes another.

use std::path::PathBuf;
use std::time::Duration;

use norn_core::metadata::controller::INTERNAL_TOPICS_SETTING;
use norn_core::metadata::FlushMode;

use super::error::{ConfigError, Warning};
use super::layers::Values;
use super::listener::Listener;
use super::source::Layer;
use super::{cluster, consistency};

/// Everything a broker is told at its start. Cheap enough to clone for each room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `node.id`.
    pub node_id: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// What to open, at least one; controller listeners are left out.
    pub listeners: Vec<Listener>,
    /// `http.port`; 0 is any free port, `None` opens none.
    pub http_port: Option<u16>,
    pub network: Network,
    pub topics: Topics,
    pub storage: Storage,
    pub groups: Groups,
    pub offsets: Offsets,
    pub producers: Producers,
    pub(super) values: Values,
}

/// Bounds of connections and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `connections.max.idle.ms`; `None` never closes an idle connection.
    pub connections_max_idle: Option<Duration>,
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
    /// Of one connection.
    pub queued_max_requests: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_session_slots: usize,
    pub socket_request_max_bytes: usize,
    /// Over all connections; `None` leaves the bound to the server.
    pub queued_max_request_bytes: Option<u64>,
    pub fetch_max_bytes: usize,
}

/// What becomes of topics whose creator does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    pub auto_create: bool,
    pub delete_enable: bool,
    /// Whether clients may delete and grow internal topics.
    pub change_internal: bool,
}

/// Where data is and how it is looked after. Per-topic limits are in `topic_defaults`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// One for each disk, at least one.
    pub log_dirs: Vec<PathBuf>,
    /// Of topics that do not state their own.
    pub flush_mode: FlushMode,
    pub retention_check_interval: Duration,
    /// Of each file of a data directory's journal.
    pub journal_file_bytes: u64,
    /// Metadata commands after which a snapshot is taken.
    pub metadata_snapshot_entries: u64,
}

/// Bounds of consumer groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    pub initial_rebalance_delay: Duration,
    pub min_session_timeout: Duration,
    pub max_session_timeout: Duration,
    pub max_size: usize,
}

/// Committed offsets and the topic they live in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub topic_num_partitions: i32,
    pub topic_replication_factor: i16,
    pub topic_segment_bytes: i32,
    pub retention: Duration,
    pub retention_check_interval: Duration,
    pub metadata_max_bytes: usize,
    pub commit_timeout: Duration,
}

/// How long idempotent producers are remembered, and what of all producers is taken on trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producers {
    pub id_expiration: Duration,
    /// Compressed batches are judged by their headers alone.
    pub trust_compressed_batches: bool,
}

impl Config {
    /// Reads `layers`, in any order; those of one rank in rising precedence. Either a configuration with
    /// what should be said about it, or every reason why there is none.
    pub fn from_layers(layers: Vec<Layer>) -> Result<(Config, Vec<Warning>), Vec<ConfigError>> {
        let (values, mut warnings, mut errors) = Values::from_layers(layers);
        let listeners = match cluster::listeners(&values, &mut warnings) {
            Ok(listeners) => listeners,
            Err(found) => {
                errors.extend(found);
                Vec::new()
            }
        };
        cluster::check(&values, &mut warnings, &mut errors);
        consistency::check(&values, &mut warnings, &mut errors);
        if errors.is_empty() {
            Ok((Config::build(values, listeners), warnings))
        } else {
            Err(errors)
        }
    }

    /// This configuration with dynamic values over the stated ones; a name or value that the table does not
    /// know is passed over, since it was checked when it was set (`check_dynamic`).
    pub fn overridden<'a>(&self, changes: impl Iterator<Item = (&'a str, &'a str)>) -> Config {
        Config::build(self.values.overridden(changes), self.listeners.clone())
    }

    /// Stated values and defaults by Kafka's names, for the few that need them untyped.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Tells what this machine is called, for listeners on every interface that do not say what to advertise.
    pub fn name_this_host(&mut self, name: &str) {
        for listener in &mut self.listeners {
            if listener.advertised.host.is_empty() {
                listener.advertised.host = name.to_owned();
            }
        }
    }

    fn build(values: Values, listeners: Vec<Listener>) -> Config {
        let v = Checked(&values);
        Config {
            node_id: cluster::node_id(&values),
            rack: values.value("broker.rack").map(str::to_owned),
            listeners,
            http_port: u16::try_from(v.number("http.port")).ok(),
            network: Network {
                connections_max_idle: v.optional("connections.max.idle.ms").map(Duration::from_millis),
                max_connections: v.size("max.connections"),
                max_connections_per_ip: v.size("max.connections.per.ip"),
                queued_max_requests: v.size("queued.max.requests"),
                fetch_session_slots: v.size("max.incremental.fetch.session.cache.slots"),
                socket_request_max_bytes: v.size("socket.request.max.bytes"),
                queued_max_request_bytes: v.optional("queued.max.request.bytes").filter(|bytes| *bytes > 0),
                fetch_max_bytes: v.size("fetch.max.bytes"),
            },
            topics: Topics {
                num_partitions: v.int("num.partitions"),
                default_replication_factor: v.short("default.replication.factor"),
                auto_create: values.flag("auto.create.topics.enable"),
                delete_enable: values.flag("delete.topic.enable"),
                change_internal: values.flag(INTERNAL_TOPICS_SETTING),
            },
            storage: Storage {
                log_dirs: values.list("log.dirs").into_iter().map(PathBuf::from).collect(),
                flush_mode: match values.value("flush.mode") {
                    Some("async") => FlushMode::Async,
                    _ => FlushMode::Sync,
                },
                retention_check_interval: v.millis("log.retention.check.interval.ms"),
                journal_file_bytes: v.number("internal.journal.file.bytes") as u64,
                metadata_snapshot_entries: v.number("internal.metadata.snapshot.entries") as u64,
            },
            groups: Groups {
                initial_rebalance_delay: v.millis("group.initial.rebalance.delay.ms"),
                min_session_timeout: v.millis("group.min.session.timeout.ms"),
                max_session_timeout: v.millis("group.max.session.timeout.ms"),
                max_size: v.size("group.max.size"),
            },
            offsets: Offsets {
                topic_num_partitions: v.int("offsets.topic.num.partitions"),
                topic_replication_factor: v.short("offsets.topic.replication.factor"),
                topic_segment_bytes: v.int("offsets.topic.segment.bytes"),
                retention: v.millis("offsets.retention.minutes").saturating_mul(60_000),
                retention_check_interval: v.millis("offsets.retention.check.interval.ms"),
                metadata_max_bytes: v.size("offset.metadata.max.bytes"),
                commit_timeout: v.millis("offsets.commit.timeout.ms"),
            },
            producers: Producers {
                id_expiration: v.millis("producer.id.expiration.ms"),
                trust_compressed_batches: values.flag("trust.compressed.batches"),
            },
            values,
        }
    }
}

impl Default for Config {
    /// What `norn serve` runs with when nothing is stated.
    fn default() -> Config {
        Config::from_layers(Vec::new()).expect("the table's own defaults agree with each other").0
    }
}

/// Values that the table has checked, read as numbers of the width that the table gives them.
struct Checked<'a>(&'a Values);

impl Checked<'_> {
    fn number(&self, name: &str) -> i64 {
        self.0.number(name).expect("a numeric setting with a default, checked against the table")
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.number(name)).expect("bounded by the table to 32 bits")
    }

    fn short(&self, name: &str) -> i16 {
        i16::try_from(self.number(name)).expect("bounded by the table to 16 bits")
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).expect("bounded by the table from 0")
    }

    fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.number(name)).expect("bounded by the table from 0"))
    }

    /// A number for which a negative value means "none".
    fn optional(&self, name: &str) -> Option<u64> {
        u64::try_from(self.number(name)).ok()
    }
}
