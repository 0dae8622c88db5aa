//! What is taken from a producer, and what is not.

use super::*;

/// The batch as a broker takes it.
fn produced(bytes: Bytes) -> Result<Batch, BatchError> {
    let batch = produced_batch(Some(bytes), 9)?;
    validate_records(&batch, UNPACKED_MAX, |_| {}).unwrap()
}

fn validate_produce(batch: &Batch) -> Result<(), BatchError> {
    produced(batch.bytes.clone()).map(drop)
}

proptest! {
    #[test]
    fn what_is_taken_from_a_producer_can_be_read(
        records in prop::collection::vec(any_record(), 1..6), at in any::<prop::sample::Index>(), bit in 0..8u8,
        codec in 0u8..5, lie in prop::option::of(any::<i64>()),
    ) {
        let plain: Vec<Record> = records.into_iter().map(|record| Record { headers: vec![], ..record }).collect();
        let compression = Compression::from_code(codec).unwrap();
        let bytes = build_batch(&plain, BatchOptions { compression, ..BatchOptions::default() }).unwrap();
        let mut bytes = BytesMut::from(&bytes[..]);
        let at = HEADER_LEN + at.index(bytes.len() - HEADER_LEN);
        bytes[at] ^= 1 << bit;
        let header = BatchIter::new(&bytes).next().unwrap().unwrap().0;
        let batch = altered(&Batch { header, bytes: bytes.freeze() }, |header| {
            header.max_timestamp = lie.unwrap_or(header.max_timestamp);
        });
        if let Ok(produced) = produced(batch.bytes.clone()) {
            let read = decode_records(&batch.bytes);
            prop_assert!(read.is_ok(), "{:?}", read);
            let timestamps: Vec<i64> = read.unwrap().iter().map(|record| record.timestamp).collect();
            prop_assert_eq!(produced.header.max_timestamp, timestamps.iter().fold(-1, |most, time| most.max(*time)));
            prop_assert_eq!(verify_crc(&produced.bytes), Ok(()));
        }
    }
}

#[test]
fn records_of_every_codec_pass_and_those_of_another_do_not() {
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    for compression in [None, Gzip, Snappy, Lz4, Zstd] {
        let batch = one_batch(BatchOptions { compression, ..BatchOptions::default() });
        validate_produce(&batch).unwrap();
        for other in [Gzip, Lz4, Zstd].into_iter().filter(|other| *other != compression) {
            let posing =
                altered(&batch, |header| header.attributes = BatchHeader::attributes_of(other, false, false));
            assert_eq!(
                validate_produce(&posing),
                Err(BatchError::NotOfCodec),
                "{compression:?} as {other:?}"
            );
        }
    }
}

#[test]
fn records_that_are_not_those_of_the_header_are_refused() {
    for compression in Compression::ALL {
        let batch = one_batch(BatchOptions { compression, ..BatchOptions::default() });
        let counted = |count: i32| {
            altered(&batch, |header| (header.record_count, header.last_offset_delta) = (count, count - 1))
        };
        assert_eq!(validate_produce(&counted(5)), Err(BatchError::BadRecord(3)), "{compression:?}");
        assert_eq!(validate_produce(&counted(2)), Err(BatchError::BadCount(2)), "{compression:?}");
        assert_eq!(validate_produce(&counted(3)), Ok(()), "{compression:?}");
    }
}

#[test]
fn compressed_records_that_are_none_are_refused() {
    // Not laid out as records, not numbered as the next, and cut short.
    let record = b"\x0e\0\0\0\x01\x01\0\0".as_slice();
    let misnumbered = b"\x0c\0\0\x02\x01\x01\0".as_slice();
    for (plain, count, error) in [
        (record, 1, BatchError::BadRecord(0)),
        (misnumbered, 1, BatchError::BadRecord(0)),
        (&misnumbered[..5], 1, BatchError::BadRecord(0)),
        (b"".as_slice(), 1, BatchError::BadRecord(0)),
    ] {
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let batch = one_batch(BatchOptions { compression: codec, ..BatchOptions::default() });
            let packed = crate::compression::compress(codec, plain).unwrap();
            let mut header = batch.header;
            (header.record_count, header.last_offset_delta) = (count, count - 1);
            header.set_records_len(packed.len() as i32);
            header.crc = header.crc_with(&packed);
            let bytes = Bytes::from([&header.encode()[..], &packed].concat());
            assert_eq!(produced(bytes), Err(error), "{codec:?} {plain:?}");
        }
    }
}

