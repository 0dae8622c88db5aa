//! The logs of a data directory: found, opened, removed.

use super::error::DirError;
use super::points::RecoveryPoint;
use super::rounds::queue::Item;
use super::LogDir;
use crate::config::LogConfig;
use crate::error::LogError;
use crate::id::LogId;
use crate::partition::{self, LastEnd, OpenLog, PartitionLog, Recovered, Visitor};
use crate::rounds::LogKey;
use norn_protocol::types::Offset;

/// A log that the directory holds.
pub type FoundLog = LogId;

impl LogDir {
    /// The logs in the directory. One whose creation was cut off, and that holds no record, is left out.
    pub async fn logs(&self) -> Result<Vec<FoundLog>, DirError> {
        let disk = self.disk();
        let mut found = Vec::new();
        for entry in disk.list("").await.map_err(self.files.error("listing", "."))? {
            let Some((topic, partition)) = LogId::parse_dir_name(&entry.name).filter(|_| entry.is_dir) else {
                continue;
            };
            let topic_id = partition::read_topic_id(disk, &entry.name).await;
            if let Some(topic_id) = topic_id.map_err(self.files.error("reading", &entry.name))? {
                found.push(LogId { topic: topic.into(), partition, topic_id });
            }
        }
        Ok(found)
    }

    /// Opens a log, or creates it; see [`PartitionLog::open`]. What the directory knows to be durable of it is
    /// not read again.
    pub async fn open_log(
        &self,
        id: LogId,
        config: LogConfig,
        visit: Visitor<'_>,
    ) -> Result<(PartitionLog, Recovered), LogError> {
        let name: std::sync::Arc<str> = id.dir_name().into();
        let (key, first) = self.queue.register(name.clone());
        let known = self.points.get(&name).filter(|_| first).map_or(Offset(0), |point| point.end);
        let last_end = match first && self.closed.contains(&name) {
            true => LastEnd::Closed(Some(known)),
            false => LastEnd::Crashed { durable: known },
        };
        let open = OpenLog {
            disk: self.disk().clone(),
            dir: name,
            id,
            key,
            config,
            rounds: self.rounds.clone(),
            last_end,
        };
        let opened = PartitionLog::open(open, visit).await;
        match &opened {
            Ok((log, _)) => {
                let end = log.end();
                let position = log.position_of(end);
                let point = RecoveryPoint { segment: position.segment, position: position.byte, end };
                self.queue.push(key, Item::Opened(point));
            }
            Err(_) => self.queue.unregister(key),
        }
        opened
    }

    /// Closes a log in good order: all is durable, and the next start needs no scan of it.
    pub async fn close_log(&self, log: PartitionLog) -> Result<Offset, LogError> {
        let key = log.key();
        let closed = log.close().await;
        self.queue.unregister(key);
        closed
    }

    /// Removes a log that is closed, for good.
    pub async fn delete_log(&self, id: &LogId) -> Result<(), LogError> {
        let name = id.dir_name();
        let (key, _) = self.queue.register(name.as_str().into());
        let removed = self.remove_dir(key, &name).await;
        self.queue.unregister(key);
        removed
    }

    async fn remove_dir(&self, key: LogKey, name: &str) -> Result<(), LogError> {
        // First, and durably: nothing that the journal holds of it may be played into another of its name.
        self.forget(key).await?;
        let disk = self.disk();
        if disk.exists(name).await.map_err(LogError::io("look up", name))? {
            disk.remove_dir(name).await.map_err(LogError::io("remove", name))?;
            disk.sync_dir("").await.map_err(LogError::io("sync the parent of", name))?;
        }
        Ok(())
    }
}
