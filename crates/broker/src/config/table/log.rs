//! Where data is and what becomes of it: directories, syncs, segments, retention. Most are the defaults
//! of topics' own settings, whose names `norn_core::metadata::TOPIC_CONFIGS` maps to these.

use norn_core::metadata::ConfigType::{Boolean, Int, List, Long, String};
use norn_core::metadata::{Allowed, ConfigDef};

use super::{also, dynamic, null, stated};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

pub(super) const STORAGE: [ConfigDef; 5] = [
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
    ))
    .without_effect("readers of a deleted segment keep it; nothing waits for them"),
];

pub(super) const LOG: [ConfigDef; 21] = [
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
        .without_effect("segments roll without jitter")
        .synonyms(&[also("log.roll.jitter.hours", HOUR_MS)]),
    ),
    stated("log.roll.jitter.hours", Int, "0", Allowed::AtLeast(0), "As log.roll.jitter.ms, in hours.")
        .without_effect("segments roll without jitter"),
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
    ))
    .without_effect("Norn never preallocates segments"),
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
