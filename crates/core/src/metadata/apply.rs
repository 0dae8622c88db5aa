//! What each command does to the image: deterministic, and checked here again, because the image that
//! it was decided on may be older than the one that it meets.

use std::collections::BTreeSet;
use std::sync::Arc;

use norn_protocol::topic::TopicName;
use norn_protocol::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicId};
use uuid::Uuid;

use super::broker::{Broker, Endpoint};
use super::command::{Command, ConfigChange, ConfigResource};
use super::config_def::ConfigMap;
use super::image::{Image, Topic};
use super::outcome::{Applied, Outcome, Refused};
use super::partition::{Partition, PartitionEpoch};
use super::size;

impl Image {
    /// Applies the command at `index`. A refused one changes nothing but the index.
    ///
    /// # Panics
    /// If the index does not rise: a command is applied once.
    pub fn apply(&mut self, index: u64, command: &Command) -> Outcome {
        self.pass_over(index);
        match command {
            Command::FormCluster { cluster_id, feature_level } => self.form(cluster_id, *feature_level),
            Command::RegisterBroker { node, incarnation, directories, endpoint, rack } => {
                self.register(index, *node, *incarnation, directories, endpoint, rack)
            }
            Command::SetFenced { node, broker_epoch, fenced } => {
                self.set_fenced(*node, *broker_epoch, *fenced)
            }
            Command::CreateTopic { name, id, assignments, configs } => {
                self.create_topic(name, *id, assignments, configs)
            }
            Command::DeleteTopic { id } => match self.topic(*id) {
                Some(_) => {
                    self.remove_topic(*id);
                    Ok(Applied::Done)
                }
                None => Err(Refused::UnknownTopic { id: *id }),
            },
            Command::CreatePartitions { id, first, assignments } => {
                self.create_partitions(*id, *first, assignments)
            }
            Command::SetConfigs { resource, changes } => self.set_configs(*resource, changes),
            Command::AllocateProducerIds { node, broker_epoch, count } => {
                self.allocate_producer_ids(*node, *broker_epoch, *count)
            }
            Command::AlterPartition { id, partition, leader_epoch, partition_epoch, isr } => {
                self.alter_partition(*id, *partition, *leader_epoch, *partition_epoch, isr)
            }
            Command::ResignLeadership { id, partition, node, broker_epoch, leader_epoch } => {
                self.resign(*id, *partition, *node, *broker_epoch, *leader_epoch)
            }
        }
    }

    fn form(&mut self, cluster_id: &str, feature_level: u16) -> Outcome {
        if self.cluster_id.is_none() {
            self.cluster_id = Some(cluster_id.to_owned());
            self.feature_level = feature_level;
        }
        Ok(Applied::ClusterFormed { cluster_id: self.cluster_id.clone().unwrap_or_default() })
    }

    fn register(
        &mut self,
        index: u64,
        node: NodeId,
        incarnation: Uuid,
        directories: &[Uuid],
        endpoint: &Endpoint,
        rack: &Option<String>,
    ) -> Outcome {
        let before = self.broker(node);
        if let Some(known) = before.filter(|known| known.incarnation == incarnation) {
            return Ok(Applied::BrokerRegistered { epoch: known.epoch });
        }
        // None of its directories is left: nothing is left of its replicas either (KIP-858).
        let wiped = before.is_some_and(|known| !known.directories.iter().any(|id| directories.contains(id)));
        let epoch = BrokerEpoch(i64::try_from(index).expect("an index has 63 bits"));
        let broker = Broker {
            node,
            epoch,
            incarnation,
            directories: directories.to_vec(),
            endpoint: endpoint.clone(),
            rack: rack.clone(),
            fenced: false,
        };
        let (size, before) = (size::broker(&broker), self.brokers.insert(node, Arc::new(broker)));
        self.resized(before.map_or(0, |before| size::broker(&before)), size);
        self.update_partitions(|image, partition| {
            let mut next = partition.clone();
            if wiped {
                next.isr.remove(&node);
            }
            let leaderless = next.leader.is_none() && next.isr.contains(&node);
            if next.leader == Some(node) || leaderless {
                Some(next.elect(|node| image.is_alive(node)))
            } else {
                (next.isr != partition.isr).then(|| partition.with_isr(next.isr))
            }
        });
        Ok(Applied::BrokerRegistered { epoch })
    }

