//! Every API that is advertised, in every version, over a real connection: with an empty request, with a realistic one and
//! with one about what does not exist. Each must be answered by a response that decodes in that version; a response that
//! cannot be encoded closes the connection, which fails here.

mod admin;
mod offsets;

use std::{collections::BTreeSet, time::Duration};

use crate::support::{batch, text, Client, Node};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics_request::DeleteTopicState,
        describe_configs_request::DescribeConfigsResource,
        fetch_request::{FetchPartition, FetchTopic, ForgottenTopic},
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
        join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
        produce_request::{PartitionProduceData, TopicProduceData},
        sync_group_request::SyncGroupRequestAssignment,
        *,
    },
    protocol::Request,
};
use norn_env::clock;
use norn_protocol::{client::topic_name, versions};
use uuid::Uuid;

/// A topic that exists, one that does not.
const TOPIC: &str = "orders";
const MISSING: &str = "missing";

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;

struct Run {
    node: Node,
    client: Client,
    topic_id: Uuid,
    answered: BTreeSet<(i16, i16)>,
    failures: Vec<String>,
}

impl Run {
    async fn ask<R: Request>(&mut self, version: i16, what: &str, request: R) -> Option<R::Response> {
        match self.client.try_ask(version, &request).await {
            Ok(response) => {
                self.answered.insert((R::KEY, version));
                Some(response)
            }
            Err(error) => {
                self.failures.push(format!("api {} version {version}, {what}: {error}", R::KEY));
                self.client = self.node.connect().await;
                None
            }
        }
    }
}

/// The versions of an API that are served.
fn served(key: ApiKey) -> std::ops::RangeInclusive<i16> {
    let range = versions::range(key).unwrap();
    range.min..=range.max
}

#[test]
fn every_served_version_of_every_api_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let node = Node::start(&path, &[]).await;
        let mut client = node.connect().await;
        let topic_id = client.create_topic(TOPIC, 2, &[]).await;
        client.produce(TOPIC, 0, batch(&["a", "b", "c"])).await;
        let mut run = Run { node, client, topic_id, answered: BTreeSet::new(), failures: vec![] };
        api_versions(&mut run).await;
        metadata(&mut run).await;
        produce(&mut run).await;
        fetch(&mut run).await;
        list_offsets(&mut run).await;
        leader_epochs(&mut run).await;
        find_coordinator(&mut run).await;
        groups(&mut run).await;
        offsets::all(&mut run).await;
        configs(&mut run).await;
        topics(&mut run).await;
        the_rest(&mut run).await;
        admin::all(&mut run).await;
        assert!(run.failures.is_empty(), "\n{}", run.failures.join("\n"));
        let advertised = run.client.ask(0, &ApiVersionsRequest::default()).await;
        let missed: Vec<(i16, i16)> = advertised
            .api_keys
            .iter()
            .flat_map(|api| {
                let key = ApiKey::try_from(api.api_key).unwrap();
                served(key).map(move |version| (api.api_key, version))
            })
            .filter(|driven| !run.answered.contains(driven))
            .collect();
        assert!(missed.is_empty(), "not driven: {missed:?}");
        run.node.stop().await;
    });
}

async fn api_versions(run: &mut Run) {
    for version in served(ApiKey::ApiVersions) {
        run.ask(version, "empty", ApiVersionsRequest::default()).await;
        if version >= 3 {
            let named = ApiVersionsRequest::default()
                .with_client_software_name(text("test"))
                .with_client_software_version(text("1.0"));
            let response = run.ask(version, "named", named).await.unwrap();
            assert_eq!(response.error_code, 0);
        }
    }
}

