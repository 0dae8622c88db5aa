//! What a topic's settings ask of single records: Kafka's `LogValidator.validateRecord`. Pure.

use norn_protocol::batch::{validate_records, Batch, BatchError, BatchHeader, RecordInfo, TimestampType};
use norn_protocol::ErrorCode;

use crate::metadata::{TimestampSource, TopicConfig};
use crate::Millis;

/// Kafka's `RecordBatch.NO_TIMESTAMP`.
const NO_TIMESTAMP: i64 = -1;

/// The settings of one topic that single records, or the batch around them, can break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordRules {
    /// `max.message.bytes`: of a batch as it is sent.
    pub batch_bytes_max: usize,
    /// How far timestamps may lie before and after the broker's clock, in ms; `None` with LogAppendTime.
    timestamps: Option<(i64, i64)>,
    /// Compaction needs a key in each record.
    keys: bool,
}

impl RecordRules {
    pub fn of(config: &TopicConfig) -> RecordRules {
        let limits = (config.message_timestamp_before_max_ms, config.message_timestamp_after_max_ms);
        RecordRules {
            batch_bytes_max: config.max_message_bytes.max(0) as usize,
            timestamps: (config.message_timestamp_type == TimestampSource::CreateTime).then_some(limits),
            keys: config.cleanup_policy.compact,
        }
    }

    /// Validates the records of a produced batch. Gives the batch as it is to be appended: what its header says of
    /// timestamps is what its records say. At most `named_max` faulty records are named.
    ///
    /// `None`: the records unpack to more than `limit` bytes.
    pub fn validate(
        &self,
        batch: &Batch,
        now: Millis,
        named_max: usize,
        limit: u64,
    ) -> Option<Result<Batch, Invalid>> {
        let check = Check::of(self, &batch.header, now);
        let mut found = InvalidRecords::default();
        let validated = validate_records(batch, limit, |record| {
            if let Some(fault) = check.fault(record) {
                found.add(fault, named_max);
            }
        })?;
        Some(match validated {
            Err(error) => Err(Invalid::Batch(error)),
            Ok(_) if found.count > 0 => Err(Invalid::Records(found)),
            Ok(batch) => Ok(batch),
        })
    }

    /// Judges a compressed batch by its header alone: by the first record's timestamp and the one that it says is the
    /// largest. Keys, offsets and counts are taken on trust.
    pub fn trust(&self, batch: Batch, now: Millis) -> Result<Batch, Invalid> {
        let header = batch.header;
        let check = Check::of(self, &header, now);
        let at = |index, timestamp| RecordInfo { index, offset_delta: index, timestamp, has_key: true };
        let mut found = InvalidRecords::default();
        if let Some(fault) = check.fault(&at(0, header.base_timestamp)) {
            found.add(fault, 1);
        } else if let Some(fault) = check.fault(&at(header.last_offset_delta, header.max_timestamp)) {
            // Which record has the largest timestamp is not known.
            found.add(fault, 0);
        }
        match found.count {
            0 => Ok(batch.with_create_time(header.max_timestamp)),
            _ => Err(Invalid::Records(found)),
        }
    }
}

/// Why a produced batch is not appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// It is not a batch that a producer may send, to whichever topic.
    Batch(BatchError),
    /// The topic does not take some of its records.
    Records(InvalidRecords),
}

/// The records of a batch that its topic does not take (KIP-467).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InvalidRecords {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub named: Vec<RecordFault>,
    /// Whether the timestamp of any is what is wrong.
    timestamps: bool,
}

impl InvalidRecords {
    fn add(&mut self, fault: RecordFault, named_max: usize) {
        self.count += 1;
        self.timestamps |= fault.kind != FaultKind::NoKey;
        if self.named.len() < named_max {
            self.named.push(fault);
        }
    }

    /// Kafka's `LogValidator.processRecordErrors`.
    pub fn error_code(&self) -> ErrorCode {
        match self.timestamps {
            true => ErrorCode::InvalidTimestamp,
            false => ErrorCode::InvalidRecord,
        }
    }

