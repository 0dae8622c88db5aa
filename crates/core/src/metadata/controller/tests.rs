//! What the controller allows, and where it puts replicas.

use std::collections::{BTreeMap, BTreeSet};

use norn_protocol::types::{NodeId, PartitionIndex, TopicId};
use norn_protocol::ErrorCode;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::metadata::{
    Allowed, Command, ConfigChange, ConfigDef, ConfigLayers, ConfigMap, ConfigTable, ConfigType, Endpoint,
    Image, UpdateMode,
};

fn register(image: &mut Image, node: i32, rack: Option<&str>) {
    let command = Command::RegisterBroker {
        node: NodeId(node),
        incarnation: Uuid::from_u128(node as u128),
        directories: vec![],
        endpoint: Endpoint { host: "localhost".into(), port: 9092 },
        rack: rack.map(str::to_owned),
    };
    apply(image, &command);
}

fn apply(image: &mut Image, command: &Command) {
    image.apply(image.applied() + 1, command).unwrap();
}

fn cluster(brokers: i32) -> Image {
    let mut image = Image::default();
    (1..=brokers).for_each(|node| register(&mut image, node, None));
    image
}

/// A request for a topic of the default shape.
const PLAIN: CreateTopic<'static> =
    CreateTopic { name: "plain", partitions: -1, replication_factor: -1, assignments: &[], configs: &[] };

