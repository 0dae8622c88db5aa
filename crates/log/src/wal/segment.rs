//! One segment file of the WAL: its name, the layout of a batch inside a frame, and its recovery.
//!
//! A segment is named after the sequence of its first frame. A frame holds one batch of records,
//! each `index: u64 | length: u32 | payload`, little endian.

use super::Record;
use crate::frames::{self, Tail};
use bytes::{Buf, BufMut, Bytes, BytesMut};

const SUFFIX: &str = ".wal";
const RECORD_HEADER_LEN: usize = 12;

/// File name of the segment whose first frame has this sequence.
pub fn file_name(first_sequence: u64) -> String {
    format!("{first_sequence:020}{SUFFIX}")
}

/// Sequence in a segment's name; `None` for any other file.
pub fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Payload of the frame for a batch: a small header before each record's own bytes.
pub fn encode_batch(records: &[Record]) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(records.len() * 2);
    for record in records {
        let mut head = BytesMut::with_capacity(RECORD_HEADER_LEN);
        head.put_u64_le(record.index);
        head.put_u32_le(record.payload.len() as u32);
        pieces.push(head.freeze());
        pieces.push(record.payload.clone());
    }
    pieces
}

fn decode_batch(mut payload: Bytes) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while payload.has_remaining() {
        let index = payload.try_get_u64_le().ok()?;
        let length = payload.try_get_u32_le().ok()? as usize;
        if length > payload.len() {
            return None;
        }
        records.push(Record { index, payload: payload.split_to(length) });
    }
    Some(records)
}

/// A segment as recovery found it.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    pub records: Vec<Record>,
    /// Position after the last whole frame.
    pub end: u64,
    /// Sequence of the next frame.
    pub next_sequence: u64,
    /// Bytes after `end` that are of a frame which was never durable.
    pub torn: Option<u64>,
}

/// Why a segment cannot be used, with the position in it.
#[derive(Debug, PartialEq, Eq)]
pub enum Damage {
    Corrupt { at: u64, what: &'static str },
    Newer { version: u8 },
}

/// Judges the bytes of one segment. Only the last one may have a torn tail: a segment is begun only
/// when all frames of the one before are durable.
pub fn recover(first_sequence: u64, bytes: &Bytes, last: bool) -> Result<Recovered, Damage> {
    let scan = frames::scan(bytes, 0, Some(first_sequence));
    let at = scan.end as u64;
    let torn = match scan.tail {
        Tail::Clean => None,
        Tail::Torn if last => Some(bytes.len() as u64 - at),
        Tail::Torn => return Err(Damage::Corrupt { at, what: "a later segment exists" }),
        Tail::Corrupt { .. } => return Err(Damage::Corrupt { at, what: "a later frame is whole" }),
        Tail::Newer { version } => return Err(Damage::Newer { version }),
    };
    let mut records = Vec::new();
    let next_sequence = first_sequence + scan.frames.len() as u64;
    for frame in scan.frames {
        let position = frame.at as u64;
        let batch = decode_batch(frame.payload);
        records.extend(batch.ok_or(Damage::Corrupt { at: position, what: "a batch of wrong lengths" })?);
    }
    Ok(Recovered { records, end: at, next_sequence, torn })
}
