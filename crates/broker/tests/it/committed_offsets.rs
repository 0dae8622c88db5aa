//! Committed offsets over a real connection: of groups with more of them than one batch holds, of topics that are deleted
//! and created anew, in requests that are answered in parts.

use std::path::Path;
use std::time::Duration;

use crate::support::{batch, fetch_request, text, Client, Node, PATIENCE};
use kafka_protocol::messages::{
    delete_topics_request::DeleteTopicState,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
    offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    offset_fetch_response::OffsetFetchResponseGroup,
    DeleteGroupsRequest, DeleteTopicsRequest, FetchRequest, FindCoordinatorRequest, GroupId,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse,
};
use norn_env::clock;
use norn_protocol::client::topic_name;

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const NOT_COORDINATOR: i16 = 16;

async fn start(dir: &Path, settings: &[(&str, &str)]) -> (Node, Client) {
    let node = Node::start(dir, settings).await;
    let mut client = node.connect().await;
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    client.ask(4, &find).await;
    (node, client)
}

/// Commits offsets for these partitions of a topic in one request; gives their error codes.
async fn commit(client: &mut Client, group: &str, topic: &str, commits: &[(i32, i64)]) -> Vec<i16> {
    let partition = |(index, offset): &(i32, i64)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text("")))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(commits.iter().map(partition).collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let deadline = clock::now() + PATIENCE;
    loop {
        let response = client.ask(8, &request).await;
        let errors: Vec<i16> = response.topics[0].partitions.iter().map(|p| p.error_code).collect();
        if !errors.contains(&COORDINATOR_LOAD_IN_PROGRESS) && !errors.contains(&NOT_COORDINATOR) {
            return errors;
        }
        assert!(clock::now() < deadline, "the coordinator is never loaded");
        clock::sleep(Duration::from_millis(20)).await;
    }
}

/// Fetches these partitions of a topic, or all that the group has.
async fn fetch(
    client: &mut Client,
    group: &str,
    asked: Option<(&str, Vec<i32>)>,
) -> OffsetFetchResponseGroup {
    let topics = asked.map(|(topic, indexes)| {
        vec![OffsetFetchRequestTopics::default().with_name(topic_name(topic)).with_partition_indexes(indexes)]
    });
    let asked = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(topics);
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let deadline = clock::now() + PATIENCE;
    loop {
        let mut response = client.ask(8, &request).await;
        let group = response.groups.remove(0);
        if !matches!(group.error_code, COORDINATOR_LOAD_IN_PROGRESS | NOT_COORDINATOR) {
            return group;
        }
        assert!(clock::now() < deadline, "the coordinator is never loaded");
        clock::sleep(Duration::from_millis(20)).await;
    }
}

/// The ids of all groups, once all coordinators are loaded.
async fn list(client: &mut Client) -> Vec<String> {
    let deadline = clock::now() + PATIENCE;
    loop {
        let response = client.ask(4, &ListGroupsRequest::default()).await;
        if response.error_code == 0 {
            return response.groups.iter().map(|group| group.group_id.to_string()).collect();
        }
        assert!(clock::now() < deadline, "still error {}", response.error_code);
        clock::sleep(Duration::from_millis(20)).await;
    }
}

async fn offset(client: &mut Client, topic: &str, index: i32) -> i64 {
    let fetched = fetch(client, "g", Some((topic, vec![index]))).await;
    fetched.topics[0].partitions[0].committed_offset
}

async fn delete_topic(client: &mut Client, topic: &str) {
    let state = DeleteTopicState::default().with_name(Some(topic_name(topic)));
    let request = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(30_000);
    assert_eq!(client.ask(6, &request).await.responses[0].error_code, 0);
}

#[test]
fn a_group_with_more_offsets_than_a_batch_has_tombstones_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        // A batch holds some 15 tombstones of this group.
        let settings = [("message.max.bytes", "4096")];
        let group = "g".repeat(250);
        let (node, mut client) = start(&path, &settings).await;
        client.create_topic("t", 50, &[]).await;
        for first in (0..50).step_by(5) {
            let commits: Vec<(i32, i64)> = (first..first + 5).map(|index| (index, 7)).collect();
            assert_eq!(commit(&mut client, &group, "t", &commits).await, [0; 5]);
        }
        let named = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(&group))]);
        assert_eq!(client.ask(2, &named).await.results[0].error_code, 0);
        assert!(fetch(&mut client, &group, None).await.topics.is_empty());
        node.stop().await;

        let (node, mut client) = start(&path, &settings).await;
        assert!(fetch(&mut client, &group, None).await.topics.is_empty(), "a tombstone is missing");
        assert_eq!(list(&mut client).await, Vec::<String>::new());
        node.stop().await;
    });
}

#[test]
fn offsets_whose_tombstones_do_not_fit_into_one_batch_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = start(&path, &[]).await;
        let group = "g".repeat(9000);
        client.create_topic("t", 150, &[]).await;
        let commits: Vec<(i32, i64)> = (0..150).map(|index| (index, 7)).collect();
        assert_eq!(commit(&mut client, &group, "t", &commits).await, [0; 150]);
        let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
        let topic = OffsetDeleteRequestTopic::default().with_name(topic_name("t"));
        let topics = vec![topic.with_partitions((0..150).map(partition).collect())];
        let request = OffsetDeleteRequest::default().with_group_id(GroupId(text(&group)));
        let deleted = client.ask(0, &request.with_topics(topics)).await;
        let errors = deleted.topics[0].partitions.iter().map(|one| one.error_code);
        assert_eq!((deleted.error_code, errors.collect::<Vec<_>>()), (0, vec![0; 150]));
        assert!(fetch(&mut client, &group, None).await.topics.is_empty());
        node.stop().await;
    });
}