fn with_defaults<T>(use_them: impl FnOnce(&Defaults<'_>) -> T) -> T {
    let none = ConfigMap::new();
    let layers = ConfigLayers { topic: &none, broker: &none, cluster: &none, file: &none };
    use_them(&Defaults { partitions: 2, replication_factor: 1, layers })
}

fn create(image: &Image, asked: CreateTopic<'_>) -> Result<Command, AdminError> {
    let id = TopicId(Uuid::from_u128(u128::from(image.applied())));
    with_defaults(|defaults| create_topic(image, &mut Placement::of(image), defaults, &asked, id))
}

fn create_now(image: &mut Image, asked: CreateTopic<'_>) {
    let command = create(image, asked).unwrap();
    apply(image, &command);
}

fn refusal(image: &Image, asked: CreateTopic<'_>) -> ErrorCode {
    create(image, asked).unwrap_err().code()
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[test]
fn what_a_request_leaves_open_is_the_clusters() {
    let Ok(Command::CreateTopic { assignments, .. }) = create(&cluster(3), PLAIN) else { panic!() };
    assert_eq!(assignments, [nodes(&[1]), nodes(&[2])]);
}

#[test]
fn one_request_adds_no_more_partitions_to_all_its_topics_than_it_may_to_one() {
    let image = cluster(1);
    let mut placement = Placement::of(&image);
    let mut ask = |partitions| {
        let asked = CreateTopic { partitions, ..PLAIN };
        with_defaults(|defaults| create_topic(&image, &mut placement, defaults, &asked, TopicId(Uuid::max())))
    };
    assert!(ask(6_000).is_ok() && ask(4_000).is_ok());
    assert_eq!(ask(1), Err(AdminError::TooManyPartitions { asked: 10_001 }));
}

#[test]
fn bad_counts_are_refused_with_kafkas_codes() {
    let image = cluster(2);
    for partitions in [0, -2] {
        assert_eq!(refusal(&image, CreateTopic { partitions, ..PLAIN }), ErrorCode::InvalidPartitions);
    }
    assert_eq!(refusal(&image, CreateTopic { partitions: 10_001, ..PLAIN }), ErrorCode::PolicyViolation);
    for replication_factor in [0, -2, 3] {
        let asked = CreateTopic { replication_factor, ..PLAIN };
        assert_eq!(refusal(&image, asked), ErrorCode::InvalidReplicationFactor);
    }
    let message = create(&image, CreateTopic { replication_factor: 3, ..PLAIN }).unwrap_err().to_string();
    assert_eq!(
        message,
        "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be \
         reached because only 2 broker(s) are registered."
    );
}

#[test]
fn bad_names_and_taken_names_are_refused() {
    let mut image = cluster(1);
    for name in ["", ".", "..", "with space", "ümlaut", &"x".repeat(250)] {
        assert_eq!(refusal(&image, CreateTopic { name, ..PLAIN }), ErrorCode::InvalidTopicException);
    }
    create_now(&mut image, CreateTopic { name: "a.b", ..PLAIN });
    assert_eq!(refusal(&image, CreateTopic { name: "a.b", ..PLAIN }), ErrorCode::TopicAlreadyExists);
    assert_eq!(refusal(&image, CreateTopic { name: "a_b", ..PLAIN }), ErrorCode::InvalidTopicException);
    assert!(create(&image, CreateTopic { name: "a-b", ..PLAIN }).is_ok());
}

#[test]
fn an_assignment_by_hand_is_taken_whole_or_not_at_all() {
    let image = cluster(3);
    let by_hand = |assignments: &[(i32, &[i32])]| {
        let assignments: Vec<_> =
            assignments.iter().map(|(index, ids)| (PartitionIndex(*index), nodes(ids))).collect();
        create(&image, CreateTopic { assignments: &assignments, ..PLAIN })
    };
    let Ok(Command::CreateTopic { assignments, .. }) = by_hand(&[(1, &[3, 1]), (0, &[2, 3])]) else {
        panic!()
    };
    assert_eq!(assignments, [nodes(&[2, 3]), nodes(&[3, 1])]);
    let bad: [&[(i32, &[i32])]; 7] = [
        &[(1, &[1])],
        &[(0, &[1]), (0, &[2])],
        &[(0, &[1]), (2, &[1])],
        &[(0, &[])],
        &[(0, &[1, 1])],
        &[(0, &[1, 4])],
        &[(0, &[1, 2]), (1, &[1])],
    ];
    for assignments in bad {
        let error = by_hand(assignments).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidReplicaAssignment, "{error}");
    }
    let assignments = [(PartitionIndex(0), nodes(&[1]))];
    let asked = CreateTopic { assignments: &assignments, ..PLAIN };
    assert_eq!(refusal(&image, CreateTopic { partitions: 1, ..asked }), ErrorCode::InvalidRequest);
    assert_eq!(refusal(&image, CreateTopic { replication_factor: 1, ..asked }), ErrorCode::InvalidRequest);
}

#[test]
fn a_new_topics_settings_are_checked() {
    let image = cluster(1);
    let with = |name: &str, value: Option<&str>| {
        let configs = [(name.to_owned(), value.map(str::to_owned))];
        create(&image, CreateTopic { configs: &configs, ..PLAIN })
    };
    assert!(with("retention.ms", Some("1000")).is_ok());
    for (name, value) in [
        ("retention.ms", Some("soon")),
        ("retention.ms", None),
        ("retention.mss", Some("1000")),
        ("cleanup.policy", Some("shred")),
        ("remote.storage.enable", Some("true")),
        ("max.compaction.lag.ms", Some("0")),
    ] {
        assert_eq!(with(name, value).unwrap_err().code(), ErrorCode::InvalidConfig, "{name}");
    }
    assert_eq!(with("nope", Some("1")).unwrap_err().to_string(), "Unknown topic config name: nope");
}

#[test]
fn partitions_only_grow() {
    let mut image = cluster(2);
    create_now(&mut image, CreateTopic { replication_factor: 2, ..PLAIN });
    let grow = |name, total, assignments: Option<&[Vec<NodeId>]>| {
        let asked = CreatePartitions { name, total, assignments };
        create_partitions(&image, &mut Placement::of(&image), &asked)
    };
    let Ok(Command::CreatePartitions { first, assignments, .. }) = grow("plain", 4, None) else { panic!() };
    assert_eq!((first, assignments.len()), (PartitionIndex(2), 2));
    let code = |result: Result<Command, AdminError>| result.unwrap_err().code();
    for total in [2, 1, 0, -1] {
        assert_eq!(code(grow("plain", total, None)), ErrorCode::InvalidPartitions);
    }
    assert_eq!(code(grow("other", 4, None)), ErrorCode::UnknownTopicOrPartition);
    let by_hand = [nodes(&[2, 1])];
    assert!(grow("plain", 3, Some(&by_hand)).is_ok());
    assert_eq!(code(grow("plain", 4, Some(&by_hand))), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(grow("plain", 3, Some(&[nodes(&[2])]))), ErrorCode::InvalidReplicaAssignment);
}

#[test]
fn only_a_topic_that_exists_is_deleted() {
    let mut image = cluster(1);
    create_now(&mut image, PLAIN);
    let id = image.topic_by_name("plain").unwrap().id;
    assert_eq!(delete_topic(&image, id), Ok(Command::DeleteTopic { id }));
    assert_eq!(delete_topic(&image, TopicId(Uuid::max())).unwrap_err().code(), ErrorCode::UnknownTopicId);
}

fn edit(name: &str, op: ConfigOp, value: Option<&str>) -> ConfigEdit {
    ConfigEdit { name: name.into(), op, value: value.map(str::to_owned) }
}

#[test]
fn lists_are_edited_by_entry_and_unchanged_settings_left_out() {
    let mut image = cluster(1);
    create_now(&mut image, PLAIN);
    let alter = |image: &Image, edits: &[ConfigEdit]| {
        with_defaults(|defaults| alter_topic_configs(image, "plain", edits, &defaults.layers))
    };
    let Ok(command) = alter(&image, &[edit("cleanup.policy", ConfigOp::Append, Some("compact"))]) else {
        panic!()
    };
    let Command::SetConfigs { changes, .. } = &command else { panic!() };
    let change = ConfigChange {
        name: "cleanup.policy".into(),
        value: Some("delete,compact".into()),
        expected: Some(None),
    };
    assert_eq!(changes, &[change], "the inherited entry stays");
    apply(&mut image, &command);
    let edits = [
        edit("cleanup.policy", ConfigOp::Subtract, Some("delete")),
        edit("retention.ms", ConfigOp::Set, Some("5")),
        edit("segment.ms", ConfigOp::Delete, None),
    ];
    let Ok(command) = alter(&image, &edits) else { panic!() };
    apply(&mut image, &command);
    let configs = &image.topic_by_name("plain").unwrap().configs;
    assert_eq!(configs["cleanup.policy"], "compact");
    assert_eq!(configs.len(), 2);
    let Ok(Command::SetConfigs { changes, .. }) = alter(&image, &edits[1..]) else { panic!() };
    assert_eq!(changes, []);
}

#[test]
fn bad_edits_are_refused_with_kafkas_codes() {
    let mut image = cluster(1);
    create_now(&mut image, PLAIN);
    let refused = |edits: &[ConfigEdit]| {
        with_defaults(|defaults| alter_topic_configs(&image, "plain", edits, &defaults.layers))
            .unwrap_err()
            .code()
    };
    let set = |name, value| edit(name, ConfigOp::Set, value);
    assert_eq!(refused(&[set("nope", Some("1"))]), ErrorCode::InvalidConfig);
    assert_eq!(refused(&[set("retention.ms", Some("-2"))]), ErrorCode::InvalidConfig);
    assert_eq!(refused(&[set("retention.ms", None)]), ErrorCode::InvalidRequest);
    assert_eq!(refused(&[edit("retention.ms", ConfigOp::Append, Some("1"))]), ErrorCode::InvalidConfig);
    let twice = [set("retention.ms", Some("1")), set("retention.ms", Some("2"))];
    assert_eq!(refused(&twice), ErrorCode::InvalidRequest);
    let lags = [set("min.compaction.lag.ms", Some("9")), set("max.compaction.lag.ms", Some("8"))];
    assert_eq!(refused(&lags), ErrorCode::InvalidConfig);
}

#[test]
fn brokers_settings_change_only_where_they_may() {
    const DEFS: &[ConfigDef] = &[
        ConfigDef::new("fixed", ConfigType::Int, Some("1"), ""),
        ConfigDef::new("each", ConfigType::Int, Some("1"), "")
            .update(UpdateMode::Dynamic)
            .allowed(Allowed::AtLeast(1)),
    ];
    let table = ConfigTable { what: "broker", defs: DEFS };
    let (image, file) = (cluster(1), ConfigMap::new());
    let alter = |node: Option<i32>, name, value| {
        let edits = [edit(name, ConfigOp::Set, Some(value))];
        alter_broker_configs(&image, node.map(NodeId), &table, &edits, &file).map_err(|error| error.code())
    };
    assert!(alter(Some(1), "each", "2").is_ok());
    assert!(alter(None, "each", "2").is_ok());
    assert_eq!(alter(Some(1), "fixed", "2"), Err(ErrorCode::InvalidRequest));
    assert_eq!(alter(None, "fixed", "2"), Err(ErrorCode::InvalidRequest));
    assert_eq!(alter(Some(1), "each", "0"), Err(ErrorCode::InvalidConfig));
    assert_eq!(alter(Some(2), "each", "2"), Err(ErrorCode::BrokerIdNotRegistered));
}

#[test]
fn alter_configs_sets_exactly_what_it_names() {
    let mut image = cluster(1);
    create_now(&mut image, PLAIN);
    let mut set = |wanted: &[(&str, &str)]| {
        let wanted: Vec<_> = wanted.iter().map(|(n, v)| (n.to_string(), Some(v.to_string()))).collect();
        let edits = replacing(&image.topic_by_name("plain").unwrap().configs, &wanted);
        let command =
            with_defaults(|defaults| alter_topic_configs(&image, "plain", &edits, &defaults.layers)).unwrap();
        apply(&mut image, &command);
        image.topic_by_name("plain").unwrap().configs.clone()
    };
    set(&[("retention.ms", "1000"), ("segment.bytes", "1048576")]);
    let then = set(&[("retention.ms", " 2000 "), ("cleanup.policy", "compact")]);
    let expected = [("cleanup.policy", "compact"), ("retention.ms", "2000")];
    assert!(then.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(expected), "{then:?}");
    assert!(set(&[]).is_empty());
}

const BROKER_FLUSH: ConfigTable = ConfigTable {
    what: "broker",
    defs: &[
        ConfigDef::new("flush.mode", ConfigType::String, Some("sync"), "").update(UpdateMode::Dynamic),
        ConfigDef::new("log.flush.interval.messages", ConfigType::Long, None, "").update(UpdateMode::Dynamic),
        ConfigDef::new("log.flush.interval.ms", ConfigType::Long, None, "").update(UpdateMode::Dynamic),
    ],
};

/// A broker that was started with this `flush.mode`, and a topic `plain`.
struct Flushing {
    image: Image,
    file: ConfigMap,
}

impl Flushing {
    fn started_with(mode: &str) -> Flushing {
        let mut image = cluster(1);
        create_now(&mut image, PLAIN);
        Flushing { image, file: [("flush.mode".to_owned(), mode.to_owned())].into() }
    }

    fn do_and_apply(&mut self, decided: Result<Command, AdminError>) -> Result<(), AdminError> {
        decided.map(|command| apply(&mut self.image, &command))
    }

    fn topic(&mut self, edits: &[(&str, Option<&str>)]) -> Result<(), AdminError> {
        let (none, edits) = (ConfigMap::new(), set_or_delete(edits));
        let layers = ConfigLayers {
            topic: &none,
            broker: &none,
            cluster: self.image.cluster_configs(),
            file: &self.file,
        };
        self.do_and_apply(alter_topic_configs(&self.image, "plain", &edits, &layers))
    }

    fn cluster(&mut self, edits: &[(&str, Option<&str>)]) -> Result<(), AdminError> {
        let edits = set_or_delete(edits);
        self.do_and_apply(alter_broker_configs(&self.image, None, &BROKER_FLUSH, &edits, &self.file))
    }

    fn broker(&mut self, edits: &[(&str, Option<&str>)]) -> Result<(), AdminError> {
        let (edits, node) = (set_or_delete(edits), Some(NodeId(1)));
        self.do_and_apply(alter_broker_configs(&self.image, node, &BROKER_FLUSH, &edits, &self.file))
    }

    fn new_topic(&self, name: &str, value: &str) -> Result<Command, AdminError> {
        let (none, configs) = (ConfigMap::new(), [(name.to_owned(), Some(value.to_owned()))]);
        let layers = ConfigLayers {
            topic: &none,
            broker: &none,
            cluster: self.image.cluster_configs(),
            file: &self.file,
        };
        let defaults = Defaults { partitions: 1, replication_factor: 1, layers };
        let asked = CreateTopic { name: "new", configs: &configs, ..PLAIN };
        create_topic(&self.image, &mut Placement::of(&self.image), &defaults, &asked, TopicId(Uuid::max()))
    }
}

fn set_or_delete(edits: &[(&str, Option<&str>)]) -> Vec<ConfigEdit> {
    let op = |value: &Option<&str>| if value.is_some() { ConfigOp::Set } else { ConfigOp::Delete };
    edits.iter().map(|(name, value)| edit(name, op(value), *value)).collect()
}

fn refused_for_no_sync<T: std::fmt::Debug>(result: Result<T, AdminError>) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidConfig, "{error}");
    assert!(error.to_string().contains("use flush.mode=sync"), "{error}");
}