#[test]
fn a_header_that_lies_about_the_largest_timestamp_is_put_right() {
    for compression in Compression::ALL {
        for times in [vec![5, 9, 7], vec![-1, -1], vec![-1, 3], vec![8, -1]] {
            let record = |timestamp: &i64| Record { timestamp: *timestamp, ..Record::default() };
            let records: Vec<Record> = times.iter().map(record).collect();
            let bytes = build_batch(&records, BatchOptions { compression, ..idempotent() }).unwrap();
            let right = Batch::split_all(bytes.clone()).unwrap().remove(0);
            assert_eq!(produced(bytes), Ok(right.clone()), "{times:?}");
            for lie in [-1, 0, 1 << 60, i64::MIN] {
                let lying = altered(&right, |header| header.max_timestamp = lie);
                assert_eq!(produced(lying.bytes), Ok(right.clone()), "{compression:?} {times:?} as {lie}");
            }
        }
    }
}

#[test]
fn a_timestamp_past_its_type_is_refused() {
    let records = [1, 2].map(|timestamp| Record { timestamp, ..Record::default() });
    let bytes = build_batch(&records, BatchOptions::default()).unwrap();
    let batch = altered(&Batch::split_all(bytes).unwrap()[0], |header| header.base_timestamp = i64::MAX);
    assert_eq!(validate_produce(&batch), Err(BatchError::BadRecord(1)));
}

#[test]
fn what_a_producer_may_send_is_accepted() {
    validate_produce(&one_batch(BatchOptions::default())).unwrap();
    validate_produce(&one_batch(idempotent())).unwrap();
    validate_produce(&one_batch(BatchOptions { transactional: true, ..idempotent() })).unwrap();
    // kafkajs and sarama fill epoch and sequence with zeros when they are not idempotent.
    let zeros = BatchOptions {
        producer_epoch: ProducerEpoch(0),
        base_sequence: Sequence(0),
        ..BatchOptions::default()
    };
    validate_produce(&one_batch(zeros)).unwrap();
}

#[test]
fn what_a_producer_may_not_send_is_refused_with_kafkas_code() {
    let plain = one_batch(BatchOptions::default());
    let idempotent = one_batch(idempotent());
    type Case<'a> = (&'a Batch, &'a dyn Fn(&mut BatchHeader), BatchError, ErrorCode);
    let cases: &[Case<'_>] = &[
        (&plain, &|h| h.record_count = 0, BatchError::BadCount(0), ErrorCode::InvalidRecord),
        (&plain, &|h| h.record_count = 4, BatchError::BadOffsetDelta(2), ErrorCode::InvalidRecord),
        (&plain, &|h| h.attributes |= 0x20, BatchError::Control, ErrorCode::InvalidRecord),
        (&plain, &|h| h.attributes |= 0x10, BatchError::BadProducer, ErrorCode::InvalidRecord),
        (
            &plain,
            &|h| h.attributes |= 5,
            BatchError::BadCompression(5),
            ErrorCode::UnsupportedCompressionType,
        ),
        (&plain, &|h| h.producer_id.0 = -2, BatchError::BadProducer, ErrorCode::InvalidRecord),
        (&idempotent, &|h| h.producer_epoch.0 = -1, BatchError::BadProducer, ErrorCode::InvalidRecord),
        (&idempotent, &|h| h.base_sequence.0 = -1, BatchError::BadProducer, ErrorCode::InvalidRecord),
    ];
    for (batch, change, error, code) in cases {
        let batch = altered(batch, change);
        assert_eq!(validate_produce(&batch), Err(*error));
        assert_eq!(produced_batch(Some(batch.bytes), 9), Err(*error));
        assert_eq!(error.error_code(), *code);
    }
}

#[test]
fn a_partition_takes_exactly_one_batch() {
    let batch = one_batch(BatchOptions::default());
    assert_eq!(produced_batch(Some(batch.bytes.clone()), 3), Ok(batch.clone()));
    let twice = Bytes::from([&batch.bytes[..], &batch.bytes[..]].concat());
    assert_eq!(produced_batch(Some(twice), 3), Err(BatchError::NotOneBatch(2)));
    assert_eq!(produced_batch(Some(Bytes::new()), 3), Err(BatchError::NotOneBatch(0)));
    assert_eq!(produced_batch(None, 3), Err(BatchError::NotOneBatch(0)));
}

#[test]
fn zstd_needs_produce_seven() {
    let batch = one_batch(BatchOptions { compression: Compression::Zstd, ..BatchOptions::default() });
    assert_eq!(produced_batch(Some(batch.bytes.clone()), 6), Err(BatchError::ZstdTooEarly));
    assert!(produced_batch(Some(batch.bytes), 7).is_ok());
}
