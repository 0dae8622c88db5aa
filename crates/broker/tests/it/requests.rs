//! What whole requests lead to, over a real connection: fetch sessions, `acks=0`, peers that never read, topics that are
//! deleted under their readers, disks that are gone.

use std::path::Path;
use std::time::Duration;

use crate::support::{batch, fetch_request as fetch, produce_request, text, Client, Node};
use bytes::Bytes;
use kafka_protocol::messages::{
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    delete_topics_request::DeleteTopicState,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    DeleteRecordsRequest, DeleteTopicsRequest, FetchRequest, FetchResponse, FindCoordinatorRequest, GroupId,
    OffsetCommitRequest, ProduceRequest,
};
use norn_env::clock;
use norn_protocol::client::{encode_request, topic_name};

const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const KAFKA_STORAGE_ERROR: i16 = 56;
const LEADER_NOT_AVAILABLE: i16 = 5;

fn records(response: &FetchResponse) -> usize {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.records.as_ref().map_or(0, Bytes::len)).sum()
}

async fn node_with_topic(dir: &std::path::Path, settings: &[(&str, &str)]) -> (Node, Client) {
    let node = Node::start(dir, settings).await;
    let mut client = node.connect().await;
    client.create_topic("t", 1, &[]).await;
    (node, client)
}

#[test]
fn a_session_answers_only_news_and_keeps_its_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = node_with_topic(&path, &[]).await;
        client.produce("t", 0, batch(&["a"])).await;
        let opened = client.ask(12, &fetch("t", 0, 0).with_session_epoch(0)).await;
        assert!(opened.session_id != 0 && records(&opened) > 0);
        let session =
            |epoch| FetchRequest::default().with_session_id(opened.session_id).with_session_epoch(epoch);
        let moved_on = fetch("t", 1, 0).with_session_id(opened.session_id).with_session_epoch(1);
        assert!(client.ask(12, &moved_on).await.responses.is_empty(), "nothing is new");
        client.produce("t", 0, batch(&["b"])).await;
        assert!(records(&client.ask(12, &session(2).with_max_bytes(1 << 20)).await) > 0);
        assert_eq!(client.ask(12, &session(2)).await.error_code, INVALID_FETCH_SESSION_EPOCH);
        assert_eq!(client.ask(12, &session(-7)).await.error_code, INVALID_FETCH_SESSION_EPOCH);
        assert_eq!(client.ask(12, &session(-1)).await.error_code, 0);
        assert_eq!(client.ask(12, &session(3)).await.error_code, FETCH_SESSION_ID_NOT_FOUND);
        let without = FetchRequest::default().with_session_epoch(1);
        assert_eq!(client.ask(12, &without).await.error_code, FETCH_SESSION_ID_NOT_FOUND);
        node.stop().await;
    });
}

/// How long a Fetch of `topic` takes that wants 700 kB at least, when only one batch of the 600 kB each can be read at once.
async fn time_of_a_fetch_of_700_kb(client: &mut Client, topic: &str, offset: i64) -> Duration {
    let began = clock::now();
    let response = client.ask(12, &fetch(topic, offset, 3_000).with_min_bytes(700_000)).await;
    assert!((600_000..700_000).contains(&records(&response)), "one batch");
    clock::now() - began
}

#[test]
fn a_fetch_that_wants_more_than_fits_whole_waits_for_nothing_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = node_with_topic(&path, &[]).await;
        client.create_topic("rolled", 1, &[("segment.bytes", "1048576")]).await;
        let large = "x".repeat(300_000);
        for topic in ["t", "rolled"] {
            for _ in 0..2 {
                client.produce(topic, 0, batch(&[large.as_str()])).await;
            }
            let took = time_of_a_fetch_of_700_kb(&mut client, topic, 0).await;
            assert!(took < Duration::from_secs(2), "the next batch is there: {topic} {took:?}");
            let took = time_of_a_fetch_of_700_kb(&mut client, topic, 1).await;
            assert!(took >= Duration::from_secs(3), "it is all that is there: {topic} {took:?}");
        }
        node.stop().await;
    });
}

#[test]
fn without_a_free_slot_a_fetch_has_no_session() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let slots = [("max.incremental.fetch.session.cache.slots", "1")];
        let (node, mut first) = node_with_topic(&path, &slots).await;
        let mut second = node.connect().await;
        let open = fetch("t", 0, 0).with_session_epoch(0);
        let held = first.ask(12, &open).await.session_id;
        assert!(held != 0);
        assert_eq!(second.ask(12, &open).await.session_id, 0);
        first.ask(12, &FetchRequest::default().with_session_id(held).with_session_epoch(-1)).await;
        assert!(second.ask(12, &open).await.session_id != 0);
        node.stop().await;
    });
}

