//! What bytes of a segment are: a batch in its place, the torn end of an interrupted write, or damage. Pure:
//! bytes in, verdict out.

use norn_protocol::batch::{verify_crc, BatchHeader, HEADER_LEN};
use norn_protocol::types::Offset;

use crate::epochs::EpochCache;

/// How closely [`judge`] looks.
#[derive(Clone, Copy, Debug)]
pub enum Check<'a> {
    /// At the header: for bytes that are known to be sound.
    Header,
    /// At all bytes, by the CRC.
    Crc,
    /// At all bytes, and at the leader epoch, which no CRC covers, by the cache.
    CrcAndEpoch(&'a EpochCache),
}

/// A verdict on the bytes at one place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A batch that starts here with the offset that is due.
    Batch(BatchHeader),
    /// More bytes are needed for a verdict: as many as this from the place on. They exist.
    Needs(usize),
    /// No batch that belongs here: zeros, a torn write, flipped bits, or bytes of another time.
    Damaged,
}

/// Judges `bytes`, which start at a place of a segment where the batch with offset `due` must start. The segment
/// holds `left` bytes from there on (`bytes` may be fewer).
///
/// Offsets in a log have no gaps (nothing removes records from inside of it), which is what finds a flipped bit
/// in a base offset: that field is not under the batch's CRC.
pub fn judge(bytes: &[u8], left: u64, due: Offset, check: Check<'_>) -> Verdict {
    if left < HEADER_LEN as u64 {
        return Verdict::Damaged;
    }
    if bytes.len() < HEADER_LEN {
        return Verdict::Needs(HEADER_LEN);
    }
    let Ok(header) = BatchHeader::parse(bytes) else { return Verdict::Damaged };
    let len = header.total_len();
    if header.base_offset != due || len as u64 > left {
        return Verdict::Damaged;
    }
    if let Check::CrcAndEpoch(epochs) = check {
        if epochs.epoch_at(due).is_some_and(|epoch| epoch != header.leader_epoch) {
            return Verdict::Damaged;
        }
    }
    match (check, bytes.get(..len)) {
        (Check::Header, _) => Verdict::Batch(header),
        (_, None) => Verdict::Needs(len),
        (_, Some(batch)) if verify_crc(batch).is_ok() => Verdict::Batch(header),
        (_, Some(_)) => Verdict::Damaged,
    }
}

/// How far `bytes` are whole batches in their places, the first of which has offset `due`: the length of that
/// part and the offset after it.
pub fn clean_prefix(bytes: &[u8], due: Offset, check: Check<'_>) -> (usize, Offset) {
    let (mut at, mut due) = (0, due);
    while at < bytes.len() {
        match judge(&bytes[at..], (bytes.len() - at) as u64, due, check) {
            Verdict::Batch(header) => {
                at += header.total_len();
                due = header.next_offset();
            }
            Verdict::Needs(_) | Verdict::Damaged => break,
        }
    }
    (at, due)
}

/// The first place in `bytes` at or behind `from` where a header with an offset above `after` and below `bound`
/// may start. Whether a batch really starts there, its CRC says.
pub fn next_candidate(
    bytes: &[u8],
    from: usize,
    after: Offset,
    bound: Offset,
) -> Option<(usize, BatchHeader)> {
    (from..bytes.len().saturating_sub(HEADER_LEN - 1)).find_map(|at| {
        let header = BatchHeader::parse(&bytes[at..]).ok()?;
        let fits = header.base_offset > after && header.next_offset() <= bound;
        fits.then_some((at, header))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::batch_at;
    use norn_protocol::types::LeaderEpoch;
    use proptest::prelude::*;

    #[test]
    fn a_batch_in_its_place_is_one() {
        let bytes = batch_at(7, 3, 0, 100);
        let left = bytes.len() as u64;
        assert!(
            matches!(judge(&bytes, left, Offset(7), Check::Crc), Verdict::Batch(h) if h.next_offset() == Offset(10))
        );
        assert_eq!(judge(&bytes, left, Offset(6), Check::Header), Verdict::Damaged);
        assert_eq!(judge(&bytes[..20], left, Offset(7), Check::Header), Verdict::Needs(HEADER_LEN));
        assert_eq!(judge(&bytes[..70], left, Offset(7), Check::Crc), Verdict::Needs(bytes.len()));
        assert_eq!(judge(&bytes[..70], 70, Offset(7), Check::Header), Verdict::Damaged);
    }

    #[test]
    fn zeros_are_no_records() {
        assert_eq!(judge(&[0; 4096], 4096, Offset(0), Check::Header), Verdict::Damaged);
        assert_eq!(judge(&[0; 4096], 4096, Offset(0), Check::Crc), Verdict::Damaged);
    }

    #[test]
    fn every_flipped_bit_but_those_of_the_epoch_is_noticed() {
        let bytes = batch_at(7, 3, 0, 100);
        for bit in (0..bytes.len() * 8).filter(|bit| !(96..128).contains(bit)) {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let verdict = judge(&flipped, flipped.len() as u64, Offset(7), Check::Crc);
            assert!(!matches!(verdict, Verdict::Batch(_)), "bit {bit}");
        }
    }

    #[test]
    fn a_flipped_epoch_is_noticed_by_the_cache() {
        let bytes = batch_at(7, 3, 2, 100);
        let left = bytes.len() as u64;
        let mut epochs = EpochCache::default();
        assert!(matches!(judge(&bytes, left, Offset(7), Check::CrcAndEpoch(&epochs)), Verdict::Batch(_)));
        epochs.assign(LeaderEpoch(2), Offset(0));
        assert!(matches!(judge(&bytes, left, Offset(7), Check::CrcAndEpoch(&epochs)), Verdict::Batch(_)));
        epochs.assign(LeaderEpoch(3), Offset(6));
        assert_eq!(judge(&bytes, left, Offset(7), Check::CrcAndEpoch(&epochs)), Verdict::Damaged);
    }

    #[test]
    fn the_batch_behind_a_damaged_one_is_found() {
        let first = batch_at(0, 2, 0, 50);
        let bytes = [first.clone(), batch_at(2, 2, 0, 50)].concat();
        let (at, header) = next_candidate(&bytes, 1, Offset(0), Offset(4)).unwrap();
        assert_eq!((at, header.base_offset), (first.len(), Offset(2)));
        assert_eq!(next_candidate(&bytes, 1, Offset(0), Offset(3)), None);
        assert_eq!(
            next_candidate(&bytes[..bytes.len() - 60], 1, Offset(0), Offset(4)).map(|c| c.0),
            Some(first.len())
        );
    }

    #[test]
    fn a_clean_prefix_ends_where_damage_begins() {
        let first = batch_at(0, 2, 0, 50);
        let mut bytes = [first.clone(), batch_at(2, 2, 0, 50)].concat();
        assert_eq!(clean_prefix(&bytes, Offset(0), Check::Crc), (bytes.len(), Offset(4)));
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(clean_prefix(&bytes, Offset(0), Check::Crc), (first.len(), Offset(2)));
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..300), due in any::<i64>(), crc: bool) {
            judge(&bytes, bytes.len() as u64, Offset(due), if crc { Check::Crc } else { Check::Header });
            clean_prefix(&bytes, Offset(due), Check::Crc);
            next_candidate(&bytes, 0, Offset(due), Offset(i64::MAX));
        }
    }
}
