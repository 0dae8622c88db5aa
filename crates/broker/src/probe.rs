//! What a running broker tells about itself, for `/metrics` and health checks.

use std::sync::Arc;

use norn_log::dir::Health;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// Tells about a running broker from outside of it.
#[derive(Clone)]
pub struct Probe {
    pub(crate) metrics: Arc<Metrics>,
    /// Data directories that were opened.
    pub(crate) dirs: Vec<(String, watch::Receiver<Health>)>,
    /// Data directories that could not be opened, and why.
    pub(crate) lost: Vec<(String, String)>,
}

impl Probe {
    /// All metrics in Prometheus' text format.
    pub fn metrics(&self) -> String {
        self.metrics.render()
    }

    /// Whether all of the broker works, or what does not.
    pub fn health(&self) -> Result<(), String> {
        let offline = self.dirs.iter().filter_map(|(dir, health)| match &*health.borrow() {
            Health::Offline(reason) => Some(format!("data directory {dir} is offline: {reason}")),
            Health::Online | Health::Closed => None,
        });
        let lost = self.lost.iter().map(|(dir, reason)| format!("data directory {dir} is offline: {reason}"));
        let mut reasons: Vec<String> = offline.chain(lost).collect();
        match self.metrics.offline_partitions() {
            0 => {}
            count => reasons.push(format!("{count} partitions are offline")),
        }
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(reasons.join("; "))
        }
    }
}
