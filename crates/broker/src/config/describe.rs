//! The configuration as others see it: DescribeConfigs of a broker, and the defaults that topics inherit.

use std::collections::BTreeMap;

use norn_core::metadata::{
    ConfigDef, ConfigLayers, ConfigMap, ConfigSource, ConfigType, SetAt, UpdateMode, TOPIC_CONFIGS,
};

use super::lacking::{fixed, Fixed};
use super::layers::{synonyms, Values};
use super::listener::Listener;
use super::table::settings;
use super::typed::Config;

/// Dynamic values by name, as the metadata image holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// For every broker.
    pub cluster: ConfigMap,
    /// For this broker; over those of the cluster.
    pub broker: ConfigMap,
}

impl Overrides {
    /// Names and values in rising precedence, for `Config::overridden`.
    pub fn rising(&self) -> impl Iterator<Item = (&str, &str)> {
        self.cluster.iter().chain(&self.broker).map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// One setting as DescribeConfigs tells it. Values are raw, in the unit of their own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: &'static str,
    /// `None` is null.
    pub value: Option<String>,
    pub kind: ConfigType,
    pub source: ConfigSource,
    pub read_only: bool,
    /// Then `value` and the values of `synonyms` must not be shown.
    pub sensitive: bool,
    /// Every place where it or another name for it has a value, in falling precedence.
    pub synonyms: Vec<SetAt>,
    pub doc: &'static str,
}

/// Every setting, sorted by name, with `overrides` on top of what `config` was started with. A setting of Kafka that
/// Norn lacks is read-only and has the value that Norn's behaviour corresponds to; `threads` is the number of threads that
/// run the node's tasks.
pub fn describe(config: &Config, overrides: &Overrides, threads: usize) -> Vec<Described> {
    let listed = settings().filter(|setting| !setting.hidden);
    let honoured = listed.map(|setting| describe_one(setting, config.values(), overrides));
    let mut all: Vec<Described> = honoured.chain(fixed(threads).map(describe_fixed)).collect();
    for described in &mut all {
        match described.name {
            "broker.id" => describe_derived(described, config, "node.id", config.node_id.to_string()),
            "advertised.listeners" => {
                let told = |listener: &Listener| format!("{}://{}", listener.name, listener.advertised);
                let told: Vec<String> = config.listeners.iter().map(told).collect();
                describe_derived(described, config, "listeners", told.join(","));
            }
            _ => {}
        }
    }
    all.sort_unstable_by_key(|described| described.name);
    all
}

/// A value that follows from another setting where it is not stated itself.
fn describe_derived(described: &mut Described, config: &Config, from: &str, value: String) {
    let stated = [described.name, from].iter().any(|name| config.values().stated(name).is_some());
    let source = if stated { ConfigSource::StaticBroker } else { ConfigSource::Default };
    described.synonyms.retain(|place| place.source == ConfigSource::Default && stated);
    described.synonyms.insert(0, SetAt { name: described.name, value: value.clone(), source });
    (described.value, described.source) = (Some(value), source);
}

fn describe_fixed(fixed: Fixed) -> Described {
    let place = |value: String| SetAt { name: fixed.name, value, source: ConfigSource::Default };
    Described {
        name: fixed.name,
        value: fixed.value.clone(),
        kind: fixed.kind,
        source: ConfigSource::Default,
        read_only: true,
        sensitive: fixed.kind == ConfigType::Password,
        synonyms: fixed.value.map(place).into_iter().collect(),
        doc: fixed.reason,
    }
}

fn describe_one(setting: &'static ConfigDef, values: &Values, overrides: &Overrides) -> Described {
    let mut places = Vec::new();
    for name in synonyms(setting).map(|synonym| synonym.name) {
        let mut push = |value: Option<&str>, source| {
            places.extend(value.map(|value| SetAt { name, value: value.to_owned(), source }));
        };
        push(overrides.broker.get(name).map(String::as_str), ConfigSource::DynamicBroker);
        push(overrides.cluster.get(name).map(String::as_str), ConfigSource::DynamicDefaultBroker);
        push(values.stated(name).map(|stated| stated.value.as_str()), ConfigSource::StaticBroker);
        push(super::table::setting(name).and_then(|def| def.default), ConfigSource::Default);
    }
    let own = places.iter().find(|place| place.name == setting.name);
    Described {
        name: setting.name,
        value: own.map(|place| place.value.clone()),
        kind: setting.kind,
        source: own.map_or(ConfigSource::Default, |place| place.source),
        read_only: setting.update == UpdateMode::ReadOnly,
        sensitive: setting.is_sensitive(),
        synonyms: places,
        doc: setting.doc,
    }
}

/// The defaults of topic settings, by the topics' names, in the topics' units:
/// `log.retention.hours=1` becomes `retention.ms` = `3600000`.
pub fn topic_defaults(config: &Config) -> BTreeMap<String, String> {
    let (none, file) = (ConfigMap::new(), config.values().effective());
    let layers = ConfigLayers { topic: &none, broker: &none, cluster: &none, file: &file };
    let inherited = |def: &ConfigDef| Some((def.name.to_owned(), layers.value(def)?.value));
    TOPIC_CONFIGS.defs.iter().filter_map(inherited).collect()
}
