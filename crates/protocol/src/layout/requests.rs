//! The structure of the requests in [`crate::versions::TABLE`] but those of [`super::admin`], from Kafka's message schemas
//! (`clients/src/main/resources/common/message/*Request.json`). Fields are in wire order; a comment names them. That the
//! table agrees with the codec, field by field and version by version, is a test
//! (`tests/wire/layout.rs`).

use super::{Field, Kind};
use crate::ApiKey;

pub(super) const fn of(kind: Kind) -> Field {
    Field { kind, from: 0, to: i16::MAX, tag: None }
}

impl Field {
    /// In versions from this one on.
    pub(super) const fn from(mut self, version: i16) -> Field {
        self.from = version;
        self
    }

    /// In versions up to this one.
    pub(super) const fn to(mut self, version: i16) -> Field {
        self.to = version;
        self
    }

    /// Optional, behind this tag.
    const fn tag(mut self, tag: u32) -> Field {
        self.tag = Some(tag);
        self
    }
}

pub(super) const BOOL: Field = of(Kind::Fixed(1));
pub(super) const I8: Field = of(Kind::Fixed(1));
pub(super) const I16: Field = of(Kind::Fixed(2));
pub(super) const I32: Field = of(Kind::Fixed(4));
pub(super) const I64: Field = of(Kind::Fixed(8));
const UUID: Field = of(Kind::Fixed(16));
pub(super) const STR: Field = of(Kind::Str);
const BYTES: Field = of(Kind::Bytes);
pub(super) const I32S: Field = of(Kind::List(&Kind::Fixed(4)));
const STRS: Field = of(Kind::List(&Kind::Str));

pub(super) const fn structs(fields: &'static [Field]) -> Field {
    of(Kind::Structs(fields))
}

const fn structure(fields: &'static [Field]) -> Field {
    of(Kind::Struct(fields))
}

pub(super) static TABLE: &[(ApiKey, &[Field])] = &[
    (ApiKey::Produce, PRODUCE),
    (ApiKey::Fetch, FETCH),
    (ApiKey::ListOffsets, LIST_OFFSETS),
    (ApiKey::Metadata, METADATA),
    (ApiKey::OffsetCommit, OFFSET_COMMIT),
    (ApiKey::OffsetFetch, OFFSET_FETCH),
    (ApiKey::FindCoordinator, FIND_COORDINATOR),
    (ApiKey::JoinGroup, JOIN_GROUP),
    (ApiKey::Heartbeat, HEARTBEAT),
    (ApiKey::LeaveGroup, LEAVE_GROUP),
    (ApiKey::SyncGroup, SYNC_GROUP),
    (ApiKey::DescribeGroups, DESCRIBE_GROUPS),
    (ApiKey::ListGroups, LIST_GROUPS),
    (ApiKey::ApiVersions, API_VERSIONS),
    (ApiKey::CreateTopics, CREATE_TOPICS),
    (ApiKey::DeleteTopics, DELETE_TOPICS),
    (ApiKey::DeleteRecords, DELETE_RECORDS),
    (ApiKey::InitProducerId, INIT_PRODUCER_ID),
    (ApiKey::OffsetForLeaderEpoch, OFFSET_FOR_LEADER_EPOCH),
    (ApiKey::DescribeConfigs, DESCRIBE_CONFIGS),
    (ApiKey::CreatePartitions, CREATE_PARTITIONS),
    (ApiKey::DeleteGroups, DELETE_GROUPS),
    (ApiKey::AlterConfigs, ALTER_CONFIGS),
    (ApiKey::IncrementalAlterConfigs, INCREMENTAL_ALTER_CONFIGS),
    (ApiKey::OffsetDelete, OFFSET_DELETE),
    (ApiKey::DescribeCluster, DESCRIBE_CLUSTER),
];

static PRODUCE: &[Field] = &[
    STR, // transactional_id
    I16, // acks
    I32, // timeout_ms
    structs(&[
        STR.to(12),    // name
        UUID.from(13), // topic_id
        structs(&[
            I32,   // index
            BYTES, // records
        ]),
    ]),
];

static FETCH: &[Field] = &[
    I32.to(14),  // replica_id
    I32,         // max_wait_ms
    I32,         // min_bytes
    I32,         // max_bytes
    I8,          // isolation_level
    I32.from(7), // session_id
    I32.from(7), // session_epoch
    structs(&[
        STR.to(12),    // topic
        UUID.from(13), // topic_id
        structs(&[
            I32,                  // partition
            I32.from(9),          // current_leader_epoch
            I64,                  // fetch_offset
            I32.from(12),         // last_fetched_epoch
            I64.from(5),          // log_start_offset
            I32,                  // partition_max_bytes
            UUID.from(17).tag(0), // replica_directory_id
            I64.from(18).tag(1),  // high_watermark
        ]),
    ]),
    structs(&[
        STR.to(12),    // forgotten topic
        UUID.from(13), // topic_id
        I32S,          // partitions
    ])
    .from(7),
    STR.from(11),                           // rack_id
    STR.from(12).tag(0),                    // cluster_id
    structure(&[I32, I64]).from(15).tag(1), // replica_state: id, epoch
];

static LIST_OFFSETS: &[Field] = &[
    I32,        // replica_id
    I8.from(2), // isolation_level
    structs(&[
        STR, // name
        structs(&[
            I32,         // partition_index
            I32.from(4), // current_leader_epoch
            I64,         // timestamp
        ]),
    ]),
    I32.from(10), // timeout_ms
];

