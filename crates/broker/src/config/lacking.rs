//! Names that Kafka 4 has and Norn lacks, with the reason and Kafka's default. Stating the default changes
//! nothing, so it passes without a word; any other value is a warning, or, where to ignore it would make the
//! broker less safe than was asked for, a reason not to start. Names as in `KafkaConfig` of Kafka 4.3.

use norn_core::metadata::{list, ConfigType};

use super::lacks::LACKS;

/// Names that Norn lacks for one reason.
#[derive(Debug)]
pub(super) struct Lack {
    pub reason: &'static str,
    /// Whether a value other than Kafka's default keeps the broker from starting.
    pub refuses: bool,
    /// Names with Kafka's type and default; `None` is null.
    pub names: &'static [(&'static str, ConfigType, Option<&'static str>)],
}

/// Where what Norn does corresponds to another value than Kafka's default.
const DIFFERING: &[(&str, Option<&str>)] = &[
    ("controller.quorum.append.linger.ms", Some("0")),
    ("controller.quorum.election.timeout.ms", Some("300")),
    ("group.consumer.migration.policy", Some("disabled")),
    ("group.coordinator.append.linger.ms", Some("0")),
    ("group.coordinator.rebalance.protocols", Some("classic")),
    ("log.cleaner.enable", Some("false")),
    ("metadata.log.max.snapshot.interval.ms", Some("0")),
    ("metric.reporters", Some("")),
    ("principal.builder.class", None),
    ("sasl.enabled.mechanisms", Some("")),
    ("socket.receive.buffer.bytes", Some("-1")),
    ("socket.send.buffer.bytes", Some("-1")),
];

/// Kafka's pools of threads, whose tasks run on Norn's one pool.
const POOLS: &[&str] = &[
    "background.threads",
    "group.coordinator.background.threads",
    "group.coordinator.threads",
    "num.io.threads",
    "num.network.threads",
];

/// Names that Kafka knows and does not describe: internal ones, those of its authorizer, and quotas that are only ever set
/// dynamically.
const UNDESCRIBED: &[&str] = &[
    "allow.everyone.if.no.acl.found",
    "controller.performance.always.log.threshold.ms",
    "controller.performance.sample.period.ms",
    "follower.replication.throttled.rate",
    "group.consumer.regex.refresh.interval.ms",
    "group.share.initialize.retry.interval.ms",
    "group.share.persister.class.name",
    "internal.metadata.delete.delay.millis",
    "internal.metadata.log.segment.bytes",
    "internal.metadata.max.batch.size.in.bytes",
    "leader.replication.throttled.rate",
    "log.initial.task.delay.ms",
    "remote.log.index.file.cache.ttl.ms",
    "remote.log.manager.task.retry.backoff.max.ms",
    "remote.log.manager.task.retry.backoff.ms",
    "remote.log.manager.task.retry.jitter",
    "replica.alter.log.dirs.io.max.bytes.per.second",
    "server.max.startup.time.ms",
    "share.coordinator.cold.partition.snapshot.interval.ms",
    "share.coordinator.state.topic.prune.interval.ms",
    "super.users",
    "unclean.leader.election.interval.ms",
    "unstable.api.versions.enable",
    "unstable.feature.versions.enable",
];

/// Prefixes whose names are made up by the user or by a plug-in, sorted as `LACKS`.
pub(super) const PREFIXES: &[(&str, bool, &str)] = &[
    ("config.providers.", true, "Norn does not replace placeholders in values"),
    ("rlmm.config.", false, "Norn has no tiered storage"),
    ("rsm.config.", false, "Norn has no tiered storage"),
];

