//! Changing settings entry by entry (IncrementalAlterConfigs, KIP-339).

use std::collections::BTreeSet;

use norn_protocol::types::NodeId;
use norn_protocol::ErrorCode;

use super::super::command::{Command, ConfigChange, ConfigResource};
use super::super::config_def::{list, ConfigDef, ConfigMap, ConfigTable, ConfigType, UpdateMode};
use super::super::config_layers::ConfigLayers;
use super::super::image::Image;
use super::super::outcome::Refused;
use super::super::sync_intervals;
use super::super::topic_config::TopicConfig;
use super::super::topic_config_table::TOPIC_CONFIGS;
use super::bounds::bounded;
use super::error::AdminError;

/// What is done to a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigOp {
    Set,
    /// Back to what holds without it.
    Delete,
    /// Adds entries to a list.
    Append,
    /// Takes entries from a list.
    Subtract,
}

impl TryFrom<i8> for ConfigOp {
    type Error = ErrorCode;

    fn try_from(code: i8) -> Result<ConfigOp, ErrorCode> {
        match code {
            0 => Ok(ConfigOp::Set),
            1 => Ok(ConfigOp::Delete),
            2 => Ok(ConfigOp::Append),
            3 => Ok(ConfigOp::Subtract),
            _ => Err(ErrorCode::InvalidRequest),
        }
    }
}

/// One entry of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigEdit {
    pub name: String,
    pub op: ConfigOp,
    pub value: Option<String>,
}

/// The command that changes a topic's settings; `layers` are its brokers'.
pub fn alter_topic_configs(
    image: &Image,
    name: &str,
    edits: &[ConfigEdit],
    layers: &ConfigLayers<'_>,
) -> Result<Command, AdminError> {
    let topic = image.topic_by_name(name).ok_or(AdminError::UnknownTopic)?;
    let inherited = ConfigLayers { topic: &topic.configs, ..*layers };
    let changes = changes(&TOPIC_CONFIGS, &topic.configs, &inherited, edits)?;
    let next = changed(&topic.configs, &changes);
    let layers_then = ConfigLayers { topic: &next, ..*layers };
    TopicConfig::resolve(&layers_then)?;
    sync_intervals::check_change(&inherited, &layers_then)?;
    bounded(image, Command::SetConfigs { resource: ConfigResource::Topic(topic.id), changes })
}

/// The command that changes what is set dynamically on a broker, or on all where `node` is `None`.
/// `table` is of the brokers' settings, `file` what this broker was started with.
pub fn alter_broker_configs(
    image: &Image,
    node: Option<NodeId>,
    table: &ConfigTable,
    edits: &[ConfigEdit],
    file: &ConfigMap,
) -> Result<Command, AdminError> {
    let none = ConfigMap::new();
    let (resource, broker) = match node {
        Some(node) if image.broker(node).is_none() => return Err(Refused::UnknownBroker { node }.into()),
        Some(node) => (ConfigResource::Broker(node), image.broker_configs(node).unwrap_or(&none)),
        None => (ConfigResource::ClusterDefault, &none),
    };
    for edit in edits {
        if table.get(&edit.name)?.update == UpdateMode::ReadOnly {
            return Err(AdminError::ReadOnlyConfig { name: edit.name.clone() });
        }
    }
    let inherited = ConfigLayers { topic: &none, broker, cluster: image.cluster_configs(), file };
    let present = if node.is_some() { broker } else { image.cluster_configs() };
    let changes = changes(table, present, &inherited, edits)?;
    if changes.iter().any(|change| sync_intervals::bears_on_them(&change.name)) {
        let next = changed(present, &changes);
        match node {
            Some(_) => {
                let after = ConfigLayers { broker: &next, ..inherited };
                check_sync_intervals(image, &inherited, &after)?;
            }
            // A broker's own values stay above those of the cluster.
            None => {
                let own = image.brokers().filter_map(|broker| image.broker_configs(broker.node));
                for broker in std::iter::once(&none).chain(own) {
                    let before = ConfigLayers { broker, ..inherited };
                    let after = ConfigLayers { cluster: &next, ..before };
                    check_sync_intervals(image, &before, &after)?;
                }
            }
        }
    }
    bounded(image, Command::SetConfigs { resource, changes })
}

