//! Whether a data directory can be used.

use super::error::DirError;
use std::sync::Arc;
use tokio::sync::watch;

/// State of a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Online,
    /// Nothing in it can be made durable any more; the reason names the file and the error. Its logs are
    /// offline until the next start.
    Offline(Arc<str>),
    /// Closed: with its clean-shutdown marker, unless a log of it failed or is still open.
    Closed,
}

/// Where the rounds' task says so.
#[derive(Debug)]
pub(super) struct HealthSender(pub watch::Sender<Health>);

impl HealthSender {
    pub fn offline(&self, error: &DirError) {
        let reason = match error {
            DirError::Offline { reason, .. } => reason.as_str().into(),
            other => other.to_string().into(),
        };
        self.0.send_replace(Health::Offline(reason));
    }

    pub fn closed(&self) {
        self.0.send_replace(Health::Closed);
    }
}
