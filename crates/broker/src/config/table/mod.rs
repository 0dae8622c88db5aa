//! The settings that Norn honours or at least lists, under Kafka 4's names and with its defaults except
//! where the doc says otherwise, and Norn's own. Sorted by room, not by name. What Kafka has beyond these is in
//! `lacking`.

mod log;

use norn_core::metadata::controller::INTERNAL_TOPICS_SETTING;
use norn_core::metadata::ConfigType::{Boolean, Int, List, Long, Short, String};
use norn_core::metadata::{Allowed, ConfigDef, ConfigTable, ConfigType, Synonym, UpdateMode};

/// Names of the listeners' protocols that a map gives when it is not stated.
const DEFAULT_PROTOCOL_MAP: &str =
    "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL";

/// Bounds of `http.port`: -1 is "none", 0 is "any free one".
const HTTP_PORT: Allowed = Allowed::Between(-1, 65_535);

const fn stated(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    allowed: Allowed,
    doc: &'static str,
) -> ConfigDef {
    ConfigDef::new(name, kind, Some(default), doc).allowed(allowed)
}

/// Without a default: null until someone states it.
const fn null(name: &'static str, kind: ConfigType, allowed: Allowed, doc: &'static str) -> ConfigDef {
    ConfigDef::new(name, kind, None, doc).allowed(allowed)
}

/// What a running broker takes at once. The defaults of topic settings are dynamic, as in Kafka.
const fn dynamic(def: ConfigDef) -> ConfigDef {
    def.update(UpdateMode::Dynamic)
}

/// The same fact under another name and perhaps in another unit.
const fn also(name: &'static str, factor: i64) -> Synonym {
    Synonym { name, factor }
}

const NODE: [ConfigDef; 7] = [
    stated("node.id", Int, "1", Allowed::AtLeast(0), "Number of this node, unique in its cluster.")
        .synonyms(&[also("broker.id", 1)]),
    stated("broker.id", Int, "-1", Allowed::Any, "Older name of node.id; must agree with it."),
    stated(
        "process.roles",
        List,
        "broker,controller",
        Allowed::EachOf(&["broker", "controller"]),
        "Roles of this node. A Norn node is always both; a list without broker is refused.",
    ),
    stated(
        "controller.quorum.voters",
        List,
        "",
        Allowed::Any,
        "Voters of the metadata quorum as id@host:port. One node: this one, or empty.",
    ),
    stated(
        "controller.quorum.bootstrap.servers",
        List,
        "",
        Allowed::Any,
        "Where to find the metadata quorum. One node: its own address, or empty.",
    ),
    stated(
        "controller.listener.names",
        List,
        "",
        Allowed::Any,
        "Listeners that Kafka keeps for its controllers. Norn does not open them.",
    ),
    null("broker.rack", String, Allowed::Any, "Rack of this node, told to clients."),
];

const LISTENERS: [ConfigDef; 5] = [
    stated(
        "listeners",
        List,
        "PLAINTEXT://127.0.0.1:9092",
        Allowed::Any,
        "Addresses to listen on, as NAME://host:port. Port 0 takes a free port; an empty host or 0.0.0.0 \
         means every interface, of IPv4 and IPv6. Kafka's default is every interface.",
    ),
    null(
        "advertised.listeners",
        List,
        Allowed::Any,
        "Addresses that clients are told, as NAME://host:port; those of listeners if not set. Must be set where \
         a listener has the host 0.0.0.0 or [::].",
    ),
    stated(
        "listener.security.protocol.map",
        String,
        DEFAULT_PROTOCOL_MAP,
        Allowed::Any,
        "Protocol of each listener name. A listener that is opened must be PLAINTEXT.",
    ),
    null(
        "inter.broker.listener.name",
        String,
        Allowed::Any,
        "Listener that brokers use among themselves. One node: must only exist.",
    ),
    stated(
        "http.port",
        Int,
        "9644",
        HTTP_PORT,
        "Port of /metrics, /healthz and /readyz, on the host of the first listener. 0 takes a free port, -1 \
         opens none. Norn's own.",
    ),
];