#[test]
fn an_interval_between_syncs_is_refused_where_nothing_is_synced() {
    let mut it = Flushing::started_with("async");
    for (name, value) in [("flush.messages", "1"), ("flush.ms", "1000")] {
        refused_for_no_sync(it.new_topic(name, value));
        refused_for_no_sync(it.topic(&[(name, Some(value))]));
    }
    refused_for_no_sync(it.cluster(&[("log.flush.interval.messages", Some("1"))]));
    refused_for_no_sync(it.cluster(&[("log.flush.interval.ms", Some("1000"))]));
    assert_eq!(it.topic(&[("flush.messages", Some("9223372036854775807"))]), Ok(()), "Kafka's default");
    assert_eq!(it.topic(&[("flush.messages", Some("1")), ("flush.mode", Some("sync"))]), Ok(()));
    refused_for_no_sync(it.topic(&[("flush.mode", None)]));
    assert_eq!(it.topic(&[("flush.messages", None), ("flush.mode", None)]), Ok(()));
}

#[test]
fn what_asks_for_syncs_is_not_made_async() {
    let mut it = Flushing::started_with("sync");
    assert!(it.new_topic("flush.messages", "1").is_ok());
    assert_eq!(it.topic(&[("flush.ms", Some("1"))]), Ok(()));
    refused_for_no_sync(it.topic(&[("flush.mode", Some("async"))]));
    let by_topic = it.cluster(&[("flush.mode", Some("async"))]).unwrap_err();
    assert!(by_topic.to_string().starts_with("Topic plain: flush.ms (1)"), "{by_topic}");
    refused_for_no_sync::<()>(Err(by_topic));
    assert_eq!(it.topic(&[("flush.ms", None), ("flush.mode", Some("async"))]), Ok(()));
    refused_for_no_sync(it.cluster(&[("log.flush.interval.ms", Some("1"))]));
    assert_eq!(it.topic(&[("flush.mode", None)]), Ok(()));
    assert_eq!(it.cluster(&[("log.flush.interval.ms", Some("1"))]), Ok(()));
    refused_for_no_sync(it.cluster(&[("flush.mode", Some("async"))]));
    refused_for_no_sync(it.new_topic("flush.mode", "async"));
}

