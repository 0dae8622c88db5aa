//! One rule each.

use norn_protocol::types::ProducerId;

use super::*;

#[test]
fn a_restarted_broker_never_leads_in_an_epoch_of_its_former_life() {
    let mut cluster = Cluster::of(2);
    cluster.apply(create("alone", 1, &[&[1]])).unwrap();
    cluster.apply(create("other", 2, &[&[2]])).unwrap();
    assert_eq!(cluster.led(1), (Some(1), 0, 0, vec![1]));
    let epoch = BrokerEpoch(5);
    assert_eq!(cluster.apply(register(1, 77)), Ok(Applied::BrokerRegistered { epoch }));
    assert_eq!(cluster.led(1), (Some(1), 1, 1, vec![1]));
    assert_eq!(cluster.led(2), (Some(2), 0, 0, vec![2]), "others are not touched");
}

#[test]
fn a_registration_that_is_sent_again_changes_nothing() {
    let mut cluster = Cluster::of(1);
    cluster.apply(create("alone", 1, &[&[1]])).unwrap();
    let epoch = BrokerEpoch(1);
    assert_eq!(cluster.apply(register(1, 1)), Ok(Applied::BrokerRegistered { epoch }));
    assert_eq!(cluster.led(1), (Some(1), 0, 0, vec![1]));
}

#[test]
fn a_wiped_broker_is_in_sync_nowhere() {
    let mut cluster = Cluster::of(2);
    cluster.apply(create("both", 1, &[&[1, 2]])).unwrap();
    cluster.apply(create("alone", 2, &[&[1]])).unwrap();
    cluster.apply(register_with(1, 7, &[999])).unwrap();
    assert_eq!(cluster.led(1), (Some(2), 1, 1, vec![2]));
    assert_eq!(cluster.led(2), (None, 1, 1, vec![]), "what only it had is gone");
}

#[test]
fn one_directory_of_several_may_be_replaced() {
    let mut cluster = Cluster::default();
    cluster.apply(register_with(1, 1, &[10, 11])).unwrap();
    cluster.apply(create("alone", 1, &[&[1]])).unwrap();
    cluster.apply(register_with(1, 2, &[10, 12])).unwrap();
    assert_eq!(cluster.led(1), (Some(1), 1, 1, vec![1]));
}

#[test]
fn a_leader_that_resigns_is_followed_by_one_in_sync_or_by_none() {
    let mut cluster = Cluster::of(2);
    cluster.apply(create("both", 1, &[&[1, 2]])).unwrap();
    cluster.apply(create("alone", 2, &[&[1]])).unwrap();
    cluster.apply(resign(1, 1, 1, 0)).unwrap();
    assert_eq!(cluster.led(1), (Some(2), 1, 1, vec![2]));
    cluster.apply(resign(2, 1, 1, 0)).unwrap();
    assert_eq!(cluster.led(2), (None, 1, 1, vec![1]));
    let stale = Refused::StaleLeaderEpoch { current: LeaderEpoch(1) };
    assert_eq!(cluster.apply(resign(2, 1, 1, 0)), Err(stale), "once is enough");
    cluster.apply(register(1, 7)).unwrap();
    assert_eq!(cluster.led(2), (Some(1), 2, 2, vec![1]), "its next life leads again");
}

#[test]
fn a_fenced_broker_leads_nothing() {
    let mut cluster = Cluster::of(2);
    cluster.apply(create("both", 1, &[&[1, 2]])).unwrap();
    cluster.apply(create("alone", 2, &[&[1]])).unwrap();
    cluster.apply(fence(1, 1, true)).unwrap();
    assert_eq!(cluster.led(1), (Some(2), 1, 1, vec![2]));
    assert_eq!(cluster.led(2), (None, 1, 1, vec![1]), "the last in sync stays in sync");
    cluster.apply(create("later", 3, &[&[1, 2]])).unwrap();
    assert_eq!(cluster.led(3), (Some(2), 0, 0, vec![2]));
    cluster.apply(fence(1, 1, false)).unwrap();
    assert_eq!(cluster.led(1), (Some(2), 1, 1, vec![2]));
    assert_eq!(cluster.led(2), (Some(1), 2, 2, vec![1]));
}

