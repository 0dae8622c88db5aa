//! A topic's settings as Norn uses them: numbers and enums resolved from the layers of text.

use super::config_def::{list, ConfigError, ConfigMap};
use super::config_layers::ConfigLayers;
use super::sync_intervals;
use super::topic_config_table::TOPIC_CONFIGS;

/// When an append counts as durable (Norn's own; `flush.mode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushMode {
    /// Once fdatasync, or a sync of the disk's journal, covers it.
    Sync,
    /// Once the write returned: Kafka's page-cache promise.
    Async,
}

/// What happens to old data (`cleanup.policy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

/// Whose clock stamps a record (`message.timestamp.type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampSource {
    CreateTime,
    LogAppendTime,
}

/// The settings that hold for one topic on one broker.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    pub cleanup_policy: CleanupPolicy,
    pub compression_type: String,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    pub flush_mode: FlushMode,
    pub index_interval_bytes: i32,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: i32,
    /// A record's timestamp may lie at most so far after the broker's clock.
    pub message_timestamp_after_max_ms: i64,
    /// A record's timestamp may lie at most so far before the broker's clock.
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampSource,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: i32,
    pub preallocate: bool,
    /// `None`: no limit.
    pub retention_bytes: Option<i64>,
    /// `None`: no limit.
    pub retention_ms: Option<i64>,
    /// Of one segment file; `internal.segment.bytes` if that is set, as in Kafka's own tests.
    pub segment_bytes: i32,
    pub segment_index_bytes: i32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    pub unclean_leader_election: bool,
}

impl TopicConfig {
    /// The settings that hold under these layers.
    pub fn resolve(layers: &ConfigLayers<'_>) -> Result<TopicConfig, ConfigError> {
        let get = Typed { layers };
        let config = TopicConfig {
            cleanup_policy: get.cleanup_policy()?,
            compression_type: get.text("compression.type")?,
            delete_retention_ms: get.long("delete.retention.ms")?,
            file_delete_delay_ms: get.long("file.delete.delay.ms")?,
            flush_mode: match get.text("flush.mode")?.as_str() {
                "async" if sync_intervals::unkept(layers).is_ok() => FlushMode::Async,
                _ => FlushMode::Sync,
            },
            index_interval_bytes: get.int("index.interval.bytes")?,
            max_compaction_lag_ms: get.long("max.compaction.lag.ms")?,
            max_message_bytes: get.int("max.message.bytes")?,
            message_timestamp_after_max_ms: get.long("message.timestamp.after.max.ms")?,
            message_timestamp_before_max_ms: get.long("message.timestamp.before.max.ms")?,
            message_timestamp_type: match get.text("message.timestamp.type")?.as_str() {
                "LogAppendTime" => TimestampSource::LogAppendTime,
                _ => TimestampSource::CreateTime,
            },
            min_cleanable_dirty_ratio: get.fraction("min.cleanable.dirty.ratio")?,
            min_compaction_lag_ms: get.long("min.compaction.lag.ms")?,
            min_insync_replicas: get.int("min.insync.replicas")?,
            preallocate: get.flag("preallocate")?,
            retention_bytes: unlimited(get.long("retention.bytes")?),
            retention_ms: unlimited(get.long("retention.ms")?),
            segment_bytes: match get.optional_int("internal.segment.bytes")? {
                Some(bytes) => bytes,
                None => get.int("segment.bytes")?,
            },
            segment_index_bytes: get.int("segment.index.bytes")?,
            segment_jitter_ms: get.long("segment.jitter.ms")?,
            segment_ms: get.long("segment.ms")?,
            unclean_leader_election: get.flag("unclean.leader.election.enable")?,
        };
        if config.min_compaction_lag_ms > config.max_compaction_lag_ms {
            return Err(ConfigError::Above {
                name: "min.compaction.lag.ms",
                value: config.min_compaction_lag_ms,
                limit_name: "max.compaction.lag.ms",
                limit: config.max_compaction_lag_ms,
            });
        }
        Ok(config)
    }

    /// The settings of a topic with these overrides on a broker on which nothing is set.
    pub fn with_overrides(overrides: &ConfigMap) -> Result<TopicConfig, ConfigError> {
        let none = ConfigMap::new();
        Self::resolve(&ConfigLayers { topic: overrides, broker: &none, cluster: &none, file: &none })
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::with_overrides(&ConfigMap::new()).expect("the table's defaults are valid")
    }
}

/// Kafka takes any negative limit as none.
fn unlimited(limit: i64) -> Option<i64> {
    (limit >= 0).then_some(limit)
}

