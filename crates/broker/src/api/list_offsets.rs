//! ListOffsets (key 2): earliest, latest, by timestamp, and the record with the largest timestamp (KIP-734).

use kafka_protocol::messages::{
    list_offsets_request::ListOffsetsPartition,
    list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    ListOffsetsRequest, ListOffsetsResponse,
};
use norn_core::replica::{check_epoch, Bounds};
use norn_log::{ReadError, TimestampedOffset};
use norn_protocol::{
    types::{LeaderEpoch, TopicId},
    ErrorCode,
};
use tracing::error;

use super::{Call, Session};
use crate::{
    partition::{PartitionTable, View},
    server::Reply,
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
/// Answers carry the epoch of the offset from this version on.
const LEADER_EPOCH_SINCE: i16 = 4;
/// Tiered storage; without it there is no such offset.
const LATEST_TIERED: i64 = -5;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: ListOffsetsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, table) = (call.answer(), call.ctx.partitions());
    Reply::Waiting(Box::pin(async move {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in topic.partitions {
                partitions.push(answer_one(&table, topic.name.as_str(), &wanted, answer.version).await);
            }
            topics
                .push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        answer.respond(&ListOffsetsResponse::default().with_topics(topics))
    }))
}

/// A found offset with the timestamp and epoch of its record; -1 where there is none.
struct Found {
    timestamp: i64,
    offset: i64,
    epoch: i32,
}

async fn answer_one(
    table: &PartitionTable,
    topic: &str,
    wanted: &ListOffsetsPartition,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(wanted.partition_index);
    let found = match table.resolve(Some(topic), TopicId::NONE, wanted.partition_index) {
        Ok(_) if version < known_since(wanted.timestamp) => Err(ErrorCode::UnsupportedVersion),
        Ok(partition) => find(&partition.view(), wanted).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => {
            let epoch = if version >= LEADER_EPOCH_SINCE { found.epoch } else { -1 };
            response.with_timestamp(found.timestamp).with_offset(found.offset).with_leader_epoch(epoch)
        }
        Err(error) => {
            response.with_error_code(error.code()).with_timestamp(-1).with_offset(-1).with_leader_epoch(-1)
        }
    }
}

/// The version that brought a special timestamp (Kafka's `ReplicaManager.fetchOffset`).
fn known_since(timestamp: i64) -> i16 {
    match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        _ => 0,
    }
}

async fn find(view: &View, wanted: &ListOffsetsPartition) -> Result<Found, ErrorCode> {
    if let Some(error) = view.unavailable {
        return Err(error);
    }
    check_epoch(view.epoch, LeaderEpoch(wanted.current_leader_epoch))?;
    let bound = |offset: i64, epoch: i32| Ok(Found { timestamp: -1, offset, epoch });
    match wanted.timestamp {
        LATEST => {
            let bounds =
                Bounds { start: view.log_start, high_watermark: view.last_stable, end: view.log_end };
            bound(bounds.latest(view.epoch_start)?.0, view.epoch.0)
        }
        EARLIEST | EARLIEST_LOCAL => {
            bound(view.log_start.0, view.log.epoch_at(view.log_start).map_or(-1, |e| e.0))
        }
        LATEST_TIERED => bound(-1, -1),
        MAX_TIMESTAMP => by_timestamp(view, view.log.max_timestamp().await),
        timestamp if timestamp >= 0 => by_timestamp(view, view.log.offset_for_timestamp(timestamp).await),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

/// Records above the last stable offset are not there yet.
fn by_timestamp(
    view: &View,
    found: Result<Option<TimestampedOffset>, ReadError>,
) -> Result<Found, ErrorCode> {
    match found {
        Ok(Some(found)) if found.offset < view.last_stable => {
            Ok(Found { timestamp: found.timestamp, offset: found.offset.0, epoch: found.leader_epoch.0 })
        }
        Ok(_) => Ok(Found { timestamp: -1, offset: -1, epoch: -1 }),
        Err(cause @ ReadError::Corrupt { .. }) => {
            error!("{cause}");
            Err(ErrorCode::CorruptMessage)
        }
        Err(cause) => {
            error!("reading timestamps failed: {cause}");
            Err(ErrorCode::KafkaStorageError)
        }
    }
}