async fn metadata(run: &mut Run) {
    let topic = |name: &str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    for version in served(ApiKey::Metadata) {
        run.ask(version, "empty", MetadataRequest::default()).await;
        if version >= 1 {
            run.ask(version, "all", MetadataRequest::default().with_topics(None)).await;
        }
        let name = format!("auto-{version}");
        let mut asked = vec![topic(TOPIC), topic(&name), topic("not a name"), topic("")];
        if version >= 10 {
            asked.push(MetadataRequestTopic::default().with_name(None).with_topic_id(run.topic_id));
            asked.push(MetadataRequestTopic::default().with_name(None).with_topic_id(Uuid::from_u128(7)));
        }
        let request = MetadataRequest::default().with_topics(Some(asked));
        let response = run.ask(version, "some", request).await;
        let created = response.and_then(|r| r.topics.into_iter().find(|t| t.name == Some(topic_name(&name))));
        assert_eq!(created.map(|topic| topic.error_code), Some(0), "version {version} creates the topic");
        if version >= 4 {
            let request = MetadataRequest::default()
                .with_topics(Some(vec![topic(MISSING)]))
                .with_allow_auto_topic_creation(false);
            run.ask(version, "missing", request).await;
        }
        if version >= 8 {
            let request = MetadataRequest::default().with_include_topic_authorized_operations(true);
            run.ask(version, "operations", request).await;
        }
    }
}

async fn produce(run: &mut Run) {
    for version in served(ApiKey::Produce) {
        run.ask(version, "empty", ProduceRequest::default().with_acks(-1)).await;
        for (what, acks, records) in [
            ("good", -1, batch(&["x"])),
            ("acks=1", 1, batch(&["x"])),
            ("acks=7", 7, batch(&["x"])),
            ("no batch", -1, Bytes::new()),
            ("garbage", -1, Bytes::from_static(&[1; 80])),
        ] {
            let topic = |name: &str, id: Uuid| {
                let data = |index| {
                    PartitionProduceData::default().with_index(index).with_records(Some(records.clone()))
                };
                let topic = TopicProduceData::default().with_partition_data(vec![data(0), data(99)]);
                match version {
                    ..=12 => topic.with_name(topic_name(name)),
                    _ => topic.with_topic_id(id),
                }
            };
            let request = ProduceRequest::default()
                .with_acks(acks)
                .with_timeout_ms(30_000)
                .with_topic_data(vec![topic(TOPIC, run.topic_id), topic(MISSING, Uuid::from_u128(7))]);
            let response = run.ask(version, what, request).await.unwrap();
            let error = response.responses[0].partition_responses[0].error_code;
            assert_eq!(error == 0, matches!(what, "good" | "acks=1"), "version {version}, {what}: {error}");
        }
        let transactional = ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(text("t"))))
            .with_acks(-1)
            .with_topic_data(vec![match version {
                ..=12 => TopicProduceData::default().with_name(topic_name(TOPIC)),
                _ => TopicProduceData::default().with_topic_id(run.topic_id),
            }]);
        run.ask(version, "transactional", transactional).await;
    }
}

async fn fetch(run: &mut Run) {
    for version in served(ApiKey::Fetch) {
        run.ask(version, "empty", FetchRequest::default()).await;
        let topic_id = run.topic_id;
        let topic = |name: &str, id: Uuid, offset: i64| {
            let partition = |index| {
                FetchPartition::default()
                    .with_partition(index)
                    .with_fetch_offset(offset)
                    .with_partition_max_bytes(1 << 20)
            };
            let topic =
                FetchTopic::default().with_partitions(vec![partition(0), partition(1), partition(99)]);
            match version {
                ..=12 => topic.with_topic(topic_name(name)),
                _ => topic.with_topic_id(id),
            }
        };
        let request = FetchRequest::default().with_max_bytes(1 << 20).with_min_bytes(1);
        for (what, offset) in [("good", 0), ("out of range", 1 << 40), ("negative", -5)] {
            let topics = vec![topic(TOPIC, topic_id, offset), topic(MISSING, Uuid::from_u128(7), 0)];
            let request = request.clone().with_topics(topics);
            let response = run.ask(version, what, request).await.unwrap();
            let records = response.responses[0].partitions[0].records.as_ref().map_or(0, Bytes::len);
            assert_eq!(records > 0, what == "good", "version {version}, {what}");
        }
        if version < 7 {
            continue;
        }
        let open = request.clone().with_topics(vec![topic(TOPIC, topic_id, 0)]);
        let session = run.ask(version, "session", open).await.unwrap().session_id;
        let next = request.clone().with_session_id(session);
        run.ask(version, "next", next.clone().with_session_epoch(1)).await;
        let forgotten = ForgottenTopic::default().with_partitions(vec![0, 99]);
        let forgotten = match version {
            ..=12 => forgotten.with_topic(topic_name(TOPIC)),
            _ => forgotten.with_topic_id(topic_id),
        };
        let forget = next.clone().with_session_epoch(2).with_forgotten_topics_data(vec![forgotten]);
        run.ask(version, "forget", forget).await;
        run.ask(version, "wrong epoch", next.clone().with_session_epoch(9)).await;
        run.ask(version, "odd epoch", next.clone().with_session_epoch(-9)).await;
        run.ask(version, "close", next.clone().with_session_epoch(-1)).await;
        run.ask(version, "closed", next.with_session_epoch(3)).await;
    }
}

