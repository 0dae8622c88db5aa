//! Random commands on a few brokers and topics: whatever comes, the image keeps its invariants, and
//! every node comes to the same one.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::outcome;
use super::*;

fn node() -> impl Strategy<Value = i32> {
    1..4_i32
}

fn topic() -> impl Strategy<Value = u128> {
    1..4_u128
}

fn replicas() -> impl Strategy<Value = Vec<NodeId>> {
    prop_oneof![
        9 => Just(vec![1, 2, 3]).prop_shuffle().prop_flat_map(|nodes| (1..4_usize)
            .prop_map(move |factor| nodes[..factor].iter().copied().map(NodeId).collect())),
        1 => prop::collection::vec(node().prop_map(NodeId), 0..3),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    // Epochs near zero are the ones that are met: few commands are applied.
    let epoch = 0..12_i64;
    let assignments = || prop::collection::vec(replicas(), 0..3);
    let name = prop_oneof![Just("a.b"), Just("a_b"), Just("c")].prop_map(str::to_owned);
    let text = || prop_oneof![Just("x"), Just("y"), Just("")].prop_map(str::to_owned);
    let resource = prop_oneof![
        topic().prop_map(|topic| ConfigResource::Topic(id(topic))),
        node().prop_map(|node| ConfigResource::Broker(NodeId(node))),
        Just(ConfigResource::ClusterDefault),
    ];
    let change = (text(), prop::option::of(text()), prop::option::of(prop::option::of(text())))
        .prop_map(|(name, value, expected)| ConfigChange { name, value, expected });
    prop_oneof![
        1 => text().prop_map(|cluster_id| Command::FormCluster { cluster_id, feature_level: 1 }),
        4 => (node(), 0..3_u128, 0..2_u128)
            .prop_map(|(node, incarnation, directory)| register_with(node, incarnation, &[directory])),
        3 => (node(), epoch.clone(), any::<bool>())
            .prop_map(|(node, epoch, fenced)| fence(node, epoch, fenced)),
        6 => (name, topic(), assignments(), prop::collection::vec((text(), text()), 0..2))
            .prop_map(|(name, topic, assignments, configs)| {
                Command::CreateTopic { name, id: id(topic), assignments, configs }
            }),
        1 => topic().prop_map(|topic| Command::DeleteTopic { id: id(topic) }),
        2 => (topic(), 0..4, assignments()).prop_map(|(topic, first, assignments)| Command::CreatePartitions {
            id: id(topic),
            first: PartitionIndex(first),
            assignments,
        }),
        2 => (resource, prop::collection::vec(change, 0..3))
            .prop_map(|(resource, changes)| Command::SetConfigs { resource, changes }),
        2 => (node(), epoch.clone(), -1..3).prop_map(|(node, epoch, count)| allocate(node, epoch, count)),
        6 => (topic(), 0..4, 0..4, prop::collection::vec((node(), epoch.clone()), 0..4))
            .prop_map(|(topic, leader, partition, isr)| alter(topic, leader, partition, &isr)),
        3 => (topic(), node(), epoch, 0..4)
            .prop_map(|(topic, node, epoch, leader_epoch)| resign(topic, node, epoch, leader_epoch)),
    ]
}

pub(super) fn proposal() -> impl Strategy<Value = Proposal> {
    let named = prop::option::of((node(), 0..12_i64, 0..4_u64));
    (named, command()).prop_map(|(named, command)| Proposal {
        request: named.and_then(|(node, epoch, counter)| request(node, epoch, counter)),
        command,
    })
}

/// Epochs that a client of the image cannot know are aimed at what is there, so that commands meet
/// more than refusals.
fn aim(image: &Image, command: &mut Command) {
    let epoch_of = |node: &NodeId| image.broker(*node).map_or(BrokerEpoch(0), |broker| broker.epoch);
    let partition_of =
        |topic: &_| image.topic(*topic).and_then(|topic| topic.partition(PartitionIndex(0)).cloned());
    match command {
        Command::SetFenced { node, broker_epoch, .. }
        | Command::AllocateProducerIds { node, broker_epoch, .. } => *broker_epoch = epoch_of(node),
        Command::ResignLeadership { id, node, broker_epoch, leader_epoch, .. } => {
            if let Some(partition) = partition_of(id) {
                *leader_epoch = partition.leader_epoch;
                *node = partition.leader.unwrap_or(*node);
            }
            *broker_epoch = epoch_of(node);
        }
        Command::AlterPartition { id, leader_epoch, partition_epoch, isr, .. } => {
            if let Some(partition) = partition_of(id) {
                *leader_epoch = partition.leader_epoch;
                *partition_epoch = partition.partition_epoch;
                isr.extend(partition.leader.map(|leader| (leader, BrokerEpoch(0))));
            }
            isr.iter_mut().for_each(|(node, epoch)| *epoch = epoch_of(node));
        }
        _ => {}
    }
}

fn check_invariants(before: &Image, after: &Image) {
    for topic in after.topics() {
        assert_eq!(after.topic_by_name(&topic.name).map(|found| found.id), Some(topic.id));
        for (index, partition) in topic.partitions() {
            let replicas: BTreeSet<_> = partition.replicas.iter().copied().collect();
            assert!(partition.isr.is_subset(&replicas), "the ISR is a subset of the replicas");
            if let Some(leader) = partition.leader {
                assert!(partition.isr.contains(&leader), "the leader is in sync");
                assert!(after.is_alive(leader), "the leader is alive");
            } else {
                assert!(
                    !partition.isr.iter().any(|node| after.is_alive(*node)) || partition.leader_epoch.0 > 0
                );
            }
            let Some(old) = before.topic(topic.id).and_then(|topic| topic.partition(index)) else {
                continue;
            };
            assert!(partition.leader_epoch >= old.leader_epoch, "epochs never fall");
            if partition != old {
                assert!(
                    partition.partition_epoch > old.partition_epoch,
                    "a change raises the partition epoch"
                );
            }
            if partition.leader != old.leader {
                assert!(partition.leader_epoch > old.leader_epoch, "a new leader leads in a new epoch");
            }
            let incarnation =
                |image: &Image| partition.leader.and_then(|node| image.broker(node)).map(|b| b.epoch);
            if partition.leader == old.leader && incarnation(before) != incarnation(after) {
                assert!(partition.leader_epoch > old.leader_epoch, "a new incarnation leads in a new epoch");
            }
        }
    }
    assert!(after.next_producer_id() >= before.next_producer_id());
    assert_eq!(after.topics_by_name().count(), after.topics().count());
    for node in (1..4).map(NodeId) {
        let partitions = after.topics().flat_map(|topic| topic.partitions());
        let here: Vec<_> = partitions.filter(|(_, partition)| partition.replicas.contains(&node)).collect();
        let preferred = here.iter().filter(|(_, partition)| partition.replicas[0] == node).count();
        assert_eq!(after.replicas_on(node), ReplicaCount { all: here.len(), preferred });
    }
}

proptest! {
    #[test]
    fn every_node_comes_to_the_same_image_and_it_stays_whole(
        proposals in prop::collection::vec(
            (proposal(), prop::bool::weighted(0.8), prop::bool::weighted(0.1)),
            0..60,
        ),
    ) {
        let mut cluster = Cluster::of(3);
        let mut follower = State::restore(cluster.state.snapshot(64)).unwrap();
        for (mut proposal, aimed, restart) in proposals {
            if aimed {
                aim(cluster.state.image(), &mut proposal.command);
            }
            let before = cluster.state.image().clone();
            let outcome = cluster.propose(proposal.clone());
            let sent = Proposal::decode(&proposal.encode()).unwrap();
            prop_assert_eq!(&follower.apply(cluster.index, &sent), &outcome);
            prop_assert_eq!(outcome::decode(&outcome::encode(&outcome)), Ok(outcome.clone()));
            let image = cluster.state.image();
            check_invariants(&before, image);
            if outcome.is_err() {
                let mut same = before.clone();
                same.pass_over(cluster.index);
                prop_assert_eq!(&same, image, "a refused command changes nothing");
            }
            if restart {
                follower = State::restore(follower.snapshot(200)).unwrap();
            }
            prop_assert_eq!(&follower, &cluster.state);
            prop_assert!(follower.snapshot(usize::MAX).eq(cluster.state.snapshot(usize::MAX)));
            let mut recounted = image.clone();
            recounted.recount();
            prop_assert_eq!(image, &recounted);
        }
    }

    #[test]
    fn a_damaged_snapshot_is_refused(
        commands in prop::collection::vec(command(), 0..20),
        bit in any::<usize>(),
    ) {
        let mut cluster = Cluster::of(3);
        for command in commands {
            let _ = cluster.apply(command);
        }
        let mut bytes = cluster.state.snapshot(usize::MAX).next().unwrap().to_vec();
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(State::restore([&bytes]).is_err());
    }
}
