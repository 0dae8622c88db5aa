//! From layers to values: which of the stated values counts, and what is wrong with the names and single
//! values. What is wrong between two values is found in `typed`.

use std::collections::BTreeMap;

use norn_core::metadata::{list, ConfigDef, ConfigError as CoreError, ConfigMap, Synonym, TOPIC_CONFIGS};

use super::error::{ConfigError, Warning};
use super::lacking::{self, lacking, removed, same_value};
use super::source::{env_of_property, Layer, Source};
use super::table::{setting, settings};

/// How like a known name an unknown one must be to be offered as what was meant (0 to 1).
const LIKENESS_MIN: f64 = 0.6;

/// A value that someone stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    pub value: String,
    pub source: Source,
}

/// Values that have passed the checks of the table, by name; a name that is absent has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    stated: BTreeMap<&'static str, Stated>,
}

impl Values {
    /// Sorts out `layers`: later ones of the same rank take precedence over earlier ones.
    pub(super) fn from_layers(layers: Vec<Layer>) -> (Values, Vec<Warning>, Vec<ConfigError>) {
        let mut layers = layers;
        layers.sort_by_key(|layer| layer.source.rank());
        let mut values = Values::default();
        let (mut warnings, mut errors) = (Vec::new(), Vec::new());
        for layer in layers {
            match judge(&layer) {
                Verdict::Honour(setting) => {
                    if let Some(repeated) = values.state(setting, layer) {
                        warnings.push(repeated);
                    }
                }
                Verdict::Pass => {}
                Verdict::Warn(warning) => warnings.push(warning),
                Verdict::Fail(error) => errors.push(error),
            }
        }
        (values, warnings, errors)
    }

    fn state(&mut self, setting: &'static ConfigDef, layer: Layer) -> Option<Warning> {
        let stated = Stated { value: layer.value.trim().to_owned(), source: layer.source };
        let counts = stated.source.clone();
        let before = self.stated.insert(setting.name, stated)?;
        (before.source.rank() == counts.rank()).then(|| Warning::Repeated {
            name: setting.name.to_owned(),
            first: before.source,
            counts,
        })
    }

    /// The same values with `changes` on top, as a dynamic change states them.
    pub(super) fn overridden<'a>(&self, changes: impl Iterator<Item = (&'a str, &'a str)>) -> Values {
        let mut stated = self.stated.clone();
        for (name, value) in changes {
            if let Some(setting) = setting(name).filter(|setting| setting.check(value).is_ok()) {
                let value = value.trim().to_owned();
                stated.insert(setting.name, Stated { value, source: Source::Dynamic });
            }
        }
        Values { stated }
    }

    /// The value of exactly `name`, if someone stated it.
    pub fn stated(&self, name: &str) -> Option<&Stated> {
        self.stated.get(name)
    }

    /// The value of exactly `name`: stated, or its default; `None` is null.
    pub fn value(&self, name: &str) -> Option<&str> {
        match self.stated.get(name) {
            Some(stated) => Some(&stated.value),
            None => setting(name).and_then(|setting| setting.default),
        }
    }

    /// Synonym and value that count for `setting` among it and its synonyms: the one from the highest
    /// layer, in one layer the first in order (milliseconds before hours), and without any the first
    /// default.
    pub(super) fn winner(&self, setting: &'static ConfigDef) -> Option<(Synonym, &str)> {
        let mut best: Option<(Synonym, &Stated)> = None;
        for synonym in synonyms(setting) {
            if let Some(stated) = self.stated.get(synonym.name) {
                if best.is_none_or(|(_, old)| stated.source.rank() > old.source.rank()) {
                    best = Some((synonym, stated));
                }
            }
        }
        match best {
            Some((synonym, stated)) => Some((synonym, &stated.value)),
            None => synonyms(setting).find_map(|one| self.value(one.name).map(|value| (one, value))),
        }
    }

    /// The number of `name` or a synonym, in the unit of `name`: minutes and hours become
    /// milliseconds, -1 stays.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        let (synonym, value) = self.winner(setting(name)?)?;
        let number: i64 = value.parse().ok()?;
        Some(if number < 0 { number } else { number.saturating_mul(synonym.factor) })
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        let value = setting(name).and_then(|setting| self.winner(setting));
        value.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let value = setting(name).and_then(|setting| self.winner(setting));
        value.map(|(_, value)| list(value).into_iter().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// What was stated, by name, without the values that a synonym from a higher layer overrules: the
    /// `file` of `norn_core::metadata::ConfigLayers`, which knows no layers below itself.
    pub fn effective(&self) -> ConfigMap {
        let mut map: ConfigMap =
            self.stated.iter().map(|(name, stated)| ((*name).to_owned(), stated.value.clone())).collect();
        for setting in settings().filter(|setting| !setting.synonyms.is_empty()) {
            if let Some((winner, _)) = self.winner(setting) {
                for loser in synonyms(setting).filter(|one| one.name != winner.name) {
                    map.remove(loser.name);
                }
            }
        }
        map
    }
}

