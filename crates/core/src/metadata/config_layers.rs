//! Where a setting's value comes from: the layers of Kafka's DescribeConfigs, and their precedence.
//!
//! A topic's own value comes first, then what is set for this broker, for all brokers, in the
//! broker's file, and last the default. Within a layer the setting's synonyms count in their order.

use super::config_def::{ConfigDef, ConfigMap};

/// The layer that a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigSource {
    Topic,
    DynamicBroker,
    DynamicDefaultBroker,
    StaticBroker,
    Default,
}

impl ConfigSource {
    /// The number that DescribeConfigs gives for it.
    pub fn code(self) -> i8 {
        match self {
            ConfigSource::Topic => 1,
            ConfigSource::DynamicBroker => 2,
            ConfigSource::DynamicDefaultBroker => 3,
            ConfigSource::StaticBroker => 4,
            ConfigSource::Default => 5,
        }
    }
}

/// One place where a setting has a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetAt {
    /// The name under which it is set there.
    pub name: &'static str,
    pub value: String,
    pub source: ConfigSource,
}

/// The layers that hold for a topic or a broker.
#[derive(Clone, Copy, Debug)]
pub struct ConfigLayers<'a> {
    /// What is set on the topic; empty for a broker.
    pub topic: &'a ConfigMap,
    /// What is set dynamically on this broker.
    pub broker: &'a ConfigMap,
    /// What is set dynamically for all brokers.
    pub cluster: &'a ConfigMap,
    /// The broker's file, environment and command line.
    pub file: &'a ConfigMap,
}

impl ConfigLayers<'_> {
    /// The value that holds, and where it is from; `None` if the setting has no value at all.
    pub fn value(&self, def: &ConfigDef) -> Option<SetAt> {
        self.set_at(def).next()
    }

    /// Every place where the setting has a value, the one that holds first (KIP-226's synonyms).
    pub fn set_at<'s>(&'s self, def: &'s ConfigDef) -> impl Iterator<Item = SetAt> + 's {
        let topic = self.topic.get(def.name).map(|value| SetAt {
            name: def.name,
            value: value.clone(),
            source: ConfigSource::Topic,
        });
        let layers = [
            (self.broker, ConfigSource::DynamicBroker),
            (self.cluster, ConfigSource::DynamicDefaultBroker),
            (self.file, ConfigSource::StaticBroker),
        ];
        let brokers = layers.into_iter().flat_map(move |(layer, source)| {
            broker_names(def).filter_map(move |(name, factor)| {
                layer.get(name).map(|value| SetAt { name, value: scaled(value, factor), source })
            })
        });
        // Kafka names the default of a topic's setting after the broker's setting that gives it.
        let named = broker_names(def).next().map_or(def.name, |(name, _)| name);
        let default = def.default.map(|value| SetAt {
            name: named,
            value: value.to_owned(),
            source: ConfigSource::Default,
        });
        topic.into_iter().chain(brokers).chain(default)
    }
}

/// The names that a broker may set it by. A broker's setting without synonyms goes by its own.
fn broker_names(def: &ConfigDef) -> impl Iterator<Item = (&'static str, i64)> + '_ {
    let own = def.synonyms.is_empty().then_some((def.name, 1));
    own.into_iter().chain(def.synonyms.iter().map(|synonym| (synonym.name, synonym.factor)))
}

/// A limit in another unit. What is not a number is left for the setting's own check to name.
fn scaled(value: &str, factor: i64) -> String {
    match value.trim().parse::<i64>() {
        Ok(number) if factor != 1 && number > 0 => number.saturating_mul(factor).to_string(),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config_def::{ConfigType, Synonym};
    use super::*;

    const RETENTION: ConfigDef = ConfigDef::new("retention.ms", ConfigType::Long, Some("604800000"), "")
        .synonyms(&[
            Synonym { name: "log.retention.ms", factor: 1 },
            Synonym { name: "log.retention.hours", factor: 3_600_000 },
        ]);

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_nearest_layer_wins_and_all_are_listed() {
        let (topic, broker, cluster, file) = (
            map(&[("retention.ms", "1")]),
            map(&[]),
            map(&[("log.retention.ms", "2")]),
            map(&[("log.retention.hours", "3"), ("log.retention.ms", "4"), ("retention.ms", "5")]),
        );
        let layers = ConfigLayers { topic: &topic, broker: &broker, cluster: &cluster, file: &file };
        let values: Vec<_> = layers.set_at(&RETENTION).map(|set| (set.value, set.source.code())).collect();
        let expected = [("1", 1), ("2", 3), ("4", 4), ("10800000", 4), ("604800000", 5)];
        assert_eq!(values, expected.map(|(value, code)| (value.to_owned(), code)));
    }

    #[test]
    fn the_default_is_named_after_the_brokers_setting() {
        let none = map(&[]);
        let layers = ConfigLayers { topic: &none, broker: &none, cluster: &none, file: &none };
        let names: Vec<_> = layers.set_at(&RETENTION).map(|set| set.name).collect();
        assert_eq!(names, ["log.retention.ms"]);
        let own = ConfigDef::new("flush.mode", ConfigType::String, Some("sync"), "");
        assert_eq!(layers.value(&own).map(|set| set.name), Some("flush.mode"));
    }

    #[test]
    fn no_limit_stays_no_limit_in_any_unit() {
        let file = map(&[("log.retention.hours", "-1")]);
        let none = map(&[]);
        let layers = ConfigLayers { topic: &none, broker: &none, cluster: &none, file: &file };
        assert_eq!(layers.value(&RETENTION).map(|set| set.value), Some("-1".to_owned()));
    }
}
