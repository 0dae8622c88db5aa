//! Which partition a log belongs to, and the name of its directory.

use std::fmt;
use std::sync::Arc;

use norn_protocol::types::TopicId;

/// The partition that a log holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    pub topic: Arc<str>,
    pub partition: i32,
    pub topic_id: TopicId,
}

impl LogId {
    /// The log's directory below the data directory: `<topic>-<partition>`, as Kafka names it.
    pub fn dir_name(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }

    /// Takes a directory's name apart; `None` if it cannot be that of a log.
    pub fn parse_dir_name(name: &str) -> Option<(&str, i32)> {
        let (topic, partition) = name.rsplit_once('-')?;
        let plain = !partition.is_empty() && partition.bytes().all(|b| b.is_ascii_digit());
        if topic.is_empty() || !plain {
            return None;
        }
        Some((topic, partition.parse().ok()?))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_are_taken_apart_at_the_last_dash() {
        assert_eq!(LogId::parse_dir_name("orders-eu-12"), Some(("orders-eu", 12)));
        assert_eq!(LogId::parse_dir_name("__cluster_metadata"), None);
        assert_eq!(LogId::parse_dir_name("-1"), None);
        assert_eq!(LogId::parse_dir_name("a--1"), Some(("a-", 1)));
        assert_eq!(LogId::parse_dir_name("a-+1"), None);
        assert_eq!(LogId::parse_dir_name("a-99999999999"), None);
    }
}
