//! DeleteRecords (key 21): moves a partition's log start up to an offset, or to the high watermark (-1).

use kafka_protocol::messages::{
    delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
    DeleteRecordsRequest, DeleteRecordsResponse,
};
use norn_env::clock;
use norn_protocol::{
    types::{Offset, TopicId},
    ErrorCode,
};

use super::{Call, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DeleteRecordsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let deadline = call.deadline(request.timeout_ms);
    let table = call.ctx.partitions();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let index = wanted.partition_index;
            let asked = match table.resolve(Some(topic.name.as_str()), TopicId::NONE, index) {
                Ok(partition) if partition.is_internal() => Err(ErrorCode::InvalidTopicException),
                Ok(partition) => partition.delete_records(Offset(wanted.offset), deadline).await,
                Err(error) => Err(error),
            };
            partitions.push((index, asked));
        }
        topics.push((topic.name, partitions));
    }
    let answer = call.answer();
    Reply::Waiting(Box::pin(async move {
        let mut results = Vec::with_capacity(topics.len());
        for (name, partitions) in topics {
            let mut deleted = Vec::with_capacity(partitions.len());
            for (index, asked) in partitions {
                let result = match asked {
                    Err(error) => Err(error),
                    Ok(answered) => match clock::timeout_at(deadline, answered).await {
                        Ok(Ok(result)) => result,
                        Ok(Err(_)) => Err(ErrorCode::NotLeaderOrFollower),
                        Err(_) => Err(ErrorCode::RequestTimedOut),
                    },
                };
                let response = DeleteRecordsPartitionResult::default().with_partition_index(index);
                deleted.push(match result {
                    Ok(low) => response.with_low_watermark(low.0),
                    Err(error) => response.with_low_watermark(-1).with_error_code(error.code()),
                });
            }
            results.push(DeleteRecordsTopicResult::default().with_name(name).with_partitions(deleted));
        }
        answer.respond(&DeleteRecordsResponse::default().with_topics(results))
    }))
}
