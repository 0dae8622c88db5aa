//! Kafka's intervals between syncs (`flush.messages`, `flush.ms`) beside Norn's `flush.mode`.
//!
//! `sync` keeps any interval: it syncs each record before it is acknowledged. `async` never syncs and
//! would keep none, so no change may bring the two together: records that somebody wants on the disk
//! would not be there. Where they meet nevertheless, because a broker was started with other settings
//! than those that a change was judged by, the topic is synced.

use super::config_def::ConfigError;
use super::config_layers::ConfigLayers;
use super::topic_config_table::TOPIC_CONFIGS;

/// What decides whether an interval is kept, by their names on a topic.
const NAMES: [&str; 3] = ["flush.mode", "flush.messages", "flush.ms"];

/// Whether a setting of a topic or a broker bears on the rule.
pub(super) fn bears_on_them(name: &str) -> bool {
    let named = |def: &str| {
        TOPIC_CONFIGS.get(def).is_ok_and(|def| def.synonyms.iter().any(|synonym| synonym.name == name))
    };
    NAMES.iter().any(|def| *def == name || named(def))
}

/// An interval that is set under these layers though `flush.mode` is `async`, as the error that says so.
pub fn unkept(layers: &ConfigLayers<'_>) -> Result<(), ConfigError> {
    let value = |name| TOPIC_CONFIGS.get(name).ok().and_then(|def| layers.value(def));
    if value("flush.mode").is_none_or(|set| set.value.trim() != "async") {
        return Ok(());
    }
    for name in ["flush.messages", "flush.ms"] {
        // The default is the longest interval there is: no sync but the operating system's.
        if let Some(set) = value(name).filter(|set| set.value.trim().parse() != Ok(i64::MAX)) {
            return Err(ConfigError::NeverSynced { name: set.name, value: set.value });
        }
    }
    Ok(())
}

/// Refuses a change that leaves an interval unkept which was kept, or not set, before.
pub(super) fn check_change(before: &ConfigLayers<'_>, after: &ConfigLayers<'_>) -> Result<(), ConfigError> {
    match unkept(before) {
        Ok(()) => unkept(after),
        Err(_) => Ok(()),
    }
}
