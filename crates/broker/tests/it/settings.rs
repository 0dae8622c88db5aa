//! Settings of topics and brokers as admin clients change and read them, over a real connection.

use std::{collections::BTreeMap, time::Duration};

use crate::support::{batch, produce_request, text, Client, Node, PATIENCE};
use kafka_protocol::messages::{
    alter_configs_request, describe_configs_request::DescribeConfigsResource,
    describe_configs_response::DescribeConfigsResourceResult,
    incremental_alter_configs_request as incremental, AlterConfigsRequest, ApiVersionsRequest,
    DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};
use norn_env::clock;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// Error code and message of one resource.
type Answer = (i16, Option<String>);

/// IncrementalAlterConfigs that sets one entry.
async fn set(client: &mut Client, kind: i8, name: &str, key: &str, value: &str) -> Answer {
    let entry = incremental::AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
    let resource = incremental::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(vec![entry]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response = client.ask(1, &request).await.responses.remove(0);
    (response.error_code, response.error_message.map(|message| message.to_string()))
}

/// AlterConfigs.
async fn replace(client: &mut Client, kind: i8, name: &str, entries: &[(&str, Option<&str>)]) -> Answer {
    let entry = |(key, value): &(&str, Option<&str>)| {
        let entry = alter_configs_request::AlterableConfig::default().with_name(text(key));
        entry.with_value(value.map(text))
    };
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(entries.iter().map(entry).collect());
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let response = client.ask(2, &request).await.responses.remove(0);
    (response.error_code, response.error_message.map(|message| message.to_string()))
}

async fn describe(client: &mut Client, kind: i8, name: &str) -> Vec<DescribeConfigsResourceResult> {
    let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(name));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource.with_configuration_keys(None)])
        .with_include_synonyms(true);
    let result = client.ask(4, &request).await.results.remove(0);
    assert_eq!(result.error_code, 0);
    result.configs
}

/// What is set on a topic itself.
async fn own(client: &mut Client, name: &str) -> BTreeMap<String, String> {
    let set = describe(client, TOPIC, name).await.into_iter().filter(|one| one.config_source == 1);
    set.map(|one| (one.name.to_string(), one.value.unwrap().to_string())).collect()
}

#[test]
fn alter_configs_replaces_what_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        client.create_topic("t", 1, &[("segment.bytes", " 2000000 ")]).await;
        assert_eq!(own(&mut client, "t").await["segment.bytes"], "2000000", "without the blanks");
        assert_eq!(set(&mut client, TOPIC, "t", "cleanup.policy", "compact , delete").await, (0, None));
        assert_eq!(own(&mut client, "t").await["cleanup.policy"], "compact,delete");
        assert_eq!(replace(&mut client, TOPIC, "t", &[("retention.ms", Some(" 5 "))]).await, (0, None));
        let only = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
        assert_eq!(own(&mut client, "t").await, only);
        let null = replace(&mut client, TOPIC, "t", &[("segment.ms", None)]).await;
        assert_eq!(null, (INVALID_REQUEST, Some("Null value not supported for : segment.ms".into())));
        let unknown = replace(&mut client, TOPIC, "none", &[]).await;
        assert_eq!(unknown, (UNKNOWN_TOPIC_OR_PARTITION, Some("The topic 'none' does not exist.".into())));
        assert_eq!(own(&mut client, "t").await, only, "refusals change nothing");
        assert_eq!(replace(&mut client, TOPIC, "t", &[]).await, (0, None));
        assert!(own(&mut client, "t").await.is_empty());
        node.stop().await;
    });
}

#[test]
fn a_setting_of_one_broker_counts_over_that_of_all_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        client.create_topic("t", 1, &[]).await;
        assert_eq!(set(&mut client, BROKER, "", "log.retention.ms", "7").await, (0, None));
        assert_eq!(set(&mut client, BROKER, "1", "log.retention.ms", "9").await, (0, None));
        node.stop().await;
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        let places = |all: Vec<DescribeConfigsResourceResult>, name: &str| {
            let found = all.into_iter().find(|one| one.name.as_str() == name).unwrap();
            let place = |value: Option<String>, source| (value.unwrap_or_default(), source);
            let synonyms = found.synonyms.into_iter();
            synonyms.map(|one| place(one.value.map(|v| v.to_string()), one.source)).collect::<Vec<_>>()
        };
        let expected = [("9", 2), ("7", 3), ("168", 5)].map(|(value, source)| (value.to_owned(), source));
        assert_eq!(places(describe(&mut client, BROKER, "1").await, "log.retention.ms"), expected);
        let of_all = describe(&mut client, BROKER, "").await;
        assert_eq!(of_all.len(), 1);
        assert_eq!(places(of_all, "log.retention.ms"), expected[1..]);
        let expected =
            [("9", 2), ("7", 3), ("604800000", 5)].map(|(value, source)| (value.to_owned(), source));
        assert_eq!(places(describe(&mut client, TOPIC, "t").await, "retention.ms"), expected);
        assert_eq!(replace(&mut client, BROKER, "1", &[]).await, (0, None));
        assert_eq!(places(describe(&mut client, TOPIC, "t").await, "retention.ms"), expected[1..]);
        node.stop().await;
    });
}

