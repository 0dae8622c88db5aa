use bytes::BytesMut;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as oracle;
use proptest::prelude::*;

use super::*;
use crate::compression::{Compression, DecompressError};
use crate::types::{ErrorCode, ProducerEpoch, ProducerId, Sequence};

mod produced;
mod stream;

fn record(value: &str) -> Record {
    Record {
        timestamp: 1_700_000_000_000,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..Record::default()
    }
}

fn one_batch(options: BatchOptions) -> Batch {
    let bytes = build_batch(&[record("a"), record("b"), record("c")], options).unwrap();
    Batch::split_all(bytes).unwrap().remove(0)
}

fn idempotent() -> BatchOptions {
    BatchOptions {
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(1),
        base_sequence: Sequence(i32::MAX - 1),
        ..BatchOptions::default()
    }
}

/// The batch with some header fields changed and its CRC made right again.
fn altered(batch: &Batch, change: impl FnOnce(&mut BatchHeader)) -> Batch {
    let mut header = batch.header;
    change(&mut header);
    let records = batch.bytes.slice(HEADER_LEN..);
    header.crc = header.crc_with(&records);
    let mut bytes = BytesMut::from(&header.encode()[..]);
    bytes.extend_from_slice(&records);
    Batch { header, bytes: bytes.freeze() }
}

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

fn any_header() -> impl Strategy<Value = Header> {
    ("[a-c]{0,2}", any_bytes()).prop_map(|(key, value)| Header { key: StrBytes::from_string(key), value })
}

fn any_record() -> impl Strategy<Value = Record> {
    (0i64..1 << 45, any_bytes(), any_bytes(), prop::collection::vec(any_header(), 0..4)).prop_map(
        |(timestamp, key, value, headers)| Record { offset: Offset::ZERO, timestamp, key, value, headers },
    )
}

fn any_options() -> impl Strategy<Value = BatchOptions> {
    let producer = prop_oneof![
        Just((-1, -1, -1)),
        (0i64.., 0i16.., 0i32..).prop_map(|(id, epoch, sequence)| (id, epoch, sequence))
    ];
    (0i64..1 << 50, -1i32.., 0u8..5, producer, any::<bool>()).prop_map(
        |(base, epoch, codec, (id, producer_epoch, sequence), transactional)| BatchOptions {
            base_offset: Offset(base),
            leader_epoch: LeaderEpoch(epoch),
            compression: Compression::from_code(codec).unwrap(),
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(producer_epoch),
            base_sequence: Sequence(sequence),
            transactional,
            control: false,
        },
    )
}

/// As the crate writes and reads records: its map keeps one header of a name.
fn as_oracle(record: &Record, index: i32, options: &BatchOptions) -> oracle::Record {
    oracle::Record {
        transactional: options.transactional,
        control: options.control,
        delete_horizon: false,
        partition_leader_epoch: options.leader_epoch.0,
        producer_id: options.producer_id.0,
        producer_epoch: options.producer_epoch.0,
        timestamp_type: oracle::TimestampType::Creation,
        offset: options.base_offset.0 + i64::from(index),
        sequence: options.base_sequence.0.wrapping_add(index),
        timestamp: record.timestamp,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.iter().map(|header| (header.key.clone(), header.value.clone())).collect(),
    }
}

fn without_repeated_headers(mut record: Record) -> Record {
    let mut seen = std::collections::BTreeSet::new();
    record.headers.retain(|header| seen.insert(header.key.clone()));
    record
}