/// `setting` itself and its other names, in falling precedence.
pub(super) fn synonyms(setting: &'static ConfigDef) -> impl Iterator<Item = Synonym> {
    let own = Synonym { name: setting.name, factor: 1 };
    std::iter::once(own).chain(setting.synonyms.iter().copied())
}

enum Verdict {
    Honour(&'static ConfigDef),
    Pass,
    Warn(Warning),
    Fail(ConfigError),
}

fn judge(layer: &Layer) -> Verdict {
    let (at, name, value) = (layer.source.clone(), layer.key.clone(), layer.value.trim().to_owned());
    if let Some(setting) = setting(&name) {
        return match setting.check(&value) {
            Ok(()) => Verdict::Honour(setting),
            Err(error) => Verdict::Fail(ConfigError::Invalid { at, name, value, allowed: allowed(error) }),
        };
    }
    if let Some(lack) = lacking(&name) {
        return if same_value(&value, lack.default) {
            Verdict::Pass
        } else if lack.refuses {
            let reason = format!("{}; remove the setting to go without", lack.reason);
            Verdict::Fail(ConfigError::Refused { at, value: shown(&name, value), name, reason })
        } else {
            let reason = lack.reason.to_owned();
            Verdict::Warn(Warning::Ignored { at, value: shown(&name, value), name, reason })
        };
    }
    if let Some(inner) = listener_prefixed(&name) {
        return judge_listener_prefixed(at, &name, inner, value);
    }
    if let Some(reason) = removed(&name) {
        return Verdict::Fail(ConfigError::Removed { at, name, reason: reason.to_owned() });
    }
    if let Some(broker) = TOPIC_CONFIGS.get(&name).ok().and_then(|topic| topic.synonyms.first()) {
        return Verdict::Fail(ConfigError::TopicSetting { at, name, broker_name: broker.name.to_owned() });
    }
    let nearest = nearest(&name).map(|known| match at {
        Source::Env { .. } => env_of_property(known),
        _ => known.to_owned(),
    });
    Verdict::Fail(ConfigError::Unknown { at, name, nearest })
}

/// What a refusal of the table allows, in words that end the sentence "must be ...".
pub(super) fn allowed(error: CoreError) -> String {
    match error {
        CoreError::Value { allowed, .. } => allowed,
        other => other.to_string(),
    }
}

/// The part after `listener.name.NAME.`, Kafka's way to set something for one listener.
fn listener_prefixed(name: &str) -> Option<&str> {
    let (_, inner) = name.strip_prefix("listener.name.")?.split_once('.')?;
    Some(inner)
}

fn judge_listener_prefixed(at: Source, name: &str, inner: &str, value: String) -> Verdict {
    // A mechanism may stand before the name: listener.name.NAME.scram-sha-256.sasl.jaas.config.
    let without_mechanism = inner.split_once('.').map_or(inner, |(_, rest)| rest);
    let lack = lacking(inner).or_else(|| lacking(without_mechanism));
    let name = name.to_owned();
    let value = shown(&name, value);
    if let Some(lack) = lack.filter(|lack| lack.refuses) {
        let reason = format!("{}; remove the setting to go without", lack.reason);
        Verdict::Fail(ConfigError::Refused { at, name, value, reason })
    } else {
        let reason = "Norn has no settings for a single listener".to_owned();
        Verdict::Warn(Warning::Ignored { at, name, value, reason })
    }
}

/// `value` as a message may show it: secrets stay secret even where Norn has no use for them.
fn shown(name: &str, value: String) -> String {
    let secret = ["password", "passphrase", "secret", "jaas", "keystore.key", "certificate"];
    if secret.iter().any(|word| name.contains(word)) {
        "(hidden)".to_owned()
    } else {
        value
    }
}

/// The known name most like `name`, honoured ones first, or nothing if none is like it.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace(['_', '-'], ".");
    let mut best: Option<(&'static str, f64)> = None;
    for known in settings().map(|setting| setting.name).chain(lacking::names()) {
        let likeness = strsim::normalized_damerau_levenshtein(&name, known);
        if likeness >= LIKENESS_MIN && best.is_none_or(|(_, old)| likeness > old) {
            best = Some((known, likeness));
        }
    }
    best.map(|(known, _)| known)
}
