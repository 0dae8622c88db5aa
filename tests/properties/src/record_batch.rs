//! Record batches from producers, from disks, and from the group coordinator's own partition.

use std::ops::ControlFlow;

use bytes::Bytes;
use norn_protocol::batch::{
    decode_records, produced_batch, scan_records, validate_records, verify_crc, Batch, BatchIter,
    DECOMPRESSED_MAX,
};
use norn_protocol::types::{LeaderEpoch, Offset};

/// The newest Produce version.
const PRODUCE: i16 = 13;

/// What a batch may unpack to here: a fuzzer finds how to make few bytes many.
const UNPACKED: u64 = 16 << 20;

/// Batches are cut apart without a byte lost; one that is accepted keeps its records whatever offset it is given, and
/// its records are as many as its header says, or an error. A scan shows what a decoder reads.
pub fn record_batch(input: &[u8]) {
    let cut: Vec<&[u8]> = BatchIter::new(input).map_while(|batch| Some(batch.ok()?.1)).collect();
    let cut_len = cut.iter().map(|batch| batch.len()).sum::<usize>();
    assert_eq!(cut.concat(), input[..cut_len], "batches lie one after the other");
    for batch in cut {
        let _ = verify_crc(batch);
    }
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(batches) = Batch::split_all(bytes.clone()) {
        batches.iter().for_each(sound);
    }
    if let Ok(batch) = produced_batch(Some(bytes), PRODUCE) {
        assert!(batch.header.record_count > 0, "a producer's batch has records");
        assert!(!batch.header.is_control(), "a producer sends no control batch");
        if let Some(Ok(batch)) = validate_records(&batch, UNPACKED, |_| {}) {
            validated(&batch);
        }
    }
}

/// A batch whose records were validated can be read to its end by who reads batches as they lie.
fn validated(batch: &Batch) {
    assert_eq!(verify_crc(&batch.bytes), Ok(()), "the CRC is that of what the header says now");
    let mut latest = -1;
    let scanned = scan_records(&batch.header, &batch.bytes, UNPACKED, |record| {
        assert_eq!(record.offset_delta, record.index, "records are numbered from 0");
        latest = latest.max(record.timestamp);
        ControlFlow::Continue(())
    });
    assert!(scanned.is_ok(), "what was read once is read again");
    assert_eq!(batch.header.max_timestamp, latest, "the header tells the largest timestamp");
}

fn sound(batch: &Batch) {
    assert_eq!(verify_crc(&batch.bytes), Ok(()), "an accepted batch has been checked");
    let moved = batch.patched(Offset(17), LeaderEpoch(3), None).concat();
    assert_eq!(moved.len(), batch.bytes.len(), "an offset costs no bytes");
    assert_eq!(verify_crc(&moved), Ok(()), "offset and epoch are not under the CRC");
    let Ok(mut records) = decode_records(&batch.bytes) else { return };
    let mut scanned = Vec::new();
    let scan = scan_records(&batch.header, &batch.bytes, DECOMPRESSED_MAX, |record| {
        scanned.push((batch.header.base_offset.plus(i64::from(record.offset_delta)), record.has_key));
        ControlFlow::Continue(())
    });
    let decoded: Vec<_> = records.iter().map(|record| (record.offset, record.key.is_some())).collect();
    assert!(scan.is_ok() && scanned == decoded, "a scan shows what a decoder reads");
    assert_eq!(
        records.len() as i64,
        i64::from(batch.header.record_count),
        "as many records as the header says"
    );
    for (record, offset) in records.iter_mut().zip(17..) {
        record.offset = Offset(offset);
    }
    assert_eq!(decode_records(&moved).ok(), Some(records), "an offset changes nothing but the offset");
}

#[cfg(test)]
mod tests {
    use norn_protocol::batch::{build_batch, BatchOptions, Record};
    use norn_protocol::compression::Compression;
    use proptest::prelude::*;

    use super::record_batch;
    use crate::nearly::nearly;

    fn batches() -> impl Strategy<Value = Vec<u8>> {
        let codecs =
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        let values = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..8);
        let batch = (values, prop::sample::select(codecs.to_vec())).prop_map(|(values, compression)| {
            let record = |value: Vec<u8>| Record { value: Some(value.into()), ..Record::default() };
            let records: Vec<Record> = values.into_iter().map(record).collect();
            build_batch(&records, BatchOptions { compression, ..BatchOptions::default() }).unwrap().to_vec()
        });
        prop::collection::vec(batch, 1..3).prop_map(|batches| batches.concat())
    }

    /// Makes the CRC of the first batch right again, so that what lies behind that check is reached.
    fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
        let len = bytes.get(8..12).map_or(0, |len| i32::from_be_bytes([len[0], len[1], len[2], len[3]]));
        let end = (12 + len.max(0) as usize).min(bytes.len());
        if end > 21 {
            let crc = crc32c(&bytes[21..end]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        bytes
    }

    /// Bit by bit: an oracle that shares nothing with the code under test.
    fn crc32c(bytes: &[u8]) -> u32 {
        let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
    }

    proptest! {
        #[test]
        fn any_bytes_are_batches_or_an_error(
            random in prop::collection::vec(any::<u8>(), 0..300),
            nearly_right in nearly(batches()),
        ) {
            record_batch(&random);
            record_batch(&nearly_right);
            record_batch(&with_crc(nearly_right));
        }
    }
}
