//! The logs of a data directory: opened, taken out of use, removed.

use super::error::DirError;
use super::points::RecoveryPoint;
use super::rounds::queue::Item;
use super::LogDir;
use crate::config::LogConfig;
use crate::error::LogError;
use crate::id::{LogId, Retired};
use crate::partition::{self, LastEnd, OpenLog, PartitionLog, Recovered, Visitor};
use crate::segment::LOG_SUFFIX;
use norn_protocol::types::Offset;

impl LogDir {
    /// How many files the log has that are open as long as it is: one for each segment.
    pub async fn segment_files(&self, id: &LogId) -> Result<usize, DirError> {
        let name = id.dir_name();
        let listed = self.disk().list(&name).await.map_err(self.files.error("listing", &name))?;
        Ok(listed.iter().filter(|file| file.name.ends_with(LOG_SUFFIX)).count())
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
            // Nothing of it was opened, and it will be, once it is known whose it is.
            Err(LogError::Unidentified { .. }) if first => self.queue.unregister_unopened(key),
            Err(_) => self.queue.unregister_unopenable(key),
        }
        opened
    }

    /// Closes a log in good order: all is durable, and the next start needs no scan of it.
    pub async fn close_log(&self, log: PartitionLog) -> Result<Offset, LogError> {
        let key = log.key();
        let end = log.close().await?;
        self.queue.unregister(key);
        Ok(end)
    }

    /// Takes a log that is not open any more out of use: its directory gets another name, durably, and the log's own is
    /// free. Gives the new name; `None` if there was no directory.
    ///
    /// One rename, so that a start after a crash finds either the log, or a directory of which it knows what to do with.
    pub async fn retire_log(&self, id: &LogId, why: Retired) -> Result<Option<String>, LogError> {
        let name = id.dir_name();
        let io = |operation| LogError::io(operation, name.as_str());
        let (key, _) = self.queue.register(name.as_str().into());
        // First, and durably: nothing that the journal holds of it may be played into another of its name.
        self.forget(key).await?;
        // Nothing of the log is under way any more.
        self.queue.unregister(key);
        let disk = self.disk();
        if !disk.exists(&name).await.map_err(io("look up"))? {
            return Ok(None);
        }
        let retired = id.retired_dir_name(why, norn_env::rand::uuid_bytes());
        disk.rename(&name, &retired).await.map_err(io("rename"))?;
        disk.sync_dir("").await.map_err(io("sync the parent of"))?;
        Ok(Some(retired))
    }

    /// The directories of deleted logs whose removal has not ended.
    pub async fn deleted(&self) -> Result<Vec<String>, DirError> {
        let listed = self.disk().list("").await.map_err(self.files.error("listing", "."))?;
        let deleted =
            listed.into_iter().filter(|e| e.is_dir && LogId::is_retired_dir_name(&e.name, Retired::Deleted));
        Ok(deleted.map(|entry| entry.name).collect())
    }

    /// Removes a directory of [`LogDir::deleted`] with all that is in it. Where it is cut off, a part is left, under that
    /// name.
    pub async fn remove_deleted(&self, name: &str) -> Result<(), LogError> {
        assert!(
            LogId::is_retired_dir_name(name, Retired::Deleted),
            "{name} is not a deleted log's directory"
        );
        self.disk().remove_dir(name).await.map_err(LogError::io("remove", name))
    }

    /// Removes a log under its own name, where [`LogDir::retire_log`] could give it no other. The file that tells whose it
    /// is goes last, so that what is left by a crash, or where this fails, is not taken for another's.
    pub async fn remove_in_place(&self, id: &LogId) -> Result<(), LogError> {
        let name = id.dir_name();
        let io = |operation| LogError::io(operation, name.as_str());
        let disk = self.disk();
        let files = disk.list(&name).await.map_err(io("list"))?;
        for file in files.iter().filter(|file| file.name != partition::METADATA_FILE) {
            disk.remove(&format!("{name}/{}", file.name)).await.map_err(io("remove a file of"))?;
        }
        disk.sync_dir(&name).await.map_err(io("sync"))?;
        disk.remove_dir(&name).await.map_err(io("remove"))?;
        disk.sync_dir("").await.map_err(io("sync the parent of"))
    }

    /// Removes what a creation that failed has left of a log. False where there are records or another's log: that is none
    /// of this creation's, and stays.
    pub async fn discard_empty(&self, id: &LogId) -> Result<bool, LogError> {
        let name = id.dir_name();
        let io = |operation| LogError::io(operation, name.as_str());
        let disk = self.disk();
        if !disk.exists(&name).await.map_err(io("look up"))? {
            return Ok(true);
        }
        let other = partition::read_topic_id(disk, &name).await.map_err(io("read the metadata of"))?;
        let files = disk.list(&name).await.map_err(io("list"))?;
        let records = files.iter().any(|file| file.name.ends_with(LOG_SUFFIX) && file.len > 0);
        if records || other.is_some_and(|other| other != id.topic_id) {
            return Ok(false);
        }
        if let Some(retired) = self.retire_log(id, Retired::Deleted).await? {
            self.remove_deleted(&retired).await?;
        }
        Ok(true)
    }
}
