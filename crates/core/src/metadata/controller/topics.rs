//! Creating, growing and deleting topics.

use std::collections::{BTreeMap, BTreeSet};

use norn_protocol::topic;
use norn_protocol::types::{NodeId, PartitionIndex, TopicId};

use super::super::command::Command;
use super::super::config_def::ConfigMap;
use super::super::config_layers::ConfigLayers;
use super::super::image::Image;
use super::super::outcome::Refused;
use super::super::sync_intervals;
use super::super::topic_config::TopicConfig;
use super::super::topic_config_table::TOPIC_CONFIGS;
use super::bounds;
use super::error::AdminError;
use super::placement::Placement;

/// The most partitions that one request may add, to all topics (Kafka's `MAX_PARTITIONS_PER_BATCH`).
pub const PARTITIONS_MAX: usize = 10_000;

/// What a request leaves to the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// `num.partitions`
    pub partitions: i32,
    /// `default.replication.factor`
    pub replication_factor: i16,
    /// What brokers set; the topic's layer does not matter.
    pub layers: ConfigLayers<'a>,
}

/// A topic that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct CreateTopic<'a> {
    pub name: &'a str,
    /// -1 for the default, or with assignments.
    pub partitions: i32,
    /// -1 for the default, or with assignments.
    pub replication_factor: i16,
    /// Replicas by hand; empty to have them placed.
    pub assignments: &'a [(PartitionIndex, Vec<NodeId>)],
    pub configs: &'a [(String, Option<String>)],
}

/// Partitions that are asked for.
#[derive(Clone, Copy, Debug)]
pub struct CreatePartitions<'a> {
    pub name: &'a str,
    /// How many there shall be.
    pub total: i32,
    /// Replicas of the new ones by hand, in order; `None` to have them placed.
    pub assignments: Option<&'a [Vec<NodeId>]>,
}

/// The name under which Kafka's tools know the cluster's metadata.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The command that creates a topic under the `id` that the caller drew.
pub fn create_topic(
    image: &Image,
    placement: &mut Placement,
    defaults: &Defaults<'_>,
    asked: &CreateTopic<'_>,
    id: TopicId,
) -> Result<Command, AdminError> {
    let name = asked.name.to_owned();
    topic::validate(asked.name)?;
    if asked.name == METADATA_TOPIC {
        return Err(AdminError::Prohibited(METADATA_TOPIC));
    }
    if image.topic_by_name(asked.name).is_some() {
        return Err(Refused::TopicExists { name }.into());
    }
    if let Some(other) = image.colliding_topic(asked.name) {
        return Err(Refused::TopicCollides { name, other: other.to_string() }.into());
    }
    let configs = new_configs(asked.configs, &defaults.layers)?;
    let assignments = if asked.assignments.is_empty() {
        let partitions = match asked.partitions {
            -1 => defaults.partitions,
            count => count,
        };
        let factor = match asked.replication_factor {
            -1 => defaults.replication_factor,
            factor => factor,
        };
        let partitions = usize::try_from(partitions).unwrap_or(0);
        let factor = usize::try_from(factor).unwrap_or(0);
        match (partitions, factor) {
            (0, _) => return Err(AdminError::NoPartitions),
            (_, 0) => return Err(AdminError::NoReplicas),
            _ => {}
        }
        bounded(placement, partitions)?;
        placement.assign(partitions, factor)?
    } else {
        bounded(placement, asked.assignments.len())?;
        let assignments = by_hand(image, asked)?;
        assignments.iter().for_each(|replicas| placement.count(replicas));
        assignments
    };
    bounds::bounded(image, Command::CreateTopic { name, id, assignments, configs })
}

fn bounded(placement: &Placement, partitions: usize) -> Result<(), AdminError> {
    let asked = placement.placed().saturating_add(partitions);
    if asked > PARTITIONS_MAX {
        return Err(AdminError::TooManyPartitions { asked });
    }
    Ok(())
}

