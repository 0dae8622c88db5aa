//! OffsetForLeaderEpoch (key 23): where an epoch ended, for clients that check for truncation (KIP-320).

use kafka_protocol::messages::{
    offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use norn_core::replica::check_epoch;
use norn_protocol::{
    types::{LeaderEpoch, Offset, TopicId},
    ErrorCode,
};

use super::{Call, Session};
use crate::{partition::PartitionTable, server::Reply};

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: OffsetForLeaderEpochRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let table = call.ctx.partitions();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let known = LeaderEpoch(p.current_leader_epoch);
            let end = end_of(&table, topic.topic.as_str(), p.partition, known, LeaderEpoch(p.leader_epoch));
            let response = EpochEndOffset::default().with_partition(p.partition);
            match end {
                Ok((epoch, end)) => response.with_leader_epoch(epoch.0).with_end_offset(end.0),
                Err(error) => response.with_error_code(error.code()),
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_partitions(partitions.collect())
            .with_topic(topic.topic.clone())
    });
    call.ready(&OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
}

/// The largest epoch not above the asked one, with its end; (-1, -1) where none is known.
fn end_of(
    table: &PartitionTable,
    topic: &str,
    index: i32,
    known: LeaderEpoch,
    asked: LeaderEpoch,
) -> Result<(LeaderEpoch, Offset), ErrorCode> {
    let view = table.resolve(Some(topic), TopicId::NONE, index)?.view();
    if let Some(error) = view.unavailable {
        return Err(error);
    }
    check_epoch(view.epoch, known)?;
    if asked == view.epoch {
        // The log's end, as in Kafka: after a failover the high watermark may lie below what a consumer has read, which
        // would take that for a truncation.
        return Ok((asked, view.log_end));
    }
    Ok(view.log.end_of_epoch(asked))
}