/// Names that Kafka had before its version 4, and why they went.
pub(super) const REMOVED: &[(&str, &str)] = &[
    ("zookeeper.", "there is no ZooKeeper any more"),
    ("control.plane.listener.name", "there is no ZooKeeper any more"),
    ("broker.id.generation.enable", "set node.id"),
    ("reserved.broker.max.id", "set node.id"),
    ("inter.broker.protocol.version", "versions are negotiated"),
    ("log.message.format.version", "record batches have one format"),
    ("log.message.downconversion.enable", "record batches have one format"),
    (
        "log.message.timestamp.difference.max.ms",
        "use log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms",
    ),
    ("offsets.commit.required.acks", "offset commits wait for all in-sync replicas"),
    ("password.encoder.", "there is no ZooKeeper any more"),
    ("delegation.token.master.key", "use delegation.token.secret.key"),
    ("host.name", "use listeners"),
    ("port", "use listeners"),
    ("advertised.host.name", "use advertised.listeners"),
    ("advertised.port", "use advertised.listeners"),
];

/// What is known of a name that Norn lacks: Kafka's default, whether another value is refused, and the
/// reason.
pub(super) struct Lacking {
    pub default: &'static str,
    pub refuses: bool,
    pub reason: &'static str,
}

/// Looks `name` up in the tables of names that Norn lacks.
pub(super) fn lacking(name: &str) -> Option<Lacking> {
    let exact = LACKS.iter().find_map(|lack| {
        let (.., default) = lack.names.iter().find(|(known, ..)| *known == name)?;
        Some(Lacking { default: default.unwrap_or_default(), refuses: lack.refuses, reason: lack.reason })
    });
    exact.or_else(|| {
        let (_, refuses, reason) = PREFIXES.iter().find(|(prefix, ..)| name.starts_with(prefix))?;
        Some(Lacking { default: "", refuses: *refuses, reason })
    })
}

/// Why Kafka 4 no longer has `name`. An entry that ends in a dot stands for all names that begin so.
pub(super) fn removed(name: &str) -> Option<&'static str> {
    let gone = |known: &str| if known.ends_with('.') { name.starts_with(known) } else { name == known };
    REMOVED.iter().find(|(known, _)| gone(known)).map(|(_, reason)| *reason)
}

/// All exact names that Norn lacks, for the search of the nearest one.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    LACKS.iter().flat_map(|lack| lack.names.iter().map(|(name, ..)| *name))
}

/// A setting that Norn lacks, as Kafka's DescribeConfigs of a broker lists it.
pub(super) struct Fixed {
    pub name: &'static str,
    pub kind: ConfigType,
    /// The value that Norn's behaviour corresponds to; `None` is null.
    pub value: Option<String>,
    /// Why no other value is honoured.
    pub reason: &'static str,
}

/// Every setting that Norn lacks and that Kafka describes, on a node whose tasks run on so many `threads`.
pub(super) fn fixed(threads: usize) -> impl Iterator<Item = Fixed> {
    let of = move |lack: &'static Lack| {
        lack.names.iter().map(move |(name, kind, default)| {
            let differing = DIFFERING.iter().find(|(differs, _)| differs == name);
            let value = differing.map_or(*default, |(_, value)| *value).map(str::to_owned);
            let value = if POOLS.contains(name) { Some(threads.to_string()) } else { value };
            Fixed { name, kind: *kind, value, reason: lack.reason }
        })
    };
    LACKS.iter().flat_map(of).filter(|fixed| !UNDESCRIBED.contains(&fixed.name))
}

/// Whether `value` is one that Norn's behaviour already corresponds to: Kafka's default, which stands for "as it is", or
/// the value that is described. `None` for a name that Norn does not lack.
pub(super) fn changes_nothing(name: &str, value: &str) -> Option<Result<(), &'static str>> {
    let lack = lacking(name)?;
    let described = DIFFERING.iter().find(|(differs, _)| *differs == name).and_then(|(_, value)| *value);
    let same = same_value(value, lack.default) || described.is_some_and(|own| same_value(value, own));
    Some(if same { Ok(()) } else { Err(lack.reason) })
}

/// Lists may be written with blanks, and in any order that the default happens not to have.
pub(super) fn same_value(value: &str, default: &str) -> bool {
    let sorted = |text| {
        let mut items = list(text);
        items.sort_unstable();
        items
    };
    value.trim().eq_ignore_ascii_case(default) || sorted(value) == sorted(default)
}
