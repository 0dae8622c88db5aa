//! A segment's sparse index: where a batch stands about every `index.interval.bytes`, with the largest
//! timestamp before it, so that one entry serves offsets and timestamps. Pure.
//!
//! On disk an index is a run of blocks, each with its own CRC, appended as the segment grows, and at the end of
//! a closed segment a seal with what must be known of it without reading it. The file is never synced: whatever
//! is missing or damaged is rebuilt from the segment.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use norn_protocol::types::Offset;

/// One indexed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Base offset of the batch, counted from the segment's.
    pub delta: u32,
    /// Where the batch starts in the file.
    pub position: u32,
    /// Largest timestamp of all batches before it in the segment; -1 before the first.
    pub max_ts_before: i64,
}

/// What stands at the end of a closed segment's index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Length of the segment's valid part in bytes.
    pub size: u64,
    /// Offset after its last record.
    pub next: Offset,
    /// Largest timestamp in it; -1 if it is empty.
    pub max_ts: i64,
}

/// An index file's content, as far as it is sound.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub entries: Vec<Entry>,
    /// Length of the sound blocks: where the next block goes.
    pub blocks_len: u64,
    /// Only if it directly follows the blocks and ends the file.
    pub seal: Option<Seal>,
}

const ENTRY_LEN: usize = 16;
const BLOCK_MAGIC: u32 = u32::from_be_bytes(*b"NIX1");
const SEAL_MAGIC: u32 = u32::from_be_bytes(*b"NIE1");
/// Magic and CRC.
const FRAME_LEN: usize = 8;
/// Length of an encoded [`Seal`] in bytes.
pub(crate) const SEAL_LEN: usize = FRAME_LEN + 24;
/// Entries in a block that is written while the segment grows: at the default interval 2 MiB of records, which is
/// the most that a restart after a crash has to walk through to complete the index.
pub(crate) const BLOCK_ENTRIES: usize = 512;

/// One block of entries.
pub(crate) fn encode_block(entries: &[Entry]) -> Bytes {
    let mut body = BytesMut::with_capacity(4 + entries.len() * ENTRY_LEN);
    body.put_u32(entries.len() as u32);
    for entry in entries {
        body.put_u32(entry.delta);
        body.put_u32(entry.position);
        body.put_i64(entry.max_ts_before);
    }
    frame(BLOCK_MAGIC, &body)
}

pub(crate) fn encode_seal(seal: &Seal) -> Bytes {
    let mut body = BytesMut::with_capacity(SEAL_LEN - FRAME_LEN);
    body.put_u64(seal.size);
    body.put_i64(seal.next.0);
    body.put_i64(seal.max_ts);
    frame(SEAL_MAGIC, &body)
}

fn frame(magic: u32, body: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(FRAME_LEN + body.len());
    framed.put_u32(magic);
    framed.put_u32(crc32c::crc32c(body));
    framed.put_slice(body);
    framed.freeze()
}

/// Reads a seal alone, from the last [`SEAL_LEN`] bytes of an index file.
pub(crate) fn decode_seal(bytes: &[u8]) -> Option<Seal> {
    let mut body = unframe(SEAL_MAGIC, bytes, SEAL_LEN - FRAME_LEN)?;
    Some(Seal { size: body.get_u64(), next: Offset(body.get_i64()), max_ts: body.get_i64() })
}

/// The first `len` bytes behind a frame's magic and CRC, if both are right.
fn unframe(magic: u32, bytes: &[u8], len: usize) -> Option<&[u8]> {
    let mut head = bytes.get(..FRAME_LEN)?;
    let body = bytes.get(FRAME_LEN..FRAME_LEN.checked_add(len)?)?;
    (head.get_u32() == magic && head.get_u32() == crc32c::crc32c(body)).then_some(body)
}

/// Reads an index file up to the first thing in it that is not sound.
pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    let mut rest = bytes;
    while let Some((body, after)) = next_block(rest) {
        if !append_entries(&mut decoded.entries, body) {
            return decoded;
        }
        decoded.blocks_len = (bytes.len() - after.len()) as u64;
        rest = after;
    }
    if rest.len() == SEAL_LEN {
        decoded.seal = decode_seal(rest);
    }
    decoded
}

fn next_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut count = bytes.get(FRAME_LEN..FRAME_LEN + 4)?;
    let body_len = (count.get_u32() as usize).checked_mul(ENTRY_LEN)?.checked_add(4)?;
    let body = unframe(BLOCK_MAGIC, bytes, body_len)?;
    Some((&body[4..], &bytes[FRAME_LEN + body_len..]))
}

