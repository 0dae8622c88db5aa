//! The APIs that administration tools ask.

use kafka_protocol::messages::{
    alter_configs_request::{AlterConfigsResource, AlterableConfig},
    alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic},
    create_acls_request::AclCreation,
    delete_acls_request::DeleteAclsFilter,
    describe_client_quotas_request::ComponentData,
    describe_log_dirs_request::DescribableLogDirTopic,
    describe_producers_request::TopicRequest as ProducersOf,
    describe_quorum_request::{PartitionData, TopicData},
    describe_topic_partitions_request::{Cursor, TopicRequest},
    describe_user_scram_credentials_request::UserName,
    elect_leaders_request::TopicPartitions,
    list_partition_reassignments_request::ListPartitionReassignmentsTopics,
    update_features_request::FeatureUpdateKey,
    *,
};
use norn_protocol::client::topic_name;

use super::{served, text, Run, MISSING, TOPIC};

const UNKNOWN_TOPIC: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_REQUEST: i16 = 42;
const SECURITY_DISABLED: i16 = 54;
const ELECTION_NOT_NEEDED: i16 = 84;
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;
const RESOURCE_NOT_FOUND: i16 = 91;
const DUPLICATE_RESOURCE: i16 = 92;
const INVALID_UPDATE_VERSION: i16 = 95;

pub async fn all(run: &mut Run) {
    cluster(run).await;
    alter_configs(run).await;
    log_dirs(run).await;
    acls(run).await;
    nothing_there(run).await;
    reassignments(run).await;
    elections(run).await;
    quorum(run).await;
    producers(run).await;
    topic_partitions(run).await;
    config_resources(run).await;
    features(run).await;
}

async fn cluster(run: &mut Run) {
    for version in served(ApiKey::DescribeCluster) {
        run.ask(version, "default", DescribeClusterRequest::default()).await;
        if version >= 1 {
            run.ask(version, "controllers", DescribeClusterRequest::default().with_endpoint_type(2)).await;
        }
    }
}

async fn alter_configs(run: &mut Run) {
    for version in served(ApiKey::AlterConfigs) {
        run.ask(version, "empty", AlterConfigsRequest::default()).await;
        let resource = |kind, name, key| {
            let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text("100000")));
            AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configs(vec![config])
        };
        let resources = vec![
            resource(2, TOPIC, "retention.ms"),
            resource(2, MISSING, "retention.ms"),
            resource(4, "", "log.retention.ms"),
            resource(4, "1", "node.id"),
            resource(9, "x", "y"),
        ];
        let request = AlterConfigsRequest::default().with_resources(resources).with_validate_only(true);
        let some = run.ask(version, "some", request).await.unwrap();
        let errors: Vec<i16> = some.responses.iter().map(|one| one.error_code).collect();
        assert_eq!(errors, [0, UNKNOWN_TOPIC, 0, INVALID_REQUEST, INVALID_REQUEST], "version {version}");
    }
}

async fn log_dirs(run: &mut Run) {
    for version in served(ApiKey::DescribeLogDirs) {
        run.ask(version, "empty", DescribeLogDirsRequest::default()).await;
        let topic = |name| {
            DescribableLogDirTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(vec![0, 0, 1, 99, -1])
        };
        let request = DescribeLogDirsRequest::default().with_topics(Some(vec![topic(TOPIC), topic(MISSING)]));
        let some = run.ask(version, "some", request).await.unwrap();
        assert_eq!((some.error_code, some.results.len()), (0, 1), "version {version}");
        let topics = &some.results[0].topics;
        assert_eq!((topics.len(), topics[0].partitions.len()), (1, 2), "version {version}: each once");
        let all = DescribeLogDirsRequest::default().with_topics(None);
        let all = run.ask(version, "all", all).await.unwrap();
        assert!(all.results[0].topics.len() > 1, "version {version}");
        assert_eq!(all.results[0].total_bytes > 0, version >= 4, "version {version}");
    }
}

async fn acls(run: &mut Run) {
    for version in served(ApiKey::DescribeAcls) {
        run.ask(version, "empty", DescribeAclsRequest::default()).await;
        let any = DescribeAclsRequest::default().with_resource_type_filter(1).with_operation(1);
        let response = run.ask(version, "any", any).await.unwrap();
        let message = response.error_message.as_deref();
        assert_eq!(response.error_code, SECURITY_DISABLED, "version {version}");
        assert_eq!(message, Some("No Authorizer is configured on the broker"), "version {version}");
    }
    for version in served(ApiKey::CreateAcls) {
        run.ask(version, "empty", CreateAclsRequest::default()).await;
        let one = AclCreation::default().with_resource_type(2).with_resource_name(text(TOPIC));
        let request = CreateAclsRequest::default().with_creations(vec![one.clone(), one]);
        let results = run.ask(version, "two", request).await.unwrap().results;
        assert_eq!(results.len(), 2, "version {version}");
        for result in results {
            assert_eq!(result.error_code, SECURITY_DISABLED, "version {version}");
            assert_eq!(result.error_message.as_deref(), Some("No Authorizer is configured."));
        }
    }
    for version in served(ApiKey::DeleteAcls) {
        run.ask(version, "empty", DeleteAclsRequest::default()).await;
        let request = DeleteAclsRequest::default().with_filters(vec![DeleteAclsFilter::default(); 2]);
        let results = run.ask(version, "two", request).await.unwrap().filter_results;
        assert_eq!(results.len(), 2, "version {version}");
        for result in results {
            assert_eq!(result.error_code, SECURITY_DISABLED, "version {version}");
            assert_eq!(result.error_message.as_deref(), Some("No Authorizer is configured."));
        }
    }
}

