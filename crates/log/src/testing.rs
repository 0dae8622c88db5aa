//! Batches for the tests of this crate.

use bytes::Bytes;
use norn_protocol::batch::{build_batch, Batch, BatchOptions, Record};
use norn_protocol::types::{LeaderEpoch, Offset};

/// A batch of `count` records with values of `value_len` bytes, the record at offset `o` stamped `1000 + o`.
pub(crate) fn batch_at(base: i64, count: i64, epoch: i32, value_len: usize) -> Bytes {
    let records: Vec<Record> = (0..count)
        .map(|i| Record {
            timestamp: 1000 + base + i,
            value: Some(Bytes::from(vec![(base + i) as u8 ^ 0x5a; value_len])),
            ..Record::default()
        })
        .collect();
    let options = BatchOptions {
        base_offset: Offset(base),
        leader_epoch: LeaderEpoch(epoch),
        ..BatchOptions::default()
    };
    build_batch(&records, options).expect("a small batch")
}

/// The same as a producer sends it.
pub(crate) fn produced(base: i64, count: i64, value_len: usize) -> (Batch, Offset) {
    let bytes = batch_at(base, count, -1, value_len);
    (Batch::split_all(bytes).expect("a sound batch").remove(0), Offset(base))
}
