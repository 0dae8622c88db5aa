//! The log, on standard error: text for people, JSON for machines. `NORN_LOG` filters it.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::lines::Lines;

/// The variable with the filter, such as `debug` or `info,norn_log=trace`.
const FILTER_VARIABLE: &str = "NORN_LOG";
const DEFAULT_FILTER: &str = "info";

/// How long an end waits for the last lines; who has not read them by then has stalled.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// What was logged and is not written yet.
static LINES: Lines = Lines::new();

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "{FILTER_VARIABLE}={value}: {reason}; write error, warn, info, debug, trace, or target=level,..."
    )]
    Filter { value: String, reason: String },
    #[error("could not start the thread that writes the log: {0}")]
    Thread(io::Error),
}

/// Sends what is logged from here on to standard error.
pub fn start(format: LogFormat) -> Result<(), LogError> {
    let value = std::env::var(FILTER_VARIABLE).ok().filter(|value| !value.is_empty());
    let value = value.unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    let filter = filter(&value)?;
    let writer = std::thread::Builder::new().name("norn-log".into());
    writer.spawn(|| LINES.write_to(&mut io::stderr(), tell_lost)).map_err(LogError::Thread)?;
    // Errors of the log are counted, not told where they occurred.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false).with_writer(&LINES);
    match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Waits until what was logged so far is written, unless nobody takes it. To be called before the process ends.
pub fn flush() {
    LINES.flush(FLUSH_PATIENCE);
}

fn tell_lost(lines: u64) {
    tracing::warn!(lines, "log lines were lost: standard error did not take them");
}

fn filter(value: &str) -> Result<EnvFilter, LogError> {
    let wrong = |reason: String| LogError::Filter { value: value.to_owned(), reason };
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