proptest! {
    #[test]
    fn what_is_built_is_what_is_read(
        records in prop::collection::vec(any_record(), 1..20),
        options in any_options(),
    ) {
        let bytes = build_batch(&records, options).unwrap();
        verify_crc(&bytes).unwrap();
        let read = decode_records(&bytes).unwrap();
        prop_assert_eq!(read.len(), records.len());
        for (i, (read, written)) in read.iter().zip(&records).enumerate() {
            let written = Record { offset: options.base_offset.plus(i as i64), ..written.clone() };
            prop_assert_eq!(read, &written);
        }
        let header = BatchHeader::parse(&bytes).unwrap();
        prop_assert_eq!(header.total_len(), bytes.len());
        prop_assert_eq!(header.next_offset(), options.base_offset.plus(records.len() as i64));
        prop_assert_eq!(header.is_transactional(), options.transactional);
        prop_assert_eq!(header.compression(), Ok(options.compression));
    }

    #[test]
    fn the_crate_reads_what_we_build(
        records in prop::collection::vec(any_record().prop_map(without_repeated_headers), 1..20),
        options in any_options(),
    ) {
        let expected: Vec<_> = records.iter().zip(0..).map(|(r, i)| as_oracle(r, i, &options)).collect();
        let mut bytes = build_batch(&records, options).unwrap();
        let set = oracle::RecordBatchDecoder::decode(&mut bytes).unwrap();
        prop_assert_eq!(set.records, expected);
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn we_read_what_the_crate_builds(
        records in prop::collection::vec(any_record().prop_map(without_repeated_headers), 1..20),
        options in any_options(),
    ) {
        let theirs: Vec<_> = records.iter().zip(0..).map(|(r, i)| as_oracle(r, i, &options)).collect();
        let compression = match options.compression {
            Compression::None => oracle::Compression::None,
            Compression::Gzip => oracle::Compression::Gzip,
            Compression::Snappy => oracle::Compression::Snappy,
            Compression::Lz4 => oracle::Compression::Lz4,
            Compression::Zstd => oracle::Compression::Zstd,
        };
        let mut bytes = BytesMut::new();
        let encode = oracle::RecordEncodeOptions { version: 2, compression };
        oracle::RecordBatchEncoder::encode(&mut bytes, &theirs, &encode).unwrap();
        // The crate starts another batch where a sequence wraps to a negative number.
        let mut read = Vec::new();
        for batch in Batch::split_all(bytes.freeze()).unwrap() {
            read.extend(decode_records(&batch.bytes).unwrap());
        }
        for (i, (read, written)) in read.iter().zip(&records).enumerate() {
            let written = Record { offset: options.base_offset.plus(i as i64), ..written.clone() };
            prop_assert_eq!(read, &written);
        }
        prop_assert_eq!(read.len(), records.len());
    }

    #[test]
    fn a_header_is_read_as_it_was_written(fields in any::<[u8; HEADER_LEN]>()) {
        let mut fields = fields;
        fields[0] &= 0x7f;
        fields[8..12].copy_from_slice(&1000i32.to_be_bytes());
        fields[16] = 2;
        fields[23] &= 0x7f;
        fields[57] &= 0x7f;
        if let Ok(header) = BatchHeader::parse(&fields) {
            prop_assert_eq!(header.encode(), fields);
        } else {
            prop_assert!(i64::from_be_bytes(fields[..8].try_into().unwrap()) > i64::MAX - (1 << 32));
        }
    }

    #[test]
    fn any_flipped_bit_under_the_crc_is_found(bit in (21 * 8usize..).prop_map(|b| b), codec in 0u8..5) {
        let options = BatchOptions { compression: Compression::from_code(codec).unwrap(), ..idempotent() };
        let batch = one_batch(options);
        let bit = 21 * 8 + (bit % ((batch.bytes.len() - 21) * 8));
        let mut bytes = batch.bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Batch::split_all(bytes.into()).is_err());
    }
}

#[test]
fn several_headers_of_one_name_survive() {
    let header = |value: &'static str| Header { key: "trace".into(), value: Some(Bytes::from(value)) };
    let record = Record { headers: vec![header("1"), header("2")], ..record("v") };
    let bytes = build_batch(std::slice::from_ref(&record), BatchOptions::default()).unwrap();
    assert_eq!(decode_records(&bytes).unwrap(), [record]);
}

#[test]
fn a_batch_from_the_wire_is_understood() {
    // One record "hello" -> "world" as the `kafka-protocol` crate's documentation has it from a broker.
    let bytes = b"\0\0\0\0\0\0\0\0\0\0\0C\0\0\0\0\x02sm){\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\
        \0\0\0\0\0\0\0\0\0\0\x01\"\x01\xd0\x0f\x02\nhello\nworld\0";
    let header = BatchHeader::parse(bytes).unwrap();
    assert_eq!((header.total_len(), header.record_count, header.last_offset_delta), (79, 1, 3));
    verify_crc(bytes).unwrap();
    let records = decode_records(bytes).unwrap();
    assert_eq!(records[0].offset, Offset(1));
    assert_eq!(records[0].timestamp, 1000);
    assert_eq!(records[0].key.as_deref(), Some(&b"hello"[..]));
    assert_eq!(records[0].value.as_deref(), Some(&b"world"[..]));
}

#[test]
fn batches_are_cut_apart_without_copying() {
    let mut bytes = BytesMut::new();
    for base in [0, 3, 6] {
        bytes.extend_from_slice(&one_batch(BatchOptions { base_offset: Offset(base), ..idempotent() }).bytes);
    }
    let bytes = bytes.freeze();
    let batches = Batch::split_all(bytes.clone()).unwrap();
    let bases: Vec<_> = batches.iter().map(|batch| batch.header.base_offset.0).collect();
    assert_eq!(bases, [0, 3, 6]);
    assert_eq!(batches[1].bytes.as_ptr(), bytes[batches[0].bytes.len()..].as_ptr());
    assert_eq!(batches.iter().map(|batch| batch.bytes.len()).sum::<usize>(), bytes.len());
}

#[test]
fn a_cut_batch_says_what_is_there_and_what_it_needs() {
    let batch = one_batch(BatchOptions::default()).bytes;
    let need = batch.len();
    for have in 1..need {
        let error = Batch::split_all(batch.slice(..have)).unwrap_err();
        let expected = if have < HEADER_LEN { HEADER_LEN } else { need };
        assert_eq!(error, BatchError::Truncated { have, need: expected });
    }
    assert_eq!(Batch::split_all(Bytes::new()), Ok(Vec::new()));
    let mut iter = BatchIter::new(&batch[..need - 1]);
    assert!(iter.next().unwrap().is_err());
    assert!(iter.next().is_none(), "nothing follows an error");
}

