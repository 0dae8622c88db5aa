//! What a setting is: name, type, default, what is allowed. Topics and brokers share it.
//!
//! A value is kept and sent as the text that was given; these rules say whether the text is a value
//! and what it is as a number, a flag or a list. Names, types and bounds are Kafka's `ConfigDef`.

use std::collections::BTreeMap;
use std::fmt;

/// Kafka's type of a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigType {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl ConfigType {
    /// The number that DescribeConfigs gives for it (KIP-569).
    pub fn code(self) -> i8 {
        match self {
            ConfigType::Boolean => 1,
            ConfigType::String => 2,
            ConfigType::Int => 3,
            ConfigType::Short => 4,
            ConfigType::Long => 5,
            ConfigType::Double => 6,
            ConfigType::List => 7,
            ConfigType::Class => 8,
            ConfigType::Password => 9,
        }
    }
}

impl ConfigType {
    /// The largest whole number of the type.
    fn number_max(self) -> Option<i64> {
        match self {
            ConfigType::Int => Some(i64::from(i32::MAX)),
            ConfigType::Short => Some(i64::from(i16::MAX)),
            ConfigType::Long => Some(i64::MAX),
            _ => None,
        }
    }
}

/// Whether a text is a whole number above `max`.
fn is_above(text: &str, max: i64) -> bool {
    text.trim().parse::<i128>().is_ok_and(|number| number > i128::from(max))
}

/// Which values of its type a setting takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Allowed {
    Any,
    /// A number that is not less.
    AtLeast(i64),
    /// A number within both bounds.
    Between(i64, i64),
    /// A number within both bounds, or this other one.
    BetweenOr(i64, i64, i64),
    /// One of these texts, exactly.
    OneOf(&'static [&'static str]),
    /// A list whose entries are each one of these texts.
    EachOf(&'static [&'static str]),
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Any => f.write_str("any value of its type"),
            Allowed::AtLeast(least) => write!(f, "{least} or more"),
            Allowed::Between(least, most) => write!(f, "{least} to {most}"),
            Allowed::BetweenOr(least, most, other) => write!(f, "{least} to {most}, or {other}"),
            Allowed::OneOf(values) => write!(f, "one of {}", values.join(", ")),
            Allowed::EachOf(values) => write!(f, "a list of {}", values.join(", ")),
        }
    }
}

/// When a changed value of a broker's setting takes effect (KIP-226). Topic settings always do at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateMode {
    /// At the next start; AlterConfigs refuses it.
    ReadOnly,
    /// At once, set for one broker or for all. Kafka's documentation calls some of these settings cluster-wide; its
    /// brokers take a value for one broker all the same.
    Dynamic,
}

/// Another name under which a broker sets a setting's default, and what one unit of it is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Synonym {
    pub name: &'static str,
    /// `log.retention.hours` counts 3,600,000 of `retention.ms`. Negative values mean "no limit" and stay.
    pub factor: i64,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct ConfigDef {
    pub name: &'static str,
    pub kind: ConfigType,
    /// `None`: without a value unless one is set.
    pub default: Option<&'static str>,
    pub allowed: Allowed,
    /// In falling precedence.
    pub synonyms: &'static [Synonym],
    pub doc: &'static str,
    pub update: UpdateMode,
    /// Why the value is kept and shown but has no effect in Norn; `None` where it has.
    pub without_effect: Option<&'static str>,
    /// For tests and simulation: works, but is not listed.
    pub hidden: bool,
}

impl ConfigDef {
    /// A setting of which any value is allowed.
    pub const fn new(
        name: &'static str,
        kind: ConfigType,
        default: Option<&'static str>,
        doc: &'static str,
    ) -> Self {
        ConfigDef {
            name,
            kind,
            default,
            allowed: Allowed::Any,
            synonyms: &[],
            doc,
            update: UpdateMode::ReadOnly,
            without_effect: None,
            hidden: false,
        }
    }

    pub const fn allowed(self, allowed: Allowed) -> Self {
        ConfigDef { allowed, ..self }
    }

    pub const fn synonyms(self, synonyms: &'static [Synonym]) -> Self {
        ConfigDef { synonyms, ..self }
    }

    pub const fn update(self, update: UpdateMode) -> Self {
        ConfigDef { update, ..self }
    }

    pub const fn without_effect(self, why: &'static str) -> Self {
        ConfigDef { without_effect: Some(why), ..self }
    }