fn new_configs(
    asked: &[(String, Option<String>)],
    layers: &ConfigLayers<'_>,
) -> Result<Vec<(String, String)>, AdminError> {
    let mut configs = ConfigMap::new();
    for (name, value) in asked {
        let def = TOPIC_CONFIGS.get(name)?;
        let Some(value) = value else {
            return Err(AdminError::NullConfig { name: name.clone() });
        };
        def.check(value)?;
        configs.insert(name.clone(), def.canonical(value));
    }
    let with_them = ConfigLayers { topic: &configs, ..*layers };
    TopicConfig::resolve(&with_them)?;
    sync_intervals::check_change(&ConfigLayers { topic: &ConfigMap::new(), ..*layers }, &with_them)?;
    Ok(configs.into_iter().collect())
}

/// An assignment by hand, in the order of partitions.
fn by_hand(image: &Image, asked: &CreateTopic<'_>) -> Result<Vec<Vec<NodeId>>, AdminError> {
    if asked.replication_factor != -1 {
        return Err(AdminError::CountBesideAssignment { field: "replicationFactor" });
    }
    if asked.partitions != -1 {
        return Err(AdminError::CountBesideAssignment { field: "numPartitions" });
    }
    let by_index: BTreeMap<_, _> = asked.assignments.iter().map(|(index, nodes)| (*index, nodes)).collect();
    let consecutive = by_index.keys().zip(0..).all(|(index, expected)| index.0 == expected);
    if by_index.len() < asked.assignments.len() || !consecutive {
        return Err(AdminError::PartitionsNotConsecutive);
    }
    let assignments: Vec<_> = by_index.into_values().cloned().collect();
    let factor = assignments.first().map_or(0, Vec::len);
    check_replicas(image, &assignments, 0, factor)?;
    Ok(assignments)
}

/// Checks assignments by hand of partitions from `first` on.
fn check_replicas(
    image: &Image,
    assignments: &[Vec<NodeId>],
    first: usize,
    factor: usize,
) -> Result<(), AdminError> {
    for (index, replicas) in assignments.iter().enumerate() {
        if replicas.is_empty() {
            let partition = PartitionIndex((first + index) as i32);
            return Err(AdminError::EmptyAssignment { partition });
        }
        if replicas.len() != factor {
            return Err(AdminError::UnevenAssignment { found: replicas.len(), expected: factor });
        }
        let mut seen = BTreeSet::new();
        for node in replicas {
            if !seen.insert(node) {
                return Err(AdminError::DuplicateReplica { node: *node });
            }
            if image.broker(*node).is_none() {
                return Err(AdminError::UnknownReplica { node: *node });
            }
        }
    }
    Ok(())
}

/// The command that adds partitions to a topic.
pub fn create_partitions(
    image: &Image,
    placement: &mut Placement,
    asked: &CreatePartitions<'_>,
) -> Result<Command, AdminError> {
    let topic = image.topic_by_name(asked.name).ok_or(AdminError::UnknownTopic)?;
    let first = PartitionIndex(topic.partition_count());
    let current = first.0 as usize;
    let total = usize::try_from(asked.total).unwrap_or(0);
    let added = total
        .checked_sub(current)
        .filter(|added| *added > 0)
        .ok_or_else(|| AdminError::NoIncrease { name: asked.name.to_owned(), current, asked: asked.total })?;
    bounded(placement, added)?;
    let factor = topic.replication_factor();
    let assignments = match asked.assignments {
        Some(assigned) if assigned.len() != added => {
            return Err(AdminError::AssignmentCount { added, assigned: assigned.len() });
        }
        Some(assigned) => {
            check_replicas(image, assigned, current, factor)?;
            assigned.iter().for_each(|replicas| placement.count(replicas));
            assigned.to_vec()
        }
        None => placement.assign(added, factor)?,
    };
    bounds::bounded(image, Command::CreatePartitions { id: topic.id, first, assignments })
}

/// The command that deletes a topic.
pub fn delete_topic(image: &Image, id: TopicId) -> Result<Command, AdminError> {
    match image.topic(id) {
        Some(_) => Ok(Command::DeleteTopic { id }),
        None => Err(Refused::UnknownTopic { id }.into()),
    }
}