async fn nothing_there(run: &mut Run) {
    for version in served(ApiKey::DescribeClientQuotas) {
        let empty = run.ask(version, "empty", DescribeClientQuotasRequest::default()).await.unwrap();
        assert_eq!((empty.error_code, empty.entries), (0, Some(vec![])), "version {version}");
        let kind = |kind| ComponentData::default().with_entity_type(text(kind)).with_match_type(2);
        let request =
            DescribeClientQuotasRequest::default().with_components(vec![kind("user"), kind("user")]);
        let refused = run.ask(version, "twice", request).await.unwrap();
        assert_eq!((refused.error_code, refused.entries), (INVALID_REQUEST, None), "version {version}");
    }
    for version in served(ApiKey::DescribeUserScramCredentials) {
        let all = DescribeUserScramCredentialsRequest::default().with_users(None);
        let all = run.ask(version, "all", all).await.unwrap();
        assert_eq!((all.error_code, all.results.len()), (0, 0), "version {version}");
        let named = ["a", "b", "b"].map(|name| UserName::default().with_name(text(name)));
        let request = DescribeUserScramCredentialsRequest::default().with_users(Some(named.into()));
        let named = run.ask(version, "some", request).await.unwrap();
        let told: Vec<i16> = named.results.iter().map(|result| result.error_code).collect();
        assert_eq!((named.error_code, told), (0, vec![RESOURCE_NOT_FOUND, DUPLICATE_RESOURCE]));
    }
}

async fn reassignments(run: &mut Run) {
    for version in served(ApiKey::ListPartitionReassignments) {
        let all = ListPartitionReassignmentsRequest::default().with_topics(None);
        let unknown = ListPartitionReassignmentsTopics::default().with_name(topic_name(MISSING));
        let some = all.clone().with_topics(Some(vec![unknown.with_partition_indexes(vec![0])]));
        for (what, request) in [("all", all), ("unknown", some)] {
            let response = run.ask(version, what, request).await.unwrap();
            assert_eq!((response.error_code, response.topics.len()), (0, 0), "version {version}, {what}");
        }
    }
    for version in served(ApiKey::AlterPartitionReassignments) {
        run.ask(version, "empty", AlterPartitionReassignmentsRequest::default()).await;
        let partition = |index, replicas: Option<&[i32]>| {
            let replicas = replicas.map(|nodes| nodes.iter().map(|node| BrokerId(*node)).collect());
            ReassignablePartition::default().with_partition_index(index).with_replicas(replicas)
        };
        let topic = |name, partitions| {
            ReassignableTopic::default().with_name(topic_name(name)).with_partitions(partitions)
        };
        let partitions = [(0, Some(&[1][..])), (1, Some(&[2])), (0, Some(&[])), (0, None), (99, Some(&[1]))];
        let asked = partitions.map(|(index, replicas)| partition(index, replicas));
        let topics = vec![topic(TOPIC, asked.into()), topic(MISSING, vec![partition(0, None)])];
        let request = AlterPartitionReassignmentsRequest::default().with_topics(topics);
        let response = run.ask(version, "some", request).await.unwrap();
        let told: Vec<i16> =
            response.responses.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code).collect();
        let invalid = INVALID_REPLICA_ASSIGNMENT;
        let expected = [0, invalid, invalid, NO_REASSIGNMENT_IN_PROGRESS, UNKNOWN_TOPIC, UNKNOWN_TOPIC];
        assert_eq!(told, expected, "version {version}");
    }
}

async fn elections(run: &mut Run) {
    for version in served(ApiKey::ElectLeaders) {
        let all = ElectLeadersRequest::default().with_topic_partitions(None);
        let all = run.ask(version, "all", all).await.unwrap();
        assert_eq!((all.error_code, all.replica_election_results.len()), (0, 0), "version {version}");
        let topic =
            |name| TopicPartitions::default().with_topic(topic_name(name)).with_partitions(vec![0, 99]);
        let request =
            ElectLeadersRequest::default().with_topic_partitions(Some(vec![topic(TOPIC), topic(MISSING)]));
        let response = run.ask(version, "some", request.clone()).await.unwrap();
        let results = response.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
        let told: Vec<i16> = results.map(|partition| partition.error_code).collect();
        let expected = [ELECTION_NOT_NEEDED, UNKNOWN_TOPIC, UNKNOWN_TOPIC, UNKNOWN_TOPIC];
        assert_eq!(told, expected, "version {version}");
        if version >= 1 {
            let odd = run.ask(version, "odd type", request.with_election_type(9)).await.unwrap();
            assert_eq!(odd.error_code, INVALID_REQUEST, "version {version}");
        }
    }
}

