//! Why a configuration is refused, and what is said about one that is accepted. Each message names the
//! place, the value, what would be allowed, and where there is one the name that was probably meant.

use std::fmt;

use super::source::Source;

/// One reason not to start. All of them are reported at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Neither Norn nor Kafka 4 has the name.
    #[error("{at}: unknown setting {name}{}", Hint(nearest))]
    Unknown { at: Source, name: String, nearest: Option<String> },
    /// A topic's setting, written where its broker-wide default belongs.
    #[error("{at}: {name} is a setting of topics; the default for all topics is {broker_name}")]
    TopicSetting { at: Source, name: String, broker_name: String },
    /// The name went away with Kafka 4.
    #[error("{at}: {name} was removed in Kafka 4: {reason}")]
    Removed { at: Source, name: String, reason: String },
    /// The value is not of the setting's type or out of its bounds.
    #[error("{at}: {name} = {value:?}: must be {allowed}")]
    Invalid { at: Source, name: String, value: String, allowed: String },
    /// Norn lacks what the setting asks for, and to start without it would be less safe than was asked for.
    #[error("{at}: {name} = {value:?}: refused, {reason}")]
    Refused { at: Source, name: String, value: String, reason: String },
    /// Two settings that cannot both hold.
    #[error("{at}: {name} = {value:?}: contradicts {other} ({other_at}): {reason}")]
    Conflict { at: Source, name: String, value: String, other: String, other_at: Source, reason: String },
}

struct Hint<'a>(&'a Option<String>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => Ok(()),
        }
    }
}

/// Something that a person should know about a configuration that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Kafka 4 has the name, Norn does without: the value changes nothing.
    Ignored { at: Source, name: String, value: String, reason: String },
    /// The same name twice in one place; the later one counts.
    Repeated { name: String, first: Source, counts: Source },
    /// The value is taken, with a consequence that may surprise.
    Note { at: Source, name: String, value: String, note: String },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Ignored { at, name, value, reason } => {
                write!(f, "{at}: {name} = {value:?} has no effect: {reason}")
            }
            Warning::Repeated { name, first, counts } => {
                write!(f, "{counts}: {name} was already set at {first}; the later one counts")
            }
            Warning::Note { at, name, value, note } => write!(f, "{at}: {name} = {value:?}: {note}"),
        }
    }
}
