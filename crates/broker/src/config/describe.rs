//! The configuration as others see it: DescribeConfigs of a broker, what a running broker lets be
//! changed, and the defaults that topics inherit.

use std::collections::BTreeMap;

use norn_core::metadata::{
    ConfigDef, ConfigLayers, ConfigMap, ConfigSource, ConfigType, SetAt, UpdateMode, TOPIC_CONFIGS,
};

use super::layers::{allowed, synonyms, Values};
use super::table::{setting, settings};
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

/// Every setting, sorted by name, with `overrides` on top of what `config` was started with.
pub fn describe(config: &Config, overrides: &Overrides) -> Vec<Described> {
    let listed = settings().filter(|setting| !setting.hidden);
    let mut all: Vec<Described> =
        listed.map(|setting| describe_one(setting, config.values(), overrides)).collect();
    all.sort_unstable_by_key(|described| described.name);
    all
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

/// Why a running broker does not take a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DynamicError {
    #[error("unknown setting {name}")]
    Unknown { name: String },
    #[error("{name} cannot be changed while the broker runs")]
    ReadOnly { name: String },
    #[error("{name} = {value:?}: must be {allowed}")]
    Invalid { name: String, value: String, allowed: String },
}

/// Whether a running broker takes `value` for `name`; `None` goes back to what it was started with.
pub fn check_dynamic(name: &str, value: Option<&str>) -> Result<&'static ConfigDef, DynamicError> {
    let known = setting(name).ok_or_else(|| DynamicError::Unknown { name: name.to_owned() })?;
    if known.update == UpdateMode::ReadOnly {
        return Err(DynamicError::ReadOnly { name: name.to_owned() });
    }
    if let Some(value) = value {
        known.check(value).map_err(|error| DynamicError::Invalid {
            name: name.to_owned(),
            value: value.to_owned(),
            allowed: allowed(error),
        })?;
    }
    Ok(known)
}

/// The defaults of topic settings, by the topics' names, in the topics' units:
/// `log.retention.hours=1` becomes `retention.ms` = `3600000`.
pub fn topic_defaults(config: &Config) -> BTreeMap<String, String> {
    let (none, file) = (ConfigMap::new(), config.values().effective());
    let layers = ConfigLayers { topic: &none, broker: &none, cluster: &none, file: &file };
    let inherited = |def: &ConfigDef| Some((def.name.to_owned(), layers.value(def)?.value));
    TOPIC_CONFIGS.defs.iter().filter_map(inherited).collect()
}
