//! As [`super::requests`], for what only administration tools ask.

use super::requests::{of, structs, BOOL, I16, I32, I32S, I8, STR};
use super::{Field, Kind};
use crate::ApiKey;

pub(super) static TABLE: &[(ApiKey, &[Field])] = &[
    (ApiKey::DescribeAcls, ACL_FILTER),
    (ApiKey::CreateAcls, CREATE_ACLS),
    (ApiKey::DeleteAcls, DELETE_ACLS),
    (ApiKey::DescribeLogDirs, TOPIC_PARTITIONS),
    (ApiKey::ElectLeaders, ELECT_LEADERS),
    (ApiKey::AlterPartitionReassignments, ALTER_PARTITION_REASSIGNMENTS),
    (ApiKey::ListPartitionReassignments, LIST_PARTITION_REASSIGNMENTS),
    (ApiKey::DescribeClientQuotas, DESCRIBE_CLIENT_QUOTAS),
    (ApiKey::DescribeUserScramCredentials, DESCRIBE_USER_SCRAM_CREDENTIALS),
    (ApiKey::DescribeQuorum, DESCRIBE_QUORUM),
    (ApiKey::UpdateFeatures, UPDATE_FEATURES),
    (ApiKey::DescribeProducers, TOPIC_PARTITIONS),
    (ApiKey::ListConfigResources, LIST_CONFIG_RESOURCES),
    (ApiKey::DescribeTopicPartitions, DESCRIBE_TOPIC_PARTITIONS),
];

/// A request that names partitions and nothing else.
static TOPIC_PARTITIONS: &[Field] = &[structs(NAMED_PARTITIONS)];

static NAMED_PARTITIONS: &[Field] = &[
    STR,  // topic
    I32S, // partitions
];

/// DescribeAcls, and each filter of DeleteAcls; an ACL that is created has the same fields.
static ACL_FILTER: &[Field] = &[
    I8,  // resource_type_filter
    STR, // resource_name_filter
    I8,  // pattern_type_filter
    STR, // principal_filter
    STR, // host_filter
    I8,  // operation
    I8,  // permission_type
];

static CREATE_ACLS: &[Field] = &[structs(ACL_FILTER)];

static DELETE_ACLS: &[Field] = &[structs(ACL_FILTER)];

static ELECT_LEADERS: &[Field] = &[
    I8.from(1),                // election_type
    structs(NAMED_PARTITIONS), // topic_partitions
    I32,                       // timeout_ms
];

static ALTER_PARTITION_REASSIGNMENTS: &[Field] = &[
    I32,          // timeout_ms
    BOOL.from(1), // allow_replication_factor_change
    structs(&[
        STR, // name
        structs(&[
            I32,  // partition_index
            I32S, // replicas
        ]),
    ]),
];

static LIST_PARTITION_REASSIGNMENTS: &[Field] = &[
    I32,                       // timeout_ms
    structs(NAMED_PARTITIONS), // topics
];

static DESCRIBE_CLIENT_QUOTAS: &[Field] = &[
    structs(&[
        STR, // entity_type
        I8,  // match_type
        STR, // match
    ]),
    BOOL, // strict
];

static DESCRIBE_USER_SCRAM_CREDENTIALS: &[Field] = &[
    structs(&[STR]), // users: name
];

static DESCRIBE_QUORUM: &[Field] = &[structs(&[
    STR,             // topic_name
    structs(&[I32]), // partitions: partition_index
])];

static UPDATE_FEATURES: &[Field] = &[
    I32, // timeout_ms
    structs(&[
        STR,        // feature
        I16,        // max_version_level
        BOOL.to(0), // allow_downgrade
        I8.from(1), // upgrade_type
    ]),
    BOOL.from(1), // validate_only
];

static LIST_CONFIG_RESOURCES: &[Field] = &[
    of(Kind::List(&Kind::Fixed(1))).from(1), // resource_types
];

static DESCRIBE_TOPIC_PARTITIONS: &[Field] = &[
    structs(&[STR]), // topics: name
    I32,             // response_partition_limit
    of(Kind::Nullable(&[
        STR, // cursor: topic_name
        I32, // partition_index
    ])),
];