const NETWORK: [ConfigDef; 8] = [
    stated(
        "connections.max.idle.ms",
        Long,
        "600000",
        Allowed::Any,
        "Idle connections are closed after this time. Negative: never.",
    ),
    dynamic(stated(
        "max.connections",
        Int,
        "2147483647",
        Allowed::AtLeast(0),
        "Most connections open at once, over all listeners.",
    )),
    dynamic(stated(
        "max.connections.per.ip",
        Int,
        "2147483647",
        Allowed::AtLeast(0),
        "Most connections open at once from one address.",
    )),
    stated(
        "socket.request.max.bytes",
        Int,
        "104857600",
        Allowed::AtLeast(1),
        "Largest request. A larger one closes the connection.",
    ),
    stated(
        "queued.max.requests",
        Int,
        "500",
        Allowed::AtLeast(1),
        "Most requests of one connection that wait for their replies; beyond it the connection is not read.",
    ),
    stated(
        "queued.max.request.bytes",
        Long,
        "-1",
        Allowed::Any,
        "Most bytes of requests that are being read or in flight over all connections; beyond it connections are \
         not read. Half of it is for records that wait for their log directories, in equal shares; responses that \
         wait for their clients may take half as much again. -1 leaves the bounds to Norn: 64 MiB, and at least 16 MiB \
         for each log directory.",
    ),
    stated(
        "max.incremental.fetch.session.cache.slots",
        Int,
        "1000",
        Allowed::AtLeast(0),
        "Most incremental fetch sessions kept (KIP-227), over all connections.",
    ),
    stated(
        "fetch.max.bytes",
        Int,
        "57671680",
        Allowed::AtLeast(1024),
        "Most bytes of one Fetch response, whatever the client asks for.",
    ),
];

const TOPICS: [ConfigDef; 6] = [
    stated(
        "num.partitions",
        Int,
        "1",
        Allowed::AtLeast(1),
        "Partitions of a topic whose creator does not say.",
    ),
    stated(
        "default.replication.factor",
        Int,
        "1",
        Allowed::Between(1, 32_767),
        "Replicas of a topic whose creator does not say.",
    ),
    stated(
        "auto.create.topics.enable",
        Boolean,
        "true",
        Allowed::Any,
        "Create a topic when a client first names it.",
    ),
    stated("delete.topic.enable", Boolean, "true", Allowed::Any, "Allow DeleteTopics."),
    stated(
        INTERNAL_TOPICS_SETTING,
        Boolean,
        "false",
        Allowed::Any,
        "Let clients delete and grow internal topics such as __consumer_offsets, and let their records expire.",
    ),
    dynamic(stated(
        "min.insync.replicas",
        Int,
        "1",
        Allowed::AtLeast(1),
        "Fewest in-sync replicas with which acks=all succeeds.",
    )),
];

const GROUPS: [ConfigDef; 4] = [
    stated(
        "group.initial.rebalance.delay.ms",
        Int,
        "3000",
        Allowed::AtLeast(0),
        "How long an empty group waits for more members before its first rebalance.",
    ),
    stated(
        "group.min.session.timeout.ms",
        Int,
        "6000",
        Allowed::AtLeast(0),
        "Shortest session timeout that a member may ask for.",
    ),
    stated(
        "group.max.session.timeout.ms",
        Int,
        "1800000",
        Allowed::AtLeast(0),
        "Longest session timeout that a member may ask for.",
    ),
    stated("group.max.size", Int, "2147483647", Allowed::AtLeast(1), "Most members of one group."),
];

