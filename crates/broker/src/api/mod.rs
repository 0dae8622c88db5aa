//! A file per API. `dispatch` parses a frame's header, checks the version against the table made from the handlers that
//! exist (so that nothing is advertised that is not served), and hands the request to its handler. A handler runs on its
//! connection's task until the request is with its owners; what it returns only waits. It holds no lock and touches no disk.

mod alter;
mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
mod context;
mod create_acls;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_user_scram_credentials;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod group;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod room;
mod session;
mod sync_group;
mod topics;
mod update_features;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use kafka_protocol::{
    messages::ApiKey,
    protocol::{Encodable, HeaderVersion, Request},
};
use norn_core::metadata::Endpoint;
use norn_env::{
    budget::{Budget, Permit},
    clock::{self, Duration, Instant},
};
use norn_protocol::{
    produce::first_partition,
    request::{RequestError, RequestHead},
    response, ErrorCode,
};

pub(crate) use context::Context;
pub(crate) use room::Creations;
pub(crate) use session::Session;

use crate::{
    budgets::Budgets,
    partition::PartitionTable,
    server::{Reply, Response},
};

macro_rules! handlers {
    ($($key:ident => $module:ident,)*) => {
        /// The APIs that have a handler, in the order of their keys: what ApiVersions advertises.
        pub(crate) const HANDLED: &[ApiKey] = &[$(ApiKey::$key),*];

        /// An API's name, for those that have a handler.
        pub(crate) fn api_name(key: ApiKey) -> &'static str {
            match key {
                $(ApiKey::$key => stringify!($key),)*
                _ => "Other",
            }
        }

        async fn route(call: Call, session: &mut Session) -> Reply {
            match call.key {
                $(ApiKey::$key => $module::handle(call, session).await,)*
                other => Reply::Close(format!("no handler for {other:?}")),
            }
        }
    };
}

handlers! {
    Produce => produce,
    Fetch => fetch,
    ListOffsets => list_offsets,
    Metadata => metadata,
    OffsetCommit => offset_commit,
    OffsetFetch => offset_fetch,
    FindCoordinator => find_coordinator,
    JoinGroup => join_group,
    Heartbeat => heartbeat,
    LeaveGroup => leave_group,
    SyncGroup => sync_group,
    DescribeGroups => describe_groups,
    ListGroups => list_groups,
    ApiVersions => api_versions,
    CreateTopics => create_topics,
    DeleteTopics => delete_topics,
    DeleteRecords => delete_records,
    InitProducerId => init_producer_id,
    OffsetForLeaderEpoch => offset_for_leader_epoch,
    DescribeAcls => describe_acls,
    CreateAcls => create_acls,
    DeleteAcls => delete_acls,
    DescribeConfigs => describe_configs,
    AlterConfigs => alter_configs,
    DescribeLogDirs => describe_log_dirs,
    CreatePartitions => create_partitions,
    DeleteGroups => delete_groups,
    ElectLeaders => elect_leaders,
    IncrementalAlterConfigs => incremental_alter_configs,
    AlterPartitionReassignments => alter_partition_reassignments,
    ListPartitionReassignments => list_partition_reassignments,
    OffsetDelete => offset_delete,
    DescribeClientQuotas => describe_client_quotas,
    DescribeUserScramCredentials => describe_user_scram_credentials,
    DescribeQuorum => describe_quorum,
    UpdateFeatures => update_features,
    DescribeCluster => describe_cluster,
    DescribeProducers => describe_producers,
    ListConfigResources => list_config_resources,
    DescribeTopicPartitions => describe_topic_partitions,
}

/// One request on its way to its handler.
pub(crate) struct Call {
    pub key: ApiKey,
    pub version: i16,
    pub head: RequestHead,
    pub peer: SocketAddr,
    /// What clients of this listener are told to connect to.
    pub endpoint: Endpoint,
    pub received: Instant,
    pub ctx: Arc<Context>,
    /// What the frame takes of its budget.
    pub memory: Memory,
}

impl Call {
    /// Decodes the body; what cannot be decoded closes the connection, as Kafka does.
    pub fn decode<R: Request>(&self) -> Result<R, Reply> {
        self.head.decode_body().map_err(|error| Reply::Close(error.to_string()))
    }

