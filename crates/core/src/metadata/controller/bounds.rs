//! Bounds on everything that ends in the image, whoever asks for it. They are checked when a change is decided, never when it
//! is applied: what a log holds of earlier, without them, is still read.

use super::super::command::{Command, ConfigChange, ConfigResource};
use super::super::image::Image;
use super::super::size;
use super::error::AdminError;

/// The longest value of a setting, as Kafka's (`ConfigurationControlManager`, which takes `Short.MAX_VALUE`).
pub const CONFIG_VALUE_BYTES_MAX: usize = 32_767;

/// The largest image, in bytes of its snapshot: over a million partitions. Every node keeps it in memory and reads it at its
/// start.
pub const IMAGE_BYTES_MAX: usize = 128 << 20;

/// The longest host name that there is (RFC 1035).
const HOST_BYTES_MAX: usize = 255;
/// The longest text of another kind that a broker registers, as a topic's name is.
const TEXT_BYTES_MAX: usize = 249;
/// The most data directories of a broker.
const DIRECTORIES_MAX: usize = 1_024;

/// The command, if all that it brings into the image is within bounds.
pub(super) fn bounded(image: &Image, command: Command) -> Result<Command, AdminError> {
    check_bounds(image, &command)?;
    Ok(command)
}

/// Whether all that the command brings into the image is within bounds. What makes the image smaller always is.
pub fn check_bounds(image: &Image, command: &Command) -> Result<(), AdminError> {
    let added = match command {
        Command::CreateTopic { name, assignments, configs, .. } => {
            configs.iter().try_for_each(|(_, value)| check_value(value))?;
            size::new_topic(name, partitions(assignments), configs)
        }
        Command::CreatePartitions { assignments, .. } => partitions(assignments),
        Command::SetConfigs { resource, changes } => {
            changes
                .iter()
                .filter_map(|change| change.value.as_ref())
                .try_for_each(|value| check_value(value))?;
            added(image, *resource, changes)
        }
        Command::FormCluster { cluster_id, .. } => {
            check_text("the cluster id", cluster_id, TEXT_BYTES_MAX)?;
            0
        }
        // Its size does not matter: there are as many as an operator has started.
        Command::RegisterBroker { endpoint, rack, directories, .. } => {
            check_text("the advertised host", &endpoint.host, HOST_BYTES_MAX)?;
            check_text("broker.rack", rack.as_deref().unwrap_or_default(), TEXT_BYTES_MAX)?;
            if directories.len() > DIRECTORIES_MAX {
                let (what, bytes) = ("the list of data directories", directories.len());
                return Err(AdminError::TooLong { what, bytes, max: DIRECTORIES_MAX });
            }
            0
        }
        Command::SetFenced { .. }
        | Command::DeleteTopic { .. }
        | Command::AllocateProducerIds { .. }
        | Command::AlterPartition { .. }
        | Command::ResignLeadership { .. } => 0,
    };
    match added > 0 && image.bytes().saturating_add(added) > IMAGE_BYTES_MAX {
        true => Err(AdminError::ImageFull { bytes: image.bytes(), added }),
        false => Ok(()),
    }
}

fn check_value(value: &str) -> Result<(), AdminError> {
    match value.len() > CONFIG_VALUE_BYTES_MAX {
        true => Err(AdminError::ConfigValueTooLong),
        false => Ok(()),
    }
}

fn check_text(what: &'static str, text: &str, max: usize) -> Result<(), AdminError> {
    match text.len() > max {
        true => Err(AdminError::TooLong { what, bytes: text.len(), max }),
        false => Ok(()),
    }
}

fn partitions<T>(assignments: &[Vec<T>]) -> usize {
    assignments.iter().map(|replicas| size::partition_of(replicas.len())).sum()
}

