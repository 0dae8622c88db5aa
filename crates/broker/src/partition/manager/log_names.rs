//! Which log directories are taken: by a log that is being opened or is open, or by one of a deleted topic until it has made
//! room for others of its name.

use std::collections::BTreeMap;

use norn_log::LogId;

use super::Id;

/// By the name of the log directory, the data directory that it is in.
#[derive(Debug)]
pub(super) struct LogNames {
    taken: BTreeMap<String, usize>,
    /// How many of them each data directory has.
    counts: Vec<usize>,
    /// Partitions whose log directory is taken by one on its way out.
    waiting: BTreeMap<String, Id>,
}

impl LogNames {
    /// For so many data directories.
    pub fn new(dirs: usize) -> Self {
        LogNames { taken: BTreeMap::new(), counts: vec![0; dirs], waiting: BTreeMap::new() }
    }

    /// Takes the log's directory, in the data directory `dir` from now on if it is taken already.
    pub fn take(&mut self, log: &LogId, dir: usize) {
        self.counts[dir] += 1;
        if let Some(before) = self.taken.insert(log.dir_name(), dir) {
            self.counts[before] -= 1;
        }
    }

    pub fn is_taken(&self, log: &LogId) -> bool {
        self.taken.contains_key(&log.dir_name())
    }

    /// Tells who is given back when the log's directory is free. A later one takes the place of an earlier: a name belongs
    /// to one topic at a time.
    pub fn wait_for(&mut self, log: &LogId) {
        self.waiting.insert(log.dir_name(), (log.topic_id, log.partition));
    }

    /// Gives the log's directory back, and who waited for it.
    pub fn release(&mut self, log: &LogId) -> Option<Id> {
        let name = log.dir_name();
        if let Some(dir) = self.taken.remove(&name) {
            self.counts[dir] -= 1;
        }
        self.waiting.remove(&name)
    }

    /// How many log directories each data directory has.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use norn_protocol::types::TopicId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_that_waits_for_a_name_is_told_and_directories_are_counted() {
        let log = |n: u128| LogId { topic: "t".into(), partition: 0, topic_id: TopicId(Uuid::from_u128(n)) };
        let mut names = LogNames::new(2);
        names.take(&log(1), 0);
        names.take(&log(1), 1);
        assert_eq!(names.counts(), [0, 1]);
        assert!(names.is_taken(&log(2)));
        names.wait_for(&log(2));
        names.wait_for(&log(3));
        assert_eq!(names.release(&log(1)), Some((log(3).topic_id, 0)));
        assert_eq!(names.counts(), [0, 0]);
        assert!(!names.is_taken(&log(3)));
        assert_eq!(names.release(&log(1)), None);
    }
}
