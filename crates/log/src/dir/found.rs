//! What lies in a data directory at the start: logs, and directories that do not tell whose log they are.

use norn_protocol::types::TopicId;

use super::error::DirError;
use super::LogDir;
use crate::error::LogError;
use crate::id::LogId;
use crate::partition;

/// The logs in a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundLogs {
    pub logs: Vec<LogId>,
    /// Logs whose topic cannot be told, since the file that says it is missing or damaged: their id is
    /// [`TopicId::NONE`].
    pub unidentified: Vec<LogId>,
}

impl LogDir {
    /// The logs in the directory. One whose creation was cut off is left out: it is empty.
    pub async fn logs(&self) -> Result<FoundLogs, DirError> {
        let disk = self.disk();
        let mut found = FoundLogs::default();
        for entry in disk.list("").await.map_err(self.files.error("listing", "."))? {
            let Some((topic, partition)) = LogId::parse_dir_name(&entry.name).filter(|_| entry.is_dir) else {
                continue;
            };
            let log = |topic_id| LogId { topic: topic.into(), partition, topic_id };
            let topic_id = partition::read_topic_id(disk, &entry.name).await;
            match topic_id.map_err(self.files.error("reading", &entry.name))? {
                Some(topic_id) => found.logs.push(log(topic_id)),
                None => {
                    let files = disk.list(&entry.name).await;
                    let files = files.map_err(self.files.error("listing", &entry.name))?;
                    if !partition::is_unfinished(&files) {
                        found.unidentified.push(log(TopicId::NONE));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Notes, durably, that the log in the directory of this name is this one, where the directory itself does not tell.
    pub async fn identify(&self, id: &LogId) -> Result<(), LogError> {
        let name = id.dir_name();
        let written = partition::write_topic_id(self.disk(), &name, id.topic_id).await;
        written.map_err(LogError::io("write the metadata of", name))
    }
}
