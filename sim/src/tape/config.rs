//! The settings of a broker: some at their defaults, others odd, so that rare turns become common ones.

use std::collections::BTreeMap;

use norn_env::sim::Stream;

/// The address of the broker with this index, on a host of its own.
pub fn broker_ip(index: usize) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::new(10, 0, 100, index as u8 + 1)
}

/// Settings in Kafka's names.
pub fn draw(dice: &Stream, index: usize) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    let mut set = |name: &str, value: String| config.insert(name.to_owned(), value);
    let dirs: Vec<String> =
        (0..[1, 1, 1, 2, 3][dice.below(5) as usize]).map(|dir| format!("/data/{dir}")).collect();
    set("node.id", (index + 1).to_string());
    set("listeners", format!("PLAINTEXT://{}:9092", broker_ip(index)));
    set("http.port", "-1".to_owned());
    set("log.dirs", dirs.join(","));
    set("num.partitions", dice.range(1..7).to_string());
    set("offsets.topic.num.partitions", dice.range(1..9).to_string());
    set("group.initial.rebalance.delay.ms", dice.range(0..2_000).to_string());
    set("group.min.session.timeout.ms", "1000".to_owned());
    set("log.retention.check.interval.ms", dice.range(1_000..30_000).to_string());
    set("log.segment.delete.delay.ms", dice.range(0..20_000).to_string());
    if dice.chance(0.2) {
        set("flush.mode", "async".to_owned());
    }
    // Each oddity is off in most seeds, so that it meets few of the others.
    let odd = |dice: &Stream| dice.chance(0.35);
    // One that no world fills, but for the time that it takes to write it; or a short one, written around.
    let journal_bytes = if dice.chance(0.5) { 1_u64 << dice.range(15..20) } else { 2 << 20 };
    set("internal.journal.file.bytes", journal_bytes.to_string());
    if odd(dice) {
        set("internal.metadata.snapshot.entries", dice.range(2..50).to_string());
    }
    if odd(dice) {
        set("log.index.interval.bytes", (1_u64 << dice.range(6..16)).to_string());
    }
    if odd(dice) {
        set("log.segment.bytes", "1048576".to_owned());
    }
    if odd(dice) {
        set("offsets.topic.segment.bytes", (dice.range(1..4) << 20).to_string());
    }
    if odd(dice) {
        set("log.roll.ms", dice.range(2_000..40_000).to_string());
    }
    if odd(dice) {
        set("log.preallocate", "true".to_owned());
    }
    if odd(dice) {
        set("log.message.timestamp.type", "LogAppendTime".to_owned());
    }
    if odd(dice) {
        set("queued.max.requests", dice.range(1..20).to_string());
    }
    if odd(dice) {
        set("queued.max.request.bytes", (dice.range(2..16) << 20).to_string());
    }
    if odd(dice) {
        set("max.incremental.fetch.session.cache.slots", dice.range(0..4).to_string());
    }
    if odd(dice) {
        set("fetch.max.bytes", (dice.range(4..512) << 10).to_string());
    }
    if odd(dice) {
        set("connections.max.idle.ms", dice.range(5_000..60_000).to_string());
    }
    config
}
