//! `norn serve`: from the command line to a broker that runs, and back to an exit status.

// The process's edge: its files, its HTTP port, its host's names. The broker beneath goes through `norn-env`.
#![allow(clippy::disallowed_methods, reason = "no simulation has this edge")]

mod host;
mod http;
mod lines;
mod logging;
mod node;
mod panics;
mod signals;

use std::path::Path;
use std::process::ExitCode;

use norn_broker::config::{Config, Layer, Warning};
use norn_env::descriptors::{self, Raised};

pub use logging::LogFormat;

use crate::cli::{complain, ServeArgs};
use crate::settings::{self, SettingsError};
use node::NodeError;

/// Exit status of a configuration that is refused; 1 is a failure of what was configured.
const CONFIG_REFUSED: u8 = 2;

/// Reads the settings and runs a broker until it is told to stop.
pub fn run(args: &ServeArgs) -> ExitCode {
    let (config, warnings) = match load(args) {
        Ok(loaded) => loaded,
        Err(reasons) => {
            for reason in &reasons {
                complain(reason);
            }
            return ExitCode::from(CONFIG_REFUSED);
        }
    };
    if let Err(error) = logging::start(args.log_format) {
        complain(&error.to_string());
        return ExitCode::from(CONFIG_REFUSED);
    }
    panics::abort();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    raise_descriptor_limit();
    let threads = norn_env::task::threads();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(node::run(config)),
        Err(source) => Err(NodeError::Runtime(source)),
    };
    let status = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    };
    logging::flush();
    status
}

/// Takes all the file descriptors that there are: each segment of each log is an open file.
fn raise_descriptor_limit() {
    match descriptors::raise_limit() {
        Ok(Raised { from, to }) => tracing::info!("up to {to} open files (the limit was {from})"),
        Err(error) => tracing::warn!("could not raise the limit of open files (ulimit -n): {error}"),
    }
}

/// The configuration, or every reason why there is none.
fn load(args: &ServeArgs) -> Result<(Config, Vec<Warning>), Vec<String>> {
    let layers = layers(args).map_err(|error| vec![error.to_string()])?;
    let (mut config, warnings) = Config::from_layers(layers)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    config.name_this_host(&host::name());
    Ok((config, warnings))
}

fn layers(args: &ServeArgs) -> Result<Vec<Layer>, SettingsError> {
    let mut layers = match &args.config {
        Some(path) => file_layers(path)?,
        None => Vec::new(),
    };
    layers.extend(settings::of_environment(std::env::vars_os())?);
    layers.extend(settings::of_arguments(&args.set)?);
    Ok(layers)
}

fn file_layers(path: &Path) -> Result<Vec<Layer>, SettingsError> {
    let name = path.display().to_string();
    match std::fs::read(path) {
        Ok(content) => settings::of_file(&name, &content),
        Err(source) => Err(SettingsError::Read { path: name, source }),
    }
}