#[test]
fn an_isr_changes_only_as_its_leader_last_knew_it() {
    let mut cluster = Cluster::of(3);
    cluster.apply(create("t", 1, &[&[1, 2, 3]])).unwrap();
    cluster.apply(alter(1, 0, 0, &[(1, 1), (2, 2)])).unwrap();
    assert_eq!(cluster.led(1), (Some(1), 0, 1, vec![1, 2]));
    let refusals = [
        (alter(1, 0, 0, &[(1, 1)]), Refused::StalePartitionEpoch { current: PartitionEpoch(1) }),
        (alter(1, 1, 1, &[(1, 1)]), Refused::StaleLeaderEpoch { current: LeaderEpoch(0) }),
        (alter(1, 0, 1, &[(1, 1), (3, 2)]), Refused::IneligibleReplica { node: NodeId(3) }),
        (alter(1, 0, 1, &[(2, 2)]), Refused::Isr),
        (alter(1, 0, 1, &[]), Refused::Isr),
        (alter(1, 0, 1, &[(1, 1), (4, 4)]), Refused::Isr),
    ];
    for (command, refused) in refusals {
        assert_eq!(cluster.apply(command), Err(refused));
        assert_eq!(cluster.led(1), (Some(1), 0, 1, vec![1, 2]));
    }
    cluster.apply(fence(3, 3, true)).unwrap();
    let fenced = Refused::IneligibleReplica { node: NodeId(3) };
    assert_eq!(cluster.apply(alter(1, 0, 1, &[(1, 1), (3, 3)])), Err(fenced));
}

#[test]
fn a_name_belongs_to_one_topic() {
    let mut cluster = Cluster::of(1);
    cluster.apply(create("a.b", 1, &[&[1]])).unwrap();
    let exists = Refused::TopicExists { name: "a.b".into() };
    assert_eq!(cluster.apply(create("a.b", 2, &[&[1]])), Err(exists));
    let collides = Refused::TopicCollides { name: "a_b".into(), other: "a.b".into() };
    assert_eq!(cluster.apply(create("a_b", 2, &[&[1]])), Err(collides));
    cluster.apply(Command::DeleteTopic { id: id(1) }).unwrap();
    assert_eq!(cluster.apply(Command::DeleteTopic { id: id(1) }), Err(Refused::UnknownTopic { id: id(1) }));
    cluster.apply(create("a_b", 2, &[&[1]])).unwrap();
    assert_eq!(cluster.state.image().topic_by_name("a_b").unwrap().id, id(2));
    assert!(cluster.state.image().topic_by_name("a.b").is_none());
}

#[test]
fn replicas_are_distinct_registered_brokers() {
    let mut cluster = Cluster::of(2);
    for assignments in [&[][..], &[&[][..]], &[&[1, 1]], &[&[1, 9]]] {
        assert_eq!(cluster.apply(create("t", 1, assignments)), Err(Refused::Assignment));
    }
}

#[test]
fn partitions_are_added_once() {
    let mut cluster = Cluster::of(2);
    cluster.apply(create("t", 1, &[&[1]])).unwrap();
    let grow = Command::CreatePartitions {
        id: id(1),
        first: PartitionIndex(1),
        assignments: vec![vec![NodeId(2)], vec![NodeId(1)]],
    };
    cluster.apply(grow.clone()).unwrap();
    assert_eq!(cluster.partition(1, 1).leader, Some(NodeId(2)));
    assert_eq!(cluster.apply(grow), Err(Refused::PartitionsMoved { current: 3 }));
}

#[test]
fn a_setting_made_from_an_older_one_is_void() {
    let mut cluster = Cluster::of(1);
    cluster.apply(create("t", 1, &[&[1]])).unwrap();
    let set = |value: &str, expected| Command::SetConfigs {
        resource: ConfigResource::Topic(id(1)),
        changes: vec![ConfigChange { name: "cleanup.policy".into(), value: Some(value.into()), expected }],
    };
    cluster.apply(set("compact", Some(None))).unwrap();
    let moved = Refused::ConfigMoved { name: "cleanup.policy".into() };
    assert!(moved.is_overtaken());
    assert_eq!(cluster.apply(set("delete", Some(None))), Err(moved));
    cluster.apply(set("delete", Some(Some("compact".into())))).unwrap();
    let topic = cluster.state.image().topic(id(1)).unwrap();
    assert_eq!(topic.configs["cleanup.policy"], "delete");
}

