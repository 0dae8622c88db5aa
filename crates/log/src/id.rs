//! Which partition a log belongs to, and the names of its directory: the one in use, and those of one taken out of use.

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

/// Why a log's directory was taken out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retired {
    /// Its topic was deleted: the files are being removed.
    Deleted,
    /// Nobody knows its topic: the files are kept for whoever does.
    Stray,
}

impl Retired {
    /// What Kafka puts behind the name (`LocalLog.DELETE_DIR_SUFFIX`, `STRAY_DIR_SUFFIX`).
    fn suffix(self) -> &'static str {
        match self {
            Retired::Deleted => "-delete",
            Retired::Stray => "-stray",
        }
    }
}

/// The longest name of a file or directory on the file systems that there are.
const FILE_NAME_MAX: usize = 255;

/// Hexadecimal digits of a UUID.
const UUID_DIGITS: usize = 32;

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

    /// The directory's name once it is out of use: `<topic>-<partition>.<uuid>-delete` or `-stray`, the topic cut short
    /// where that would be too long, as Kafka has it. No log in use can have such a name.
    pub fn retired_dir_name(&self, why: Retired, uuid: [u8; 16]) -> String {
        let uuid = u128::from_be_bytes(uuid);
        let tail = format!("-{}.{uuid:032x}{}", self.partition, why.suffix());
        let mut topic_len = self.topic.len().min(FILE_NAME_MAX - tail.len());
        while !self.topic.is_char_boundary(topic_len) {
            topic_len -= 1;
        }
        format!("{}{tail}", &self.topic[..topic_len])
    }

    /// Whether this is the name of a directory whose log was taken out of use for that reason.
    pub fn is_retired_dir_name(name: &str, why: Retired) -> bool {
        let Some((log, uuid)) = name.strip_suffix(why.suffix()).and_then(|name| name.rsplit_once('.')) else {
            return false;
        };
        let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        uuid.len() == UUID_DIGITS && uuid.bytes().all(is_digit) && LogId::parse_dir_name(log).is_some()
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

    fn log(topic: &str) -> LogId {
        LogId { topic: topic.into(), partition: i32::MAX, topic_id: TopicId::NONE }
    }

    #[test]
    fn a_retired_directory_is_told_from_a_log_and_says_why() {
        for (why, other) in [(Retired::Deleted, Retired::Stray), (Retired::Stray, Retired::Deleted)] {
            // Topics that are themselves called so, or are as long as may be, or longer.
            for topic in ["orders", "orders-delete", "a-1.0123-stray", &"x".repeat(249), &"é".repeat(200)] {
                let name = log(topic).retired_dir_name(why, [0xab; 16]);
                assert!(LogId::is_retired_dir_name(&name, why), "{name}");
                assert!(!LogId::is_retired_dir_name(&name, other), "{name}");
                assert_eq!(LogId::parse_dir_name(&name), None);
                assert!(name.len() <= 255, "{}", name.len());
                assert!(!LogId::is_retired_dir_name(&log(topic).dir_name(), why));
            }
        }
    }

    #[test]
    fn only_a_whole_name_is_that_of_a_directory_to_remove() {
        let deleted = |name: &str| LogId::is_retired_dir_name(name, Retired::Deleted);
        assert!(deleted("orders-0.0123456789abcdef0123456789abcdef-delete"));
        for name in [
            "orders-delete",
            "orders-0-delete",
            "orders-0.0123-delete",
            "orders.0123456789abcdef0123456789abcdef-delete",
            "-0.0123456789abcdef0123456789abcdef-delete",
            "orders-0.0123456789abcdef0123456789abcdeX-delete",
            "orders-0.0123456789abcdef0123456789abcdef-delete-0",
        ] {
            assert!(!deleted(name), "{name}");
        }
    }
}
