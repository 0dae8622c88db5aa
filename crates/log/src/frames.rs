//! Framed, checksummed records in a file: what the metadata WAL and a disk's journal have in common.
//!
//! One frame is what one fdatasync makes durable: frame `n + 1` is written only after frame `n` was
//! synced. That is why a damaged frame tells what happened: nothing whole after it means that the
//! power went while it was written (a torn tail, never acknowledged); a whole frame with a higher
//! sequence after it means that bytes which were durable have changed (corruption).
//!
//! Layout, little endian: `crc: u32 | version: u8 | length: u32 | sequence: u64 | payload`. The
//! CRC-32C covers all that follows it. Sequences rise by one from frame to frame for the life of a
//! log, over all its files, so that a frame of an older lap of a ring is never taken for a new one.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes before the payload of a frame.
pub const HEADER_LEN: usize = 17;
/// The layout that this build writes, and the newest that it reads.
pub const VERSION: u8 = 1;
/// The largest payload of a frame; a longer length is damage. It bounds what a reader may hold.
pub const PAYLOAD_MAX: usize = 256 << 20;

/// One whole frame as found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its number in the life of the log.
    pub sequence: u64,
    /// Position of its first header byte in the file.
    pub at: usize,
    /// What the writer put in, a slice of the bytes that were scanned.
    pub payload: Bytes,
}

impl Frame {
    /// Position just after the frame.
    pub fn end(&self) -> usize {
        self.at + HEADER_LEN + self.payload.len()
    }
}

/// What follows the last frame that could be read in sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Nothing, zeros (space written ahead of use), or a frame of an older lap.
    Clean,
    /// Bytes of a frame that was never whole, and nothing whole after it.
    Torn,
    /// A frame that was durable is damaged: `next` is the first whole frame found after it.
    Corrupt { next: usize },
    /// A whole frame in a layout that this build does not know.
    Newer { version: u8 },
}

/// The frames of one file and how they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// In rising sequence, without a gap.
    pub frames: Vec<Frame>,
    /// Position after the last frame: where the tail begins and the next frame would go.
    pub end: usize,
    pub tail: Tail,
}

/// Header of a frame whose payload is the concatenation of `pieces`: it is written before them.
///
/// # Panics
/// If the payload is longer than [`PAYLOAD_MAX`]: its writer bounds it.
pub fn header(sequence: u64, pieces: &[Bytes]) -> Bytes {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    assert!(length <= PAYLOAD_MAX, "frame payload of {length} bytes is over the limit");
    let mut head = BytesMut::with_capacity(HEADER_LEN);
    head.put_u32_le(0);
    head.put_u8(VERSION);
    head.put_u32_le(length as u32);
    head.put_u64_le(sequence);
    let crc = pieces.iter().fold(crc32c::crc32c(&head[4..]), |crc, piece| crc32c::crc32c_append(crc, piece));
    head[..4].copy_from_slice(&crc.to_le_bytes());
    head.freeze()
}

/// Reads the frames of a file from position `start` on.
///
/// `first` is the sequence that the frame at `start` must have; `None` takes what is there, as in a
/// ring, where only the file itself knows its lap.
pub fn scan(bytes: &Bytes, start: usize, first: Option<u64>) -> Scan {
    let mut frames = Vec::new();
    let mut at = start.min(bytes.len());
    let mut expected = first;
    let tail = loop {
        match read_at(bytes, at) {
            Read::Frame(frame) if expected.is_none_or(|sequence| sequence == frame.sequence) => {
                at = frame.end();
                expected = frame.sequence.checked_add(1);
                frames.push(frame);
            }
            // A frame of an older lap: the ring was not written further in this lap.
            Read::Frame(frame) if expected.is_some_and(|sequence| frame.sequence < sequence) => {
                break Tail::Clean
            }
            Read::Frame(frame) => break Tail::Corrupt { next: frame.at },
            Read::Newer(version) => break Tail::Newer { version },
            Read::Damaged => break judge_damage(bytes, at, expected),
        }
    };
    Scan { frames, end: at, tail }
}

/// Bytes of the frame whose header this is, as far as the header tells; `None` if it is none.
pub fn frame_len(head: &[u8; HEADER_LEN]) -> Option<usize> {
    let length = u32::from_le_bytes([head[5], head[6], head[7], head[8]]) as usize;
    (length <= PAYLOAD_MAX).then_some(HEADER_LEN + length)
}

/// What stands at one position.
enum Read {
    Frame(Frame),
    Newer(u8),
    Damaged,
}

fn read_at(bytes: &Bytes, at: usize) -> Read {
    let Some(head) = bytes.get(at..at + HEADER_LEN) else { return Read::Damaged };
    let crc = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let length = u32::from_le_bytes([head[5], head[6], head[7], head[8]]) as usize;
    if length > PAYLOAD_MAX {
        return Read::Damaged;
    }
    let Some(covered) = bytes.get(at + 4..at + HEADER_LEN + length) else { return Read::Damaged };
    if crc32c::crc32c(covered) != crc {
        return Read::Damaged;
    }
    // Version 0 is never written: it keeps a run of zeros (whose CRC is not zero anyway) from passing.
    match head[4] {
        VERSION => Read::Frame(Frame {
            sequence: sequence_at(head),
            at,
            payload: bytes.slice(at + HEADER_LEN..at + HEADER_LEN + length),
        }),
        version => Read::Newer(version),
    }
}

fn sequence_at(head: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&head[9..HEADER_LEN]);
    u64::from_le_bytes(number)
}

