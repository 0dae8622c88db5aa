//! Produce requests for one partition each, and what their answers say.

use bytes::Bytes;
use norn_protocol::client::topic_name;
use norn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use norn_protocol::messages::{ProduceRequest, ProduceResponse};
use uuid::Uuid;

/// From this version on topics go by id.
const BY_ID: i16 = 13;

/// A request with these batches for one partition.
pub fn produce_request(
    version: i16,
    acks: i16,
    timeout_ms: i32,
    topic: (&str, Uuid),
    parts: Vec<(i32, Bytes)>,
) -> ProduceRequest {
    let parts = parts.into_iter().map(|(partition, records)| {
        PartitionProduceData::default().with_index(partition).with_records(Some(records))
    });
    let of_topic = TopicProduceData::default().with_partition_data(parts.collect());
    let of_topic = match version {
        BY_ID.. => of_topic.with_topic_id(topic.1),
        _ => of_topic.with_name(topic_name(topic.0)),
    };
    ProduceRequest::default().with_acks(acks).with_timeout_ms(timeout_ms).with_topic_data(vec![of_topic])
}

/// What the broker says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceAnswer {
    pub partition: i32,
    pub error: i16,
    /// -1 if unknown.
    pub base_offset: i64,
    /// -1 unless the topic has the broker's time.
    pub append_time: i64,
}

impl ProduceAnswer {
    /// All answers of a response.
    pub fn all(response: &ProduceResponse) -> Vec<Self> {
        let parts = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        parts
            .map(|part| Self {
                partition: part.index,
                error: part.error_code,
                base_offset: part.base_offset,
                append_time: part.log_append_time_ms,
            })
            .collect()
    }
}
