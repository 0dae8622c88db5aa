//! What a disk gives back after a crash: segments of record batches, and the frames of journal and metadata WAL.

use bytes::Bytes;
use norn_log::{
    frames::{self, Tail},
    segment::recovery::{clean_prefix, judge, next_candidate, Check, Verdict},
};
use norn_protocol::{batch::verify_crc, batch::BatchIter, types::Offset};

/// Recovery keeps nothing that was not written whole and in its place. The first byte of `input` is the offset that is
/// due, or the number of the first frame.
pub fn log_recovery(input: &[u8]) {
    let Some((due, file)) = input.split_first() else { return };
    segment(file, Offset(i64::from(*due)));
    framed(Bytes::copy_from_slice(file), u64::from(*due));
}

fn segment(file: &[u8], due: Offset) {
    let (kept, end) = clean_prefix(file, due, Check::Crc);
    let mut next = due;
    for batch in BatchIter::new(&file[..kept]) {
        let (header, bytes) = batch.expect("what is kept is whole batches");
        assert_eq!(header.base_offset, next, "what is kept has no gap");
        assert_eq!(verify_crc(bytes), Ok(()), "what is kept is sound");
        next = header.next_offset();
    }
    assert_eq!(next, end, "the end of the log is the end of what is kept");
    let rest = &file[kept..];
    let verdict = judge(rest, rest.len() as u64, end, Check::Crc);
    assert!(!matches!(verdict, Verdict::Batch(_)), "nothing sound is cut off");
    if let Some((at, header)) = next_candidate(file, kept, end, Offset(i64::MAX)) {
        assert!(at >= kept && header.base_offset > end, "a batch behind damage has a later offset");
    }
}

fn framed(file: Bytes, first: u64) {
    let found = frames::scan(&file, 0, Some(first));
    let mut at = 0;
    for (frame, sequence) in found.frames.iter().zip(first..) {
        assert_eq!((frame.at, frame.sequence), (at, sequence), "frames follow each other");
        at = frame.end();
    }
    assert_eq!(found.end, at, "the next frame goes behind the last");
    assert!(at <= file.len(), "no frame reaches beyond the file");
    if let Tail::Corrupt { next } = found.tail {
        assert!(next >= at && next < file.len(), "what proves corruption lies behind the damage");
    }
}

#[cfg(test)]
mod tests {
    use norn_protocol::batch::{build_batch, BatchOptions, Record};
    use proptest::prelude::*;

    use super::*;
    use crate::nearly::nearly;

    /// A segment as a broker writes it, with the first offset before it and zeros (preallocated space) behind it.
    fn segments() -> impl Strategy<Value = Vec<u8>> {
        let counts = prop::collection::vec(1..5_usize, 0..5);
        (any::<u8>(), counts, 0..200_usize).prop_map(|(due, counts, zeros)| {
            let (mut bytes, mut base) = (vec![due], i64::from(due));
            for count in counts {
                let options = BatchOptions { base_offset: Offset(base), ..BatchOptions::default() };
                bytes.extend(build_batch(&vec![Record::default(); count], options).unwrap());
                base += count as i64;
            }
            bytes.extend(vec![0; zeros]);
            bytes
        })
    }

    fn journals() -> impl Strategy<Value = Vec<u8>> {
        let payloads = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5);
        (any::<u8>(), payloads, 0..100_usize).prop_map(|(first, payloads, zeros)| {
            let mut bytes = vec![first];
            for (payload, sequence) in payloads.into_iter().zip(u64::from(first)..) {
                let payload = Bytes::from(payload);
                bytes.extend(frames::header(sequence, std::slice::from_ref(&payload)));
                bytes.extend(payload);
            }
            bytes.extend(vec![0; zeros]);
            bytes
        })
    }

    proptest! {
        #[test]
        fn nothing_is_kept_that_was_not_written_whole(
            random in prop::collection::vec(any::<u8>(), 0..300),
            segment in nearly(segments()),
            journal in nearly(journals()),
        ) {
            log_recovery(&random);
            log_recovery(&segment);
            log_recovery(&journal);
        }
    }
}
