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
                if let Err(then) = self.dir.remove_in_place(log).await {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures::FutureExt;
    use norn_env::{
        disk::{Disk, Open},
        task::Handle,
        testing::run,
    };
    use norn_log::dir::{DirConfig, DirExit, JournalConfig};
    use norn_protocol::types::TopicId;

    use super::*;

    fn log(partition: i32) -> LogId {
        LogId { topic: "orders".into(), partition, topic_id: TopicId::NONE }
    }

    async fn open(root: &Path) -> (LogDir, Handle<DirExit>) {
        let journal = JournalConfig { files: 3, file_bytes: 64 << 10 };
        let config = DirConfig { node_id: 1, cluster_id: None, journal };
        LogDir::open(Disk::open(root).unwrap(), config).await.unwrap()
    }

    async fn left(dir: &LogDir) -> usize {
        let listed = dir.disk().list("").await.unwrap();
        listed.iter().filter(|entry| entry.name.starts_with("orders")).count()
    }

    #[test]
    fn names_are_free_at_once_and_files_are_removed_one_log_at_a_time() {
        run(|| async {
            let root = tempfile::tempdir().unwrap();
            let (dir, _task) = open(root.path()).await;
            let remover = Remover::new(dir.clone());
            let mut retired = vec![];
            for n in 0..3 {
                dir.disk().create_dir_all(&log(n).dir_name()).await.unwrap();
                retired.push(remover.retire(&log(n), true).await.unwrap());
                assert!(!dir.disk().exists(&log(n).dir_name()).await.unwrap());
            }
            let before = remover.turn.clone().acquire_owned().await.unwrap();
            let mut removals = retired.iter().map(|name| remover.remove(name).boxed());
            let mut first = removals.next().unwrap();
            assert!(futures::poll!(&mut first).is_pending());
            let mut second = removals.next().unwrap();
            drop(before);
            // The turn is that of whoever came first: the other waits for it to be done.
            assert!(futures::poll!(&mut second).is_pending());
            assert_eq!(left(&dir).await, 3);
            first.await;
            assert_eq!(left(&dir).await, 2);
            second.await;
            removals.next().unwrap().await;
            assert_eq!(left(&dir).await, 0);
        });
    }

    #[test]
    fn a_creation_that_failed_takes_no_log_of_another_topic_along() {
        run(|| async {
            let root = tempfile::tempdir().unwrap();
            let (dir, _task) = open(root.path()).await;
            let remover = Remover::new(dir.clone());
            dir.disk().create_dir_all("orders-0").await.unwrap();
            let segment = "orders-0/00000000000000000000.log";
            let file = dir.disk().open_file(segment, Open::Create).await.unwrap();
            file.write_at(0, vec!["records".into()]).await.unwrap();
            assert_eq!(remover.retire(&log(0), false).await, None);
            assert!(dir.disk().exists(segment).await.unwrap());
            file.truncate(0).await.unwrap();
            assert_eq!(remover.retire(&log(0), false).await, None);
            assert_eq!(left(&dir).await, 0);
        });
    }
}