const OFFSETS: [ConfigDef; 7] = [
    stated(
        "offsets.topic.num.partitions",
        Int,
        "50",
        Allowed::AtLeast(1),
        "Partitions of __consumer_offsets; fixed once it exists.",
    ),
    stated(
        "offsets.topic.replication.factor",
        Short,
        "1",
        Allowed::AtLeast(1),
        "Replicas of __consumer_offsets. Kafka's default is 3.",
    ),
    stated(
        "offsets.topic.segment.bytes",
        Int,
        "104857600",
        Allowed::AtLeast(1),
        "Segment size of __consumer_offsets.",
    ),
    stated(
        "offsets.retention.minutes",
        Int,
        "10080",
        Allowed::AtLeast(1),
        "How long committed offsets outlive their group's last member.",
    ),
    stated(
        "offsets.retention.check.interval.ms",
        Long,
        "600000",
        Allowed::AtLeast(1),
        "Pause between two looks for expired offsets.",
    ),
    stated(
        "offset.metadata.max.bytes",
        Int,
        "4096",
        Allowed::AtLeast(0),
        "Longest text stored beside a committed offset.",
    ),
    stated(
        "offsets.commit.timeout.ms",
        Int,
        "5000",
        Allowed::AtLeast(1),
        "How long a commit may wait for its record to be committed in the log.",
    ),
];

const PRODUCERS: [ConfigDef; 3] = [
    dynamic(stated(
        "producer.id.expiration.ms",
        Int,
        "86400000",
        Allowed::AtLeast(1),
        "How long a partition remembers an idempotent producer that no longer writes.",
    )),
    stated(
        "producer.id.expiration.check.interval.ms",
        Int,
        "600000",
        Allowed::AtLeast(1),
        "Pause between two looks for expired producers.",
    )
    .without_effect("expired producers are looked for when expired records are"),
    stated(
        "trust.compressed.batches",
        Boolean,
        "false",
        Allowed::Any,
        "Take timestamps, offsets and counts of compressed batches from their headers, and keys for granted, without \
         decompressing them. Saves processor time; a wrong producer may then hide records from lookups by time, have \
         retention remove them early, or stop every consumer of its partition. Norn's own.",
    ),
];

/// For tests and simulation, which want to see in seconds what takes days.
const INTERNAL: [ConfigDef; 2] = [
    stated(
        "internal.journal.file.bytes",
        Long,
        "16777216",
        Allowed::Between(32_768, 1 << 30),
        "Length of each file of a data directory's journal: a hundred bytes or more for each of its partitions.",
    )
    .hidden(),
    stated(
        "internal.metadata.snapshot.entries",
        Long,
        "50000",
        Allowed::AtLeast(1),
        "Metadata commands after which a snapshot is taken.",
    )
    .hidden(),
];

const ROOMS: [&[ConfigDef]; 10] = [
    &NODE,
    &LISTENERS,
    &NETWORK,
    &TOPICS,
    &log::STORAGE,
    &log::LOG,
    &GROUPS,
    &OFFSETS,
    &PRODUCERS,
    &INTERNAL,
];

const COUNT: usize = {
    let (mut count, mut room) = (0, 0);
    while room < ROOMS.len() {
        count += ROOMS[room].len();
        room += 1;
    }
    count
};

static ALL: [ConfigDef; COUNT] = {
    let mut all = [NODE[0]; COUNT];
    let (mut at, mut room) = (0, 0);
    while room < ROOMS.len() {
        let mut def = 0;
        while def < ROOMS[room].len() {
            all[at] = ROOMS[room][def];
            at += 1;
            def += 1;
        }
        room += 1;
    }
    all
};

/// Every setting that Norn honours, as the table that requests to change them go by.
pub const BROKER_CONFIGS: ConfigTable = ConfigTable { what: "broker", defs: &ALL };

/// Every setting that Norn honours.
pub fn settings() -> impl Iterator<Item = &'static ConfigDef> {
    ALL.iter()
}

/// The setting called `name`.
pub fn setting(name: &str) -> Option<&'static ConfigDef> {
    settings().find(|def| def.name == name)
}