    /// What Kafka says of the batch; `partition` as `topic-0`.
    pub fn message(&self, partition: &str) -> String {
        if self.timestamps {
            return "One or more records have been rejected due to invalid timestamp".to_owned();
        }
        let first = self.named.iter().take(3).map(|fault| {
            format!("RecordError(batchIndex={}, message='{}')", fault.index, fault.message(partition))
        });
        format!(
            "One or more records have been rejected due to {} record errors in total, and only showing the first \
             three errors at most: [{}]",
            self.count,
            first.collect::<Vec<_>>().join(", ")
        )
    }
}

/// One record that its topic does not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordFault {
    /// Its place in the batch, from 0.
    pub index: i32,
    offset: i64,
    kind: FaultKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FaultKind {
    NoKey,
    Timestamp { timestamp: i64, from: i64, to: i64 },
    LogAppendTime,
}

impl RecordFault {
    /// What Kafka says of the record; `partition` as `topic-0`.
    pub fn message(&self, partition: &str) -> String {
        let offset = self.offset;
        match self.kind {
            FaultKind::NoKey => {
                format!("Compacted topic cannot accept message without key in topic partition {partition}.")
            }
            FaultKind::Timestamp { timestamp, from, to } => format!(
                "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be \
                 within [{from}, {to}]"
            ),
            FaultKind::LogAppendTime => format!(
                "Invalid timestamp type in message with offset {offset}. Producer should not set timestamp type to \
                 LogAppendTime."
            ),
        }
    }
}

/// The rules for one batch at one moment.
struct Check {
    /// Smallest and largest timestamp, with CreateTime.
    range: Option<(i64, i64)>,
    keys: bool,
    /// The producer set the timestamp type to LogAppendTime.
    marked: bool,
    base_offset: i64,
}

impl Check {
    fn of(rules: &RecordRules, header: &BatchHeader, now: Millis) -> Check {
        let range = |(before, after)| (now.0.saturating_sub(before), now.0.saturating_add(after));
        Check {
            range: rules.timestamps.map(range),
            keys: rules.keys,
            marked: header.timestamp_type() == TimestampType::LogAppend,
            base_offset: header.base_offset.0,
        }
    }

