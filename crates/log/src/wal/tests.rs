//! Pure recovery under random cuts and flips, and the log over a real directory.

use super::segment::{self, Damage};
use super::*;
use proptest::prelude::*;

fn record(index: u64, payload: &[u8]) -> Record {
    Record { index, payload: Bytes::copy_from_slice(payload) }
}

fn segment_bytes(first_sequence: u64, batches: &[Vec<Record>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, batch) in batches.iter().enumerate() {
        let pieces = segment::encode_batch(batch);
        out.extend_from_slice(&frames::header(first_sequence + n as u64, &pieces));
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    }
    out
}

fn batches() -> impl Strategy<Value = Vec<Vec<Record>>> {
    let record = (1..50u64, prop::collection::vec(any::<u8>(), 0..30))
        .prop_map(|(index, bytes)| record(index, &bytes));
    prop::collection::vec(prop::collection::vec(record, 1..4), 1..8)
}

#[test]
fn names_sort_as_numbers_and_strangers_are_ignored() {
    assert_eq!(segment::parse_name(&segment::file_name(42)), Some(42));
    for stranger in ["42.wal", "snapshot", "00000000000000000042.tmp", "0000000000000000004x.wal"] {
        assert_eq!(segment::parse_name(stranger), None, "{stranger}");
    }
}

proptest! {
    #[test]
    fn a_cut_last_segment_keeps_a_prefix_of_whole_batches(data in batches(), cut in any::<prop::sample::Index>()) {
        let bytes = segment_bytes(9, &data);
        let cut = cut.index(bytes.len() + 1);
        let found = segment::recover(9, &Bytes::copy_from_slice(&bytes[..cut]), true).unwrap();
        let whole = (found.next_sequence - 9) as usize;
        prop_assert_eq!(found.records, data[..whole].concat());
        prop_assert_eq!(found.end as usize, segment_bytes(9, &data[..whole]).len());
    }

    #[test]
    fn a_flip_is_an_error_or_cuts_only_the_last_batch(
        data in batches(), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let mut bytes = segment_bytes(9, &data);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        match segment::recover(9, &bytes.clone().into(), true) {
            Ok(found) => prop_assert_eq!(found.records, data[..data.len() - 1].concat()),
            Err(Damage::Corrupt { at: told, .. }) => prop_assert!(told as usize <= at),
            Err(newer) => prop_assert!(false, "{:?}", newer),
        }
        let sealed = segment::recover(9, &bytes.into(), false);
        prop_assert!(matches!(sealed, Err(Damage::Corrupt { .. })), "damage in a sealed segment is corruption");
    }
}
