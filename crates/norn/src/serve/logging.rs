//! The log, on standard error: text for people, JSON for machines. `NORN_LOG` filters it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable with the filter, such as `debug` or `info,norn_log=trace`.
const FILTER_VARIABLE: &str = "NORN_LOG";
const DEFAULT_FILTER: &str = "info";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// A filter that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{FILTER_VARIABLE}={value}: {reason}; write error, warn, info, debug, trace, or target=level,...")]
pub struct FilterError {
    value: String,
    reason: String,
}

/// Sends what is logged from here on to standard error.
pub fn start(format: LogFormat) -> Result<(), FilterError> {
    let value = std::env::var(FILTER_VARIABLE).ok().filter(|value| !value.is_empty());
    let value = value.unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    let filter = filter(&value)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

fn filter(value: &str) -> Result<EnvFilter, FilterError> {
    let wrong = |reason: String| FilterError { value: value.to_owned(), reason };
    EnvFilter::builder().parse(value).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn filters_are_levels_or_targets_with_levels() {
        assert!(filter("debug").is_ok());
        assert!(filter("info,norn_log=trace").is_ok());
        let error = filter("norn_log=loud").expect_err("no such level").to_string();
        assert!(error.starts_with("NORN_LOG=norn_log=loud: "), "{error}");
    }
}