    fn fault(&self, record: &RecordInfo) -> Option<RecordFault> {
        let timestamp = record.timestamp;
        let kind = match self.range {
            _ if self.keys && !record.has_key => FaultKind::NoKey,
            Some((from, to)) if timestamp != NO_TIMESTAMP && !(from..=to).contains(&timestamp) => {
                FaultKind::Timestamp { timestamp, from, to }
            }
            // With CreateTime the mark is removed: a relay sends batches as it fetched them.
            None if self.marked => FaultKind::LogAppendTime,
            _ => return None,
        };
        Some(RecordFault {
            index: record.index,
            offset: self.base_offset + i64::from(record.offset_delta),
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use norn_protocol::batch::{build_batch, BatchOptions, Record, UNPACKED_MAX};
    use norn_protocol::compression::Compression;

    use super::*;
    use crate::metadata::{CleanupPolicy, ConfigMap};

    const NOW: Millis = Millis(1_700_000_000_000);
    const CODECS: [Compression; 5] = Compression::ALL;

    fn rules(change: impl FnOnce(&mut TopicConfig)) -> RecordRules {
        let mut config = TopicConfig::with_overrides(&ConfigMap::new()).unwrap();
        change(&mut config);
        RecordRules::of(&config)
    }

    /// A batch of records of these ages in ms, with or without a key.
    fn batch(records: &[(i64, bool)], compression: Compression) -> Batch {
        let record = |(age, has_key): &(i64, bool)| Record {
            timestamp: NOW.0 - age,
            key: has_key.then(|| "k".into()),
            value: Some("v".into()),
            ..Record::default()
        };
        let records: Vec<Record> = records.iter().map(record).collect();
        let bytes = build_batch(&records, BatchOptions { compression, ..BatchOptions::default() }).unwrap();
        Batch::split_all(bytes).unwrap().remove(0)
    }

    fn refused(rules: &RecordRules, batch: &Batch) -> InvalidRecords {
        match rules.validate(batch, NOW, 10, UNPACKED_MAX).unwrap() {
            Err(Invalid::Records(records)) => records,
            other => panic!("{other:?}"),
        }
    }

    fn indexes(records: &InvalidRecords) -> Vec<i32> {
        records.named.iter().map(|fault| fault.index).collect()
    }

    #[test]
    fn each_record_out_of_range_is_named() {
        let rules = rules(|config| {
            (config.message_timestamp_before_max_ms, config.message_timestamp_after_max_ms) = (1000, 500);
        });
        for codec in CODECS {
            let records =
                batch(&[(0, false), (1001, false), (1000, false), (-500, false), (-501, false)], codec);
            let refused = refused(&rules, &records);
            assert_eq!((indexes(&refused), refused.count), (vec![1, 4], 2), "{codec:?}");
            assert_eq!(refused.error_code(), ErrorCode::InvalidTimestamp);
            assert_eq!(
                refused.named[1].message("t-0"),
                "Timestamp 1700000000501 of message with offset 4 is out of range. The timestamp should be within \
                 [1699999999000, 1700000000500]"
            );
        }
    }

    #[test]
    fn a_compacted_topic_names_each_record_without_a_key() {
        let rules = rules(|config| config.cleanup_policy = CleanupPolicy { delete: false, compact: true });
        for codec in CODECS {
            let refused = refused(&rules, &batch(&[(0, true), (0, false), (0, true), (0, false)], codec));
            assert_eq!(indexes(&refused), [1, 3], "{codec:?}");
            assert_eq!(refused.error_code(), ErrorCode::InvalidRecord);
            let message = refused.message("t-0");
            assert!(message.contains("2 record errors in total"), "{message}");
            assert!(message.contains("batchIndex=3, message='Compacted topic cannot accept message without key in topic partition t-0.'"), "{message}");
            assert!(rules.validate(&batch(&[(0, true)], codec), NOW, 10, UNPACKED_MAX).unwrap().is_ok());
        }
    }

    #[test]
    fn a_wrong_timestamp_tells_over_a_missing_key_and_few_are_named() {
        let rules = rules(|config| {
            config.cleanup_policy = CleanupPolicy { delete: false, compact: true };
            config.message_timestamp_before_max_ms = 1000;
        });
        // A record without a key is not asked for its time.
        let refused = refused(&rules, &batch(&[(2000, false), (2000, true)], Compression::Lz4));
        assert_eq!(refused.error_code(), ErrorCode::InvalidTimestamp);
        let keyless = batch(&[(2000, false); 50], Compression::Zstd);
        let Some(Err(Invalid::Records(many))) = rules.validate(&keyless, NOW, 3, UNPACKED_MAX) else {
            panic!()
        };
        assert_eq!((many.named.len(), many.count, many.error_code()), (3, 50, ErrorCode::InvalidRecord));
    }

    #[test]
    fn the_mark_of_an_append_time_is_for_topics_that_set_it_to_refuse() {
        let relayed = |codec| {
            let stamped = batch(&[(7, false), (5, false)], codec).patched(
                norn_protocol::types::Offset(30),
                norn_protocol::types::LeaderEpoch(2),
                Some(NOW.0 - 1),
            );
            Batch::split_all(stamped.concat().into()).unwrap().remove(0)
        };
        let created = rules(|_| {});
        let stamped = rules(|config| config.message_timestamp_type = TimestampSource::LogAppendTime);
        for codec in CODECS {
            let taken = created.validate(&relayed(codec), NOW, 10, UNPACKED_MAX).unwrap().unwrap();
            assert_eq!(taken.header.timestamp_type(), TimestampType::Creation);
            assert_eq!(taken.header.max_timestamp, NOW.0 - 5);
            assert_eq!(norn_protocol::batch::verify_crc(&taken.bytes), Ok(()));
            let refused = refused(&stamped, &relayed(codec));
            assert_eq!((indexes(&refused), refused.error_code()), (vec![0, 1], ErrorCode::InvalidTimestamp));
        }
    }

    #[test]
    fn trust_asks_the_header_alone() {
        let rules = rules(|config| config.message_timestamp_after_max_ms = 500);
        let hidden = batch(&[(0, false), (-600, false), (0, false)], Compression::Gzip);
        let hiding = hidden.clone().with_create_time(NOW.0);
        assert!(rules.trust(hiding.clone(), NOW).is_ok());
        assert_eq!(indexes(&refused(&rules, &hiding)), [1]);
        let Err(Invalid::Records(told)) = rules.trust(hidden, NOW) else { panic!() };
        assert_eq!((told.named.len(), told.error_code()), (0, ErrorCode::InvalidTimestamp));
    }
}
