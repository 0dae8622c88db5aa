//! When a Fetch is answered that names partitions with errors beside others, and what a session says of a topic that was
//! deleted and created anew.

use std::{path::PathBuf, time::Duration};

use crate::support::{batch, Client, Node};
use kafka_protocol::messages::{
    delete_topics_request::DeleteTopicState,
    fetch_request::{FetchPartition, FetchTopic},
    DeleteTopicsRequest, FetchRequest, FetchResponse,
};
use norn_env::clock;
use norn_protocol::client::topic_name;
use uuid::Uuid;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNKNOWN_TOPIC_ID: i16 = 100;
const INCONSISTENT_TOPIC_ID: i16 = 103;

/// How long the Fetches here wait that have nothing to wait for, in ms, and those that must not wait.
const SHORT: i32 = 400;
const LONG: i32 = 50_000;
/// What is answered at once takes less.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A topic by its name, or by its id.
#[derive(Clone, Copy)]
enum Topic<'a> {
    Name(&'a str),
    Id(Uuid),
}

/// Names are for version 12, ids for 13.
fn fetch(wait_ms: i32, partitions: &[(Topic<'_>, i32, i64)]) -> FetchRequest {
    let topics = partitions.iter().map(|(topic, index, offset)| {
        let partition = FetchPartition::default()
            .with_partition(*index)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1 << 20);
        let of = FetchTopic::default().with_partitions(vec![partition]);
        match topic {
            Topic::Name(name) => of.with_topic(topic_name(name)),
            Topic::Id(id) => of.with_topic_id(*id),
        }
    });
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(topics.collect())
}

/// The next request of a session, without changes.
fn next(opened: &FetchResponse, epoch: i32, wait_ms: i32) -> FetchRequest {
    fetch(wait_ms, &[]).with_session_id(opened.session_id).with_session_epoch(epoch)
}

/// The errors of the partitions in a response.
fn errors(response: &FetchResponse) -> Vec<i16> {
    assert_eq!(response.error_code, 0);
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

/// Asks; gives the errors and whether the Fetch waited for its deadline of [`SHORT`].
async fn ask(client: &mut Client, version: i16, request: &FetchRequest) -> (Vec<i16>, bool) {
    let began = clock::now();
    let response = client.ask(version, request).await;
    (errors(&response), clock::now() - began >= Duration::from_millis(SHORT as u64))
}

async fn delete(client: &mut Client, topic: &str) {
    let topic = DeleteTopicState::default().with_name(Some(topic_name(topic)));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    assert_eq!(client.ask(6, &request).await.responses[0].error_code, 0);
}

fn run<F: std::future::Future<Output = ()>>(test: impl FnOnce(PathBuf) -> F + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || test(path));
}

#[test]
fn partitions_that_are_not_there_do_not_end_the_wait_of_others() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        let idle = client.create_topic("idle", 1, &[]).await;
        let unknown = Topic::Id(Uuid::from_u128(7));
        for (version, idle, beside, error) in [
            (12, Topic::Name("idle"), (Topic::Name("none"), 0, 0), UNKNOWN_TOPIC_OR_PARTITION),
            (12, Topic::Name("idle"), (Topic::Name("idle"), 9, 0), UNKNOWN_TOPIC_OR_PARTITION),
            (13, Topic::Id(idle), (unknown, 0, 0), UNKNOWN_TOPIC_ID),
        ] {
            let request = fetch(SHORT, &[(idle, 0, 0), beside]);
            assert_eq!(ask(&mut client, version, &request).await, (vec![0, error], true));
            let opened = client.ask(version, &request.with_session_epoch(0)).await;
            for epoch in 1..3 {
                let (errors, waited) = ask(&mut client, version, &next(&opened, epoch, SHORT)).await;
                assert_eq!((errors, waited), (vec![error], true), "epoch {epoch}");
            }
        }
        node.stop().await;
    });
}

#[test]
fn a_fetch_of_nothing_but_errors_tells_them_at_once_and_then_waits() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        let began = clock::now();
        let request = fetch(LONG, &[(Topic::Name("none"), 0, 0)]).with_session_epoch(0);
        let opened = client.ask(12, &request).await;
        assert_eq!(errors(&opened), [UNKNOWN_TOPIC_OR_PARTITION]);
        assert!(clock::now() - began < AT_ONCE);
        let told = ask(&mut client, 12, &next(&opened, 1, SHORT)).await;
        assert_eq!(told, (vec![UNKNOWN_TOPIC_OR_PARTITION], true), "the client knows it");
        node.stop().await;
    });
}

#[test]
fn an_offset_out_of_range_is_answered_at_once_but_not_again_and_again() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        client.create_topic("t", 2, &[]).await;
        let at = |offset| [(Topic::Name("t"), 0, 0), (Topic::Name("t"), 1, offset)];
        let began = clock::now();
        let opened = client.ask(12, &fetch(LONG, &at(5)).with_session_epoch(0)).await;
        assert_eq!(errors(&opened), [0, OFFSET_OUT_OF_RANGE]);
        let other = fetch(LONG, &at(6)[1..]).with_session_id(opened.session_id).with_session_epoch(1);
        assert_eq!(errors(&client.ask(12, &other).await), [OFFSET_OUT_OF_RANGE], "of another offset");
        assert!(clock::now() - began < AT_ONCE);
        let told = ask(&mut client, 12, &next(&opened, 2, SHORT)).await;
        assert_eq!(told, (vec![OFFSET_OUT_OF_RANGE], true));
        node.stop().await;
    });
}