async fn list_offsets(run: &mut Run) {
    for version in served(ApiKey::ListOffsets) {
        run.ask(version, "empty", ListOffsetsRequest::default()).await;
        let mut topics = vec![];
        for name in [TOPIC, MISSING] {
            let partition = |timestamp| ListOffsetsPartition::default().with_timestamp(timestamp);
            let partitions = [-1, -2, -3, -4, -5, -6, -7, 0, 1 << 60].map(partition);
            let topic = ListOffsetsTopic::default().with_name(topic_name(name));
            topics.push(topic.with_partitions(partitions.into()));
        }
        run.ask(version, "some", ListOffsetsRequest::default().with_topics(topics)).await;
    }
}

async fn leader_epochs(run: &mut Run) {
    for version in served(ApiKey::OffsetForLeaderEpoch) {
        run.ask(version, "empty", OffsetForLeaderEpochRequest::default()).await;
        let topics = [TOPIC, MISSING].map(|name| {
            let partition = |epoch| OffsetForLeaderPartition::default().with_leader_epoch(epoch);
            OffsetForLeaderTopic::default()
                .with_topic(topic_name(name))
                .with_partitions([-1, 0, 99].map(partition).into())
        });
        run.ask(version, "some", OffsetForLeaderEpochRequest::default().with_topics(topics.into())).await;
    }
}

async fn find_coordinator(run: &mut Run) {
    for version in served(ApiKey::FindCoordinator) {
        run.ask(version, "empty", FindCoordinatorRequest::default()).await;
        for kind in [0, 1, 2, 9] {
            let request = FindCoordinatorRequest::default();
            let request = match version {
                0 if kind > 0 => continue,
                ..=3 => request.with_key(text("g")),
                _ => request.with_coordinator_keys(vec![text("g"), text("h"), text("")]),
            };
            run.ask(version, "some", if version >= 1 { request.with_key_type(kind) } else { request }).await;
        }
    }
}