/// By how much the changes make what is set larger.
fn added(image: &Image, resource: ConfigResource, changes: &[ConfigChange]) -> usize {
    let present = match resource {
        ConfigResource::Topic(id) => image.topic(id).map(|topic| &topic.configs),
        ConfigResource::Broker(node) => image.broker_configs(node),
        ConfigResource::ClusterDefault => Some(image.cluster_configs()),
    };
    let (mut more, mut less) = (0, 0);
    for change in changes {
        let before = present.and_then(|present| present.get(&change.name));
        less += before.map_or(0, |value| size::setting(&change.name, value));
        more += change.value.as_ref().map_or(0, |value| size::setting(&change.name, value));
    }
    more.saturating_sub(less)
}

#[cfg(test)]
mod tests {
    use norn_protocol::types::{NodeId, TopicId};
    use norn_protocol::ErrorCode;
    use uuid::Uuid;

    use super::*;
    use crate::metadata::{Endpoint, State};

    fn set(value: usize) -> Command {
        let (name, value) = ("retention.ms".to_owned(), Some("1".repeat(value)));
        let changes = vec![ConfigChange { name, value, expected: None }];
        Command::SetConfigs { resource: ConfigResource::ClusterDefault, changes }
    }

    fn create(name: &str, partitions: usize) -> Command {
        let id = TopicId(Uuid::from_u128(u128::from(crc32c::crc32c(name.as_bytes()))));
        let assignments = vec![vec![NodeId(1)]; partitions];
        Command::CreateTopic { name: name.to_owned(), id, assignments, configs: vec![] }
    }

    fn register(host: usize, rack: usize) -> Command {
        let endpoint = Endpoint { host: "h".repeat(host), port: 1 };
        let (node, rack) = (NodeId(1), Some("r".repeat(rack)));
        Command::RegisterBroker { node, incarnation: Uuid::nil(), directories: vec![], endpoint, rack }
    }

    #[test]
    fn a_value_that_is_too_long_is_refused_with_kafka_s_words() {
        let image = Image::default();
        assert_eq!(check_bounds(&image, &set(CONFIG_VALUE_BYTES_MAX)), Ok(()));
        let refused = check_bounds(&image, &set(CONFIG_VALUE_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidConfig);
        let words = "The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes.";
        assert_eq!(refused.to_string(), words);
        let configs = vec![("retention.ms".to_owned(), "1".repeat(CONFIG_VALUE_BYTES_MAX + 1))];
        let Command::CreateTopic { name, id, assignments, .. } = create("t", 1) else { unreachable!() };
        let with_it = Command::CreateTopic { name, id, assignments, configs };
        assert_eq!(check_bounds(&image, &with_it), Err(refused));
    }

    #[test]
    fn texts_of_a_registration_are_bounded() {
        let image = Image::default();
        assert_eq!(check_bounds(&image, &register(255, 249)), Ok(()));
        for (host, rack) in [(256, 0), (1, 250)] {
            let refused = check_bounds(&image, &register(host, rack)).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::InvalidRequest, "{refused}");
        }
    }

    #[test]
    fn a_full_image_takes_only_what_makes_it_smaller() {
        let mut state = State::new();
        let mut index = 0;
        let mut apply = |state: &mut State, command: Command| {
            index += 1;
            state.apply(index, &command.into()).unwrap();
        };
        apply(&mut state, register(1, 1));
        // As a log from before there were bounds may hold it.
        for n in 0..5 {
            let (name, value) = (format!("setting.{n}"), Some("1".repeat(30 << 20)));
            let changes = vec![ConfigChange { name, value, expected: None }];
            let resource = ConfigResource::ClusterDefault;
            apply(&mut state, Command::SetConfigs { resource, changes });
        }
        let refused = check_bounds(state.image(), &create("t", 1)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::PolicyViolation);
        assert!(refused.to_string().contains("134217728 bytes"), "{refused}");
        assert!(check_bounds(state.image(), &set(10)).is_err());
        let smaller = |n| {
            let name = format!("setting.{n}");
            let changes = vec![ConfigChange { name, value: Some(String::new()), expected: None }];
            Command::SetConfigs { resource: ConfigResource::ClusterDefault, changes }
        };
        for n in 0..5 {
            assert_eq!(check_bounds(state.image(), &smaller(n)), Ok(()));
            apply(&mut state, smaller(n));
        }
        assert_eq!(check_bounds(state.image(), &create("t", 1)), Ok(()));
    }
}