    /// Encodes a response to this request.
    pub fn respond<T: Encodable + HeaderVersion>(&self, body: &T) -> Response {
        self.answer().respond(body)
    }

    pub fn ready<T: Encodable + HeaderVersion>(&self, body: &T) -> Reply {
        Reply::Ready(self.respond(body))
    }

    /// What is needed to answer once the request itself is gone.
    pub fn answer(&self) -> Answer {
        Answer { key: self.key, version: self.version, correlation: self.head.correlation }
    }

    /// The instant by which a request with this `timeout_ms` must be answered. Negative values count as zero.
    pub fn deadline(&self, timeout_ms: i32) -> Instant {
        self.received + Duration::from_millis(timeout_ms.max(0) as u64)
    }
}

/// Addresses a response: the request's API, version and correlation id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub key: ApiKey,
    pub version: i16,
    pub correlation: i32,
}

impl Answer {
    pub fn respond<T: Encodable + HeaderVersion>(&self, body: &T) -> Response {
        match response::encode(self.correlation, self.key, self.version, body) {
            Ok(bytes) => Response::bytes(bytes),
            Err(error) => Response::broken(error.to_string()),
        }
    }
}

/// What the frame of a request takes of its budget.
pub(crate) enum Memory {
    /// As long as its call lives: not until the reply is sent, so that a peer that takes none keeps nobody else from being
    /// read.
    Call { _permit: Permit },
    /// As long as any slice of it: it is charged to a log directory.
    Frame,
}

/// The budget that a large request is charged to before the rest of it is read, by its first bytes; `None` if they do not
/// tell.
pub(crate) fn budget_of<'a>(
    begins: &[u8],
    partitions: &PartitionTable,
    budgets: &'a Budgets,
) -> Option<&'a Budget> {
    if !is_produce(begins) {
        return Some(budgets.large());
    }
    let (topic, index) = first_partition(begins)?;
    let (name, id) = topic.name_or_id();
    budgets.data(partitions.resolve(name, id, index.0).ok()?.dir())
}

/// Whether a frame is a Produce request, by its API key.
pub(crate) fn is_produce(frame: &[u8]) -> bool {
    frame.starts_with(&(ApiKey::Produce as i16).to_be_bytes())
}

/// Parses one frame and hands it over. Returns when the request is with its owners.
///
pub(crate) async fn dispatch(
    frame: Bytes,
    memory: Memory,
    session: &mut Session,
    ctx: &Arc<Context>,
) -> Reply {
    let head = match RequestHead::parse(frame) {
        Ok(head) => head,
        Err(error) => return Reply::Close(error.to_string()),
    };
    let key = match head.api() {
        Ok(range) if HANDLED.contains(&range.key) => range.key,
        Ok(range) => return Reply::Close(format!("{:?} is not served", range.key)),
        Err(RequestError::Version { key: ApiKey::ApiVersions, .. }) => {
            return api_versions::unsupported(head.correlation)
        }
        Err(error) => return Reply::Close(error.to_string()),
    };
    let call = Call {
        key,
        version: head.version,
        head,
        peer: session.peer(),
        endpoint: session.endpoint().clone(),
        received: clock::now(),
        ctx: ctx.clone(),
        memory,
    };
    route(call, session).await
}

/// What comes more than once. One request may name a hundred thousand things, so that handlers look them up.
pub(crate) fn repeated<K: Ord + Clone>(all: impl Iterator<Item = K>) -> BTreeSet<K> {
    let mut seen = BTreeSet::new();
    all.filter(|one| !seen.insert(one.clone())).collect()
}

/// Lets others run every now and then while a request with very many items is worked on: the executor has few threads.
#[derive(Default)]
pub(crate) struct Pace(usize);

impl Pace {
    /// How many items are worked on in one go, well below a millisecond.
    const ITEMS: usize = 256;

    /// To be awaited before each item.
    pub async fn next(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(Self::ITEMS) {
            tokio::task::yield_now().await;
        }
    }
}

/// Kafka's code of an outcome: 0 for success.
pub(crate) fn code<T>(result: &Result<T, ErrorCode>) -> i16 {
    result.as_ref().err().map_or(0, |error| error.code())
}
