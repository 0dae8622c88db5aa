//! Which topics there are: what tells a committed offset of a deleted topic from one of its successor.

use norn_protocol::TopicId;

use super::records::OffsetValue;
use crate::metadata::Image;

/// The topics that exist now.
pub trait Topics {
    /// The id of the topic that has this name now; `None` if there is none.
    fn id_of(&self, name: &str) -> Option<TopicId>;
}

impl Topics for Image {
    fn id_of(&self, name: &str) -> Option<TopicId> {
        self.topic_by_name(name).map(|topic| topic.id)
    }
}

/// Whether what was said of a topic with the id `known` holds for the topic of that name `now`. An unknown id
/// (`TopicId::NONE`: a record that an older Kafka wrote) matches any (Kafka's
/// `OffsetMetadataManager.isMismatchedTopicId`).
pub(super) fn is_same(known: TopicId, now: Option<TopicId>) -> bool {
    now.is_some_and(|now| known == now || known == TopicId::NONE || now == TopicId::NONE)
}

impl OffsetValue {
    /// Whether the offset was committed for the topic that has the name now.
    pub(super) fn is_of(&self, now: Option<TopicId>) -> bool {
        is_same(self.topic_id, now)
    }
}
