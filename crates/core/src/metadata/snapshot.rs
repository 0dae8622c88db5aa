//! The state as a snapshot: a sequence of chunks of bounded size, each with version and CRC-32C.
//!
//! A chunk holds whole items: a broker, a topic, some of its partitions, one setting. Items are taken from the immutable
//! image when their chunk is asked for, so that a snapshot of any size needs the memory of one chunk. The last item counts
//! all others, so that a snapshot without its end is refused.

use std::sync::Arc;

use bytes::Bytes;
use norn_protocol::topic::TopicName;
use norn_protocol::types::{NodeId, PartitionIndex, ProducerId, TopicId};

use super::broker::Broker;
use super::command::ConfigResource;
use super::config_def::ConfigMap;
use super::image::{Image, Topic};
use super::partition::Partition;
use super::request_window::RequestWindow;
use super::state::{RestoreError, State};
use crate::codec::{sealed_body, take_all, wire_variants, DecodeError, Wire};

/// The whole state in one piece. It is read, and not written any more.
const WHOLE: u16 = 1;
/// The version of the chunks' encoding.
const VERSION: u16 = 2;

/// Partitions in one item.
const PARTITIONS_PER_ITEM: usize = 512;

/// One part of the state.
#[derive(Debug)]
enum Item {
    Head {
        applied: u64,
        cluster_id: Option<String>,
        feature_level: u16,
        next_producer_id: ProducerId,
    },
    Broker {
        broker: Broker,
    },
    Topic {
        name: TopicName,
        id: TopicId,
    },
    /// Partitions of a topic, the first of them numbered `first`.
    Partitions {
        id: TopicId,
        first: u32,
        partitions: Vec<Arc<Partition>>,
    },
    Config {
        resource: ConfigResource,
        name: String,
        value: String,
    },
    Requests {
        node: NodeId,
        window: RequestWindow,
    },
    /// The number of items before this one.
    End {
        items: u64,
    },
}

wire_variants! { Item, "item of a snapshot":
    0 => Head { applied, cluster_id, feature_level, next_producer_id }
    1 => Broker { broker }
    2 => Topic { name, id }
    3 => Partitions { id, first, partitions }
    4 => Config { resource, name, value }
    5 => Requests { node, window }
    6 => End { items }
}

/// The chunks of a state, made one by one.
pub struct Chunks {
    items: Box<dyn Iterator<Item = Item> + Send>,
    chunk_bytes: usize,
    count: u64,
    ended: bool,
}

impl State {
    /// The state as chunks of about `chunk_bytes`; an item that is longer makes a longer one. Cheap to take: the parts of
    /// the image are shared.
    pub fn snapshot(&self, chunk_bytes: usize) -> Chunks {
        let state = self.clone();
        // Lists of what there is are made when the first chunk is asked for.
        let items = std::iter::once_with(move || items(state)).flatten();
        Chunks { items: Box::new(items), chunk_bytes, count: 0, ended: false }
    }

    /// The state that the chunks of a snapshot hold.
    pub fn restore(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<State, RestoreError> {
        let mut restore = Restore::default();
        for chunk in chunks {
            restore.chunk(chunk.as_ref())?;
        }
        restore.finish()
    }
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = vec![];
        VERSION.put(&mut out);
        loop {
            let item = self.items.next().unwrap_or(Item::End { items: self.count });
            self.ended = matches!(item, Item::End { .. });
            self.count += 1;
            item.put(&mut out);
            if self.ended || out.len() >= self.chunk_bytes {
                break;
            }
        }
        crc32c::crc32c(&out).put(&mut out);
        Some(out.into())
    }
}

