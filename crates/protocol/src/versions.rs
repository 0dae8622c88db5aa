//! The table of APIs and versions that Norn can speak: Kafka 4.3's ranges, cut to what the `kafka-protocol` crate encodes
//! and decodes. Which of them a broker advertises is decided by the handlers it has; this table only gives the ranges.

use kafka_protocol::messages::{self as m, ApiKey};
use kafka_protocol::protocol::Request;

/// The versions of one API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApiVersionRange {
    /// Which API.
    pub key: ApiKey,
    /// The lowest version that is served.
    pub min: i16,
    /// The lowest version in ApiVersions responses; differs from `min` for Produce only.
    pub advertised_min: i16,
    /// The highest version.
    pub max: i16,
}

impl ApiVersionRange {
    /// Whether a request of this version is served.
    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// Kafka 4.3's range, cut to the crate's. `ApiKey::valid_versions` is no guide: for OffsetCommit and OffsetFetch it
/// includes a version 10 that the crate's request types lack.
const fn entry<R: Request>(key: ApiKey, kafka_min: i16, kafka_max: i16) -> ApiVersionRange {
    use kafka_protocol::protocol::Message;
    let request = R::VERSIONS;
    let response = <R::Response as Message>::VERSIONS;
    let mut min = kafka_min;
    let mut max = kafka_max;
    if request.min > min {
        min = request.min;
    }
    if response.min > min {
        min = response.min;
    }
    if request.max < max {
        max = request.max;
    }
    if response.max < max {
        max = response.max;
    }
    assert!(min <= max, "an API without versions");
    assert!(R::KEY == key as i16, "an API with another's request");
    ApiVersionRange { key, min, advertised_min: min, max }
}

/// librdkafka compresses only if the broker advertises Produce 0 (KAFKA-18659); Kafka 4 advertises it for that reason
/// and refuses it when it comes.
const fn advertised_from(mut range: ApiVersionRange, min: i16) -> ApiVersionRange {
    range.advertised_min = min;
    range
}

/// All APIs that Norn can speak, by key.
pub const TABLE: &[ApiVersionRange] = &[
    advertised_from(entry::<m::ProduceRequest>(ApiKey::Produce, 3, 13), 0),
    entry::<m::FetchRequest>(ApiKey::Fetch, 4, 18),
    entry::<m::ListOffsetsRequest>(ApiKey::ListOffsets, 1, 11),
    entry::<m::MetadataRequest>(ApiKey::Metadata, 0, 13),
    entry::<m::OffsetCommitRequest>(ApiKey::OffsetCommit, 2, 10),
    entry::<m::OffsetFetchRequest>(ApiKey::OffsetFetch, 1, 10),
    entry::<m::FindCoordinatorRequest>(ApiKey::FindCoordinator, 0, 6),
    entry::<m::JoinGroupRequest>(ApiKey::JoinGroup, 0, 9),
    entry::<m::HeartbeatRequest>(ApiKey::Heartbeat, 0, 4),
    entry::<m::LeaveGroupRequest>(ApiKey::LeaveGroup, 0, 5),
    entry::<m::SyncGroupRequest>(ApiKey::SyncGroup, 0, 5),
    entry::<m::DescribeGroupsRequest>(ApiKey::DescribeGroups, 0, 6),
    entry::<m::ListGroupsRequest>(ApiKey::ListGroups, 0, 5),
    entry::<m::ApiVersionsRequest>(ApiKey::ApiVersions, 0, 4),
    entry::<m::CreateTopicsRequest>(ApiKey::CreateTopics, 2, 7),
    entry::<m::DeleteTopicsRequest>(ApiKey::DeleteTopics, 1, 6),
    entry::<m::DeleteRecordsRequest>(ApiKey::DeleteRecords, 0, 2),
    entry::<m::InitProducerIdRequest>(ApiKey::InitProducerId, 0, 5),
    entry::<m::OffsetForLeaderEpochRequest>(ApiKey::OffsetForLeaderEpoch, 2, 4),
    entry::<m::DescribeAclsRequest>(ApiKey::DescribeAcls, 1, 3),
    entry::<m::CreateAclsRequest>(ApiKey::CreateAcls, 1, 3),
    entry::<m::DeleteAclsRequest>(ApiKey::DeleteAcls, 1, 3),
    entry::<m::DescribeConfigsRequest>(ApiKey::DescribeConfigs, 1, 4),
    entry::<m::AlterConfigsRequest>(ApiKey::AlterConfigs, 0, 2),
    entry::<m::DescribeLogDirsRequest>(ApiKey::DescribeLogDirs, 1, 5),
    entry::<m::CreatePartitionsRequest>(ApiKey::CreatePartitions, 0, 3),
    entry::<m::DeleteGroupsRequest>(ApiKey::DeleteGroups, 0, 2),
    entry::<m::ElectLeadersRequest>(ApiKey::ElectLeaders, 0, 2),
    entry::<m::IncrementalAlterConfigsRequest>(ApiKey::IncrementalAlterConfigs, 0, 1),
    entry::<m::AlterPartitionReassignmentsRequest>(ApiKey::AlterPartitionReassignments, 0, 1),
    entry::<m::ListPartitionReassignmentsRequest>(ApiKey::ListPartitionReassignments, 0, 0),
    entry::<m::OffsetDeleteRequest>(ApiKey::OffsetDelete, 0, 0),
    entry::<m::DescribeClientQuotasRequest>(ApiKey::DescribeClientQuotas, 0, 1),
    entry::<m::DescribeUserScramCredentialsRequest>(ApiKey::DescribeUserScramCredentials, 0, 0),
    entry::<m::DescribeQuorumRequest>(ApiKey::DescribeQuorum, 0, 2),
    entry::<m::UpdateFeaturesRequest>(ApiKey::UpdateFeatures, 0, 2),
    entry::<m::DescribeClusterRequest>(ApiKey::DescribeCluster, 0, 2),
    entry::<m::DescribeProducersRequest>(ApiKey::DescribeProducers, 0, 0),
    entry::<m::ListConfigResourcesRequest>(ApiKey::ListConfigResources, 0, 1),
    entry::<m::DescribeTopicPartitionsRequest>(ApiKey::DescribeTopicPartitions, 0, 0),
];

/// The versions of an API; `None` if Norn does not speak it.
pub fn range(key: ApiKey) -> Option<ApiVersionRange> {
    TABLE.iter().find(|entry| entry.key == key).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_by_key_without_repeats() {
        assert!(TABLE.windows(2).all(|pair| (pair[0].key as i16) < (pair[1].key as i16)));
    }

    #[test]
    fn produce_is_advertised_from_zero_and_served_from_three() {
        let produce = range(ApiKey::Produce).unwrap();
        assert_eq!((produce.advertised_min, produce.min, produce.max), (0, 3, 13));
        assert!(!produce.serves(2) && produce.serves(3) && produce.serves(13) && !produce.serves(14));
        for other in TABLE.iter().filter(|entry| entry.key != ApiKey::Produce) {
            assert_eq!(other.advertised_min, other.min, "{:?}", other.key);
        }
    }

    #[test]
    fn no_version_is_offered_that_the_crate_cannot_decode() {
        assert_eq!(range(ApiKey::OffsetCommit).unwrap().max, 9);
        assert_eq!(range(ApiKey::OffsetFetch).unwrap().max, 9);
        assert_eq!(range(ApiKey::ListOffsets).unwrap().max, 10);
        assert_eq!(range(ApiKey::InitProducerId).unwrap().max, 5);
        assert_eq!(range(ApiKey::DescribeLogDirs).unwrap().max, 4);
    }

    #[test]
    fn an_api_outside_the_table_has_no_range() {
        assert_eq!(range(ApiKey::Vote), None);
        assert_eq!(range(ApiKey::Envelope), None);
    }
}