#[test]
fn a_patched_batch_keeps_its_records_and_its_crc() {
    let batch = one_batch(idempotent());
    let [head, rest] = batch.patched(Offset(1 << 40), LeaderEpoch(9), None);
    assert_eq!(rest.as_ptr(), batch.bytes[HEADER_LEN..].as_ptr());
    let whole = [&head[..], &rest[..]].concat();
    verify_crc(&whole).unwrap();
    let header = BatchHeader::parse(&whole).unwrap();
    let expected = BatchHeader { base_offset: Offset(1 << 40), leader_epoch: LeaderEpoch(9), ..batch.header };
    assert_eq!(header, expected);
    assert_eq!(header.last_offset(), Offset((1 << 40) + 2));
}

#[test]
fn log_append_time_marks_the_batch_and_renews_its_crc() {
    let batch = one_batch(idempotent());
    let whole = batch.patched(Offset(5), LeaderEpoch(1), Some(1234)).concat();
    verify_crc(&whole).unwrap();
    let header = BatchHeader::parse(&whole).unwrap();
    assert_eq!(header.timestamp_type(), crate::batch::TimestampType::LogAppend);
    assert_eq!(header.max_timestamp, 1234);
    assert_eq!(header.base_timestamp, batch.header.base_timestamp);
    assert!(decode_records(&whole).unwrap().iter().all(|record| record.timestamp == 1234));
}

#[test]
fn sequences_end_where_kafka_says() {
    assert_eq!(one_batch(idempotent()).header.last_sequence(), Sequence(0));
    assert_eq!(one_batch(BatchOptions::default()).header.last_sequence(), Sequence::NONE);
}

#[test]
fn a_header_that_cannot_be_is_refused() {
    let batch = one_batch(BatchOptions::default());
    let parse = |change: &dyn Fn(&mut BatchHeader)| {
        BatchHeader::parse(&altered(&batch, |header| change(header)).bytes).unwrap_err()
    };
    assert_eq!(parse(&|h| h.length = 48), BatchError::BadLength(48));
    assert_eq!(parse(&|h| h.length = -1), BatchError::BadLength(-1));
    assert_eq!(parse(&|h| h.record_count = -1), BatchError::BadCount(-1));
    assert_eq!(parse(&|h| h.last_offset_delta = -1), BatchError::BadOffsetDelta(-1));
    assert_eq!(parse(&|h| h.base_offset = Offset(-1)), BatchError::BadBaseOffset(-1));
    assert_eq!(parse(&|h| h.base_offset = Offset(i64::MAX - 2)), BatchError::BadOffsetDelta(2));
    for magic in [0, 1, 3, -1] {
        assert_eq!(parse(&|h| h.magic = magic), BatchError::BadMagic(magic));
    }
    // A v1 message is shorter than a v2 header and must be named for what it is.
    let mut short = vec![0; 34];
    short[16] = 1;
    assert_eq!(BatchHeader::parse(&short), Err(BatchError::BadMagic(1)));
}

#[test]
fn codes_tell_what_another_try_may_mend() {
    assert_eq!(BatchError::BadMagic(1).error_code(), ErrorCode::InvalidRecord);
    assert_eq!(BatchError::BadMagic(9).error_code(), ErrorCode::CorruptMessage);
    assert_eq!(BatchError::CrcMismatch { expected: 1, actual: 2 }.error_code(), ErrorCode::CorruptMessage);
    assert_eq!(BatchError::Truncated { have: 1, need: 2 }.error_code(), ErrorCode::InvalidRecord);
}

#[test]
fn records_that_lie_about_themselves_are_refused() {
    let batch = one_batch(BatchOptions::default());
    let read = |change: &dyn Fn(&mut BatchHeader)| {
        decode_records(&altered(&batch, |header| change(header)).bytes).unwrap_err()
    };
    // More records than there are bytes for: an error, not a reservation.
    assert!(matches!(read(&|h| h.record_count = i32::MAX), RecordError::Malformed { index: 3, .. }));
    assert!(matches!(read(&|h| h.record_count = 2), RecordError::TrailingBytes));
    assert!(matches!(read(&|h| h.last_offset_delta = 1), RecordError::OutOfRange(2)));
    assert!(matches!(build_batch(&[], BatchOptions::default()), Err(RecordError::Unbuildable(0, 0))));
    assert!(matches!(decode_records(b""), Err(RecordError::Batch(BatchError::Truncated { .. }))));
}

#[test]
fn a_batch_that_decompresses_to_too_much_is_refused() {
    let zeros = Record { value: Some(vec![0; DECOMPRESSED_MAX as usize].into()), ..Record::default() };
    let options = BatchOptions { compression: Compression::Zstd, ..BatchOptions::default() };
    let bytes = build_batch(&[zeros], options).unwrap();
    assert!(bytes.len() < 100_000);
    let error = decode_records(&bytes).unwrap_err();
    assert!(matches!(error, RecordError::Decompress(DecompressError::TooLarge { limit: DECOMPRESSED_MAX })));
}