#[test]
fn settings_of_brokers_are_kept_by_node_and_for_all() {
    let mut cluster = Cluster::of(1);
    let set = |resource, value: Option<&str>| Command::SetConfigs {
        resource,
        changes: vec![ConfigChange {
            name: "message.max.bytes".into(),
            value: value.map(str::to_owned),
            expected: None,
        }],
    };
    cluster.apply(set(ConfigResource::Broker(NodeId(1)), Some("1"))).unwrap();
    cluster.apply(set(ConfigResource::ClusterDefault, Some("2"))).unwrap();
    let image = cluster.state.image();
    assert_eq!(image.broker_configs(NodeId(1)).unwrap()["message.max.bytes"], "1");
    assert_eq!(image.cluster_configs()["message.max.bytes"], "2");
    cluster.apply(set(ConfigResource::Broker(NodeId(1)), None)).unwrap();
    assert_eq!(cluster.state.image().broker_configs(NodeId(1)), None);
}

#[test]
fn no_producer_id_is_given_out_twice() {
    let mut cluster = Cluster::of(2);
    let ids = |first, count| Ok(Applied::ProducerIds { first: ProducerId(first), count });
    assert_eq!(cluster.apply(allocate(1, 1, 1000)), ids(0, 1000));
    assert_eq!(cluster.apply(allocate(2, 2, 500)), ids(1000, 500));
    let stale = Refused::StaleBrokerEpoch { node: NodeId(2), current: BrokerEpoch(2) };
    assert_eq!(cluster.apply(allocate(2, 1, 1)), Err(stale));
    assert_eq!(cluster.apply(allocate(1, 1, 0)), Err(Refused::ProducerIdsExhausted));
    assert_eq!(cluster.state.image().next_producer_id(), ProducerId(1500));
}

#[test]
fn a_request_that_is_sent_again_is_carried_out_once() {
    let mut cluster = Cluster::of(1);
    let ask = |counter| Proposal { request: request(1, 1, counter), command: allocate(1, 1, 10) };
    let first = cluster.propose(ask(1)).unwrap();
    assert_eq!(cluster.propose(ask(1)), Ok(first.clone()));
    assert_ne!(cluster.propose(ask(2)), Ok(first.clone()));
    let restored = State::restore(cluster.state.snapshot(64)).unwrap();
    cluster.state = restored;
    assert_eq!(cluster.propose(ask(1)), Ok(first), "after a snapshot too");
}

#[test]
fn a_request_of_a_former_life_is_refused() {
    let mut cluster = Cluster::of(1);
    let ask = |epoch| Proposal { request: request(1, epoch, 1), command: allocate(1, epoch, 10) };
    cluster.propose(ask(1)).unwrap();
    cluster.apply(register(1, 9)).unwrap();
    let stale = Refused::StaleBrokerEpoch { node: NodeId(1), current: BrokerEpoch(3) };
    assert_eq!(cluster.propose(ask(1)), Err(stale));
    let fresh = Applied::ProducerIds { first: ProducerId(10), count: 10 };
    assert_eq!(cluster.propose(ask(3)), Ok(fresh), "counters start anew");
    let unknown = Proposal { request: request(8, 1, 1), command: allocate(8, 1, 1) };
    assert_eq!(cluster.propose(unknown), Err(Refused::UnknownBroker { node: NodeId(8) }));
}

#[test]
fn results_are_forgotten_in_order_and_never_repeated_by_mistake() {
    let mut cluster = Cluster::of(1);
    let ask = |counter| Proposal { request: request(1, 1, counter), command: allocate(1, 1, 1) };
    for counter in 0..=RESULTS_KEPT as u64 {
        cluster.propose(ask(counter)).unwrap();
    }
    let given_out = cluster.state.image().next_producer_id();
    assert_eq!(cluster.propose(ask(0)), Err(Refused::ForgottenRequest { counter: 0 }));
    cluster.propose(ask(1)).unwrap();
    assert_eq!(cluster.state.image().next_producer_id(), given_out);
}

#[test]
fn a_cluster_is_formed_once() {
    let mut cluster = Cluster::default();
    let form = |name: &str| Command::FormCluster { cluster_id: name.into(), feature_level: 1 };
    let formed = Ok(Applied::ClusterFormed { cluster_id: "first".into() });
    assert_eq!(cluster.apply(form("first")), formed);
    assert_eq!(cluster.apply(form("second")), formed);
    assert_eq!(cluster.state.image().cluster_id(), Some("first"));
}

#[test]
#[should_panic(expected = "a command is applied once")]
fn an_index_is_applied_once() {
    let mut image = Image::default();
    let command = register(1, 1);
    image.apply(4, &command).unwrap();
    let _ = image.apply(4, &command);
}
