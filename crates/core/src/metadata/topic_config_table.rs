//! The topic settings of Kafka 4 (`LogConfig`, `ServerTopicConfigSynonyms`) and Norn's own `flush.mode`.

use super::config_def::Allowed::{Any, AtLeast, Between, BetweenOr, EachOf, OneOf};
use super::config_def::ConfigType::{Boolean, Double, Int, List, Long, String};
use super::config_def::{Allowed, ConfigDef, ConfigTable, ConfigType, Synonym, UpdateMode};

const RECOMPRESS: &str = "batches stay as their producer compressed them";
const COMPACTION: &str = "there is no compaction yet, compacted topics only grow";
const FLUSH: &str = "flush.mode says when data is synced";
const THROTTLE: &str = "replication is not throttled yet";
const TIERED: &str = "there is no tiered storage";

const fn topic(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    allowed: Allowed,
    synonyms: &'static [Synonym],
    doc: &'static str,
) -> ConfigDef {
    ConfigDef::new(name, kind, Some(default), doc)
        .allowed(allowed)
        .synonyms(synonyms)
        .update(UpdateMode::Dynamic)
}

/// A broker's setting in the same unit.
const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

/// A broker's setting in minutes.
const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, factor: 60_000 }
}

/// A broker's setting in hours.
const fn hours(name: &'static str) -> Synonym {
    Synonym { name, factor: 3_600_000 }
}

/// Every setting that a topic can have, by name.
pub const TOPIC_CONFIGS: ConfigTable = ConfigTable { what: "topic", defs: DEFS };