#[test]
fn an_error_that_arises_while_a_fetch_waits_is_told_at_once() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        let idle = client.create_topic("idle", 1, &[]).await;
        let gone = client.create_topic("gone", 1, &[]).await;
        let by_name = [Topic::Name("idle"), Topic::Name("gone")];
        let by_id = [Topic::Id(idle), Topic::Id(gone)];
        let mut readers = vec![];
        for (version, topics) in [(12, by_name), (13, by_id)] {
            let mut reader = node.connect().await;
            reader.send(version, &fetch(LONG, &topics.map(|topic| (topic, 0, 0)))).await;
            readers.push((version, reader));
        }
        clock::sleep(Duration::from_millis(100)).await;
        let began = clock::now();
        delete(&mut client, "gone").await;
        for (version, mut reader) in readers {
            let response = reader.receive::<FetchRequest>(version).await.unwrap();
            assert_eq!(errors(&response), [0, UNKNOWN_TOPIC_OR_PARTITION], "version {version}");
        }
        assert!(clock::now() - began < AT_ONCE);
        node.stop().await;
    });
}

#[test]
fn a_topic_that_is_created_while_a_fetch_waits_for_it_is_read() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        client.create_topic("idle", 1, &[]).await;
        let mut reader = node.connect().await;
        reader.send(12, &fetch(LONG, &[(Topic::Name("idle"), 0, 0), (Topic::Name("new"), 0, 0)])).await;
        clock::sleep(Duration::from_millis(100)).await;
        let began = clock::now();
        client.create_topic("new", 1, &[]).await;
        client.produce("new", 0, batch(&["a"])).await;
        let response = reader.receive::<FetchRequest>(12).await.unwrap();
        assert_eq!(errors(&response), [0, 0]);
        assert!(response.responses[1].partitions[0]
            .records
            .as_ref()
            .is_some_and(|records| !records.is_empty()));
        assert!(clock::now() - began < AT_ONCE);
        node.stop().await;
    });
}

#[test]
fn a_session_by_ids_tells_a_topic_that_is_gone_from_one_whose_name_is_taken() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        let idle = client.create_topic("idle", 1, &[]).await;
        let gone = client.create_topic("gone", 2, &[]).await;
        let partitions = [(Topic::Id(idle), 0, 0), (Topic::Id(gone), 0, 0), (Topic::Id(gone), 1, 0)];
        let opened = client.ask(13, &fetch(0, &partitions).with_session_epoch(0)).await;
        delete(&mut client, "gone").await;
        // The first of these may arrive before the deletion has, and is cut short by it.
        client.ask(13, &next(&opened, 1, SHORT)).await;
        let second = client.ask(13, &next(&opened, 2, SHORT)).await;
        assert_eq!(errors(&second), [UNKNOWN_TOPIC_OR_PARTITION; 2]);
        let told = ask(&mut client, 13, &next(&opened, 3, SHORT)).await;
        assert_eq!(told, (vec![UNKNOWN_TOPIC_OR_PARTITION; 2], true));
        let taken = client.create_topic("gone", 1, &[]).await;
        assert_ne!(taken, gone);
        for epoch in 4..6 {
            let (errors, waited) = ask(&mut client, 13, &next(&opened, epoch, SHORT)).await;
            let expected = vec![INCONSISTENT_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION];
            assert_eq!((errors, waited), (expected, true), "epoch {epoch}");
        }
        node.stop().await;
    });
}

#[test]
fn a_session_by_names_goes_on_with_the_topic_that_has_the_name() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        for topic in ["idle", "t"] {
            client.create_topic(topic, 1, &[]).await;
        }
        let partitions = [(Topic::Name("idle"), 0, 0), (Topic::Name("t"), 0, 0)];
        let opened = client.ask(12, &fetch(0, &partitions).with_session_epoch(0)).await;
        delete(&mut client, "t").await;
        // This may arrive before the deletion has, and is cut short by it.
        assert_eq!(errors(&client.ask(12, &next(&opened, 1, SHORT)).await), [UNKNOWN_TOPIC_OR_PARTITION]);
        let told = ask(&mut client, 12, &next(&opened, 2, SHORT)).await;
        assert_eq!(told, (vec![UNKNOWN_TOPIC_OR_PARTITION], true));
        client.create_topic("t", 1, &[]).await;
        client.produce("t", 0, batch(&["a"])).await;
        let read = client.ask(12, &next(&opened, 3, LONG)).await;
        assert_eq!(errors(&read), [0]);
        assert!(read.responses[0].partitions[0].records.as_ref().is_some_and(|records| !records.is_empty()));
        node.stop().await;
    });
}
