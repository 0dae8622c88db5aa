//! Records as a stream: what it shows, and what it takes for that.

use std::ops::ControlFlow;

use super::*;

/// What a scan of a batch shows, each record as (index, offset, timestamp, whether it has a key).
fn scanned(bytes: &Bytes, limit: u64) -> Result<Vec<(i32, i64, i64, bool)>, RecordError> {
    let header = BatchHeader::parse(bytes)?;
    let mut seen = Vec::new();
    scan_records(&header, bytes, limit, |record| {
        let offset = header.base_offset.0 + i64::from(record.offset_delta);
        seen.push((record.index, offset, record.timestamp, record.has_key));
        ControlFlow::Continue(())
    })?;
    Ok(seen)
}

/// Records whose values are larger than a chunk, some of them, so that fields lie across chunks.
fn any_large_record() -> impl Strategy<Value = Record> {
    (any_record(), prop_oneof![4 => Just(0usize), 1 => 0..200_000usize], any::<u8>()).prop_map(
        |(record, len, byte)| match len {
            0 => record,
            len => Record {
                value: Some((0..len).map(|i| byte ^ (i / 3) as u8).collect::<Vec<u8>>().into()),
                ..record
            },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_stream_of_records_is_what_the_crate_reads(
        records in prop::collection::vec(any_large_record().prop_map(without_repeated_headers), 1..30),
        options in any_options(),
    ) {
        let bytes = build_batch(&records, options).unwrap();
        let set = oracle::RecordBatchDecoder::decode(&mut bytes.clone()).unwrap();
        let read: Vec<Record> = Records::of(bytes.clone(), DECOMPRESSED_MAX).unwrap().map(Result::unwrap).collect();
        let ours: Vec<_> = read.iter().zip(0..).map(|(record, i)| as_oracle(record, i, &options)).collect();
        prop_assert_eq!(&ours, &set.records);
        let facts: Vec<_> = set.records.iter().zip(0..)
            .map(|(record, i)| (i, record.offset, record.timestamp, record.key.is_some())).collect();
        prop_assert_eq!(scanned(&bytes, UNPACKED_MAX).unwrap(), facts);
    }

    #[test]
    fn a_scan_unpacks_no_more_than_its_limit(
        records in prop::collection::vec(any_large_record(), 1..10), options in any_options(), limit in 0u64..100_000,
    ) {
        let bytes = build_batch(&records, options).unwrap();
        let plain = build_batch(&records, BatchOptions { compression: Compression::None, ..options }).unwrap();
        let len = (plain.len() - HEADER_LEN) as u64;
        match scanned(&bytes, limit) {
            Ok(_) => prop_assert!(len <= limit),
            Err(error) => prop_assert!(error.is_over_limit() && len > limit, "{} of {}: {}", len, limit, error),
        }
    }
}

#[test]
fn who_has_seen_enough_unpacks_no_more() {
    let big = Record { value: Some(vec![0; 1 << 20].into()), ..Record::default() };
    for compression in [Compression::Gzip, Compression::Lz4, Compression::Zstd, Compression::Snappy] {
        let records = [record("a"), record("b"), big.clone()];
        let options = BatchOptions { compression, ..BatchOptions::default() };
        let bytes = build_batch(&records, options).unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        let mut seen = 0;
        let second = |record: &RecordInfo| {
            seen += 1;
            if record.index < 1 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        scan_records(&header, &bytes, 128 << 10, second).unwrap();
        assert_eq!(seen, 2);
    }
}