/// Typed access to settings that the table gives a default.
struct Typed<'a> {
    layers: &'a ConfigLayers<'a>,
}

impl Typed<'_> {
    fn text(&self, name: &'static str) -> Result<String, ConfigError> {
        let def = TOPIC_CONFIGS.get(name)?;
        let value = self.layers.value(def).expect("the table has a default").value;
        def.check(&value)?;
        Ok(value.trim().to_owned())
    }

    fn long(&self, name: &'static str) -> Result<i64, ConfigError> {
        let def = TOPIC_CONFIGS.get(name)?;
        def.number(&self.layers.value(def).expect("the table has a default").value)
    }

    fn int(&self, name: &'static str) -> Result<i32, ConfigError> {
        Ok(i32::try_from(self.long(name)?).expect("the table says that it is an Int"))
    }

    fn optional_int(&self, name: &'static str) -> Result<Option<i32>, ConfigError> {
        match self.layers.value(TOPIC_CONFIGS.get(name)?) {
            Some(_) => self.int(name).map(Some),
            None => Ok(None),
        }
    }

    fn flag(&self, name: &'static str) -> Result<bool, ConfigError> {
        self.long(name).map(|number| number != 0)
    }

    fn fraction(&self, name: &'static str) -> Result<f64, ConfigError> {
        let def = TOPIC_CONFIGS.get(name)?;
        def.fraction(&self.layers.value(def).expect("the table has a default").value)
    }

    fn cleanup_policy(&self) -> Result<CleanupPolicy, ConfigError> {
        let value = self.text("cleanup.policy")?;
        let parts = list(&value);
        Ok(CleanupPolicy { delete: parts.contains(&"delete"), compact: parts.contains(&"compact") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_defaults_are_kafkas() {
        let config = TopicConfig::default();
        assert_eq!(config.retention_ms, Some(7 * 24 * 3_600_000));
        assert_eq!(config.retention_bytes, None);
        assert_eq!(config.segment_bytes, 1 << 30);
        assert_eq!(config.max_message_bytes, 1_048_588);
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: false });
        assert_eq!(config.flush_mode, FlushMode::Sync);
        assert_eq!(config.min_insync_replicas, 1);
        assert_eq!(config.message_timestamp_after_max_ms, 3_600_000);
    }

    #[test]
    fn a_topic_overrides_its_broker() {
        let (none, file) =
            (ConfigMap::new(), overrides(&[("flush.mode", "async"), ("log.retention.hours", "2")]));
        let topic = overrides(&[("flush.mode", "sync"), ("cleanup.policy", "compact,delete")]);
        let layers = ConfigLayers { topic: &topic, broker: &none, cluster: &none, file: &file };
        let config = TopicConfig::resolve(&layers).unwrap();
        assert_eq!(config.flush_mode, FlushMode::Sync);
        assert_eq!(config.retention_ms, Some(7_200_000));
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: true });
    }

    #[test]
    fn a_topic_that_asks_for_syncs_is_synced_whatever_its_broker_was_started_with() {
        let (none, file) = (ConfigMap::new(), overrides(&[("flush.mode", "async")]));
        let mode = |topic: &[(&str, &str)]| {
            let topic = overrides(topic);
            let layers = ConfigLayers { topic: &topic, broker: &none, cluster: &none, file: &file };
            TopicConfig::resolve(&layers).unwrap().flush_mode
        };
        assert_eq!(mode(&[]), FlushMode::Async);
        assert_eq!(mode(&[("flush.messages", "1")]), FlushMode::Sync);
        assert_eq!(mode(&[("flush.ms", "1000")]), FlushMode::Sync);
        assert_eq!(mode(&[("flush.ms", &i64::MAX.to_string())]), FlushMode::Async);
    }

    #[test]
    fn small_segments_are_for_tests_only() {
        assert!(TopicConfig::with_overrides(&overrides(&[("segment.bytes", "4096")])).is_err());
        let config = TopicConfig::with_overrides(&overrides(&[("internal.segment.bytes", "4096")])).unwrap();
        assert_eq!(config.segment_bytes, 4096);
    }

    #[test]
    fn contradicting_compaction_lags_are_refused() {
        let lags = overrides(&[("min.compaction.lag.ms", "20"), ("max.compaction.lag.ms", "10")]);
        let message = TopicConfig::with_overrides(&lags).unwrap_err().to_string();
        assert_eq!(message, "min.compaction.lag.ms (20) must not be more than max.compaction.lag.ms (10)");
    }
}