/// Clean, torn or corrupt: is there a later frame, whose writing proves that this one was durable?
fn judge_damage(bytes: &Bytes, at: usize, expected: Option<u64>) -> Tail {
    if bytes[at..].iter().all(|byte| *byte == 0) {
        return Tail::Clean;
    }
    // Without a known sequence there is nothing to compare with: a file whose first frame is damaged
    // and that is read so was never begun.
    let Some(expected) = expected else { return Tail::Torn };
    // A later frame has at most one sequence more for each header that fits; this filter makes the
    // search linear, as hardly any position passes it and is then checksummed.
    let highest = expected.saturating_add((bytes.len() - at) as u64 / HEADER_LEN as u64);
    for next in at + 1..bytes.len().saturating_sub(HEADER_LEN - 1) {
        let sequence = sequence_at(&bytes[next..next + HEADER_LEN]);
        if sequence > expected && sequence <= highest && !matches!(read_at(bytes, next), Read::Damaged) {
            return Tail::Corrupt { next };
        }
    }
    Tail::Torn
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(first: u64, payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for (n, payload) in payloads.iter().enumerate() {
            let piece = Bytes::copy_from_slice(payload);
            out.extend_from_slice(&header(first + n as u64, std::slice::from_ref(&piece)));
            out.extend_from_slice(&piece);
        }
        out
    }

    fn payloads(scan: &Scan) -> Vec<Vec<u8>> {
        scan.frames.iter().map(|frame| frame.payload.to_vec()).collect()
    }

    #[test]
    fn frames_read_back_in_order_and_end_clean_before_zeros() {
        let mut bytes = file(7, &[b"one".to_vec(), vec![], b"three".to_vec()]);
        let end = bytes.len();
        bytes.extend_from_slice(&[0; 100]);
        let scan = scan(&bytes.into(), 0, Some(7));
        assert_eq!((payloads(&scan), scan.end), (vec![b"one".to_vec(), vec![], b"three".to_vec()], end));
        assert_eq!(scan.tail, Tail::Clean);
    }

    #[test]
    fn pieces_make_the_same_frame_as_their_concatenation() {
        let whole = header(1, &[Bytes::from_static(b"abcdef")]);
        assert_eq!(header(1, &[Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"cdef")]), whole);
    }

    #[test]
    fn a_stale_frame_of_an_older_lap_is_a_clean_end() {
        let mut bytes = file(10, &[b"new".to_vec()]);
        bytes.extend_from_slice(&file(3, &[b"old".to_vec()]));
        let scan = scan(&bytes.into(), 0, None);
        assert_eq!((payloads(&scan), scan.tail), (vec![b"new".to_vec()], Tail::Clean));
    }

    #[test]
    fn damage_before_a_later_frame_is_corruption_and_names_the_later_one() {
        let mut bytes = file(1, &[vec![1; 40], vec![2; 40], vec![3; 40]]);
        let second = HEADER_LEN + 40;
        bytes[second + 30] ^= 4;
        let scan = scan(&bytes.into(), 0, Some(1));
        assert_eq!((scan.end, scan.tail), (second, Tail::Corrupt { next: 2 * second }));
    }

    #[test]
    fn a_missing_frame_between_two_is_corruption() {
        let mut bytes = file(1, &[vec![1; 4]]);
        bytes.extend_from_slice(&file(3, &[vec![3; 4]]));
        assert!(matches!(scan(&bytes.into(), 0, Some(1)).tail, Tail::Corrupt { .. }));
    }

    #[test]
    fn a_newer_layout_is_told_apart_from_damage() {
        let mut bytes = file(1, &[b"x".to_vec()]);
        bytes[4] = VERSION + 1;
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(scan(&bytes.into(), 0, Some(1)).tail, Tail::Newer { version: VERSION + 1 });
    }

    proptest! {
        #[test]
        fn a_cut_file_keeps_every_whole_frame_and_is_never_called_corrupt(
            data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = file(5, &data);
            let cut = cut.index(bytes.len() + 1);
            let scan = scan(&Bytes::copy_from_slice(&bytes[..cut]), 0, Some(5));
            let mut whole = 0;
            let mut end = 0;
            for payload in &data {
                if end + HEADER_LEN + payload.len() > cut { break }
                end += HEADER_LEN + payload.len();
                whole += 1;
            }
            prop_assert_eq!(payloads(&scan), &data[..whole]);
            prop_assert_eq!(scan.end, end);
            let clean = bytes[end..cut].iter().all(|byte| *byte == 0);
            prop_assert_eq!(scan.tail, if clean { Tail::Clean } else { Tail::Torn });
        }

        #[test]
        fn a_flipped_bit_never_yields_a_wrong_payload_and_is_corruption_unless_in_the_last_frame(
            data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..12),
            at in any::<prop::sample::Index>(), bit in 0..8u8,
        ) {
            let mut bytes = file(5, &data);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let last = bytes.len() - HEADER_LEN - data[data.len() - 1].len();
            let scan = scan(&bytes.into(), 0, Some(5));
            prop_assert_eq!(payloads(&scan), &data[..scan.frames.len()]);
            if at < last {
                let corrupt = matches!(scan.tail, Tail::Corrupt { .. });
                prop_assert!(corrupt, "{:?}", scan.tail);
            } else {
                prop_assert_eq!(scan.frames.len(), data.len() - 1);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), start in 0..500usize) {
            scan(&Bytes::from(bytes.clone()), start, Some(1));
            scan(&Bytes::from(bytes), start, None);
        }
    }
}