/// All of the state but the end, in the order in which [`Restore`] needs it.
fn items(state: State) -> impl Iterator<Item = Item> + Send {
    let (image, requests) = state.into_parts();
    let Image { applied, feature_level, next_producer_id, .. } = image;
    let head = Item::Head { applied, cluster_id: image.cluster_id.clone(), feature_level, next_producer_id };
    let brokers: Vec<Broker> = image.brokers().cloned().collect();
    let topics: Vec<Arc<Topic>> = image.topics().cloned().collect();
    let of_brokers: Vec<(NodeId, Arc<ConfigMap>)> =
        image.broker_configs.iter().map(|(node, configs)| (*node, configs.clone())).collect();
    let of_cluster = image.cluster_configs.clone();
    std::iter::once(head)
        .chain(brokers.into_iter().map(|broker| Item::Broker { broker }))
        .chain(topics.into_iter().flat_map(of_topic))
        .chain(
            of_brokers
                .into_iter()
                .flat_map(|(node, configs)| settings(ConfigResource::Broker(node), configs)),
        )
        .chain(settings(ConfigResource::ClusterDefault, of_cluster))
        .chain(requests.into_iter().map(|(node, window)| Item::Requests { node, window }))
}

fn of_topic(topic: Arc<Topic>) -> impl Iterator<Item = Item> + Send {
    let (id, shared) = (topic.id, topic.clone());
    let head = Item::Topic { name: topic.name.clone(), id };
    let partitions = (0..topic.partition_count()).step_by(PARTITIONS_PER_ITEM).map(move |first| {
        let some = topic.partitions_from(PartitionIndex(first)).take(PARTITIONS_PER_ITEM);
        let partitions = some.map(|(_, partition)| partition.clone()).collect();
        Item::Partitions { id, first: first as u32, partitions }
    });
    let names: Vec<String> = shared.configs.keys().cloned().collect();
    let configs = names.into_iter().filter_map(move |name| {
        let value = shared.configs.get(&name)?.clone();
        Some(Item::Config { resource: ConfigResource::Topic(id), name, value })
    });
    std::iter::once(head).chain(partitions).chain(configs)
}

/// The settings in a shared map, one copied at a time.
fn settings(resource: ConfigResource, configs: Arc<ConfigMap>) -> impl Iterator<Item = Item> + Send {
    let names: Vec<String> = configs.keys().cloned().collect();
    names.into_iter().filter_map(move |name| {
        let value = configs.get(&name)?.clone();
        Some(Item::Config { resource, name, value })
    })
}

/// Makes a state from the chunks of a snapshot.
#[derive(Debug, Default)]
pub struct Restore {
    state: State,
    items: u64,
    ended: bool,
}