    pub const fn hidden(self) -> Self {
        ConfigDef { hidden: true, ..self }
    }

    /// Its value must not be shown.
    pub fn is_sensitive(&self) -> bool {
        self.kind == ConfigType::Password
    }

    fn refuse(&self, value: &str) -> ConfigError {
        let (name, value) = (self.name, if self.is_sensitive() { "[hidden]" } else { value }.to_owned());
        let allowed = match (self.kind, self.allowed) {
            (ConfigType::Boolean, Allowed::Any) => "true or false".to_owned(),
            (ConfigType::Int, Allowed::Any) => "a whole number of 32 bits".to_owned(),
            (ConfigType::Short, Allowed::Any) => "a whole number of 16 bits".to_owned(),
            (ConfigType::Long, Allowed::Any) => "a whole number".to_owned(),
            (ConfigType::Double, Allowed::Any) => "a number".to_owned(),
            (ConfigType::Int | ConfigType::Short | ConfigType::Long, allowed) => {
                match (allowed, self.kind.number_max()) {
                    // Above what its type holds, the lower bound alone would not say what is wrong.
                    (Allowed::AtLeast(least), Some(max)) if is_above(&value, max) => {
                        format!("a whole number, {least} to {max}")
                    }
                    (allowed, _) => format!("a whole number, {allowed}"),
                }
            }
            (ConfigType::Double, allowed) => format!("a number, {allowed}"),
            (_, allowed) => allowed.to_string(),
        };
        ConfigError::Value { name, value, allowed }
    }

    fn in_bounds<T: PartialOrd>(&self, number: T, bound: impl Fn(i64) -> T) -> bool {
        match self.allowed {
            Allowed::AtLeast(least) => number >= bound(least),
            Allowed::Between(least, most) => number >= bound(least) && number <= bound(most),
            Allowed::BetweenOr(least, most, other) => {
                (number >= bound(least) && number <= bound(most)) || number == bound(other)
            }
            Allowed::Any | Allowed::OneOf(_) | Allowed::EachOf(_) => true,
        }
    }

    fn is_not_one_of(&self, text: &str) -> bool {
        matches!(self.allowed, Allowed::OneOf(values) if !values.contains(&text))
    }

    /// The value as a whole number; for Boolean, 0 or 1.
    pub fn number(&self, value: &str) -> Result<i64, ConfigError> {
        let text = value.trim();
        let number = match self.kind {
            ConfigType::Boolean if self.is_not_one_of(&text.to_ascii_lowercase()) => None,
            ConfigType::Boolean if text.eq_ignore_ascii_case("true") => Some(1),
            ConfigType::Boolean if text.eq_ignore_ascii_case("false") => Some(0),
            ConfigType::Int => text.parse::<i32>().ok().map(i64::from),
            ConfigType::Short => text.parse::<i16>().ok().map(i64::from),
            ConfigType::Long => text.parse::<i64>().ok(),
            _ => None,
        };
        number.filter(|number| self.in_bounds(*number, |bound| bound)).ok_or_else(|| self.refuse(value))
    }

    /// The value as it is kept: as Kafka's `ConfigDef.convertToString` writes what it has read. A password is kept as it is,
    /// blanks around it may be meant.
    pub fn canonical(&self, value: &str) -> String {
        match self.kind {
            ConfigType::Password => value.to_owned(),
            ConfigType::List => list(value).join(","),
            ConfigType::Boolean | ConfigType::Int | ConfigType::Short | ConfigType::Long => {
                let number = self.number(value);
                let written = number.map(|number| match self.kind {
                    ConfigType::Boolean => (number != 0).to_string(),
                    _ => number.to_string(),
                });
                written.unwrap_or_else(|_| value.trim().to_owned())
            }
            ConfigType::Double | ConfigType::String | ConfigType::Class => value.trim().to_owned(),
        }
    }

    /// The value as a flag.
    pub fn flag(&self, value: &str) -> Result<bool, ConfigError> {
        if self.kind != ConfigType::Boolean {
            return Err(self.refuse(value));
        }
        self.number(value).map(|number| number != 0)
    }

    /// The value as a fraction.
    pub fn fraction(&self, value: &str) -> Result<f64, ConfigError> {
        let number = value.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        number
            .filter(|number| self.in_bounds(*number, |bound| bound as f64))
            .ok_or_else(|| self.refuse(value))
    }