#[test]
fn what_one_broker_is_set_to_counts_for_its_topics_syncs() {
    let mut it = Flushing::started_with("sync");
    assert_eq!(it.topic(&[("flush.ms", Some("1"))]), Ok(()));
    refused_for_no_sync(it.broker(&[("flush.mode", Some("async"))]));
    assert_eq!(it.topic(&[("flush.ms", None)]), Ok(()));
    assert_eq!(it.broker(&[("flush.mode", Some("async"))]), Ok(()));
    refused_for_no_sync(it.cluster(&[("log.flush.interval.ms", Some("1"))]));
}

#[test]
fn a_topic_that_lost_its_mode_at_a_restart_can_still_be_changed() {
    let mut it = Flushing::started_with("sync");
    it.topic(&[("flush.messages", Some("1"))]).unwrap();
    it.file.insert("flush.mode".into(), "async".into());
    assert_eq!(it.topic(&[("retention.ms", Some("5"))]), Ok(()));
    assert_eq!(it.cluster(&[("flush.mode", Some("async"))]), Ok(()));
    assert_eq!(it.topic(&[("flush.mode", Some("sync"))]), Ok(()));
}

proptest! {
    #[test]
    fn replicas_are_spread_over_brokers_and_racks(
        racks in prop::collection::vec(0..4_usize, 1..8),
        topics in prop::collection::vec((1..12_i32, 1..4_i16), 1..6),
    ) {
        let mut image = Image::default();
        for (index, rack) in racks.iter().enumerate() {
            register(&mut image, index as i32, Some(&format!("rack {rack}")));
        }
        let distinct_racks = racks.iter().collect::<BTreeSet<_>>().len();
        for (index, (partitions, factor)) in topics.into_iter().enumerate() {
            let factor = factor.min(racks.len() as i16);
            let name = format!("t{index}");
            let asked = CreateTopic { name: &name, partitions, replication_factor: factor, ..PLAIN };
            let command = create(&image, asked).unwrap();
            prop_assert_eq!(&create(&image, asked).unwrap(), &command, "equal images, equal assignments");
            let Command::CreateTopic { assignments, .. } = &command else { panic!() };
            for replicas in assignments {
                let used: BTreeSet<_> = replicas.iter().map(|node| racks[node.0 as usize]).collect();
                prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor as usize);
                prop_assert_eq!(used.len(), distinct_racks.min(factor as usize), "racks before load");
            }
            apply(&mut image, &command);
        }
    }

    #[test]
    fn without_racks_no_broker_has_much_more_than_another(
        brokers in 1..8_i32,
        common in 1..4_i16,
        topics in prop::collection::vec((1..12_i32, prop::option::weighted(0.2, 1..4_i16)), 1..8),
    ) {
        let mut image = cluster(brokers);
        let even = topics.iter().all(|(_, factor)| factor.is_none());
        for (index, (partitions, factor)) in topics.into_iter().enumerate() {
            let name = format!("t{index}");
            let replication_factor = factor.unwrap_or(common).min(brokers as i16);
            let asked = CreateTopic { name: &name, partitions, replication_factor, ..PLAIN };
            let command = create(&image, asked).unwrap();
            apply(&mut image, &command);
        }
        let mut replicas: BTreeMap<NodeId, usize> = (1..=brokers).map(|node| (NodeId(node), 0)).collect();
        let mut preferred = replicas.clone();
        for (_, partition) in image.topics().flat_map(|topic| topic.partitions()) {
            partition.replicas.iter().for_each(|node| *replicas.get_mut(node).unwrap() += 1);
            *preferred.get_mut(&partition.replicas[0]).unwrap() += 1;
        }
        let spread = |counts: &BTreeMap<NodeId, usize>| {
            counts.values().max().unwrap() - counts.values().min().unwrap()
        };
        prop_assert!(spread(&preferred) <= 1, "leaders {:?}", preferred);
        prop_assert!(spread(&replicas) <= 2 || !even, "replicas {:?}", replicas);
    }
}