/// A group's whole life for each version of each of its APIs.
async fn groups(run: &mut Run) {
    for version in served(ApiKey::JoinGroup) {
        run.ask(version, "empty", JoinGroupRequest::default()).await;
        let group = GroupId(text(&format!("group-{version}")));
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"));
        let mut join = JoinGroupRequest::default()
            .with_group_id(group.clone())
            .with_session_timeout_ms(30_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        if version >= 1 {
            join = join.with_rebalance_timeout_ms(30_000);
        }
        let mut joined = loop {
            let joined = run.ask(version, "join", join.clone()).await.unwrap();
            if joined.error_code != COORDINATOR_LOAD_IN_PROGRESS {
                break joined;
            }
            clock::sleep(Duration::from_millis(20)).await;
        };
        if version >= 4 {
            assert_eq!(joined.error_code, 79, "version {version}: MEMBER_ID_REQUIRED");
            joined = run.ask(version, "join again", join.with_member_id(joined.member_id)).await.unwrap();
        }
        assert_eq!(joined.error_code, 0, "version {version}");
        let (member, generation) = (joined.member_id, joined.generation_id);
        for version in served(ApiKey::SyncGroup) {
            run.ask(version, "empty", SyncGroupRequest::default()).await;
            let assignment = SyncGroupRequestAssignment::default()
                .with_member_id(member.clone())
                .with_assignment(Bytes::from_static(b"\0\0\0\0\0\0"));
            let mut sync = SyncGroupRequest::default()
                .with_group_id(group.clone())
                .with_member_id(member.clone())
                .with_generation_id(generation)
                .with_assignments(vec![assignment]);
            if version >= 5 {
                sync =
                    sync.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")));
            }
            let synced = run.ask(version, "sync", sync).await.unwrap();
            assert_eq!((synced.error_code, synced.assignment.len()), (0, 6), "version {version}");
        }
        for version in served(ApiKey::Heartbeat) {
            run.ask(version, "empty", HeartbeatRequest::default()).await;
            let beat =
                HeartbeatRequest::default().with_group_id(group.clone()).with_member_id(member.clone());
            let beat = run.ask(version, "beat", beat.with_generation_id(generation)).await.unwrap();
            assert_eq!(beat.error_code, 0, "version {version}");
        }
        for version in served(ApiKey::DescribeGroups) {
            let groups = vec![group.clone(), GroupId(text(MISSING)), GroupId(text(""))];
            let request = DescribeGroupsRequest::default().with_groups(groups);
            let described = run.ask(version, "some", request).await.unwrap();
            assert_eq!(&*described.groups[0].group_state, "Stable", "version {version}");
        }
        for version in served(ApiKey::ListGroups) {
            run.ask(version, "all", ListGroupsRequest::default()).await;
            if version >= 4 {
                let states = vec![text("Stable"), text("Nonsense")];
                run.ask(version, "filter", ListGroupsRequest::default().with_states_filter(states)).await;
            }
        }
        let leave = LeaveGroupRequest::default().with_group_id(group.clone());
        let leave_version = version.min(*served(ApiKey::LeaveGroup).end());
        let leave = match leave_version {
            ..=2 => leave.with_member_id(member),
            _ => leave.with_members(vec![
                MemberIdentity::default().with_member_id(member),
                MemberIdentity::default().with_member_id(text("nobody")),
            ]),
        };
        run.ask(leave_version, "empty", LeaveGroupRequest::default()).await;
        let left = run.ask(leave_version, "leave", leave).await.unwrap();
        assert_eq!(left.error_code, 0, "version {leave_version}");
        let delete_version = version.min(*served(ApiKey::DeleteGroups).end());
        run.ask(delete_version, "empty", DeleteGroupsRequest::default()).await;
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group, GroupId(text(MISSING))]);
        let deleted = run.ask(delete_version, "delete", delete).await.unwrap();
        assert_eq!(deleted.results[0].error_code, 0, "version {version}");
    }
    run.ask(0, "empty", DescribeGroupsRequest::default()).await;
}

async fn configs(run: &mut Run) {
    for version in served(ApiKey::DescribeConfigs) {
        run.ask(version, "empty", DescribeConfigsRequest::default()).await;
        let resource = |kind, name: &str| {
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configuration_keys(None)
        };
        let resources =
            [(2, TOPIC), (2, MISSING), (2, "not a name"), (4, "1"), (4, ""), (4, "7"), (8, "1"), (99, "x")];
        let mut request = DescribeConfigsRequest::default()
            .with_resources(resources.map(|(kind, name)| resource(kind, name)).into())
            .with_include_synonyms(true);
        if version >= 3 {
            request = request.with_include_documentation(true);
        }
        let response = run.ask(version, "some", request).await.unwrap();
        assert_eq!(response.results[0].error_code, 0, "version {version}");
        assert_eq!(response.results[3].error_code, 0, "version {version}");
    }
    for version in served(ApiKey::IncrementalAlterConfigs) {
        run.ask(version, "empty", IncrementalAlterConfigsRequest::default()).await;
        let resource = |kind, name: &str, key: &str, operation| {
            let config = AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(operation)
                .with_value(Some(text("100000")));
            AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configs(vec![config])
        };
        let resources = vec![
            resource(2, TOPIC, "retention.ms", 0),
            resource(2, MISSING, "retention.ms", 0),
            resource(2, "auto-0", "nonsense", 0),
            resource(2, "auto-1", "retention.ms", 2),
            resource(2, "auto-2", "retention.ms", 9),
            resource(4, "", "log.retention.ms", 0),
            resource(4, "x", "log.retention.ms", 0),
            resource(9, "x", "y", 0),
        ];
        let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
        let response = run.ask(version, "some", request.clone()).await.unwrap();
        let errors: Vec<i16> = response.responses.iter().map(|r| r.error_code).collect();
        assert_eq!((errors[0], errors[5]), (0, 0), "version {version}: {errors:?}");
        run.ask(version, "validate", request.with_validate_only(true)).await;
    }
}