#[test]
fn an_error_with_acks_0_closes_the_connection_wherever_it_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = node_with_topic(&path, &[("message.max.bytes", "200")]).await;
        client.send(9, &produce_request("t", 0, 0, batch(&["a"]))).await;
        let response = client.ask(12, &fetch("t", 0, 10_000)).await;
        assert!(records(&response) > 0, "no answer stands between, and the record is there");
        client.send(9, &produce_request("t", 0, 0, batch(&["x".repeat(500).as_str()]))).await;
        assert_eq!(client.receive_frame().await, None);
        node.stop().await;
    });
}

#[test]
fn a_peer_that_never_reads_does_not_keep_others_from_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let bound = [("queued.max.request.bytes", "100000")];
        let (node, mut other) = node_with_topic(&path, &bound).await;
        let mut silent = node.connect().await;
        // A long poll holds back the replies behind it, of more bytes than all connections may have together.
        silent.send(12, &fetch("t", 0, 50_000).with_min_bytes(1 << 30)).await;
        let large = "y".repeat(30_000);
        for _ in 0..10 {
            silent.send(9, &produce_request("t", 0, 1, batch(&[large.as_str()]))).await;
        }
        for _ in 0..10 {
            let response = other.produce("t", 0, batch(&[large.as_str()])).await;
            assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
        }
        node.stop().await;
    });
}

#[test]
fn a_peer_that_stops_in_the_middle_of_a_large_request_gives_up_its_memory_to_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let bound = [("queued.max.request.bytes", "100000")];
        let (node, mut other) = node_with_topic(&path, &bound).await;
        let mut stopping = node.connect().await;
        let large = "y".repeat(60_000);
        let whole = encode_request(1, 9, Some("test"), &produce_request("t", 0, 1, batch(&[large.as_str()])))
            .unwrap();
        stopping.send_bytes(whole.slice(..100)).await;
        clock::sleep(Duration::from_secs(6)).await;
        stopping.send_bytes(whole.slice(100..)).await;
        let answer = stopping.receive::<ProduceRequest>(9).await;
        assert!(answer.is_ok(), "nobody waited for its memory, so it could take its time");
        stopping.send_bytes(whole.slice(..100)).await;
        clock::sleep(Duration::from_millis(500)).await;
        let response = other.produce("t", 0, batch(&[large.as_str()])).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
        assert_eq!(stopping.receive_frame().await, None, "somebody waited");
        node.stop().await;
    });
}

#[test]
fn a_refused_batch_is_answered_with_the_reason_where_the_version_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = node_with_topic(&path, &[("message.max.bytes", "200")]).await;
        let large = batch(&["x".repeat(500).as_str()]);
        let cut = batch(&["a"]).slice(..65);
        for (records, code, reason) in [(large, 10, "max.message.bytes"), (cut, 87, "and has 65")] {
            for version in [7, 8, 9] {
                let response = client.ask(version, &produce_request("t", 0, -1, records.clone())).await;
                let answer = &response.responses[0].partition_responses[0];
                assert_eq!(answer.error_code, code);
                let told = answer.error_message.as_ref().map(|text| text.to_string());
                assert_eq!(
                    told.is_some_and(|text| text.contains(reason)),
                    version >= 8,
                    "{version}: {answer:?}"
                );
            }
        }
        node.stop().await;
    });
}

#[test]
fn deleted_records_are_gone_at_once_though_nothing_else_happens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = node_with_topic(&path, &[]).await;
        for value in ["a", "b", "c"] {
            client.produce("t", 0, batch(&[value])).await;
        }
        let partition = DeleteRecordsPartition::default().with_offset(2);
        let topic = DeleteRecordsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000);
        let deleted = client.ask(2, &request).await;
        assert_eq!(deleted.topics[0].partitions[0].low_watermark, 2);
        let read = client.ask(12, &fetch("t", 0, 0)).await;
        let partition = &read.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.log_start_offset), (OFFSET_OUT_OF_RANGE, 2));
        node.stop().await;
    });
}

#[test]
fn deleting_a_topic_ends_the_long_polls_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = node_with_topic(&path, &[]).await;
        let mut reader = node.connect().await;
        reader.send(12, &fetch("t", 0, 50_000)).await;
        clock::sleep(Duration::from_millis(100)).await;
        let began = clock::now();
        delete(&mut client, "t").await;
        let response = reader.receive::<FetchRequest>(12).await.unwrap();
        assert!(response.responses[0].partitions[0].error_code != 0);
        assert!(clock::now() - began < Duration::from_secs(20), "it did not wait for its deadline");
        node.stop().await;
    });
}

async fn delete(client: &mut Client, topic: &str) {
    let topic = DeleteTopicState::default().with_name(Some(topic_name(topic)));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    assert_eq!(client.ask(6, &request).await.responses[0].error_code, 0);
}

