//! Why records are not taken, as a Produce response tells it.

use kafka_protocol::messages::produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse};
use norn_core::record_rules::{Invalid, RecordFault};
use norn_protocol::{batch::BatchError, ErrorCode};

use crate::{api::group::wire, partition::Partition};

/// Why a batch is not taken: a code, and what a client's log should say beside its own text for that code.
pub(super) struct Refused {
    pub code: ErrorCode,
    message: Option<String>,
    records: Records,
    /// Found in the request, before the partition was asked.
    of_request: bool,
}

/// Which records of the batch are at fault (KIP-467). A client fails the others with a text of its own.
enum Records {
    NotTold,
    /// One, for the reason that the whole batch has.
    One(i32),
    These(Vec<RecordFault>),
}

impl Refused {
    /// The reason of a partition that validated a batch.
    pub fn invalid(invalid: Invalid, partition: &Partition) -> Refused {
        match invalid {
            Invalid::Batch(error) => error.into(),
            Invalid::Records(found) => Refused {
                code: found.error_code(),
                message: Some(found.message(&name(partition))),
                records: Records::These(found.named),
                of_request: false,
            },
        }
    }

    /// How many records it names.
    pub fn named(&self) -> usize {
        match &self.records {
            Records::NotTold => 0,
            Records::One(_) => 1,
            Records::These(faults) => faults.len(),
        }
    }

    /// Writes it into the answer for one partition, which is not known if the topic or its log is not.
    pub fn tell(
        self,
        response: PartitionProduceResponse,
        partition: Option<&Partition>,
    ) -> PartitionProduceResponse {
        let partition_name = partition.map(name).unwrap_or_default();
        let error = |index: i32, message: &str| {
            BatchIndexAndErrorMessage::default()
                .with_batch_index(index)
                .with_batch_index_error_message(Some(wire(message)))
        };
        let errors = match &self.records {
            Records::NotTold => vec![],
            Records::One(index) => vec![error(*index, self.message.as_deref().unwrap_or_default())],
            Records::These(faults) => {
                faults.iter().map(|fault| error(fault.index, &fault.message(&partition_name))).collect()
            }
        };
        let told = !self.of_request && tells_log_start(self.code);
        let log_start = partition.filter(|_| told).map_or(-1, |partition| partition.view().log_start.0);
        response
            .with_error_code(self.code.code())
            .with_error_message(self.message.as_deref().map(wire))
            .with_record_errors(errors)
            .with_base_offset(-1)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(log_start)
    }
}

fn name(partition: &Partition) -> String {
    format!("{}-{}", partition.topic(), partition.index())
}

/// Errors beside which Kafka tells the partition's log start: all but those that `ReplicaManager.appendRecordsToLeader`
/// expects.
fn tells_log_start(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::InvalidTopicException
            | ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::CorruptMessage
            | ErrorCode::KafkaStorageError
    )
}

impl From<BatchError> for Refused {
    fn from(error: BatchError) -> Self {
        Refused {
            code: error.error_code(),
            message: Some(error.to_string()),
            records: error.record_index().map_or(Records::NotTold, Records::One),
            of_request: error.is_of_request(),
        }
    }
}

/// What partitions refuse by their topic's settings, or for want of replicas. Other codes say enough.
impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        let message = match code {
            ErrorCode::MessageTooLarge => Some("the batch is larger than max.message.bytes of the topic"),
            ErrorCode::NotEnoughReplicas => {
                Some("fewer replicas are in sync than min.insync.replicas asks for")
            }
            ErrorCode::NotEnoughReplicasAfterAppend => Some(
                "the records are written, but fewer replicas are in sync than min.insync.replicas asks for",
            ),
            ErrorCode::InvalidTxnState => Some("transactions are not served"),
            _ => None,
        };
        let message = message.map(str::to_owned);
        Refused { code, message, records: Records::NotTold, of_request: false }
    }
}
