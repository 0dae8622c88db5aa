//! Elections on request (ElectLeaders, KIP-460): Kafka's `ReplicationControlManager.electLeader`.

use norn_protocol::types::PartitionIndex;
use norn_protocol::ErrorCode;

use crate::metadata::{Image, Partition};

/// Who may be elected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Election {
    /// The first replica, if it is in sync.
    Preferred,
    /// Any live replica of a partition that has no leader.
    Unclean,
}

impl Election {
    /// By its code in the request (`ElectionType`).
    pub fn from_code(code: i8) -> Option<Election> {
        match code {
            0 => Some(Election::Preferred),
            1 => Some(Election::Unclean),
            _ => None,
        }
    }
}

/// Why there is no election. The texts are Kafka's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ElectionError {
    #[error("No such topic as {0}")]
    UnknownTopic(String),
    #[error("No such partition as {0}-{1}")]
    UnknownPartition(String, i32),
    #[error("Leader election not needed for topic partition.")]
    NotNeeded,
    #[error("The preferred leader was not available.")]
    PreferredLeaderNotAvailable,
    #[error("Eligible topic partition leaders are not available.")]
    EligibleLeadersNotAvailable,
}

impl ElectionError {
    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            ElectionError::UnknownTopic(_) | ElectionError::UnknownPartition(..) => {
                ErrorCode::UnknownTopicOrPartition
            }
            ElectionError::NotNeeded => ErrorCode::ElectionNotNeeded,
            ElectionError::PreferredLeaderNotAvailable => ErrorCode::PreferredLeaderNotAvailable,
            ElectionError::EligibleLeadersNotAvailable => ErrorCode::EligibleLeadersNotAvailable,
        }
    }
}

/// Why no leader is elected for the partition. With one node there is always a reason: a partition without a leader is
/// one whose only replica resigned because its log is offline, and electing that replica again would help nobody.
pub fn elect_leader(image: &Image, topic: &str, index: i32, election: Election) -> ElectionError {
    let Some(found) = image.topic_by_name(topic) else {
        return ElectionError::UnknownTopic(topic.to_owned());
    };
    match found.partition(PartitionIndex(index)) {
        None => ElectionError::UnknownPartition(topic.to_owned(), index),
        Some(partition) => of_partition(partition, election),
    }
}

fn of_partition(partition: &Partition, election: Election) -> ElectionError {
    match (election, partition.leader) {
        (Election::Preferred, Some(leader)) if partition.replicas.first() == Some(&leader) => {
            ElectionError::NotNeeded
        }
        (Election::Unclean, Some(_)) => ElectionError::NotNeeded,
        (Election::Preferred, _) => ElectionError::PreferredLeaderNotAvailable,
        (Election::Unclean, None) => ElectionError::EligibleLeadersNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use norn_protocol::types::{LeaderEpoch, NodeId};

    use super::*;
    use crate::metadata::PartitionEpoch;

    fn partition(leader: Option<i32>) -> Partition {
        Partition {
            replicas: vec![NodeId(1), NodeId(2)],
            isr: [NodeId(1), NodeId(2)].into(),
            leader: leader.map(NodeId),
            leader_epoch: LeaderEpoch(3),
            partition_epoch: PartitionEpoch(5),
        }
    }

    #[test]
    fn an_election_is_needed_where_the_wanted_leader_does_not_lead() {
        let with = |leader, election| of_partition(&partition(leader), election);
        assert_eq!(with(Some(1), Election::Preferred), ElectionError::NotNeeded);
        assert_eq!(with(Some(2), Election::Preferred), ElectionError::PreferredLeaderNotAvailable);
        assert_eq!(with(None, Election::Preferred), ElectionError::PreferredLeaderNotAvailable);
        assert_eq!(with(Some(2), Election::Unclean), ElectionError::NotNeeded);
        assert_eq!(with(None, Election::Unclean), ElectionError::EligibleLeadersNotAvailable);
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let error = elect_leader(&Image::default(), "t", 0, Election::Preferred);
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            (ErrorCode::UnknownTopicOrPartition, "No such topic as t")
        );
        assert_eq!(ElectionError::UnknownPartition("t".into(), 7).to_string(), "No such partition as t-7");
        assert_eq!(Election::from_code(1), Some(Election::Unclean));
        assert_eq!(Election::from_code(2), None);
    }
}