const DEFS: &[ConfigDef] = &[
    topic(
        "cleanup.policy",
        List,
        "delete",
        EachOf(&["compact", "delete"]),
        &[same("log.cleanup.policy")],
        "What becomes of old segments: `delete` drops them at the retention limits, `compact` \
         keeps the last record of each key.",
    ),
    topic(
        "compression.gzip.level",
        Int,
        "-1",
        BetweenOr(1, 9, -1),
        &[same("compression.gzip.level")],
        "The level of gzip where the broker compresses.",
    )
    .without_effect(RECOMPRESS),
    topic(
        "compression.lz4.level",
        Int,
        "9",
        Between(1, 17),
        &[same("compression.lz4.level")],
        "The level of lz4 where the broker compresses.",
    )
    .without_effect(RECOMPRESS),
    topic(
        "compression.type",
        String,
        "producer",
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        &[same("compression.type")],
        "The compression of the topic's batches; `producer` keeps what the producer chose.",
    )
    .without_effect(RECOMPRESS),
    topic(
        "compression.zstd.level",
        Int,
        "3",
        Between(-131_072, 22),
        &[same("compression.zstd.level")],
        "The level of zstd where the broker compresses.",
    )
    .without_effect(RECOMPRESS),
    topic(
        "delete.retention.ms",
        Long,
        "86400000",
        AtLeast(0),
        &[same("log.cleaner.delete.retention.ms")],
        "How long a compacted topic keeps tombstones.",
    )
    .without_effect(COMPACTION),
    topic(
        "file.delete.delay.ms",
        Long,
        "60000",
        AtLeast(0),
        &[same("log.segment.delete.delay.ms")],
        "How long a deleted segment's file stays on the disk.",
    ),
    topic(
        "flush.messages",
        Long,
        "9223372036854775807",
        AtLeast(1),
        &[same("log.flush.interval.messages")],
        "Kafka syncs after so many records.",
    )
    .without_effect(FLUSH),
    topic(
        "flush.mode",
        String,
        "sync",
        OneOf(&["sync", "async"]),
        &[same("flush.mode")],
        "Norn's own: when an append counts as durable. `sync`: after fdatasync; `async`: once \
         written to the page cache, as in Kafka.",
    ),
    topic(
        "flush.ms",
        Long,
        "9223372036854775807",
        AtLeast(0),
        &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "Kafka syncs after so many milliseconds.",
    )
    .without_effect(FLUSH),
    topic(
        "follower.replication.throttled.replicas",
        List,
        "",
        Any,
        &[],
        "Replicas whose catching up is throttled, as partition:broker pairs, or `*`.",
    )
    .without_effect(THROTTLE),
    topic(
        "index.interval.bytes",
        Int,
        "4096",
        AtLeast(0),
        &[same("log.index.interval.bytes")],
        "About how many bytes of log lie between two index entries.",
    ),
    ConfigDef::new(
        "internal.segment.bytes",
        Int,
        None,
        "The size of a segment file, below the least that segment.bytes allows. For tests.",
    )
    .allowed(AtLeast(256))
    .hidden(),
    topic(
        "leader.replication.throttled.replicas",
        List,
        "",
        Any,
        &[],
        "Replicas whose reads for replication are throttled, as partition:broker pairs, or `*`.",
    )
    .without_effect(THROTTLE),
    topic(
        "local.retention.bytes",
        Long,
        "-2",
        AtLeast(-2),
        &[same("log.local.retention.bytes")],
        "Of a tiered topic, how much stays on the local disk; -2 takes retention.bytes.",
    )
    .without_effect(TIERED),
    topic(
        "local.retention.ms",
        Long,
        "-2",
        AtLeast(-2),
        &[same("log.local.retention.ms")],
        "Of a tiered topic, how long records stay on the local disk; -2 takes retention.ms.",
    )
    .without_effect(TIERED),
    topic(
        "max.compaction.lag.ms",
        Long,
        "9223372036854775807",
        AtLeast(1),
        &[same("log.cleaner.max.compaction.lag.ms")],
        "How long a record may stay out of compaction.",
    )
    .without_effect(COMPACTION),
    topic(
        "max.message.bytes",
        Int,
        "1048588",
        AtLeast(0),
        &[same("message.max.bytes")],
        "The largest record batch that is taken, as sent.",
    ),
    topic(
        "message.timestamp.after.max.ms",
        Long,
        "3600000",
        AtLeast(0),
        &[same("log.message.timestamp.after.max.ms")],
        "How far a record's timestamp may lie after the broker's clock.",
    ),
    topic(
        "message.timestamp.before.max.ms",
        Long,
        "9223372036854775807",
        AtLeast(0),
        &[same("log.message.timestamp.before.max.ms")],
        "How far a record's timestamp may lie before the broker's clock.",
    ),
    topic(
        "message.timestamp.type",
        String,
        "CreateTime",
        OneOf(&["CreateTime", "LogAppendTime"]),
        &[same("log.message.timestamp.type")],
        "Whether the producer or the broker stamps records.",
    ),
    topic(
        "min.cleanable.dirty.ratio",
        Double,
        "0.5",
        Between(0, 1),
        &[same("log.cleaner.min.cleanable.ratio")],
        "The share of uncompacted log at which compaction starts.",
    )
    .without_effect(COMPACTION),
    topic(
        "min.compaction.lag.ms",
        Long,
        "0",
        AtLeast(0),
        &[same("log.cleaner.min.compaction.lag.ms")],
        "How long a record stays out of compaction at least.",
    )
    .without_effect(COMPACTION),
    topic(
        "min.insync.replicas",
        Int,
        "1",
        AtLeast(1),
        &[same("min.insync.replicas")],
        "How many replicas must be in sync for acks=all to succeed; at most the replication \
         factor counts.",
    ),
    topic(
        "preallocate",
        Boolean,
        "false",
        Any,
        &[same("log.preallocate")],
        "Whether a new segment's file gets its full size at once.",
    )
    .without_effect("segments are never preallocated"),
    topic(
        "remote.log.copy.disable",
        Boolean,
        "false",
        Any,
        &[],
        "Of a tiered topic, whether copying to the remote storage has stopped.",
    )
    .without_effect(TIERED),
    topic(
        "remote.log.delete.on.disable",
        Boolean,
        "false",
        Any,
        &[],
        "Of a tiered topic, whether disabling it deletes what is remote.",
    )
    .without_effect(TIERED),
    topic("remote.storage.enable", Boolean, "false", OneOf(&["false"]), &[], "Whether the topic is tiered.")
        .without_effect(TIERED),
    topic(
        "retention.bytes",
        Long,
        "-1",
        Any,
        &[same("log.retention.bytes")],
        "How large a partition may grow before its oldest segments are deleted; negative: no \
         limit.",
    ),
    topic(
        "retention.ms",
        Long,
        "604800000",
        AtLeast(-1),
        &[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")],
        "How long records are kept; -1: no limit.",
    ),
    topic(
        "segment.bytes",
        Int,
        "1073741824",
        AtLeast(1_048_576),
        &[same("log.segment.bytes")],
        "The size at which a segment file is closed.",
    ),
    topic(
        "segment.index.bytes",
        Int,
        "10485760",
        AtLeast(4),
        &[same("log.index.size.max.bytes")],
        "The largest offset index of a segment.",
    ),
    topic(
        "segment.jitter.ms",
        Long,
        "0",
        AtLeast(0),
        &[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")],
        "The most that is taken off segment.ms at random, so that segments do not all close at \
         once.",
    ),
    topic(
        "segment.ms",
        Long,
        "604800000",
        AtLeast(1),
        &[same("log.roll.ms"), hours("log.roll.hours")],
        "The age at which a segment file is closed though it is not full.",
    ),
    topic(
        "unclean.leader.election.enable",
        Boolean,
        "false",
        Any,
        &[same("unclean.leader.election.enable")],
        "Whether a replica that was not in sync may lead when no other is left; loses records.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_defaults_are_allowed() {
        assert!(DEFS.is_sorted_by(|a, b| a.name < b.name));
        for def in DEFS {
            if let Some(default) = def.default {
                assert_eq!(def.check(default), Ok(()), "{}", def.name);
            }
        }
    }
}