async fn quorum(run: &mut Run) {
    for version in served(ApiKey::DescribeQuorum) {
        run.ask(version, "empty", DescribeQuorumRequest::default()).await;
        let of = |name| {
            let partition = PartitionData::default().with_partition_index(0);
            let topic =
                TopicData::default().with_topic_name(topic_name(name)).with_partitions(vec![partition]);
            DescribeQuorumRequest::default().with_topics(vec![topic])
        };
        let other = run.ask(version, "another log", of(TOPIC)).await.unwrap();
        assert_eq!(other.topics[0].partitions[0].error_code, UNKNOWN_TOPIC, "version {version}");
        let response = run.ask(version, "metadata", of("__cluster_metadata")).await.unwrap();
        let partition = &response.topics[0].partitions[0];
        let [voter] = partition.current_voters.as_slice() else { panic!("{partition:?}") };
        assert_eq!(
            (partition.error_code, partition.leader_id, voter.replica_id),
            (0, BrokerId(1), BrokerId(1))
        );
        assert!(partition.high_watermark > 1 && voter.log_end_offset >= partition.high_watermark);
        assert_eq!(!voter.replica_directory_id.is_nil(), version >= 2, "version {version}");
        assert_eq!(voter.last_fetch_timestamp > 0, version >= 1, "version {version}");
        assert_eq!(response.nodes.len(), usize::from(version >= 2), "version {version}");
    }
}

async fn producers(run: &mut Run) {
    for version in served(ApiKey::DescribeProducers) {
        run.ask(version, "empty", DescribeProducersRequest::default()).await;
        let topic =
            |name| ProducersOf::default().with_name(topic_name(name)).with_partition_indexes(vec![0, 99]);
        let topics = vec![topic(TOPIC), topic(MISSING), topic("not a name")];
        let request = DescribeProducersRequest::default().with_topics(topics);
        let response = run.ask(version, "some", request).await.unwrap();
        let told = response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
        let expected = [0, UNKNOWN_TOPIC, UNKNOWN_TOPIC, UNKNOWN_TOPIC, INVALID_TOPIC, INVALID_TOPIC];
        assert_eq!(told.collect::<Vec<i16>>(), expected, "version {version}");
    }
}

async fn topic_partitions(run: &mut Run) {
    for version in served(ApiKey::DescribeTopicPartitions) {
        let all = DescribeTopicPartitionsRequest::default().with_response_partition_limit(2000);
        assert!(run.ask(version, "all", all.clone()).await.unwrap().topics.len() > 1);
        let topics =
            [TOPIC, MISSING, "not a name"].map(|name| TopicRequest::default().with_name(topic_name(name)));
        let some = all.with_topics(topics.into());
        let response = run.ask(version, "some", some.clone()).await.unwrap();
        let told: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(told, [UNKNOWN_TOPIC, INVALID_TOPIC, 0], "by name");
        let cursor = Cursor::default().with_topic_name(topic_name("elsewhere"));
        let response = run.ask(version, "odd cursor", some.with_cursor(Some(cursor))).await.unwrap();
        assert!(response.topics.iter().all(|topic| topic.error_code == INVALID_REQUEST));
    }
}

async fn config_resources(run: &mut Run) {
    for version in served(ApiKey::ListConfigResources) {
        let all = run.ask(version, "all", ListConfigResourcesRequest::default()).await.unwrap();
        assert_eq!(all.error_code, 0, "version {version}");
        assert_eq!(!all.config_resources.is_empty(), version >= 1, "version 0 asks for client metrics");
        if version >= 1 {
            let of = |kinds| ListConfigResourcesRequest::default().with_resource_types(kinds);
            let brokers = run.ask(version, "brokers", of(vec![4])).await.unwrap().config_resources;
            let told: Vec<(&str, i8)> =
                brokers.iter().map(|one| (one.resource_name.as_str(), one.resource_type)).collect();
            assert_eq!(told, [("1", 4)]);
            let odd = run.ask(version, "odd kind", of(vec![4, 7])).await.unwrap();
            assert_eq!((odd.error_code, odd.config_resources.len()), (UNSUPPORTED_VERSION, 0));
        }
    }
}

async fn features(run: &mut Run) {
    for version in served(ApiKey::UpdateFeatures) {
        run.ask(version, "empty", UpdateFeaturesRequest::default()).await;
        let update =
            |name, level| FeatureUpdateKey::default().with_feature(text(name)).with_max_version_level(level);
        let of = |update| UpdateFeaturesRequest::default().with_feature_updates(vec![update]);
        let same = run.ask(version, "same level", of(update("metadata.version", 25))).await.unwrap();
        assert_eq!((same.error_code, same.results.len()), (0, usize::from(version < 2)), "version {version}");
        let unknown = run.ask(version, "unknown", of(update("flying", 1))).await.unwrap();
        assert_eq!(unknown.error_code, INVALID_UPDATE_VERSION, "version {version}");
        let message = unknown.error_message.unwrap();
        assert!(
            message.ends_with("Local controller 1 does not support this feature."),
            "{}",
            message.as_str()
        );
    }
}
