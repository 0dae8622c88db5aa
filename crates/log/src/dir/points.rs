//! How far each log is known to be durable: what recovery may rely on and what it must check.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use norn_protocol::types::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything of a log before this place was made durable: damage below it is corruption, while a torn
/// tail above it was never acknowledged. It is a lower bound; more may have been synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecoveryPoint {
    /// Base offset of the segment that holds the durable end.
    pub segment: Offset,
    /// Bytes of that segment that are durable.
    pub position: u64,
    /// The durable end offset.
    pub end: Offset,
}

/// The points of a disk's logs, by directory name.
pub(super) type Points = BTreeMap<Arc<str>, RecoveryPoint>;

pub(super) fn put_name(out: &mut BytesMut, name: &str) {
    let length = u16::try_from(name.len()).expect("a file name is far under 64 KiB");
    out.put_u16_le(length);
    out.put_slice(name.as_bytes());
}

pub(super) fn get_name(bytes: &mut Bytes) -> Option<Arc<str>> {
    let length = usize::from(bytes.try_get_u16_le().ok()?);
    if length > bytes.len() {
        return None;
    }
    std::str::from_utf8(&bytes.split_to(length)).ok().map(Arc::from)
}

pub(super) fn put_point(out: &mut BytesMut, point: &RecoveryPoint) {
    out.put_i64_le(point.segment.0);
    out.put_u64_le(point.position);
    out.put_i64_le(point.end.0);
}

pub(super) fn get_point(bytes: &mut Bytes) -> Option<RecoveryPoint> {
    let segment = Offset(bytes.try_get_i64_le().ok()?);
    let position = bytes.try_get_u64_le().ok()?;
    Some(RecoveryPoint { segment, position, end: Offset(bytes.try_get_i64_le().ok()?) })
}

/// As many of the points as fit in `bytes_max`. One that is left out makes recovery check more, and take damage for an
/// unfinished write.
pub(super) fn encode(points: &Points, bytes_max: usize) -> Bytes {
    let mut out = BytesMut::new();
    for (told, (name, point)) in points.iter().enumerate() {
        if out.len() + name.len() + 26 > bytes_max {
            let left_out = points.len() - told;
            tracing::warn!(
                left_out,
                "the files of the journal are too short to say of all logs how far they are durable; raise \
                 internal.journal.file.bytes"
            );
            break;
        }
        put_name(&mut out, name);
        put_point(&mut out, point);
    }
    out.freeze()
}

pub(super) fn decode(mut bytes: Bytes) -> Option<Points> {
    let mut points = Points::new();
    while bytes.has_remaining() {
        let name = get_name(&mut bytes)?;
        points.insert(name, get_point(&mut bytes)?);
    }
    Some(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_read_back_and_a_limit_leaves_some_out() {
        let point = |n: i64| RecoveryPoint { segment: Offset(n), position: 7, end: Offset(n + 9) };
        let points: Points = (0..5).map(|n| (Arc::from(format!("t-{n}")), point(n))).collect();
        let bytes = encode(&points, usize::MAX);
        assert_eq!(decode(bytes.clone()), Some(points.clone()));
        assert_eq!(decode(encode(&points, bytes.len() - 1)).unwrap().len(), 4);
        assert_eq!(decode(bytes.slice(..bytes.len() - 1)), None);
    }
}
