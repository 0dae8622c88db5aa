//! What a stop in order leaves: the clean-shutdown marker of each data directory that no fault has struck.

use norn_env::sim::DiskCtl;

use super::director::Harm;
use crate::report::Finding;
use crate::world::BrokerHost;

const MARKER: &str = ".norn-clean-shutdown";

/// Faults of the disks that do not say which directories they struck.
const ANYWHERE: [&str; 3] = ["disk-stall", "log-stall", "disk-slow"];

/// The data directories without a marker, of a process that served clients, was told to stop and has done so. A directory
/// in which an operation failed needs none; every other one does, whatever befell that one.
pub fn missing(host: &BrokerHost, harm: &Harm) -> Option<Finding> {
    let last = host.exits().pop()?;
    let closed = last.error.as_ref().is_none_or(|error| error.contains("could be closed in order"));
    // A full disk is no failure of single operations either, and is counted among the faults only when it has passed.
    let was_full = DiskCtl::current().stats(host.key).no_room > 0;
    if !host.served() || !closed || was_full || harm.any(&ANYWHERE) {
        return None;
    }
    let without = unmarked(host);
    let failed = DiskCtl::current().failed(host.key);
    let is_below = |path: &str, dir: &str| {
        path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let unstruck = without.into_iter().find(|dir| !failed.iter().any(|path| is_below(path, dir)))?;
    let detail = format!(
        "the broker stopped ({}) and left {unstruck} without its clean-shutdown marker; operations that failed: {failed:?}",
        last.error.as_deref().unwrap_or("in order"),
    );
    Some(Finding::new("clean-shutdown", detail))
}

/// The data directories that have no marker.
pub fn unmarked(host: &BrokerHost) -> Vec<String> {
    let files = DiskCtl::current().files(host.key);
    let mut dirs = host.data_dirs();
    dirs.retain(|dir| {
        !files.iter().any(|file| file.path == format!("{dir}/{MARKER}") && file.durable_len > 0)
    });
    dirs
}
