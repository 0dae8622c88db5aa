//! Reassignments of replicas (KIP-455): Kafka's `ReplicationControlManager.alterPartitionReassignment`, as far as one node
//! can follow it.

use norn_protocol::types::{NodeId, PartitionIndex};
use norn_protocol::ErrorCode;

use crate::metadata::Image;

/// Why replicas are not reassigned. The texts are Kafka's, but for the last.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReassignmentError {
    #[error("Unable to find a topic named {0}.")]
    UnknownTopic(String),
    #[error("Unable to find partition {0}:{1}.")]
    UnknownPartition(String, i32),
    #[error("No partition reassignment is in progress.")]
    NotInProgress,
    #[error("The manual partition assignment includes an empty replica list.")]
    NoReplicas,
    #[error("The manual partition assignment includes broker {0}, but no such broker is registered.")]
    UnknownReplica(NodeId),
    #[error("The manual partition assignment includes the broker {0} more than once.")]
    DuplicateReplica(NodeId),
    #[error("The replication factor is changed from {0} to {1}")]
    ReplicationFactor(usize, usize),
    #[error("The replicas of a partition cannot be moved: this build does not replicate between brokers.")]
    CannotMove,
}

impl ReassignmentError {
    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            ReassignmentError::UnknownTopic(_) | ReassignmentError::UnknownPartition(..) => {
                ErrorCode::UnknownTopicOrPartition
            }
            ReassignmentError::NotInProgress => ErrorCode::NoReassignmentInProgress,
            ReassignmentError::ReplicationFactor(..) => ErrorCode::InvalidReplicationFactor,
            ReassignmentError::NoReplicas
            | ReassignmentError::UnknownReplica(_)
            | ReassignmentError::DuplicateReplica(_)
            | ReassignmentError::CannotMove => ErrorCode::InvalidReplicaAssignment,
        }
    }
}

/// Whether the partition has these replicas already, which is the one reassignment that can be made; `None` cancels the
/// one that is in progress, of which there is none.
pub fn alter_reassignment(
    image: &Image,
    topic: &str,
    index: i32,
    target: Option<&[NodeId]>,
    may_change_factor: bool,
) -> Result<(), ReassignmentError> {
    let found =
        image.topic_by_name(topic).ok_or_else(|| ReassignmentError::UnknownTopic(topic.to_owned()))?;
    let partition = found
        .partition(PartitionIndex(index))
        .ok_or_else(|| ReassignmentError::UnknownPartition(topic.to_owned(), index))?;
    let target = target.ok_or(ReassignmentError::NotInProgress)?;
    check_target(image, target)?;
    if !may_change_factor && target.len() != partition.replicas.len() {
        return Err(ReassignmentError::ReplicationFactor(partition.replicas.len(), target.len()));
    }
    match partition.replicas == target {
        true => Ok(()),
        false => Err(ReassignmentError::CannotMove),
    }
}

/// Kafka's `validateManualPartitionAssignment`, which looks at the brokers by rising id.
fn check_target(image: &Image, target: &[NodeId]) -> Result<(), ReassignmentError> {
    if target.is_empty() {
        return Err(ReassignmentError::NoReplicas);
    }
    let mut sorted = target.to_vec();
    sorted.sort_unstable();
    let mut before = None;
    for node in sorted {
        if image.broker(node).is_none() {
            return Err(ReassignmentError::UnknownReplica(node));
        }
        if before == Some(node) {
            return Err(ReassignmentError::DuplicateReplica(node));
        }
        before = Some(node);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use norn_protocol::types::TopicId;
    use uuid::Uuid;

    use super::*;
    use crate::metadata::{Command, Endpoint, State};

    /// Brokers 1 and 2, and a topic with one partition on 1.
    fn image() -> Image {
        let register = |node| Command::RegisterBroker {
            node: NodeId(node),
            incarnation: Uuid::nil(),
            directories: vec![],
            endpoint: Endpoint { host: "localhost".to_owned(), port: 9092 },
            rack: None,
        };
        let create = Command::CreateTopic {
            name: "t".to_owned(),
            id: TopicId(Uuid::from_u128(1)),
            assignments: vec![vec![NodeId(1)]],
            configs: vec![],
        };
        let mut state = State::new();
        for (index, command) in [register(1), register(2), create].into_iter().enumerate() {
            state.apply(1 + index as u64, &command.into()).unwrap();
        }
        state.image().clone()
    }

    #[test]
    fn only_the_replicas_that_there_are_can_be_asked_for() {
        let image = image();
        let alter = |topic, index, target: Option<&[i32]>| {
            let target: Option<Vec<NodeId>> = target.map(|ids| ids.iter().copied().map(NodeId).collect());
            let altered = alter_reassignment(&image, topic, index, target.as_deref(), false);
            altered.map_err(|error| (error.code(), error.to_string()))
        };
        assert_eq!(alter("t", 0, Some(&[1])), Ok(()));
        let refused = |code, text: &str| Err((code, text.to_owned()));
        let unknown = ErrorCode::UnknownTopicOrPartition;
        assert_eq!(alter("u", 0, Some(&[1])), refused(unknown, "Unable to find a topic named u."));
        assert_eq!(alter("t", 1, Some(&[1])), refused(unknown, "Unable to find partition t:1."));
        assert_eq!(
            alter("t", 0, None),
            refused(ErrorCode::NoReassignmentInProgress, "No partition reassignment is in progress.")
        );
        let invalid = ErrorCode::InvalidReplicaAssignment;
        assert_eq!(
            alter("t", 0, Some(&[])),
            refused(invalid, "The manual partition assignment includes an empty replica list.")
        );
        assert_eq!(
            alter("t", 0, Some(&[9, 1, 7])),
            refused(
                invalid,
                "The manual partition assignment includes broker 7, but no such broker is registered."
            )
        );
        assert_eq!(
            alter("t", 0, Some(&[1, 1])),
            refused(invalid, "The manual partition assignment includes the broker 1 more than once.")
        );
        assert_eq!(
            alter("t", 0, Some(&[1, 2])),
            refused(ErrorCode::InvalidReplicationFactor, "The replication factor is changed from 1 to 2")
        );
        assert_eq!(alter("t", 0, Some(&[2])).unwrap_err().0, invalid);
    }
}
