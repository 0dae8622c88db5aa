//! Single fields of answers, and requests about topics that are refused or very long: as Kafka 4.3 answers them, and where
//! Norn means to differ.

use std::path::PathBuf;

use crate::support::{text, Client, Node, PATIENCE};
use kafka_protocol::messages::{
    create_partitions_request::CreatePartitionsTopic,
    create_topics_request::CreatableTopic,
    delete_topics_request::DeleteTopicState,
    describe_groups_response::DescribedGroup,
    incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    leave_group_request::MemberIdentity,
    metadata_request::MetadataRequestTopic,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, IncrementalAlterConfigsRequest,
    LeaveGroupRequest, MetadataRequest,
};
use norn_env::clock;
use norn_protocol::client::topic_name;

const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const UNKNOWN_MEMBER_ID: i16 = 25;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const POLICY_VIOLATION: i16 = 44;
const GROUP_ID_NOT_FOUND: i16 = 69;
const UNKNOWN_TOPIC_ID: i16 = 100;
const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
const UNSUPPORTED_ENDPOINT_TYPE: i16 = 115;

const NOT_ASKED: i32 = i32::MIN;
const OFFSETS: &str = "__consumer_offsets";

fn run<F: std::future::Future<Output = ()>>(test: impl FnOnce(PathBuf) -> F + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || test(path));
}

/// Describes a group that is not there, once its coordinator is ready.
async fn describe_missing_group(client: &mut Client, version: i16, asked: bool) -> DescribedGroup {
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    let describe = DescribeGroupsRequest::default()
        .with_groups(vec![GroupId(text("g"))])
        .with_include_authorized_operations(asked);
    let deadline = clock::now() + PATIENCE;
    loop {
        client.ask(4, &find).await;
        let group = client.ask(version, &describe).await.groups.remove(0);
        let starting = [COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS];
        if !starting.contains(&group.error_code) {
            return group;
        }
        assert!(clock::now() < deadline, "still {}", group.error_code);
        clock::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[test]
fn authorized_operations_are_all_that_a_resource_has_and_told_when_asked() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        client.create_topic("t", 1, &[]).await;
        let named = |name| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let unknown = MetadataRequestTopic::default().with_name(None).with_topic_id(uuid::Uuid::from_u128(9));
        for asked in [false, true] {
            let told = |all| if asked { all } else { NOT_ASKED };
            let metadata = MetadataRequest::default()
                .with_topics(Some(vec![named("t"), named("no such")]))
                .with_allow_auto_topic_creation(false)
                .with_include_topic_authorized_operations(asked);
            let with_cluster = metadata.clone().with_include_cluster_authorized_operations(asked);
            let response = client.ask(8, &with_cluster).await;
            assert_eq!(response.cluster_authorized_operations, told(8096));
            let of_topics: Vec<i32> =
                response.topics.iter().map(|topic| topic.topic_authorized_operations).collect();
            assert_eq!(of_topics, [told(3576), told(3576)]);
            let response = client.ask(12, &metadata.with_topics(Some(vec![unknown.clone()]))).await;
            let topic = &response.topics[0];
            assert_eq!((topic.error_code, topic.topic_authorized_operations), (UNKNOWN_TOPIC_ID, NOT_ASKED));

            let cluster = DescribeClusterRequest::default().with_include_cluster_authorized_operations(asked);
            assert_eq!(client.ask(1, &cluster).await.cluster_authorized_operations, told(8096));

            let group = describe_missing_group(&mut client, 5, asked).await;
            assert_eq!((group.error_code, group.authorized_operations), (0, told(3400)));
            let group = describe_missing_group(&mut client, 6, asked).await;
            assert_eq!((group.error_code, group.authorized_operations), (GROUP_ID_NOT_FOUND, NOT_ASKED));
        }
        node.stop().await;
    });
}

#[test]
fn leaving_a_group_that_is_not_there_is_told_to_each_member() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        describe_missing_group(&mut client, 5, false).await;
        let members = ["m1", "m2"].map(|id| MemberIdentity::default().with_member_id(text(id)));
        let leave = LeaveGroupRequest::default().with_group_id(GroupId(text("g")));
        let left = client.ask(3, &leave.clone().with_members(members.to_vec())).await;
        let told: Vec<(&str, i16)> =
            left.members.iter().map(|member| (member.member_id.as_str(), member.error_code)).collect();
        assert_eq!((left.error_code, told), (0, vec![("m1", UNKNOWN_MEMBER_ID), ("m2", UNKNOWN_MEMBER_ID)]));
        let left = client.ask(2, &leave.with_member_id(text("m1"))).await;
        assert_eq!(left.error_code, UNKNOWN_MEMBER_ID);
        node.stop().await;
    });
}

#[test]
fn an_endpoint_type_that_there_is_not_is_told_from_one_that_is_elsewhere() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        for (kind, error) in [(1, 0), (2, MISMATCHED_ENDPOINT_TYPE), (9, UNSUPPORTED_ENDPOINT_TYPE)] {
            let response = client.ask(1, &DescribeClusterRequest::default().with_endpoint_type(kind)).await;
            assert_eq!((response.error_code, response.error_message.is_some()), (error, error != 0));
        }
        node.stop().await;
    });
}

fn create(topics: impl Iterator<Item = CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(60_000)
}

fn one(name: &str) -> CreatableTopic {
    CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(1).with_replication_factor(1)
}

#[test]
fn a_topic_that_is_not_created_has_an_empty_list_of_configs() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        client.create_topic("t", 1, &[]).await;
        let response = client.ask(5, &create([one("t")].into_iter())).await;
        assert_eq!(response.topics[0].error_code, TOPIC_ALREADY_EXISTS);
        assert_eq!(response.topics[0].configs, Some(vec![]));
        node.stop().await;
    });
}

#[test]
fn more_topics_than_the_quorum_takes_at_once_are_created_by_one_request() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        let names: Vec<String> = (0..1_040).map(|number| format!("t{number}")).collect();
        let response = client.ask(7, &create(names.iter().map(|name| one(name)))).await;
        assert_eq!(response.topics.len(), names.len());
        for topic in &response.topics {
            // The other one: this process may have too few descriptors.
            assert!([0, POLICY_VIOLATION].contains(&topic.error_code), "{topic:?}");
        }
        node.stop().await;
    });
}

#[test]
fn internal_topics_are_neither_deleted_nor_grown_nor_let_to_expire() {
    run(|path| async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        describe_missing_group(&mut client, 5, false).await;
        let refused = |code: i16, message: Option<&str>| {
            assert_eq!(code, POLICY_VIOLATION, "{message:?}");
            assert!(
                message.is_some_and(|text| text.contains("change.internal.topics.enable")),
                "{message:?}"
            );
        };
        let topic = DeleteTopicState::default().with_name(Some(topic_name(OFFSETS)));
        let delete = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = &client.ask(6, &delete).await.responses[0];
        refused(answer.error_code, answer.error_message.as_deref());

        let topic = CreatePartitionsTopic::default()
            .with_name(topic_name(OFFSETS))
            .with_count(9)
            .with_assignments(None);
        let grow = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = &client.ask(3, &grow).await.results[0];
        refused(answer.error_code, answer.error_message.as_deref());

        let alter = |name, value| {
            let config = AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
            let resource = AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(OFFSETS))
                .with_configs(vec![config]);
            IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
        };
        let answer = &client.ask(1, &alter("cleanup.policy", "delete")).await.responses[0];
        refused(answer.error_code, answer.error_message.as_deref());
        let answer = &client.ask(1, &alter("segment.bytes", "2000000")).await.responses[0];
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        node.stop().await;
    });
}
