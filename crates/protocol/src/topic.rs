//! Topic names: what Kafka allows (`org.apache.kafka.common.internals.Topic`), and which names collide because metric
//! names cannot tell `.` from `_`.

use std::sync::Arc;

use thiserror::Error;

/// A topic's name, shared by all that speak of the topic.
pub type TopicName = Arc<str>;

/// Kafka's limit on the length of a topic name, in bytes: a directory `name-partition` must fit a file name.
pub const NAME_LENGTH_MAX: usize = 249;

/// Why a name cannot be a topic's. The texts are Kafka's, since clients show them to people.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TopicNameError {
    /// The name is empty.
    #[error("the empty string is not allowed")]
    Empty,
    /// The name is `.` or `..`.
    #[error("'.' or '..' is not allowed")]
    Dots,
    /// The name is longer than [`NAME_LENGTH_MAX`].
    #[error("the length of '{0}' is longer than the max allowed length {NAME_LENGTH_MAX}")]
    TooLong(String),
    /// The name has a character outside `[a-zA-Z0-9._-]`.
    #[error("'{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")]
    Characters(String),
}

/// Checks a name as Kafka's `Topic.validate` does.
pub fn validate(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots);
    }
    if name.len() > NAME_LENGTH_MAX {
        return Err(TopicNameError::TooLong(name.to_owned()));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err(TopicNameError::Characters(name.to_owned()));
    }
    Ok(())
}

/// The name with `.` replaced by `_`: two topics whose keys are equal collide.
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

/// Whether two different topics would share a metric name; a name collides with itself too, as in Kafka.
pub fn collides(a: &str, b: &str) -> bool {
    let same = |x: u8, y: u8| x == y || (matches!(x, b'.' | b'_') && matches!(y, b'.' | b'_'));
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(x, y)| same(x, y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kafka_allows_are_valid() {
        let longest = "a".repeat(249);
        for name in ["a", "...", "A-z_0.9", "__consumer_offsets", longest.as_str()] {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_kafka_refuses_are_not() {
        assert_eq!(validate(""), Err(TopicNameError::Empty));
        assert_eq!(validate("."), Err(TopicNameError::Dots));
        assert_eq!(validate(".."), Err(TopicNameError::Dots));
        assert!(matches!(validate(&"a".repeat(250)), Err(TopicNameError::TooLong(_))));
        for name in ["a b", "a/b", "é", "a\0", "a,b", "a:b", "a\n"] {
            assert!(matches!(validate(name), Err(TopicNameError::Characters(_))), "{name}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert!(collides("a.b", "a_b"));
        assert!(collides("a.b_c", "a_b.c"));
        assert!(collides("same", "same"));
        assert!(!collides("a-b", "a_b"));
        assert!(!collides("a.b", "a.bc"));
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
    }
}
