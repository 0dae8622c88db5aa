//! Names that Kafka 4 has and Norn lacks, with the reason and Kafka's default. Stating the default changes
//! nothing, so it passes without a word; any other value is a warning, or, where to ignore it would make the
//! broker less safe than was asked for, a reason not to start. Names as in `KafkaConfig` of Kafka 4.3.

use super::lacks::LACKS;

/// Names that Norn lacks for one reason.
#[derive(Debug)]
pub(super) struct Lack {
    pub reason: &'static str,
    /// Whether a value other than Kafka's default keeps the broker from starting.
    pub refuses: bool,
    /// Names with Kafka's default; an empty text where that is null or empty.
    pub names: &'static [(&'static str, &'static str)],
}

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
        let (_, default) = lack.names.iter().find(|(known, _)| *known == name)?;
        Some(Lacking { default, refuses: lack.refuses, reason: lack.reason })
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
    LACKS.iter().flat_map(|lack| lack.names.iter().map(|(name, _)| *name))
}
