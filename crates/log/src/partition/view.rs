//! What readers see of a log: bounds and segments as they were at one moment, cheap to clone, to be published
//! as one value. Reading through it needs nothing from the log's owner.

use std::sync::Arc;

use norn_protocol::types::{LeaderEpoch, Offset};

use crate::decoding::Decoding;
use crate::epochs::EpochCache;
use crate::error::ReadError;
use crate::segment::reader::{FileRange, TimestampedOffset, Wanted};
use crate::segment::Segment;

/// A batch boundary in a log's files. Later positions compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FilePosition {
    /// Base offset of the segment.
    pub segment: Offset,
    pub byte: u64,
}

/// A log at one moment. Segments that retention removes later stay readable through it.
#[derive(Clone, Debug)]
pub struct LogView {
    /// The first offset that may be read.
    pub start: Offset,
    /// The offset after the last record that was written.
    pub end: Offset,
    /// By rising base offset; never empty.
    pub segments: Arc<[Arc<Segment>]>,
    pub epochs: Arc<EpochCache>,
}

impl LogView {
    /// The batch that holds `offset` and the whole batches behind it, up to `max_bytes` and to `limit`, the file
    /// position of what the caller may see (the high watermark's). Fewer bytes come at the end of a segment, or
    /// where the next ones have to be checked first. `None`: `offset` is at the limit, or its batch is larger than
    /// `max_bytes` and `min_one` is not set.
    ///
    /// The bytes are those that were written: this process wrote them or has checked their CRCs.
    pub async fn locate(
        &self,
        offset: Offset,
        max_bytes: u64,
        limit: FilePosition,
        min_one: bool,
    ) -> Result<Option<FileRange>, ReadError> {
        if offset < self.start || offset > self.end {
            return Err(ReadError::OutOfRange { offset, start: self.start, end: self.end });
        }
        let Some(segment) = self.segment_of(offset).filter(|_| offset < self.end) else { return Ok(None) };
        if segment.base() > limit.segment {
            return Ok(None);
        }
        let end = if segment.base() == limit.segment { limit.byte } else { segment.size() };
        segment.locate(Wanted { offset, max_bytes, end, min_one }, &self.epochs).await
    }

    /// The first record with a timestamp of at least `timestamp` (Unix ms). Records in damaged batches are passed
    /// over.
    pub async fn offset_for_timestamp(
        &self,
        timestamp: i64,
        decoding: &Decoding,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        for segment in self.segments.iter().filter(|s| s.max_timestamp() >= timestamp) {
            let found = segment.find_timestamp(timestamp, self.start, &self.epochs, decoding).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp of the log (ListOffsets -3, KIP-734): the first of all, with -1, where
    /// none has one.
    pub async fn max_timestamp(&self, decoding: &Decoding) -> Result<Option<TimestampedOffset>, ReadError> {
        let Some(max) = self.segments.iter().map(|s| s.max_timestamp()).max() else { return Ok(None) };
        let found = self.offset_for_timestamp(max, decoding).await?;
        if found.is_some() {
            return Ok(found);
        }
        // The first segment still holds records below the log start offset, and one of them had the largest.
        let (first, others) = self.segments.split_first().expect("one of them has the largest timestamp");
        let left = first.max_timestamp_since(self.start, &self.epochs, decoding).await?;
        match left.into_iter().chain(others.iter().map(|s| s.max_timestamp())).max() {
            Some(max) => self.offset_for_timestamp(max, decoding).await,
            None => Ok(None),
        }
    }

    /// The largest epoch not above `epoch` and where it ended; see [`EpochCache::end_of_epoch`].
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        self.epochs.end_of_epoch(epoch, self.end)
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.epoch_at(offset)
    }

    /// Bytes in the log's segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|s| s.size()).sum()
    }

    pub(crate) fn segment_of(&self, offset: Offset) -> Option<&Arc<Segment>> {
        segment_of(&self.segments, offset)
    }
}

/// The segment that holds `offset`: the last one that does not begin behind it.
pub(crate) fn segment_of(segments: &[Arc<Segment>], offset: Offset) -> Option<&Arc<Segment>> {
    let after = segments.partition_point(|s| s.base() <= offset);
    segments.get(after.checked_sub(1)?)
}
