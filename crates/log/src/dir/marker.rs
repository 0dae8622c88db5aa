//! The mark of a clean shutdown: all segments are synced up to the points in it, and the journal says
//! nothing more. It is removed, durably, before anything is appended again: a crash after that must not
//! find it.

use super::error::DirError;
use super::files::Files;
use super::points::{self, Points};
use crate::frames;
use bytes::{Buf, BufMut, Bytes, BytesMut};

const FILE: &str = ".norn-clean-shutdown";
const SEQUENCE: u64 = 1;

/// What a clean shutdown left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CleanShutdown {
    /// The next sequence of the journal.
    pub next_sequence: u64,
    /// Of the logs that end exactly here. One that is missing was not open: it is to be checked.
    pub points: Points,
}

fn encode(mark: &CleanShutdown) -> Vec<Bytes> {
    let mut out = BytesMut::new();
    out.put_u64_le(mark.next_sequence);
    out.put_slice(&points::encode(&mark.points, frames::PAYLOAD_MAX - 8));
    let payload = out.freeze();
    vec![frames::header(SEQUENCE, std::slice::from_ref(&payload)), payload]
}

fn decode(bytes: &Bytes) -> Option<CleanShutdown> {
    let frame = frames::scan(bytes, 0, Some(SEQUENCE)).frames.pop()?;
    let mut payload = frame.payload;
    Some(CleanShutdown { next_sequence: payload.try_get_u64_le().ok()?, points: points::decode(payload)? })
}

/// Reads the mark and removes it. A mark that does not read is none: the journal is played.
pub(super) async fn take(files: &Files) -> Result<Option<CleanShutdown>, DirError> {
    let Some(bytes) = files.read(FILE).await? else { return Ok(None) };
    files.remove(FILE).await?;
    Ok(decode(&bytes))
}

/// Writes the mark; the last thing that a shutdown does to the directory.
pub(super) async fn write(files: &Files, mark: &CleanShutdown) -> Result<(), DirError> {
    files.replace(FILE, encode(mark)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::RecoveryPoint;
    use norn_protocol::types::Offset;
    use proptest::prelude::*;

    fn mark() -> CleanShutdown {
        let point = RecoveryPoint { segment: Offset(0), position: 10, end: Offset(4) };
        CleanShutdown { next_sequence: 9, points: [("t-0".into(), point)].into() }
    }

    #[test]
    fn the_mark_reads_back() {
        assert_eq!(decode(&encode(&mark()).concat().into()), Some(mark()));
    }

    proptest! {
        #[test]
        fn a_flipped_mark_is_no_mark(at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = encode(&mark()).concat();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decode(&bytes.into()), None);
        }
    }
}