    /// Whether the text is a value of this setting.
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        match self.kind {
            ConfigType::Boolean | ConfigType::Int | ConfigType::Short | ConfigType::Long => {
                self.number(value).map(drop)
            }
            ConfigType::Double => self.fraction(value).map(drop),
            ConfigType::List => match self.allowed {
                Allowed::EachOf(values) if !list(value).iter().all(|part| values.contains(part)) => {
                    Err(self.refuse(value))
                }
                _ => Ok(()),
            },
            ConfigType::String | ConfigType::Class | ConfigType::Password => {
                if self.is_not_one_of(value.trim()) {
                    return Err(self.refuse(value));
                }
                Ok(())
            }
        }
    }
}

/// The entries of a list, without the blanks around them; an empty text has none.
pub fn list(value: &str) -> Vec<&str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Settings as they were set: name to text.
pub type ConfigMap = BTreeMap<String, String>;

/// A setting that cannot be. All are INVALID_CONFIG.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("Unknown {what} config name: {name}")]
    Unknown { what: &'static str, name: String },
    #[error("Invalid value {value} for configuration {name}: allowed is {allowed}")]
    Value { name: &'static str, value: String, allowed: String },
    #[error("{name} ({value}) must not be more than {limit_name} ({limit})")]
    Above { name: &'static str, value: i64, limit_name: &'static str, limit: i64 },
    #[error(
        "{name} ({value}) would have no effect: flush.mode is async, which never syncs; use flush.mode=sync, \
         which syncs every record before it is acknowledged"
    )]
    NeverSynced { name: &'static str, value: String },
}

/// A table of settings of one kind of resource.
#[derive(Clone, Copy, Debug)]
pub struct ConfigTable {
    /// "topic" or "broker", for messages.
    pub what: &'static str,
    pub defs: &'static [ConfigDef],
}

impl ConfigTable {
    /// The setting of this name.
    pub fn get(&self, name: &str) -> Result<&'static ConfigDef, ConfigError> {
        self.defs
            .iter()
            .find(|def| def.name == name)
            .ok_or_else(|| ConfigError::Unknown { what: self.what, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: ConfigDef =
        ConfigDef::new("some.bytes", ConfigType::Int, Some("7"), "").allowed(Allowed::AtLeast(4));

    #[test]
    fn a_refusal_names_the_setting_the_value_and_what_is_allowed() {
        for bad in ["", "abc", "3", "4.0", "1 2"] {
            let message = BYTES.check(bad).unwrap_err().to_string();
            assert_eq!(
                message,
                format!(
                    "Invalid value {bad} for configuration some.bytes: allowed is a whole number, 4 or more"
                )
            );
        }
        assert_eq!(BYTES.number(" 12 "), Ok(12));
    }

    #[test]
    fn a_number_above_its_type_is_told_both_bounds() {
        for bad in ["2147483648", "99999999999"] {
            let message = BYTES.check(bad).unwrap_err().to_string();
            assert!(message.ends_with("allowed is a whole number, 4 to 2147483647"), "{message}");
        }
    }

    #[test]
    fn a_value_is_kept_as_kafka_writes_it() {
        let kept = |kind, value| ConfigDef::new("some.name", kind, None, "").canonical(value);
        assert_eq!(kept(ConfigType::Int, " +12 "), "12");
        assert_eq!(kept(ConfigType::Boolean, "TRUE "), "true");
        assert_eq!(kept(ConfigType::List, " compact , delete,"), "compact,delete");
        assert_eq!(kept(ConfigType::String, " a b "), "a b");
        assert_eq!(kept(ConfigType::Password, " a "), " a ");
    }

    #[test]
    fn a_password_is_not_repeated() {
        let def =
            ConfigDef::new("some.password", ConfigType::Password, None, "").allowed(Allowed::OneOf(&["a"]));
        assert!(!def.check("secret").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn fractions_are_bounded_and_finite() {
        let ratio = ConfigDef::new("ratio", ConfigType::Double, None, "").allowed(Allowed::Between(0, 1));
        assert_eq!(ratio.fraction("0.5"), Ok(0.5));
        for bad in ["NaN", "inf", "1.01", "-0.1"] {
            assert!(ratio.check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_entry_of_a_list_is_checked() {
        let policy = ConfigDef::new("policy", ConfigType::List, None, "")
            .allowed(Allowed::EachOf(&["compact", "delete"]));
        assert!(policy.check("compact, delete").is_ok());
        assert!(policy.check("compact,shred").is_err());
        assert_eq!(list(" a, ,b,"), ["a", "b"]);
    }
}