/// Adds a block's entries; leaves `entries` as they were and returns false if they do not rise.
fn append_entries(entries: &mut Vec<Entry>, mut block: &[u8]) -> bool {
    let before = entries.len();
    while block.remaining() >= ENTRY_LEN {
        let entry =
            Entry { delta: block.get_u32(), position: block.get_u32(), max_ts_before: block.get_i64() };
        let rises = entries.last().is_none_or(|last: &Entry| {
            last.delta < entry.delta
                && last.position < entry.position
                && last.max_ts_before <= entry.max_ts_before
        });
        if !rises {
            entries.truncate(before);
            return false;
        }
        entries.push(entry);
    }
    true
}

/// Index of the last entry at or before `delta`.
pub(crate) fn floor_by_offset(entries: &[Entry], delta: u32) -> Option<usize> {
    entries.partition_point(|e| e.delta <= delta).checked_sub(1)
}

/// Index of the last entry at or before byte `position`.
pub(crate) fn floor_by_position(entries: &[Entry], position: u64) -> Option<usize> {
    entries.partition_point(|e| u64::from(e.position) <= position).checked_sub(1)
}

/// Index of the entry from which on a record with a timestamp of at least `ts` may stand.
pub(crate) fn floor_by_timestamp(entries: &[Entry], ts: i64) -> Option<usize> {
    // A record without a timestamp has -1, as what is before the first entry has.
    (!entries.is_empty()).then(|| entries.partition_point(|e| e.max_ts_before < ts).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(range: std::ops::Range<u32>) -> Vec<Entry> {
        range.map(|i| Entry { delta: i * 7, position: i * 4096, max_ts_before: i64::from(i) - 1 }).collect()
    }

    const SEAL: Seal = Seal { size: 81_920, next: Offset(140), max_ts: 19 };

    fn file() -> Vec<u8> {
        [encode_block(&entries(0..10)), encode_block(&entries(10..20)), encode_seal(&SEAL)].concat()
    }

    #[test]
    fn blocks_and_seal_are_read_back() {
        let decoded = decode(&file());
        assert_eq!(decoded.entries, entries(0..20));
        assert_eq!(decoded.seal, Some(SEAL));
        assert_eq!(decoded.blocks_len as usize, file().len() - SEAL_LEN);
        assert_eq!(decode_seal(&file()[file().len() - SEAL_LEN..]), Some(SEAL));
    }

    #[test]
    fn a_torn_block_costs_only_itself() {
        let first = encode_block(&entries(0..10)).len();
        for cut in first..file().len() - SEAL_LEN {
            let decoded = decode(&file()[..cut]);
            assert_eq!(decoded.entries, entries(0..10));
            assert_eq!(decoded.blocks_len as usize, first);
            assert_eq!(decoded.seal, None);
        }
    }

    #[test]
    fn entries_that_fall_are_not_believed() {
        let file = [encode_block(&entries(5..10)), encode_block(&entries(0..3))].concat();
        assert_eq!(decode(&file).entries, entries(5..10));
    }

    #[test]
    fn lookups_find_the_last_entry_at_or_before() {
        let entries = entries(0..20);
        assert_eq!(floor_by_offset(&entries, 0), Some(0));
        assert_eq!(floor_by_offset(&entries, 13), Some(1));
        assert_eq!(floor_by_offset(&entries, 14), Some(2));
        assert_eq!(floor_by_offset(&[], 14), None);
        assert_eq!(floor_by_position(&entries, 4095), Some(0));
        assert_eq!(floor_by_timestamp(&entries, -1), Some(0));
        assert_eq!(floor_by_timestamp(&[], -1), None);
        assert_eq!(floor_by_timestamp(&entries, 0), Some(0));
        assert_eq!(floor_by_timestamp(&entries, 7), Some(7));
        assert_eq!(floor_by_timestamp(&entries, 99), Some(19));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_rising_entries(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            decode(&bytes);
        }

        #[test]
        fn a_damaged_file_gives_a_prefix_of_its_entries(at in 0usize..400, flip in 1u8..) {
            let mut bytes = file();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let decoded = decode(&bytes);
            prop_assert!(entries(0..20).starts_with(&decoded.entries));
            prop_assert!(decoded.seal.is_none_or(|seal| seal == SEAL));
        }
    }
}
