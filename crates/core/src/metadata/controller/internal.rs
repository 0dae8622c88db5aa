//! Internal topics hold what the cluster knows of its clients, such as all committed offsets. A client that deletes or grows
//! one, or lets its records expire, loses that for everybody; unlike Kafka, Norn refuses it unless a setting allows it.

use super::super::command::{Command, ConfigResource};
use super::super::config_def::ConfigMap;
use super::super::config_layers::ConfigLayers;
use super::super::image::{is_internal, Image};
use super::super::topic_config::TopicConfig;
use super::configs::changed;
use super::error::AdminError;

/// The broker's setting that allows such changes.
pub const INTERNAL_TOPICS_SETTING: &str = "change.internal.topics.enable";

/// Refuses a client's command that loses what an internal topic holds. `layers` are the brokers' settings.
pub fn protect_internal_topics(
    image: &Image,
    command: &Command,
    layers: &ConfigLayers<'_>,
) -> Result<(), AdminError> {
    let named = |id| image.topic(id).filter(|topic| topic.is_internal());
    let (name, what) = match command {
        Command::DeleteTopic { id } => (named(*id).map(|topic| &*topic.name), "it cannot be deleted"),
        Command::CreatePartitions { id, .. } => (
            named(*id).map(|topic| &*topic.name),
            "its partitions cannot change: each group belongs to one by its hash",
        ),
        Command::CreateTopic { name, configs, .. } => {
            let own: ConfigMap = configs.iter().cloned().collect();
            let expires = is_internal(name) && expires(&own, layers);
            (expires.then_some(name.as_str()), EXPIRES)
        }
        Command::SetConfigs { resource: ConfigResource::Topic(id), changes } => {
            let loses = |after: &ConfigMap| !changes.is_empty() && expires(after, layers);
            let topic = named(*id).filter(|topic| loses(&changed(&topic.configs, changes)));
            (topic.map(|topic| &*topic.name), EXPIRES)
        }
        _ => (None, ""),
    };
    match name {
        Some(name) => Err(AdminError::InternalTopic { name: name.to_owned(), what }),
        None => Ok(()),
    }
}

const EXPIRES: &str = "its records cannot expire: cleanup.policy must be compact";

/// Whether records are deleted by their age or the size of the log.
fn expires(own: &ConfigMap, layers: &ConfigLayers<'_>) -> bool {
    let config = TopicConfig::resolve(&ConfigLayers { topic: own, ..*layers });
    config.is_ok_and(|config| config.cleanup_policy.delete)
}

#[cfg(test)]
mod tests {
    use norn_protocol::types::{NodeId, PartitionIndex, TopicId};
    use uuid::Uuid;

    use super::super::super::command::ConfigChange;
    use super::super::super::state::State;
    use super::super::super::Endpoint;
    use super::*;

    const OFFSETS: TopicId = TopicId(Uuid::from_u128(1));
    const PLAIN: TopicId = TopicId(Uuid::from_u128(2));

    fn create(name: &str, id: TopicId, policy: &str) -> Command {
        Command::CreateTopic {
            name: name.to_owned(),
            id,
            assignments: vec![vec![NodeId(1)]],
            configs: vec![("cleanup.policy".to_owned(), policy.to_owned())],
        }
    }

    fn set(id: TopicId, name: &str, value: Option<&str>) -> Command {
        let (name, value) = (name.to_owned(), value.map(str::to_owned));
        let changes = vec![ConfigChange { name, value, expected: None }];
        Command::SetConfigs { resource: ConfigResource::Topic(id), changes }
    }

    #[test]
    fn nothing_that_loses_what_an_internal_topic_holds_is_allowed() {
        let register = Command::RegisterBroker {
            node: NodeId(1),
            incarnation: Uuid::nil(),
            directories: vec![],
            endpoint: Endpoint { host: "localhost".to_owned(), port: 9092 },
            rack: None,
        };
        let created = [create("__consumer_offsets", OFFSETS, "compact"), create("t", PLAIN, "compact")];
        let mut state = State::new();
        for (index, command) in (1..).zip([register].into_iter().chain(created)) {
            state.apply(index, &command.into()).unwrap();
        }
        let none = ConfigMap::new();
        let layers = ConfigLayers { topic: &none, broker: &none, cluster: &none, file: &none };
        let grow = |id| {
            let assignments = vec![vec![NodeId(1)]];
            Command::CreatePartitions { id, first: PartitionIndex(1), assignments }
        };
        let losing = |id, name| {
            [
                Command::DeleteTopic { id },
                grow(id),
                set(id, "cleanup.policy", Some("delete")),
                set(id, "cleanup.policy", Some("compact,delete")),
                set(id, "cleanup.policy", None),
                create(name, id, "delete"),
            ]
        };
        for command in losing(OFFSETS, "__consumer_offsets") {
            let refused = protect_internal_topics(state.image(), &command, &layers).unwrap_err();
            assert!(matches!(&refused, AdminError::InternalTopic { .. }), "{command:?}: {refused}");
            assert!(refused.to_string().contains("change.internal.topics.enable=true"), "{refused}");
        }
        let keeping = [
            set(OFFSETS, "segment.bytes", Some("2000000")),
            set(OFFSETS, "cleanup.policy", Some("compact")),
            create("__consumer_offsets", OFFSETS, "compact"),
        ];
        for command in keeping.into_iter().chain(losing(PLAIN, "t")) {
            protect_internal_topics(state.image(), &command, &layers).unwrap();
        }
    }
}
