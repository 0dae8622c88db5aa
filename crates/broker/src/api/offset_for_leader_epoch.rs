//! OffsetForLeaderEpoch (key 23): where an epoch ended, for clients that check for truncation (KIP-320).

use kafka_protocol::messages::{
    offset_for_leader_epoch_request::OffsetForLeaderPartition,
    offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use norn_core::replica::check_epoch;
use norn_protocol::{
    types::{LeaderEpoch, Offset, TopicId},
    ErrorCode,
};

use super::{Call, Pace, Session};
use crate::{partition::PartitionTable, server::Reply};

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: OffsetForLeaderEpochRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, table) = (call.answer(), call.ctx.partitions());
    Reply::Waiting(Box::pin(async move { answer.respond(&answer_all(&table, request).await) }))
}

async fn answer_all(
    table: &PartitionTable,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut pace = Pace::default();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            pace.next().await;
            partitions.push(answer_one(table, topic.topic.as_str(), &asked));
        }
        let result = OffsetForLeaderTopicResult::default().with_topic(topic.topic);
        topics.push(result.with_partitions(partitions));
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

fn answer_one(table: &PartitionTable, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let known = LeaderEpoch(asked.current_leader_epoch);
    let response = EpochEndOffset::default().with_partition(asked.partition);
    match end_of(table, topic, asked.partition, known, LeaderEpoch(asked.leader_epoch)) {
        Ok((epoch, end)) => response.with_leader_epoch(epoch.0).with_end_offset(end.0),
        Err(error) => response.with_error_code(error.code()),
    }
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderTopic;

    use super::*;

    #[test]
    fn very_many_partitions_are_not_answered_in_one_go() {
        norn_env::testing::run(|| async {
            let partitions = vec![OffsetForLeaderPartition::default(); 1000];
            let topic = OffsetForLeaderTopic::default().with_partitions(partitions);
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
            let table = PartitionTable::default();
            assert!(answer_all(&table, request.clone()).now_or_never().is_none());
            assert_eq!(answer_all(&table, request).await.topics[0].partitions.len(), 1000);
        });
    }
}
