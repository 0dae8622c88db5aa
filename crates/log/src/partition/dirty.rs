//! What a log has written and not yet submitted to its disk's sync rounds.

use bytes::Bytes;
use norn_env::disk::File;
use norn_protocol::types::Offset;

use crate::rounds::DirtyRange;

/// Bytes that are held for the journal. Where more is written between two syncs, syncing the segment in place
/// costs less than copying it, and holding it would cost memory.
const JOURNAL_BYTES_MAX: u64 = 1 << 20;

/// Written ranges, at most one for each segment.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    ranges: Vec<DirtyRange>,
}

impl Dirty {
    /// Notes that `len` bytes were written at `position`, right behind what was noted of this segment before. With
    /// `hold`, the bytes are kept for the journal.
    pub fn add(&mut self, segment: Offset, file: &File, position: u64, bytes: Vec<Bytes>, hold: bool) {
        let len: u64 = bytes.iter().map(|b| b.len() as u64).sum();
        let range = match self.ranges.last_mut() {
            Some(last) if last.segment == segment => last,
            _ => {
                let empty = DirtyRange { segment, file: file.clone(), position, len: 0, bytes: Vec::new() };
                self.ranges.push(empty);
                self.ranges.last_mut().expect("just pushed")
            }
        };
        assert_eq!(range.position + range.len, position, "a segment is written without gaps");
        let held_so_far = range.len == 0 || !range.bytes.is_empty();
        range.len += len;
        if hold && held_so_far && range.len <= JOURNAL_BYTES_MAX {
            range.bytes.extend(bytes);
        } else {
            range.bytes = Vec::new();
        }
    }

    /// Forgets what was cut off: everything of later segments, and of `segment` what lies behind byte `len`.
    pub fn cut(&mut self, segment: Offset, len: u64) {
        self.ranges.retain(|r| r.segment < segment || (r.segment == segment && r.position < len));
        if let Some(last) =
            self.ranges.last_mut().filter(|r| r.segment == segment && r.position + r.len > len)
        {
            last.len = len - last.position;
            last.bytes = Vec::new();
        }
    }

    /// Forgets a segment that is removed.
    pub fn forget(&mut self, segment: Offset) {
        self.ranges.retain(|r| r.segment != segment);
    }

    /// Keeps no more bytes for the journal: no sync takes them soon.
    pub fn let_go(&mut self) {
        self.ranges.iter_mut().for_each(|range| range.bytes = Vec::new());
    }

    pub fn take(&mut self) -> Vec<DirtyRange> {
        std::mem::take(&mut self.ranges)
    }
}
