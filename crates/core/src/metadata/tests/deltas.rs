//! What differs between images, beside a comparison of everything.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const TOPICS: u128 = 60;

/// What happens to one of many topics, or to the settings of a broker.
fn command() -> impl Strategy<Value = Command> {
    let topic = || (1..TOPICS + 20).prop_map(id);
    let set =
        |name: &str| ConfigChange { name: name.to_owned(), value: Some("x".to_owned()), expected: None };
    prop_oneof![
        4 => (topic(), 1..40_usize).prop_map(|(id, partitions)| create(id, partitions)),
        4 => topic().prop_map(|id| Command::DeleteTopic { id }),
        4 => (topic(), 1..20_usize).prop_map(|(id, added)| Command::CreatePartitions {
            id,
            // Put right when it is applied.
            first: PartitionIndex(0),
            assignments: vec![vec![NodeId(1), NodeId(2)]; added],
        }),
        2 => topic().prop_map(move |id| Command::SetConfigs {
            resource: ConfigResource::Topic(id),
            changes: vec![set("retention.ms")],
        }),
        1 => prop_oneof![Just(ConfigResource::ClusterDefault), Just(ConfigResource::Broker(NodeId(2)))]
            .prop_map(move |resource| Command::SetConfigs { resource, changes: vec![set("log.retention.ms")] }),
        1 => (1..3_i32, 0..2_u128).prop_map(|(node, incarnation)| register(node, incarnation)),
    ]
}

/// A topic whose name is its id's, so that one of them comes again.
fn create(id: TopicId, partitions: usize) -> Command {
    let assignments = vec![vec![NodeId(1), NodeId(2)]; partitions];
    Command::CreateTopic { name: id.0.to_string(), id, assignments, configs: vec![] }
}

fn compared(old: &Image, new: &Image) -> ImageDelta {
    let gone = |topic: &&Arc<Topic>| new.topic(topic.id).is_none();
    let changed = new.topics().filter(|topic| old.topic(topic.id) != Some(topic)).map(|topic| {
        let before = old.topic(topic.id);
        let is_new =
            |index: &PartitionIndex| before.and_then(|b| b.partition(*index)) != topic.partition(*index);
        TopicDelta {
            topic: topic.clone(),
            partitions: topic.partitions().map(|(index, _)| index).filter(is_new).collect(),
            configs: before.is_some_and(|before| before.configs != topic.configs),
        }
    });
    let nodes = || (1..3).map(NodeId);
    ImageDelta {
        deleted: old.topics().filter(gone).cloned().collect(),
        changed: changed.collect(),
        brokers: nodes().filter(|node| old.broker(*node) != new.broker(*node)).collect(),
        broker_configs: nodes()
            .filter(|node| old.broker_configs(*node) != new.broker_configs(*node))
            .collect(),
        cluster_configs: old.cluster_configs() != new.cluster_configs(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_delta_tells_all_that_differs_and_nothing_else(
        commands in prop::collection::vec(command(), 0..60),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let mut cluster = Cluster::of(2);
        for topic in 1..TOPICS {
            cluster.apply(create(id(topic), (topic % 37) as usize + 1)).unwrap();
        }
        let mut images = vec![Image::default(), cluster.state.image().clone()];
        for mut command in commands {
            if let Command::CreatePartitions { id, first, .. } = &mut command {
                first.0 = cluster.state.image().topic(*id).map_or(0, |topic| topic.partition_count());
            }
            let _ = cluster.apply(command);
            images.push(cluster.state.image().clone());
        }
        let (old, new) = (&images[from.index(images.len())], &images[to.index(images.len())]);
        prop_assert_eq!(ImageDelta::between(old, new), compared(old, new));
        // As after a snapshot that was installed: nothing is shared.
        let restored = State::restore(cluster.state.snapshot(1 << 20)).unwrap();
        prop_assert_eq!(ImageDelta::between(restored.image(), cluster.state.image()), ImageDelta::default());
        prop_assert_eq!(ImageDelta::between(old, restored.image()), compared(old, cluster.state.image()));
    }
}