    fn set_fenced(&mut self, node: NodeId, epoch: BrokerEpoch, fenced: bool) -> Outcome {
        if self.broker_in(node, epoch)?.fenced == fenced {
            return Ok(Applied::Done);
        }
        if let Some(broker) = self.brokers.get_mut(&node) {
            Arc::make_mut(broker).fenced = fenced;
        }
        self.update_partitions(|image, partition| {
            let alive = |node| image.is_alive(node);
            match (fenced, partition.leader) {
                (true, Some(leader)) if leader == node => Some(without(partition, node).elect(alive)),
                (true, _) if partition.isr.contains(&node) => {
                    let next = without(partition, node);
                    (next.isr != partition.isr).then(|| partition.with_isr(next.isr))
                }
                (false, None) if partition.isr.contains(&node) => Some(partition.elect(alive)),
                _ => None,
            }
        });
        Ok(Applied::Done)
    }

    fn create_topic(
        &mut self,
        name: &str,
        id: TopicId,
        assignments: &[Vec<NodeId>],
        configs: &[(String, String)],
    ) -> Outcome {
        if self.topic_by_name(name).is_some() || self.topic(id).is_some() {
            return Err(Refused::TopicExists { name: name.to_owned() });
        }
        if let Some(other) = self.colliding_topic(name) {
            return Err(Refused::TopicCollides { name: name.to_owned(), other: other.to_string() });
        }
        let partitions = self.new_partitions(assignments)?;
        let mut topic = Topic::new(TopicName::from(name), id, configs.iter().cloned().collect());
        topic.add_partitions(partitions);
        self.insert_topic(topic);
        Ok(Applied::Done)
    }

    fn create_partitions(
        &mut self,
        id: TopicId,
        first: PartitionIndex,
        assignments: &[Vec<NodeId>],
    ) -> Outcome {
        let current = self.topic(id).ok_or(Refused::UnknownTopic { id })?.partition_count();
        if first.0 != current {
            return Err(Refused::PartitionsMoved { current });
        }
        let partitions = self.new_partitions(assignments)?;
        self.add_partitions(id, partitions);
        Ok(Applied::Done)
    }

    fn new_partitions(&self, assignments: &[Vec<NodeId>]) -> Result<Vec<Arc<Partition>>, Refused> {
        if assignments.is_empty() {
            return Err(Refused::Assignment);
        }
        let create = |replicas: &Vec<NodeId>| {
            let distinct: BTreeSet<_> = replicas.iter().collect();
            let known = replicas.iter().all(|node| self.broker(*node).is_some());
            if replicas.is_empty() || distinct.len() < replicas.len() || !known {
                return Err(Refused::Assignment);
            }
            Ok(Arc::new(Partition::create(replicas.clone(), |node| self.is_alive(node))))
        };
        assignments.iter().map(create).collect()
    }

    fn set_configs(&mut self, resource: ConfigResource, changes: &[ConfigChange]) -> Outcome {
        let none = ConfigMap::new();
        let present = match resource {
            ConfigResource::Topic(id) => &self.topic(id).ok_or(Refused::UnknownTopic { id })?.configs,
            ConfigResource::Broker(node) => self.broker_configs(node).unwrap_or(&none),
            ConfigResource::ClusterDefault => &self.cluster_configs,
        };
        for change in changes {
            if change.expected.as_ref().is_some_and(|expected| expected.as_ref() != present.get(&change.name))
            {
                return Err(Refused::ConfigMoved { name: change.name.clone() });
            }
        }
        let mut next = present.clone();
        for change in changes {
            match &change.value {
                Some(value) => next.insert(change.name.clone(), value.clone()),
                None => next.remove(&change.name),
            };
        }
        let (before, after) = (size::configs(present), size::configs(&next));
        self.resized(before, after);
        match resource {
            ConfigResource::Topic(id) => {
                self.topic_mut(id).ok_or(Refused::UnknownTopic { id })?.configs = next;
            }
            ConfigResource::Broker(node) if next.is_empty() => _ = self.broker_configs.remove(&node),
            ConfigResource::Broker(node) => _ = self.broker_configs.insert(node, Arc::new(next)),
            ConfigResource::ClusterDefault => self.cluster_configs = Arc::new(next),
        }
        Ok(Applied::Done)
    }

