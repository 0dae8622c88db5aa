//! Where settings are stated: a configuration file, `NORN_*` variables, `--set`. Each becomes layers
//! for `norn_broker::config`, which knows what they mean and which of them counts.

mod properties;
#[cfg(test)]
mod tests;
mod toml_file;

use std::ffi::OsString;

use norn_broker::config::{property_of_env, Layer, Source};

/// One stated setting of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Where it begins, counted from 1.
    line: usize,
    key: String,
    value: String,
}

/// A place in a file that its format does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
struct SyntaxError {
    line: usize,
    reason: String,
}

/// Why settings could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}:{line}: {reason}")]
    Syntax { path: String, line: usize, reason: String },
    #[error("the value of {var} is not UTF-8")]
    EnvNotUtf8 { var: String },
    #[error("--set {arg}: write --set key=value, such as --set num.partitions=3")]
    Set { arg: String },
}

/// How a configuration file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Java's properties, as Kafka's `server.properties`.
    Properties,
    Toml,
}

impl Format {
    /// By the name's extension, and if that tells nothing by the text: only TOML has `[table]` lines
    /// and quoted values.
    pub fn of(path: &str, text: &str) -> Format {
        match path.rsplit('.').next() {
            Some("toml") => return Format::Toml,
            Some("properties") => return Format::Properties,
            _ => {}
        }
        let is_toml = |line: &str| {
            let line = line.trim();
            let value = line.split_once('=').map(|(_, value)| value.trim());
            (line.starts_with('[') && line.ends_with(']'))
                || (!line.starts_with(['#', '!'])
                    && value.is_some_and(|value| value.starts_with(['"', '\''])))
        };
        if text.lines().any(is_toml) {
            Format::Toml
        } else {
            Format::Properties
        }
    }
}

/// The layers of a configuration file with this content. `path` is for messages and the choice of format.
pub fn of_file(path: &str, content: &[u8]) -> Result<Vec<Layer>, SettingsError> {
    let parsed = match std::str::from_utf8(content) {
        Ok(text) => match Format::of(path, text) {
            Format::Properties => properties::parse(text),
            Format::Toml => toml_file::parse(text),
        },
        Err(error) => {
            let before = content.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(SyntaxError { line, reason: "not UTF-8".to_owned() })
        }
    };
    let entries = parsed.map_err(|SyntaxError { line, reason }| SettingsError::Syntax {
        path: path.to_owned(),
        line,
        reason,
    })?;
    let layer = |entry: Entry| {
        let source = Source::File { path: path.to_owned(), line: entry.line };
        Layer::new(source, entry.key, entry.value)
    };
    Ok(entries.into_iter().map(layer).collect())
}

/// Variables that are Norn's and no settings: those of the command line, and those of tests.
const NO_SETTINGS: [&str; 4] = ["NORN_LOG", "NORN_LOG_FORMAT", "NORN_CONFIG", "NORN_BOOTSTRAP_SERVER"];
const NO_SETTINGS_PREFIX: &str = "NORN_TEST_";

/// The layers of the environment, sorted by name. A variable without a value is as good as unset.
pub fn of_environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<Layer>, SettingsError> {
    let mut layers = Vec::new();
    for (var, value) in variables {
        let Ok(var) = var.into_string() else { continue };
        let key = property_of_env(&var).filter(|_| !value.is_empty() && !is_no_setting(&var));
        let Some(key) = key else { continue };
        let Ok(value) = value.into_string() else { return Err(SettingsError::EnvNotUtf8 { var }) };
        layers.push(Layer::new(Source::Env { var }, key, value));
    }
    layers.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(layers)
}

fn is_no_setting(var: &str) -> bool {
    // Kubernetes tells each container of a service named "norn" where it is, in variables of these names.
    let of_kubernetes = ["NORN_SERVICE_", "NORN_PORT_"].iter().any(|prefix| var.starts_with(prefix));
    of_kubernetes || var == "NORN_PORT" || NO_SETTINGS.contains(&var) || var.starts_with(NO_SETTINGS_PREFIX)
}

/// The layers of `--set key=value` arguments.
pub fn of_arguments(sets: &[String]) -> Result<Vec<Layer>, SettingsError> {
    let layer = |arg: &String| {
        let (key, value) = arg.split_once('=').ok_or_else(|| SettingsError::Set { arg: arg.clone() })?;
        Ok(Layer::new(Source::Flag { arg: arg.clone() }, key.trim(), value))
    };
    sets.iter().map(layer).collect()
}