#[test]
fn a_topic_created_anew_has_no_offsets_of_the_deleted_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = start(&path, &[]).await;
        client.create_topic("t", 2, &[]).await;
        client.create_topic("u", 1, &[]).await;
        assert_eq!(commit(&mut client, "g", "t", &[(0, 5), (1, 6)]).await, [0, 0]);
        assert_eq!(commit(&mut client, "g", "u", &[(0, 7)]).await, [0]);
        delete_topic(&mut client, "t").await;
        // Nobody waits for tombstones: it is the topic's id that tells.
        assert_eq!(offset(&mut client, "t", 0).await, -1);
        client.create_topic("t", 2, &[]).await;
        assert_eq!(offset(&mut client, "t", 0).await, -1);
        let all = fetch(&mut client, "g", None).await;
        assert_eq!(all.topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["u"]);
        assert_eq!(commit(&mut client, "g", "t", &[(0, 1)]).await, [0]);
        node.stop().await;

        let (node, mut client) = start(&path, &[]).await;
        assert_eq!(offset(&mut client, "t", 0).await, 1);
        assert_eq!(offset(&mut client, "t", 1).await, -1);
        assert_eq!(offset(&mut client, "u", 0).await, 7);
        node.stop().await;
    });
}

#[test]
fn large_requests_are_answered_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = start(&path, &[]).await;
        client.create_topic("t", 2, &[]).await;
        // Among thousands, one that does not exist; of one that comes again and again, the last counts.
        let commits: Vec<(i32, i64)> =
            (0..3000).map(|n| (if n == 2000 { 9 } else { n % 2 }, n.into())).collect();
        let errors = commit(&mut client, "g", "t", &commits).await;
        let failed: Vec<_> = errors.iter().enumerate().filter(|(_, error)| **error != 0).collect();
        assert_eq!((errors.len(), failed), (3000, vec![(2000, &3)]));
        let indexes: Vec<i32> = (0..3000).rev().collect();
        let fetched = fetch(&mut client, "g", Some(("t", indexes.clone()))).await;
        assert_eq!(fetched.topics.len(), 1);
        let partitions = &fetched.topics[0].partitions;
        assert_eq!(partitions.iter().map(|p| p.partition_index).collect::<Vec<_>>(), indexes);
        let last: Vec<i64> = partitions.iter().map(|p| p.committed_offset).skip(2997).collect();
        assert_eq!(last, [-1, 2999, 2998]);
        // More groups of each coordinator than one visit lists.
        for group in ["group-0", "group-1"] {
            // Of either coordinator, so that both are loaded.
            assert_eq!(commit(&mut client, group, "t", &[(0, 1)]).await, [0]);
        }
        for some in 0..41 {
            for n in 0..50 {
                client.send(8, &commit_of_one(&format!("group-{}", 50 * some + n))).await;
            }
            for _ in 0..50 {
                let response = client.receive::<OffsetCommitRequest>(8).await.unwrap();
                assert_eq!(response.topics[0].partitions[0].error_code, 0);
            }
        }
        assert_eq!(list(&mut client).await.len(), 2051);
        node.stop().await;
    });
}

fn commit_of_one(group: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default().with_committed_metadata(Some(text("")));
    let topic =
        OffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

/// An OffsetFetch of partition 0 of the topic `t` for each of these groups.
fn fetch_of_each(groups: &[&str]) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics::default().with_name(topic_name("t"));
    let topics = vec![topic.with_partition_indexes(vec![0])];
    let of_group = |group: &&str| {
        let asked = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group)));
        asked.with_topics(Some(topics.clone()))
    };
    OffsetFetchRequest::default().with_groups(groups.iter().map(of_group).collect())
}

fn offsets_in(response: &OffsetFetchResponse) -> Vec<i64> {
    response.groups.iter().map(|group| group.topics[0].partitions[0].committed_offset).collect()
}

#[test]
fn the_groups_of_a_request_are_read_when_its_turn_to_be_answered_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let (node, mut client) = start(&path, &[]).await;
        for topic in ["t", "idle"] {
            client.create_topic(topic, 1, &[]).await;
        }
        let groups = ["g", "h"];
        for group in groups {
            assert_eq!(commit(&mut client, group, "t", &[(0, 5)]).await, [0]);
        }
        // Answers leave in the order of the requests: what is read before the long poll ends would be kept until then. The
        // commits behind it tell when it was read: each request is handed over before the next one is taken.
        let mut waiting = node.connect().await;
        waiting.send(12, &fetch_request("idle", 0, 50_000)).await;
        waiting.send(8, &fetch_of_each(&groups)).await;
        for group in groups {
            waiting.send(8, &commit_of_one(group)).await;
        }
        let deadline = clock::now() + PATIENCE;
        while offsets_in(&client.ask(8, &fetch_of_each(&groups)).await) != [0, 0] {
            assert!(clock::now() < deadline, "the commits are never applied");
            clock::sleep(Duration::from_millis(10)).await;
        }
        client.produce("idle", 0, batch(&["v"])).await;
        waiting.receive::<FetchRequest>(12).await.unwrap();
        let answer = waiting.receive::<OffsetFetchRequest>(8).await.unwrap();
        assert_eq!(offsets_in(&answer), [0, 0], "it was read before its turn");
        for _ in groups {
            let answer = waiting.receive::<OffsetCommitRequest>(8).await.unwrap();
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        }
        node.stop().await;
    });
}
