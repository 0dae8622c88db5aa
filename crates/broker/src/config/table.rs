//! The settings that Norn honours, under Kafka 4's names and with its defaults except where the doc
//! says otherwise, and Norn's own. Sorted by room, not by name. What Kafka has beyond these is in
//! `lacking`.

use norn_core::metadata::ConfigType::{Boolean, Int, List, Long, Short, String};
use norn_core::metadata::{Allowed, ConfigDef, ConfigTable, ConfigType, Synonym, UpdateMode};

/// Names of the listeners' protocols that a map gives when it is not stated.
pub(super) const DEFAULT_PROTOCOL_MAP: &str =
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

/// What a running broker takes at once. The defaults of topic settings are, as in Kafka.
const fn dynamic(def: ConfigDef) -> ConfigDef {
    def.update(UpdateMode::ClusterWide)
}

/// The same fact under another name and perhaps in another unit.
const fn also(name: &'static str, factor: i64) -> Synonym {
    Synonym { name, factor }
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

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
        "Addresses to listen on, as NAME://host:port. Port 0 takes a free port; an empty host means every \
         interface. Kafka's default is every interface.",
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
    stated(
        "max.connections",
        Int,
        "2147483647",
        Allowed::AtLeast(0),
        "Most connections open at once, over all listeners.",
    ),
    stated(
        "max.connections.per.ip",
        Int,
        "2147483647",
        Allowed::AtLeast(0),
        "Most connections open at once from one address.",
    ),
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
        "Most bytes of requests in flight over all connections; beyond it connections are not read. -1 leaves \
         the bound to Norn.",
    ),
    stated(
        "max.incremental.fetch.session.cache.slots",
        Int,
        "1000",
        Allowed::AtLeast(0),
        "Most incremental fetch sessions kept (KIP-227).",
    ),
    stated(
        "fetch.max.bytes",
        Int,
        "57671680",
        Allowed::AtLeast(1024),
        "Most bytes of one Fetch response, whatever the client asks for.",
    ),
];

const TOPICS: [ConfigDef; 5] = [
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
    dynamic(stated(
        "min.insync.replicas",
        Int,
        "1",
        Allowed::AtLeast(1),
        "Fewest in-sync replicas with which acks=all succeeds.",
    )),
];

const STORAGE: [ConfigDef; 5] = [
    null(
        "log.dirs",
        List,
        Allowed::Any,
        "Directories of the data, one for each disk, separated by commas.",
    )
    .synonyms(&[also("log.dir", 1)]),
    stated(
        "log.dir",
        List,
        "./norn-data",
        Allowed::Any,
        "Directory of the data if log.dirs is not set. Kafka's default is /tmp/kafka-logs.",
    ),
    dynamic(stated(
        "flush.mode",
        String,
        "sync",
        Allowed::OneOf(&["sync", "async"]),
        "When a record counts as written: sync, after fdatasync; async, once the operating system has it, as in \
         Kafka. Norn's own.",
    )),
    stated(
        "log.retention.check.interval.ms",
        Long,
        "300000",
        Allowed::AtLeast(1),
        "Pause between two looks for segments that retention lets go.",
    ),
    dynamic(stated(
        "log.segment.delete.delay.ms",
        Long,
        "60000",
        Allowed::AtLeast(0),
        "How long the files of a deleted segment stay for readers that are still at it.",
    )),
];