    fn allocate_producer_ids(&mut self, node: NodeId, epoch: BrokerEpoch, count: i32) -> Outcome {
        self.broker_in(node, epoch)?;
        let first = self.next_producer_id;
        let next = first.0.checked_add(i64::from(count)).filter(|_| count > 0);
        self.next_producer_id = ProducerId(next.ok_or(Refused::ProducerIdsExhausted)?);
        Ok(Applied::ProducerIds { first, count })
    }

    fn alter_partition(
        &mut self,
        id: TopicId,
        index: PartitionIndex,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        isr: &[(NodeId, BrokerEpoch)],
    ) -> Outcome {
        let partition = self.partition(id, index)?;
        if partition.leader_epoch != leader_epoch {
            return Err(Refused::StaleLeaderEpoch { current: partition.leader_epoch });
        }
        if partition.partition_epoch != partition_epoch {
            return Err(Refused::StalePartitionEpoch { current: partition.partition_epoch });
        }
        let members: BTreeSet<_> = isr.iter().map(|(node, _)| *node).collect();
        let led = partition.leader.is_some_and(|leader| members.contains(&leader));
        if !led || members.iter().any(|node| !partition.replicas.contains(node)) {
            return Err(Refused::Isr);
        }
        for (node, epoch) in isr {
            if self.broker_in(*node, *epoch).map_or(true, |broker| broker.fenced) {
                return Err(Refused::IneligibleReplica { node: *node });
            }
        }
        let next = partition.with_isr(members);
        Ok(self.replace_partition(id, index, next))
    }

    fn resign(
        &mut self,
        id: TopicId,
        index: PartitionIndex,
        node: NodeId,
        broker_epoch: BrokerEpoch,
        leader_epoch: LeaderEpoch,
    ) -> Outcome {
        self.broker_in(node, broker_epoch)?;
        let partition = self.partition(id, index)?;
        if partition.leader_epoch != leader_epoch || partition.leader != Some(node) {
            return Err(Refused::StaleLeaderEpoch { current: partition.leader_epoch });
        }
        let next = without(partition, node).elect(|other| other != node && self.is_alive(other));
        Ok(self.replace_partition(id, index, next))
    }

    fn partition(&self, id: TopicId, index: PartitionIndex) -> Result<&Arc<Partition>, Refused> {
        let topic = self.topic(id).ok_or(Refused::UnknownTopic { id })?;
        topic.partition(index).ok_or(Refused::UnknownPartition { partition: index })
    }

    fn replace_partition(&mut self, id: TopicId, index: PartitionIndex, next: Partition) -> Applied {
        let changed = Applied::PartitionChanged {
            leader_epoch: next.leader_epoch,
            partition_epoch: next.partition_epoch,
        };
        let place = self.topic_mut(id).and_then(|topic| topic.partitions.get_mut(&index));
        *place.expect("it was looked up before") = Arc::new(next);
        changed
    }

    /// Replaces the partitions for which `change` says so; the topics of all others stay shared.
    fn update_partitions(&mut self, change: impl Fn(&Image, &Partition) -> Option<Partition>) {
        let mut changes = Vec::new();
        for topic in self.topics() {
            for (index, partition) in topic.partitions() {
                if let Some(next) = change(self, partition) {
                    changes.push((topic.id, index, next));
                }
            }
        }
        for (id, index, next) in changes {
            self.replace_partition(id, index, next);
        }
    }
}

/// The partition with `node` out of the ISR, unless it is the last in it: then only it has everything.
fn without(partition: &Partition, node: NodeId) -> Partition {
    let mut next = partition.clone();
    if next.isr.len() > 1 {
        next.isr.remove(&node);
    }
    next
}