impl Restore {
    /// Takes the next chunk.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        let (version, mut body) = sealed_body(chunk)?;
        match version {
            _ if self.ended => Err(DecodeError::Inconsistent("a chunk after the end"))?,
            WHOLE if self.items == 0 => {
                self.state = take_all(body)?;
                self.ended = true;
            }
            VERSION => {
                while !body.is_empty() {
                    let item = Item::take(&mut body)?;
                    self.item(item)?;
                }
            }
            found => Err(DecodeError::UnknownVersion { found, newest: VERSION })?,
        }
        Ok(())
    }

    fn item(&mut self, item: Item) -> Result<(), DecodeError> {
        if self.ended {
            return Err(DecodeError::Inconsistent("an item after the end"));
        }
        let (image, requests) = self.state.parts_mut();
        match item {
            Item::Head { applied, cluster_id, feature_level, next_producer_id } => {
                (image.applied, image.cluster_id) = (applied, cluster_id);
                (image.feature_level, image.next_producer_id) = (feature_level, next_producer_id);
            }
            Item::Broker { broker } => _ = image.brokers.insert(broker.node, Arc::new(broker)),
            Item::Topic { name, id } => image.insert_restored(Topic::new(name, id, ConfigMap::new()))?,
            Item::Partitions { id, first, partitions } => {
                let topic = image.topic_mut(id).filter(|topic| topic.partitions.len() == first as usize);
                let topic = topic.ok_or(DecodeError::Inconsistent("partitions out of their place"))?;
                topic.add_partitions(partitions);
            }
            Item::Config { resource, name, value } => {
                let configs = match resource {
                    ConfigResource::Topic(id) => {
                        let topic = image.topic_mut(id);
                        &mut topic.ok_or(DecodeError::Inconsistent("a setting of no topic"))?.configs
                    }
                    ConfigResource::Broker(node) => {
                        Arc::make_mut(image.broker_configs.entry(node).or_default())
                    }
                    ConfigResource::ClusterDefault => Arc::make_mut(&mut image.cluster_configs),
                };
                configs.insert(name, value);
            }
            Item::Requests { node, window } => _ = requests.insert(node, window),
            Item::End { items } if items == self.items => self.ended = true,
            Item::End { .. } => return Err(DecodeError::Inconsistent("items are missing")),
        }
        self.items += 1;
        Ok(())
    }

    /// The state, if all chunks were taken.
    pub fn finish(mut self) -> Result<State, RestoreError> {
        if !self.ended {
            Err(DecodeError::Inconsistent("the end is missing"))?;
        }
        self.state.parts_mut().0.recount();
        Ok(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::{Command, ConfigChange};
    use super::super::Endpoint;
    use super::*;
    use crate::codec::seal;

    /// A state with everything in it, and settings of `value_bytes`.
    fn state(topics: u64, partitions: usize, value_bytes: usize) -> State {
        let node = NodeId(1);
        let endpoint = Endpoint { host: "localhost".to_owned(), port: 9092 };
        let directories = vec![];
        let incarnation = uuid::Uuid::nil();
        let mut commands = vec![
            Command::FormCluster { cluster_id: "c".to_owned(), feature_level: 1 },
            Command::RegisterBroker { node, incarnation, directories, endpoint, rack: None },
        ];
        for n in 0..topics {
            let id = TopicId(uuid::Uuid::from_u128(u128::from(n) + 1));
            let configs = vec![("retention.ms".to_owned(), "7".repeat(value_bytes))];
            let assignments = vec![vec![node]; partitions];
            commands.push(Command::CreateTopic { name: format!("t{n}"), id, assignments, configs });
        }
        for resource in [ConfigResource::Broker(node), ConfigResource::ClusterDefault] {
            let value = Some("8".repeat(value_bytes));
            let changes = vec![ConfigChange { name: "log.retention.ms".to_owned(), value, expected: None }];
            commands.push(Command::SetConfigs { resource, changes });
        }
        let mut state = State::new();
        for (index, command) in commands.into_iter().enumerate() {
            state.apply(1 + index as u64, &command.into()).unwrap();
        }
        state
    }

    #[test]
    fn chunks_of_any_size_hold_the_state_and_are_no_longer_than_their_items_make_them() {
        let state = state(7, 1_300, 40);
        let whole = state.snapshot(usize::MAX).next().unwrap().len();
        for chunk_bytes in [1, 100, 5_000, 1 << 20] {
            let chunks: Vec<Bytes> = state.snapshot(chunk_bytes).collect();
            assert!(chunks.len() >= whole / (chunk_bytes + PARTITIONS_PER_ITEM * 40), "{}", chunks.len());
            let longest = chunks.iter().map(Bytes::len).max().unwrap();
            assert!(longest < chunk_bytes.saturating_add(PARTITIONS_PER_ITEM * 40), "{longest}");
            assert_eq!(State::restore(chunks).unwrap(), state);
        }
    }

    #[test]
    fn a_state_in_one_piece_of_the_first_version_is_read() {
        let state = state(3, 5, 10);
        assert_eq!(State::restore([seal(WHOLE, &state)]).unwrap(), state);
    }

    #[test]
    fn a_snapshot_that_lacks_a_chunk_or_has_one_too_many_is_refused() {
        let state = state(3, 5, 10);
        let chunks: Vec<Bytes> = state.snapshot(64).collect();
        for missing in 0..chunks.len() {
            let mut some = chunks.clone();
            some.remove(missing);
            assert!(State::restore(some).is_err(), "without chunk {missing}");
        }
        let mut more = chunks.clone();
        more.push(chunks[1].clone());
        assert!(State::restore(more).is_err());
        assert!(State::restore([[0, 3, 0, 0, 0, 0]]).is_err());
    }
}