static METADATA: &[Field] = &[
    structs(&[
        UUID.from(10), // topic_id
        STR,           // name
    ]),
    BOOL.from(4),        // allow_auto_topic_creation
    BOOL.from(8).to(10), // include_cluster_authorized_operations
    BOOL.from(8),        // include_topic_authorized_operations
];

static OFFSET_COMMIT: &[Field] = &[
    STR,         // group_id
    I32,         // generation_id_or_member_epoch
    STR,         // member_id
    STR.from(7), // group_instance_id
    I64.to(4),   // retention_time_ms
    structs(&[
        STR, // name
        structs(&[
            I32,         // partition_index
            I64,         // committed_offset
            I32.from(6), // committed_leader_epoch
            STR,         // committed_metadata
        ]),
    ]),
];

static OFFSET_FETCH: &[Field] = &[
    STR.to(7), // group_id
    structs(&[
        STR,  // name
        I32S, // partition_indexes
    ])
    .to(7),
    structs(&[
        STR,         // group_id
        STR.from(9), // member_id
        I32.from(9), // member_epoch
        structs(&[
            STR,  // name
            I32S, // partition_indexes
        ]),
    ])
    .from(8),
    BOOL.from(7), // require_stable
];

static FIND_COORDINATOR: &[Field] = &[
    STR.to(3),    // key
    I8.from(1),   // key_type
    STRS.from(4), // coordinator_keys
];

static JOIN_GROUP: &[Field] = &[
    STR,         // group_id
    I32,         // session_timeout_ms
    I32.from(1), // rebalance_timeout_ms
    STR,         // member_id
    STR.from(5), // group_instance_id
    STR,         // protocol_type
    structs(&[
        STR,   // name
        BYTES, // metadata
    ]),
    STR.from(8), // reason
];

static HEARTBEAT: &[Field] = &[
    STR,         // group_id
    I32,         // generation_id
    STR,         // member_id
    STR.from(3), // group_instance_id
];

static LEAVE_GROUP: &[Field] = &[
    STR,       // group_id
    STR.to(2), // member_id
    structs(&[
        STR,         // member_id
        STR,         // group_instance_id
        STR.from(5), // reason
    ])
    .from(3),
];

static SYNC_GROUP: &[Field] = &[
    STR,         // group_id
    I32,         // generation_id
    STR,         // member_id
    STR.from(3), // group_instance_id
    STR.from(5), // protocol_type
    STR.from(5), // protocol_name
    structs(&[
        STR,   // member_id
        BYTES, // assignment
    ]),
];

static DESCRIBE_GROUPS: &[Field] = &[
    STRS,         // groups
    BOOL.from(3), // include_authorized_operations
];

static LIST_GROUPS: &[Field] = &[
    STRS.from(4), // states_filter
    STRS.from(5), // types_filter
];

static API_VERSIONS: &[Field] = &[
    STR.from(3), // client_software_name
    STR.from(3), // client_software_version
];

static CREATE_TOPICS: &[Field] = &[
    structs(&[
        STR, // name
        I32, // num_partitions
        I16, // replication_factor
        structs(&[
            I32,  // partition_index
            I32S, // broker_ids
        ]),
        structs(&[
            STR, // name
            STR, // value
        ]),
    ]),
    I32,  // timeout_ms
    BOOL, // validate_only
];

static DELETE_TOPICS: &[Field] = &[
    structs(&[
        STR,  // name
        UUID, // topic_id
    ])
    .from(6),
    STRS.to(5), // topic_names
    I32,        // timeout_ms
];

static DELETE_RECORDS: &[Field] = &[
    structs(&[
        STR, // name
        structs(&[
            I32, // partition_index
            I64, // offset
        ]),
    ]),
    I32, // timeout_ms
];

static INIT_PRODUCER_ID: &[Field] = &[
    STR,         // transactional_id
    I32,         // transaction_timeout_ms
    I64.from(3), // producer_id
    I16.from(3), // producer_epoch
];

static OFFSET_FOR_LEADER_EPOCH: &[Field] = &[
    I32.from(3), // replica_id
    structs(&[
        STR, // topic
        structs(&[
            I32, // partition
            I32, // current_leader_epoch
            I32, // leader_epoch
        ]),
    ]),
];

static DESCRIBE_CONFIGS: &[Field] = &[
    structs(&[
        I8,   // resource_type
        STR,  // resource_name
        STRS, // configuration_keys
    ]),
    BOOL,         // include_synonyms
    BOOL.from(3), // include_documentation
];

static CREATE_PARTITIONS: &[Field] = &[
    structs(&[
        STR,              // name
        I32,              // count
        structs(&[I32S]), // assignments: broker_ids
    ]),
    I32,  // timeout_ms
    BOOL, // validate_only
];

static DELETE_GROUPS: &[Field] = &[
    STRS, // groups_names
];

static ALTER_CONFIGS: &[Field] = &[
    structs(&[
        I8,  // resource_type
        STR, // resource_name
        structs(&[
            STR, // name
            STR, // value
        ]),
    ]),
    BOOL, // validate_only
];

static INCREMENTAL_ALTER_CONFIGS: &[Field] = &[
    structs(&[
        I8,  // resource_type
        STR, // resource_name
        structs(&[
            STR, // name
            I8,  // config_operation
            STR, // value
        ]),
    ]),
    BOOL, // validate_only
];

static OFFSET_DELETE: &[Field] = &[
    STR, // group_id
    structs(&[
        STR, // name
        structs(&[
            I32, // partition_index
        ]),
    ]),
];

static DESCRIBE_CLUSTER: &[Field] = &[
    BOOL,         // include_cluster_authorized_operations
    I8.from(1),   // endpoint_type
    BOOL.from(2), // include_fenced_brokers
];