#[test]
fn groups_work_again_after_the_offsets_topic_was_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let allowed = [("change.internal.topics.enable", "true")];
        let (node, mut client) = node_with_topic(&path, &allowed).await;
        commit_until_it_works(&mut client).await;
        delete(&mut client, "__consumer_offsets").await;
        commit_until_it_works(&mut client).await;
        node.stop().await;
    });
}

/// Finds the coordinator and commits, as clients do: again and again.
async fn commit_until_it_works(client: &mut Client) {
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    let partition = OffsetCommitRequestPartition::default().with_committed_metadata(Some(text("")));
    let topic =
        OffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let deadline = clock::now() + Duration::from_secs(20);
    loop {
        client.ask(4, &find).await;
        let error = client.ask(8, &commit).await.topics[0].partitions[0].error_code;
        if error == 0 {
            return;
        }
        assert!(clock::now() < deadline, "still error {error}");
        clock::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn transactional_records_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = node_with_topic(&path, &[]).await;
        let request: ProduceRequest = produce_request("t", 0, -1, batch(&["a"]));
        let id = kafka_protocol::messages::TransactionalId(text("x"));
        let response = client.ask(9, &request.with_transactional_id(Some(id))).await;
        assert!(response.responses[0].partition_responses[0].error_code != 0);
        node.stop().await;
    });
}

/// A file stands where the directory was: its disk is broken.
#[test]
#[allow(clippy::disallowed_methods, reason = "breaks the real disk")]
fn partitions_of_a_broken_directory_are_offline_and_others_go_on() {
    partitions_are_offline_while_a_directory_is(
        |lost| std::fs::write(lost, b"").unwrap(),
        |lost| {
            std::fs::remove_file(lost).unwrap();
        },
    );
}

/// An empty directory stands where the directory was: its disk is not mounted.
#[test]
#[allow(clippy::disallowed_methods, reason = "breaks the real disk")]
fn partitions_of_a_directory_that_is_empty_now_are_offline_and_not_empty() {
    partitions_are_offline_while_a_directory_is(
        |lost| std::fs::create_dir(lost).unwrap(),
        |lost| {
            std::fs::remove_dir_all(lost).unwrap();
        },
    );
}

/// `lose` puts something in the place of a directory that was moved away, `clear` takes it away.
#[allow(clippy::disallowed_methods, reason = "breaks the real disk")]
fn partitions_are_offline_while_a_directory_is(lose: fn(&Path), clear: fn(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run_on_real_disk(move || async move {
        let (kept, lost) = (path.join("kept"), path.join("lost"));
        let dirs = format!("{},{}", kept.display(), lost.display());
        let settings = [("log.dirs", dirs.as_str())];
        let node = Node::start(&path, &settings).await;
        let mut client = node.connect().await;
        client.create_topic("t", 4, &[]).await;
        node.stop().await;
        let in_lost: Vec<i32> = (0..4).filter(|index| lost.join(format!("t-{index}")).exists()).collect();
        assert_eq!(in_lost.len(), 2, "partitions are spread over the directories");
        std::fs::rename(&lost, path.join("elsewhere")).unwrap();
        lose(&lost);
        Node::start(&path, &settings).await.stop().await;

        let began = clock::now();
        let node = Node::start(&path, &settings).await;
        assert!(clock::now() - began < Duration::from_secs(20), "it waits for no partition that cannot open");
        let mut client = node.connect().await;
        client.create_topic("new", 4, &[]).await;
        for index in 0..4 {
            let gone = in_lost.contains(&index);
            for (topic, gone) in [("t", gone), ("new", false)] {
                let response = client.produce(topic, index, batch(&["a"])).await;
                let error = response.responses[0].partition_responses[0].error_code;
                assert_eq!(error, if gone { KAFKA_STORAGE_ERROR } else { 0 }, "{topic}-{index}");
            }
        }
        let metadata = client.metadata("t").await;
        for partition in &metadata.topics[0].partitions {
            let gone = in_lost.contains(&partition.partition_index);
            assert_eq!(partition.error_code, if gone { LEADER_NOT_AVAILABLE } else { 0 });
            assert_eq!(partition.leader_id.0, if gone { -1 } else { 1 });
            assert_eq!(partition.offline_replicas.len(), usize::from(gone));
        }
        node.stop().await;

        clear(&lost);
        std::fs::rename(path.join("elsewhere"), &lost).unwrap();
        let node = Node::start(&path, &settings).await;
        let mut client = node.connect().await;
        for index in 0..4 {
            let response = client.produce("t", index, batch(&["b"])).await;
            assert_eq!(response.responses[0].partition_responses[0].error_code, 0, "{index} is back");
        }
        node.stop().await;
    });
}
