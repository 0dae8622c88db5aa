//! Retention: removing a log's oldest segments by age, by size, and where the log's start has passed them
//! (Kafka's `UnifiedLog.deleteOldSegments`).

use norn_protocol::types::Offset;

use super::PartitionLog;
use crate::error::LogError;

/// What a round of retention removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub segments: usize,
    pub bytes: u64,
    /// The log's start after it.
    pub start: Offset,
}

impl PartitionLog {
    /// Removes segments that the configuration no longer keeps, from the oldest on; never records at or above
    /// `limit`, the high watermark. If all are to go, the log goes on in a new, empty segment at its end. `now_ms` is
    /// the wall clock.
    ///
    /// Also drops indexes from memory that no reader needed since the last call.
    pub async fn retain(&mut self, now_ms: i64, limit: Offset) -> Result<Deleted, LogError> {
        self.begin()?;
        let (count, bytes) = self.expired(now_ms, limit);
        if count == self.segments.len() {
            self.roll_segment().await?;
        }
        self.remove_first(count).await?;
        let closed = self.segments.len() - 1;
        self.segments[..closed].iter().for_each(|segment| segment.unload_idle());
        self.busy = false;
        Ok(Deleted { segments: count, bytes, start: self.start })
    }

    /// How many segments are to go, and their bytes.
    fn expired(&self, now_ms: i64, limit: Offset) -> (usize, u64) {
        let deletes = self.config.cleanup.deletes();
        let mut size: u64 = self.segments.iter().map(|s| s.size()).sum();
        let (mut count, mut bytes) = (0, 0);
        for (at, segment) in self.segments.iter().enumerate() {
            let next = self.segments.get(at + 1);
            let segment_end = next.map_or(self.end, |next| next.base());
            let segment_size = segment.size();
            let empty_end = next.is_none() && segment_size == 0;
            if segment_end > limit || empty_end {
                break;
            }
            let before_start = next.is_some() && segment_end <= self.start;
            let too_old = deletes
                && self
                    .config
                    .retention_ms
                    .is_some_and(|keep_ms| now_ms.saturating_sub(segment.aged_from(now_ms)) > keep_ms);
            let too_much = deletes
                && self
                    .config
                    .retention_bytes
                    .is_some_and(|keep| size.saturating_sub(segment_size) >= keep && size > keep);
            if !(before_start || too_old || too_much) {
                break;
            }
            size -= segment_size;
            bytes += segment_size;
            count += 1;
        }
        (count, bytes)
    }
}
