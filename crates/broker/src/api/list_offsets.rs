//! ListOffsets (key 2): earliest, latest, by timestamp, and the record with the largest timestamp (KIP-734).

use std::{future::Future, sync::Arc};

use kafka_protocol::messages::{
    list_offsets_request::ListOffsetsPartition,
    list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    ListOffsetsRequest, ListOffsetsResponse,
};
use norn_core::replica::{check_epoch, Bounds};
use norn_env::clock::{self, Duration, Instant};
use norn_log::{Decoding, ReadError, TimestampedOffset};
use norn_protocol::{
    types::{LeaderEpoch, TopicId},
    ErrorCode,
};

use super::{Call, Pace, Session};
use crate::{
    partition::{Partition, PartitionTable, View},
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

/// How long lookups by time go on for one request: the default of clients' `request.timeout.ms`. What is not found by
/// then nobody waits for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: ListOffsetsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, ctx) = (call.answer(), call.ctx.clone());
    let lookup = Lookup {
        table: ctx.partitions(),
        decoding: ctx.budgets.decoding().clone(),
        deadline: call.received + PATIENCE,
    };
    Reply::Waiting(Box::pin(async move { answer.respond(&lookup.answer_all(request, answer.version).await) }))
}

/// What one request looks offsets up with.
struct Lookup {
    table: Arc<PartitionTable>,
    decoding: Decoding,
    deadline: Instant,
}

/// A found offset with the timestamp and epoch of its record; -1 where there is none.
struct Found {
    timestamp: i64,
    offset: i64,
    epoch: i32,
}

impl Lookup {
    async fn answer_all(&self, request: ListOffsetsRequest, version: i16) -> ListOffsetsResponse {
        let mut pace = Pace::default();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in topic.partitions {
                pace.next().await;
                partitions.push(self.answer_one(topic.name.as_str(), &wanted, version).await);
            }
            topics
                .push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics)
    }

    async fn answer_one(
        &self,
        topic: &str,
        wanted: &ListOffsetsPartition,
        version: i16,
    ) -> ListOffsetsPartitionResponse {
        let found = match self.table.resolve(Some(topic), TopicId::NONE, wanted.partition_index) {
            Ok(_) if version < known_since(wanted.timestamp) => Err(ErrorCode::UnsupportedVersion),
            Ok(partition) => self.find(&partition, wanted).await,
            Err(error) => Err(error),
        };
        response(wanted.partition_index, found, version)
    }

    async fn find(&self, partition: &Partition, wanted: &ListOffsetsPartition) -> Result<Found, ErrorCode> {
        let view = &partition.view();
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
            MAX_TIMESTAMP => self.by_timestamp(partition, view, view.log.max_timestamp(&self.decoding)).await,
            timestamp if timestamp >= 0 => {
                let search = view.log.offset_for_timestamp(timestamp, &self.decoding);
                self.by_timestamp(partition, view, search).await
            }
            _ => Err(ErrorCode::UnsupportedVersion),
        }
    }

    /// Records above the last stable offset are not there yet.
    async fn by_timestamp(
        &self,
        partition: &Partition,
        view: &View,
        search: impl Future<Output = Result<Option<TimestampedOffset>, ReadError>>,
    ) -> Result<Found, ErrorCode> {
        match clock::timeout_at(self.deadline, search).await {
            Ok(Ok(Some(found))) if found.offset < view.last_stable => {
                Ok(Found { timestamp: found.timestamp, offset: found.offset.0, epoch: found.leader_epoch.0 })
            }
            Ok(Ok(_)) => Ok(Found { timestamp: -1, offset: -1, epoch: -1 }),
            Ok(Err(cause)) => {
                partition.log_read_fault(&cause);
                Err(match cause {
                    ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
                    _ => ErrorCode::KafkaStorageError,
                })
            }
            Err(_) => Err(ErrorCode::RequestTimedOut),
        }
    }
}

fn response(index: i32, found: Result<Found, ErrorCode>, version: i16) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use kafka_protocol::messages::list_offsets_request::ListOffsetsTopic;

    use super::*;

    #[test]
    fn very_many_partitions_are_not_answered_in_one_go() {
        norn_env::testing::run(|| async {
            let partitions = vec![ListOffsetsPartition::default().with_timestamp(LATEST); 1000];
            let topic = ListOffsetsTopic::default().with_partitions(partitions);
            let request = ListOffsetsRequest::default().with_topics(vec![topic]);
            let lookup = Lookup {
                table: Arc::default(),
                decoding: Decoding::default(),
                deadline: clock::now() + PATIENCE,
            };
            assert!(lookup.answer_all(request.clone(), 9).now_or_never().is_none());
            assert_eq!(lookup.answer_all(request, 9).await.topics[0].partitions.len(), 1000);
        });
    }
}