async fn topics(run: &mut Run) {
    for version in served(ApiKey::CreateTopics) {
        run.ask(version, "empty", CreateTopicsRequest::default()).await;
        let topic = |name: &str| {
            let topic = CreatableTopic::default().with_name(topic_name(name));
            topic.with_num_partitions(1).with_replication_factor(1)
        };
        let config = |name: &str, value: &str| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let topics = vec![
            topic(&format!("created-{version}")).with_configs(vec![config("retention.ms", "1000")]),
            topic(TOPIC),
            topic("not a name"),
            topic("too-many").with_replication_factor(9),
            topic("odd").with_configs(vec![config("nonsense", "1")]),
        ];
        let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(30_000);
        run.ask(version, "validate", request.clone().with_validate_only(true)).await;
        let response = run.ask(version, "create", request.clone()).await.unwrap();
        let errors: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(errors, [0, 36, 17, 38, 40], "version {version}");
        for topic in response.topics.iter().filter(|_| version >= 1) {
            assert_eq!(topic.error_message.is_some(), topic.error_code != 0, "version {version}");
        }
    }
    for version in served(ApiKey::CreatePartitions) {
        run.ask(version, "empty", CreatePartitionsRequest::default()).await;
        let topic = |name: &str, count| {
            CreatePartitionsTopic::default()
                .with_name(topic_name(name))
                .with_count(count)
                .with_assignments(None)
        };
        let topics = vec![topic("auto-0", 2 + i32::from(version)), topic("auto-1", 1), topic(MISSING, 3)];
        let request = CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(30_000);
        run.ask(version, "validate", request.clone().with_validate_only(true)).await;
        let response = run.ask(version, "grow", request).await.unwrap();
        let errors: Vec<i16> = response.results.iter().map(|topic| topic.error_code).collect();
        assert_eq!(errors, [0, 37, 3], "version {version}");
    }
    for version in served(ApiKey::DeleteTopics) {
        run.ask(version, "empty", DeleteTopicsRequest::default()).await;
        let created = format!("created-{}", version.max(2));
        let request = DeleteTopicsRequest::default().with_timeout_ms(30_000);
        let request = match version {
            ..=5 => request.with_topic_names(vec![topic_name(&created), topic_name(MISSING)]),
            _ => request.with_topics(vec![
                DeleteTopicState::default().with_name(Some(topic_name(&created))),
                DeleteTopicState::default().with_name(Some(topic_name(MISSING))),
                DeleteTopicState::default().with_name(None).with_topic_id(Uuid::from_u128(7)),
            ]),
        };
        run.ask(version, "delete", request).await;
    }
}

async fn the_rest(run: &mut Run) {
    for version in served(ApiKey::DeleteRecords) {
        run.ask(version, "empty", DeleteRecordsRequest::default()).await;
        let topics = [TOPIC, MISSING, "__consumer_offsets"].map(|name| {
            let partition = |offset| DeleteRecordsPartition::default().with_offset(offset);
            DeleteRecordsTopic::default().with_name(topic_name(name)).with_partitions(vec![
                partition(1),
                partition(1 << 40),
                partition(-7),
            ])
        });
        let request = DeleteRecordsRequest::default().with_topics(topics.into()).with_timeout_ms(30_000);
        let response = run.ask(version, "some", request).await.unwrap();
        assert_eq!(response.topics[0].partitions[0].low_watermark, 1, "version {version}");
    }
    for version in served(ApiKey::InitProducerId) {
        run.ask(version, "empty", InitProducerIdRequest::default()).await;
        let idempotent = InitProducerIdRequest::default().with_transactional_id(None);
        let response = run.ask(version, "idempotent", idempotent.clone()).await.unwrap();
        assert_eq!((response.error_code, response.producer_epoch), (0, 0), "version {version}");
        let transactional = idempotent.with_transactional_id(Some(TransactionalId(text("t"))));
        run.ask(version, "transactional", transactional).await;
    }
}
