//! Where a value came from, so that every message about it can say so.

use std::fmt;

/// Origin of one stated value. Later variants take precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Stated by the program itself, such as a simulated world; below everything that a person wrote.
    Default,
    File {
        path: String,
        /// Counted from 1.
        line: usize,
    },
    Env {
        var: String,
    },
    Flag {
        /// The argument as typed, such as `num.partitions=3`.
        arg: String,
    },
    /// Changed while the broker runs (IncrementalAlterConfigs).
    Dynamic,
}

impl Source {
    /// Rank of the layer: file < environment < flag < dynamic.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Source::Default => 0,
            Source::File { .. } => 1,
            Source::Env { .. } => 2,
            Source::Flag { .. } => 3,
            Source::Dynamic => 4,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("built-in"),
            Source::File { path, line } => write!(f, "{path}:{line}"),
            Source::Env { var } => f.write_str(var),
            // Without the argument: the message names key and value, or hides a secret.
            Source::Flag { .. } => f.write_str("--set"),
            Source::Dynamic => f.write_str("a dynamic setting"),
        }
    }
}

/// One stated value, before anything is known about its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub source: Source,
    pub key: String,
    pub value: String,
}

impl Layer {
    pub fn new(source: Source, key: impl Into<String>, value: impl Into<String>) -> Layer {
        Layer { source, key: key.into(), value: value.into() }
    }
}

const ENV_PREFIX: &str = "NORN_";

/// The property that an environment variable states: `NORN_LOG_DIRS` is `log.dirs`. `None` if the variable
/// is not one of Norn's. No property name has an underscore, so the way back is unambiguous.
pub fn property_of_env(var: &str) -> Option<String> {
    let rest = var.strip_prefix(ENV_PREFIX)?;
    (!rest.is_empty()).then(|| rest.to_ascii_lowercase().replace('_', "."))
}

/// The environment variable that states `property`.
pub fn env_of_property(property: &str) -> String {
    format!("{ENV_PREFIX}{}", property.to_ascii_uppercase().replace('.', "_"))
}