const LOG: [ConfigDef; 21] = [
    dynamic(
        null("log.retention.ms", Long, Allowed::AtLeast(-1), "Age at which records are let go. -1: never.")
            .synonyms(&[also("log.retention.minutes", MINUTE_MS), also("log.retention.hours", HOUR_MS)]),
    ),
    null("log.retention.minutes", Int, Allowed::AtLeast(-1), "As log.retention.ms, in minutes. -1: never."),
    stated(
        "log.retention.hours",
        Int,
        "168",
        Allowed::AtLeast(-1),
        "As log.retention.ms, in hours. -1: never.",
    ),
    dynamic(stated(
        "log.retention.bytes",
        Long,
        "-1",
        Allowed::AtLeast(-1),
        "Size of a partition beyond which its oldest segments are let go. -1: none.",
    )),
    dynamic(stated(
        "log.segment.bytes",
        Int,
        "1073741824",
        Allowed::AtLeast(1_048_576),
        "Size at which a new segment is begun.",
    )),
    dynamic(
        null("log.roll.ms", Long, Allowed::AtLeast(1), "Age at which a new segment is begun.")
            .synonyms(&[also("log.roll.hours", HOUR_MS)]),
    ),
    stated("log.roll.hours", Int, "168", Allowed::AtLeast(1), "As log.roll.ms, in hours."),
    dynamic(
        null(
            "log.roll.jitter.ms",
            Long,
            Allowed::AtLeast(0),
            "Most by which a segment's age limit is shortened at random, so that not all roll at once.",
        )
        .synonyms(&[also("log.roll.jitter.hours", HOUR_MS)]),
    ),
    stated("log.roll.jitter.hours", Int, "0", Allowed::AtLeast(0), "As log.roll.jitter.ms, in hours."),
    dynamic(stated(
        "log.index.interval.bytes",
        Int,
        "4096",
        Allowed::AtLeast(0),
        "Bytes of log between two entries of its index.",
    )),
    dynamic(stated(
        "log.index.size.max.bytes",
        Int,
        "10485760",
        Allowed::AtLeast(4),
        "Largest index of a segment.",
    )),
    dynamic(stated(
        "log.cleanup.policy",
        List,
        "delete",
        Allowed::EachOf(&["delete", "compact"]),
        "What becomes of old records: delete, by retention; compact, the last of each key stays.",
    )),
    dynamic(stated(
        "log.message.timestamp.type",
        String,
        "CreateTime",
        Allowed::OneOf(&["CreateTime", "LogAppendTime"]),
        "Whose time a record carries: its producer's or the broker's.",
    )),
    dynamic(stated(
        "log.message.timestamp.before.max.ms",
        Long,
        "9223372036854775807",
        Allowed::AtLeast(0),
        "How far a record's time may lie in the past.",
    )),
    dynamic(stated(
        "log.message.timestamp.after.max.ms",
        Long,
        "3600000",
        Allowed::AtLeast(0),
        "How far a record's time may lie in the future.",
    )),
    dynamic(stated(
        "message.max.bytes",
        Int,
        "1048588",
        Allowed::AtLeast(0),
        "Largest record batch, as compressed by its producer.",
    )),
    dynamic(stated(
        "compression.type",
        String,
        "producer",
        Allowed::OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
        "Compression in the log; producer keeps what the producer chose.",
    ))
    .without_effect("batches stay as their producers compressed them"),
    dynamic(stated(
        "log.preallocate",
        Boolean,
        "false",
        Allowed::Any,
        "Reserve a segment's space when it is begun.",
    )),
    dynamic(stated(
        "log.flush.interval.messages",
        Long,
        "9223372036854775807",
        Allowed::AtLeast(1),
        "Records between two syncs. With flush.mode=sync each is synced before it is acknowledged.",
    )),
    dynamic(
        null(
            "log.flush.interval.ms",
            Long,
            Allowed::AtLeast(0),
            "Time between two syncs. With flush.mode=sync each record is synced before it is acknowledged.",
        )
        .synonyms(&[also("log.flush.scheduler.interval.ms", 1)]),
    ),
    stated(
        "log.flush.scheduler.interval.ms",
        Long,
        "9223372036854775807",
        Allowed::Any,
        "As log.flush.interval.ms, if that is not set.",
    ),
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

const PRODUCERS: [ConfigDef; 2] = [
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
    ),
];

/// For tests and simulation, which want to see in seconds what takes days.
const INTERNAL: [ConfigDef; 2] = [
    stated(
        "internal.journal.file.bytes",
        Long,
        "16777216",
        Allowed::Between(4096, 1 << 30),
        "Length of each file of a data directory's journal.",
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

const ROOMS: [&[ConfigDef]; 10] =
    [&NODE, &LISTENERS, &NETWORK, &TOPICS, &STORAGE, &LOG, &GROUPS, &OFFSETS, &PRODUCERS, &INTERNAL];

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
