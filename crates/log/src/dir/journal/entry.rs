//! What a frame of the journal says, encoded and decoded.
//!
//! The first frame of a ring file is a checkpoint; each other is one sync round: a list of entries, then
//! the bytes of its ranges in the same order, so that they are written from where they are.

use crate::dir::points::{self, get_name, get_point, put_name, put_point, Points, RecoveryPoint};
use crate::rounds::FileNote;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use norn_protocol::types::Offset;
use std::sync::Arc;

const CHECKPOINT: u8 = 1;
const ROUND: u8 = 2;

const RANGE: u8 = 1;
const DURABLE: u8 = 2;
const CREATED: u8 = 3;
const TRUNCATING: u8 = 4;
const TRUNCATED: u8 = 5;
const DELETED: u8 = 6;
const LOG_DELETED: u8 = 7;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dir) enum JournalFrame {
    /// Frames before `live_from` are done with: their ranges are durable in the segments.
    Checkpoint {
        live_from: u64,
        points: Points,
    },
    Round(Vec<Entry>),
}

/// One thing that a round made durable, with the directory name of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dir) struct Entry {
    pub log: Arc<str>,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dir) enum What {
    /// These bytes stand at `position` of the segment.
    Range {
        segment: Offset,
        position: u64,
        bytes: Vec<Bytes>,
    },
    /// The log is durable up to here: by the ranges of this round, or synced in place.
    Durable(RecoveryPoint),
    File(FileNote),
    /// The log's directory was removed.
    LogDeleted,
}

/// The pieces of a round's payload: the list, then each range's bytes as they came.
pub(in crate::dir) fn encode_round(entries: &[Entry]) -> Vec<Bytes> {
    let mut list = BytesMut::new();
    list.put_u8(ROUND);
    list.put_u32_le(entries.len() as u32);
    let mut pieces = vec![Bytes::new()];
    for Entry { log, what } in entries {
        let kind = match what {
            What::Range { .. } => RANGE,
            What::Durable(_) => DURABLE,
            What::File(FileNote::Created { .. }) => CREATED,
            What::File(FileNote::Truncating { .. }) => TRUNCATING,
            What::File(FileNote::Truncated { .. }) => TRUNCATED,
            What::File(FileNote::Deleted { .. }) => DELETED,
            What::LogDeleted => LOG_DELETED,
        };
        list.put_u8(kind);
        put_name(&mut list, log);
        match what {
            What::Range { segment, position, bytes } => {
                list.put_i64_le(segment.0);
                list.put_u64_le(*position);
                list.put_u32_le(bytes.iter().map(|piece| piece.len() as u32).sum());
                pieces.extend(bytes.iter().cloned());
            }
            What::Durable(point) => put_point(&mut list, point),
            What::File(FileNote::Created { segment } | FileNote::Deleted { segment }) => {
                list.put_i64_le(segment.0)
            }
            What::File(
                FileNote::Truncating { segment, len, end } | FileNote::Truncated { segment, len, end },
            ) => put_point(&mut list, &RecoveryPoint { segment: *segment, position: *len, end: *end }),
            What::LogDeleted => {}
        }
    }
    pieces[0] = list.freeze();
    pieces
}

/// The payload of a checkpoint. Points that would make it longer than `bytes_max` are left out.
pub(in crate::dir) fn encode_checkpoint(live_from: u64, points: &Points, bytes_max: usize) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(CHECKPOINT);
    out.put_u64_le(live_from);
    out.put_slice(&points::encode(points, bytes_max.saturating_sub(out.len())));
    out.freeze()
}

/// Reads a payload; `None` if its lengths do not fit or a kind is unknown.
pub(in crate::dir) fn decode(mut payload: Bytes) -> Option<JournalFrame> {
    match payload.try_get_u8().ok()? {
        CHECKPOINT => {
            let live_from = payload.try_get_u64_le().ok()?;
            Some(JournalFrame::Checkpoint { live_from, points: points::decode(payload)? })
        }
        ROUND => decode_round(payload),
        _ => None,
    }
}

fn decode_round(mut payload: Bytes) -> Option<JournalFrame> {
    let count = payload.try_get_u32_le().ok()?;
    let mut entries = Vec::new();
    let mut lengths = Vec::new();
    for _ in 0..count {
        let kind = payload.try_get_u8().ok()?;
        let log = get_name(&mut payload)?;
        let what = match kind {
            RANGE => {
                let segment = Offset(payload.try_get_i64_le().ok()?);
                let position = payload.try_get_u64_le().ok()?;
                lengths.push((entries.len(), payload.try_get_u32_le().ok()? as usize));
                What::Range { segment, position, bytes: Vec::new() }
            }
            DURABLE => What::Durable(get_point(&mut payload)?),
            CREATED => What::File(FileNote::Created { segment: Offset(payload.try_get_i64_le().ok()?) }),
            DELETED => What::File(FileNote::Deleted { segment: Offset(payload.try_get_i64_le().ok()?) }),
            TRUNCATING | TRUNCATED => {
                let RecoveryPoint { segment, position: len, end } = get_point(&mut payload)?;
                What::File(match kind {
                    TRUNCATING => FileNote::Truncating { segment, len, end },
                    _ => FileNote::Truncated { segment, len, end },
                })
            }
            LOG_DELETED => What::LogDeleted,
            _ => return None,
        };
        entries.push(Entry { log, what });
    }
    for (index, length) in lengths {
        if length > payload.len() {
            return None;
        }
        let range = payload.split_to(length);
        if let What::Range { bytes, .. } = &mut entries[index].what {
            bytes.push(range);
        }
    }
    payload.is_empty().then_some(JournalFrame::Round(entries))
}

#[cfg(test)]
pub(in crate::dir) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn entry() -> impl Strategy<Value = Entry> {
        let what = (0..7u8, 0..3i64, 0..60u64, prop::collection::vec(any::<u8>(), 1..30), 0..90i64).prop_map(
            |(kind, segment, position, bytes, end)| {
                let (segment, end) = (Offset(segment * 100), Offset(end));
                match kind {
                    0 | 1 => What::Range { segment, position, bytes: vec![bytes.into()] },
                    2 => What::Durable(RecoveryPoint { segment, position, end }),
                    3 => What::File(FileNote::Created { segment }),
                    4 => What::File(FileNote::Truncating { segment, len: position, end }),
                    5 => What::File(FileNote::Truncated { segment, len: position, end }),
                    _ => What::File(FileNote::Deleted { segment }),
                }
            },
        );
        (0..3u8, what).prop_map(|(log, what)| Entry { log: format!("t-{log}").into(), what })
    }

    proptest! {
        #[test]
        fn a_round_reads_back_as_written(entries in prop::collection::vec(entry(), 0..12)) {
            let payload: Bytes = encode_round(&entries).concat().into();
            prop_assert_eq!(decode(payload), Some(JournalFrame::Round(entries)));
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            decode(bytes.into());
        }
    }

    #[test]
    fn a_range_in_several_pieces_reads_back_as_one() {
        let bytes = vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        let entry = Entry { log: "t-0".into(), what: What::Range { segment: Offset(0), position: 4, bytes } };
        let Some(JournalFrame::Round(read)) = decode(encode_round(&[entry]).concat().into()) else {
            panic!("a round decodes as a round");
        };
        let bytes = vec![Bytes::from_static(b"abc")];
        assert_eq!(read[0].what, What::Range { segment: Offset(0), position: 4, bytes });
    }
}