#[test]
fn a_setting_that_is_changed_counts_for_the_topics_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        for topic in ["t", "other"] {
            client.create_topic(topic, 1, &[]).await;
        }
        let large = "v".repeat(1000);
        let request = |topic| produce_request(topic, 0, 1, batch(&[&large]));
        let refused = async |client: &mut Client, topic| {
            let response = client.ask(9, &request(topic)).await;
            response.responses[0].partition_responses[0].error_code == MESSAGE_TOO_LARGE
        };
        let wait_until_refused = async |client: &mut Client, topic| {
            let deadline = clock::now() + PATIENCE;
            while !refused(client, topic).await {
                assert!(clock::now() < deadline, "{topic} goes on by its former settings");
                clock::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(!refused(&mut client, "t").await);
        assert_eq!(set(&mut client, TOPIC, "t", "max.message.bytes", "500").await, (0, None));
        wait_until_refused(&mut client, "t").await;
        assert!(!refused(&mut client, "other").await);
        assert_eq!(set(&mut client, BROKER, "1", "message.max.bytes", "500").await, (0, None));
        wait_until_refused(&mut client, "other").await;
        node.stop().await;
    });
}

#[test]
fn the_bounds_of_connections_change_while_the_broker_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        let asked = async || {
            let request = ApiVersionsRequest::default();
            node.connect().await.ask_or_be_closed(0, request).await.map(|answer| answer.error_code)
        };
        for name in ["max.connections", "max.connections.per.ip"] {
            assert_eq!(set(&mut client, BROKER, "1", name, "1").await, (0, None));
            assert!(asked().await.is_err(), "{name}");
            assert_eq!(set(&mut client, BROKER, "", name, "0").await, (0, None));
            assert_eq!(replace(&mut client, BROKER, "1", &[]).await, (0, None));
            assert!(asked().await.is_err(), "{name} of all brokers");
            assert_eq!(replace(&mut client, BROKER, "", &[]).await, (0, None));
            assert_eq!(asked().await, Ok(0), "{name}");
        }
        node.stop().await;
    });
}

#[test]
fn a_setting_that_norn_lacks_is_taken_at_its_default_and_else_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        for broker in ["", "1"] {
            assert_eq!(set(&mut client, BROKER, broker, "num.io.threads", "8").await, (0, None));
            let (unbounded, throttled) = (i64::MAX.to_string(), "leader.replication.throttled.rate");
            assert_eq!(set(&mut client, BROKER, broker, throttled, &unbounded).await, (0, None));
            let (code, message) = set(&mut client, BROKER, broker, "num.io.threads", "9").await;
            assert_eq!(code, INVALID_CONFIG);
            let reason =
                "num.io.threads cannot be changed: Norn sizes its one pool of threads by the number of cores";
            assert_eq!(message.as_deref(), Some(reason));
            let fixed = set(&mut client, BROKER, broker, "node.id", "1").await;
            let reason = "Cannot update these configs dynamically: [node.id]";
            assert_eq!(fixed, (INVALID_REQUEST, Some(reason.into())));
        }
        let above = set(&mut client, BROKER, "", "log.segment.bytes", "99999999999").await;
        assert!(above.1.unwrap().ends_with("1048576 to 2147483647"), "both bounds");
        assert_eq!(replace(&mut client, BROKER, "", &[("num.io.threads", Some("8"))]).await, (0, None));
        let all = describe(&mut client, BROKER, "1").await;
        let value = |name: &str| {
            let found = all.iter().find(|one| one.name.as_str() == name).unwrap();
            assert!(found.read_only, "{name}");
            found.value.as_ref().map(|value| value.to_string())
        };
        assert_eq!(value("broker.id").as_deref(), Some("1"));
        assert_eq!(value("advertised.listeners"), Some(format!("PLAINTEXT://{}", node.addr)));
        assert_eq!(value("log.cleaner.enable").as_deref(), Some("false"));
        assert_eq!(value("ssl.keystore.location"), None);
        node.stop().await;
    });
}