/// What AlterConfigs asks for: exactly `wanted` is to be set where `present` is set now.
pub fn replacing(present: &ConfigMap, wanted: &[(String, Option<String>)]) -> Vec<ConfigEdit> {
    let set = wanted.iter().map(|(name, value)| ConfigEdit {
        name: name.clone(),
        op: ConfigOp::Set,
        value: value.clone(),
    });
    let kept: BTreeSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let others = present.keys().filter(|name| !kept.contains(name.as_str()));
    let delete = others.map(|name| ConfigEdit { name: name.clone(), op: ConfigOp::Delete, value: None });
    set.chain(delete).collect()
}

/// Whether a change of the brokers' settings leaves topics, those to come and those there are, the syncs they ask for.
fn check_sync_intervals(
    image: &Image,
    before: &ConfigLayers<'_>,
    after: &ConfigLayers<'_>,
) -> Result<(), AdminError> {
    sync_intervals::check_change(before, after)?;
    for topic in image.topics() {
        let before = ConfigLayers { topic: &topic.configs, ..*before };
        let after = ConfigLayers { topic: &topic.configs, ..*after };
        let checked = sync_intervals::check_change(&before, &after);
        checked.map_err(|source| AdminError::ConfigOfTopic { topic: topic.name.to_string(), source })?;
    }
    Ok(())
}

/// What is set once `changes` are made.
pub(super) fn changed(present: &ConfigMap, changes: &[ConfigChange]) -> ConfigMap {
    let mut next = present.clone();
    for change in changes {
        match &change.value {
            Some(value) => next.insert(change.name.clone(), value.clone()),
            None => next.remove(&change.name),
        };
    }
    next
}

/// The edits as changes of what is set at `present`; entries that change nothing are left out.
fn changes(
    table: &ConfigTable,
    present: &ConfigMap,
    inherited: &ConfigLayers<'_>,
    edits: &[ConfigEdit],
) -> Result<Vec<ConfigChange>, AdminError> {
    let mut seen = BTreeSet::new();
    let mut changes = Vec::new();
    for edit in edits {
        let name = edit.name.clone();
        if !seen.insert(&edit.name) {
            return Err(AdminError::DuplicateConfig { name });
        }
        if edit.op == ConfigOp::Delete {
            changes.extend(present.get(&name).map(|_| ConfigChange { name, value: None, expected: None }));
            continue;
        }
        let def = table.get(&name)?;
        let Some(value) = &edit.value else { return Err(AdminError::NullEdit { name }) };
        let change = match edit.op {
            ConfigOp::Set | ConfigOp::Delete => {
                ConfigChange { name, value: Some(def.canonical(value)), expected: None }
            }
            ConfigOp::Append => {
                let mut entries = entries(def, inherited, "APPEND")?;
                let mut known: BTreeSet<String> = entries.iter().cloned().collect();
                let new = list(value).into_iter().filter(|entry| known.insert((*entry).to_owned()));
                entries.extend(new.map(str::to_owned));
                edited_list(present, name, &entries)
            }
            ConfigOp::Subtract => {
                let mut entries = entries(def, inherited, "SUBTRACT")?;
                let taken: BTreeSet<&str> = list(value).into_iter().collect();
                entries.retain(|entry| !taken.contains(entry.as_str()));
                edited_list(present, name, &entries)
            }
        };
        if let Some(value) = &change.value {
            def.check(value)?;
        }
        if present.get(&change.name) != change.value.as_ref() {
            changes.push(change);
        }
    }
    Ok(changes)
}

/// The entries of a list as it holds now, set here or inherited.
fn entries(
    def: &ConfigDef,
    inherited: &ConfigLayers<'_>,
    op: &'static str,
) -> Result<Vec<String>, AdminError> {
    if def.kind != ConfigType::List {
        return Err(AdminError::NotAList { op, name: def.name.to_owned() });
    }
    let value = inherited.value(def).map(|set| set.value).unwrap_or_default();
    Ok(list(&value).into_iter().map(str::to_owned).collect())
}

/// A list made from the present one: void if that changes before.
fn edited_list(present: &ConfigMap, name: String, entries: &[String]) -> ConfigChange {
    let expected = Some(present.get(&name).cloned());
    ConfigChange { name, value: Some(entries.join(",")), expected }
}
