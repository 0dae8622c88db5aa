//! Reading a journal from outside, as the simulator does: nothing is played and nothing is changed.

use super::entry::{self, JournalFrame};
use super::replay;
use crate::dir::points::RecoveryPoint;
use crate::frames::{self, Tail};
use bytes::Bytes;

/// How far the ring files of a data directory, given by their bytes, tell each log (by its directory's name) to be
/// durable: what a start would take as its recovery points. Damaged frames are passed over.
pub fn recorded_points(ring_files: &[Bytes]) -> Vec<(String, RecoveryPoint)> {
    let mut found: Vec<(u64, JournalFrame)> = Vec::new();
    for bytes in ring_files {
        let mut at = 0;
        loop {
            let scan = frames::scan(bytes, at, None);
            let decoded = scan.frames.into_iter();
            found.extend(decoded.filter_map(|frame| Some((frame.sequence, entry::decode(frame.payload)?))));
            match scan.tail {
                Tail::Corrupt { next } => at = next,
                Tail::Clean | Tail::Torn | Tail::Newer { .. } => break,
            }
        }
    }
    found.sort_by_key(|(sequence, _)| *sequence);
    found.dedup_by_key(|(sequence, _)| *sequence);
    let points = replay::replay(found).points;
    points.into_iter().map(|(log, point)| (log.to_string(), point)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::journal::entry::{encode_round, Entry, What};
    use norn_protocol::types::Offset;

    #[test]
    fn the_last_point_of_a_log_is_told_and_garbage_is_passed_over() {
        let point = |position| RecoveryPoint { segment: Offset(0), position, end: Offset(position as i64) };
        let frame = |sequence, position| {
            let entry = Entry { log: "t-0".into(), what: What::Durable(point(position)) };
            let pieces = encode_round(&[entry]);
            let mut bytes = frames::header(sequence, &pieces).to_vec();
            pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
            bytes
        };
        let first = [frame(1, 10), frame(2, 20)].concat();
        let files = [Bytes::from(frame(3, 30)), Bytes::from(first), Bytes::from_static(&[0; 40])];
        assert_eq!(recorded_points(&files), [("t-0".to_owned(), point(30))]);
        assert_eq!(recorded_points(&[]), []);
    }
}
