//! Logs of deleted topics on their way out: renamed, so that others may have their names, then removed one at a time, so
//! that logs in use need not wait for a disk that does nothing but remove files.

use std::sync::Arc;

use norn_log::{dir::LogDir, LogError, LogId, Retired};
use tokio::sync::Semaphore;
use tracing::{info, warn};

/// A data directory, and whose turn it is to remove files in it.
#[derive(Clone)]
pub(super) struct Remover {
    dir: LogDir,
    turn: Arc<Semaphore>,
}

impl Remover {
    pub fn new(dir: LogDir) -> Self {
        Remover { dir, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Frees the name of a log that is closed; gives the one under which its files are still to be removed. One that was
    /// not found, and could not be created, is removed at once, unless the directory is another's.
    pub async fn retire(&self, log: &LogId, found: bool) -> Option<String> {
        if !found {
            if let Err(cause) = self.dir.discard_empty(log).await {
                warn!(%log, "what is left of the deleted topic stays: {cause}");
            }
            return None;
        }
        match self.dir.retire_log(log, Retired::Deleted).await {
            Ok(name) => name,
            // It can go without another name, too: a full disk has none to give. The journal has forgotten it.
            Err(cause @ LogError::Io { .. }) => {
                let _turn = self.turn.acquire().await;
                let (disk, name) = (self.dir.disk(), log.dir_name());
                let removed = match disk.remove_dir(&name).await {
                    Ok(()) => disk.sync_dir("").await,
                    failed => failed,
                };
                if let Err(then) = removed {
                    warn!(%log, "the files of the deleted topic are left: {cause}; {then}");
                }
                None
            }
            Err(cause) => {
                warn!(%log, "the files of the deleted topic are left: {cause}");
                None
            }
        }
    }

    /// Removes the files of a retired log.
    pub async fn remove(&self, name: &str) {
        let _turn = self.turn.acquire().await;
        if let Err(cause) = self.dir.remove_deleted(name).await {
            let root = self.dir.disk().root().display();
            warn!("{root}/{name}, the log of a deleted topic, is left until the next start: {cause}");
        }
    }

    /// Removes what a crash or a shutdown left of the logs of deleted topics.
    pub async fn remove_left(&self) {
        match self.dir.deleted().await {
            Ok(deleted) => {
                for name in deleted {
                    info!("removing {}/{name}, the log of a deleted topic", self.dir.disk().root().display());
                    self.remove(&name).await;
                }
            }
            Err(cause) => warn!("logs of deleted topics are left until the next start: {cause}"),
        }
    }
}
