//! Taking records off a log: from its end, where the leader's log differs, and from its start, on request.

use std::sync::Arc;

use norn_protocol::types::Offset;

use super::{view, FilePosition, PartitionLog, START_FILE};
use crate::checkpoint;
use crate::error::{self, LogError};
use crate::rounds::FileNote;
use crate::segment::index::floor_by_offset;
use crate::segment::recovery::Check;
use crate::segment::walk::{Step, Walk, CHUNK_LONG};
use crate::segment::writer::Writer;
use crate::segment::{path, Segment, INDEX_SUFFIX, LOG_SUFFIX};

/// Where a segment is cut.
struct Cut {
    size: u64,
    end: Offset,
    max_ts: i64,
}

impl PartitionLog {
    /// Removes all records from `offset` on, and the whole batch that it lies in. Epochs that begin at the new end
    /// or later are forgotten, even if no record is removed (KAFKA-10706). Durable when it returns; what the journal
    /// holds of the removed records will not come back over newer ones.
    ///
    /// Tickets that are still out resolve with no more than the new end. Returns it. If the log's start lay within
    /// the batch that `offset` is in, both are at that batch's first offset then.
    pub async fn truncate_to(&mut self, offset: Offset) -> Result<Offset, LogError> {
        if offset < self.start {
            return Err(LogError::OutOfRange { offset, start: self.start, end: self.end });
        }
        self.begin()?;
        if offset < self.end {
            self.cut_segments(offset).await?;
        }
        if Arc::make_mut(&mut self.epochs).truncate_from_end(offset.min(self.end)) {
            self.save_epochs().await?;
        }
        self.busy = false;
        Ok(self.end)
    }

    async fn cut_segments(&mut self, offset: Offset) -> Result<(), LogError> {
        let kept = self.segments.partition_point(|s| s.base() <= offset).max(1);
        let segment = self.segments[kept - 1].clone();
        let cut = self.find_cut(&segment, offset).await?;
        let (base, len, end) = (segment.base(), cut.size, cut.end);
        // Recorded first: should the process die from here on, the log counts as durable up to `end` only.
        self.note(FileNote::Truncating { segment: base, len, end }).await?;
        for later in self.segments[kept..].iter().rev() {
            self.remove_file(&path(&self.dir, later.base(), LOG_SUFFIX)).await?;
            self.remove_file(&path(&self.dir, later.base(), INDEX_SUFFIX)).await?;
        }
        self.remove_file(&path(&self.dir, base, INDEX_SUFFIX)).await?;
        self.drop_snapshots(|at| at > end).await?;
        let file = segment.file();
        file.truncate(len).await.map_err(|e| self.failed("truncate", file.path(), e))?;
        file.sync_data().await.map_err(|e| self.failed("sync", file.path(), e))?;
        self.disk.sync_dir(&self.dir).await.map_err(|e| self.failed("sync", &self.dir, e))?;
        self.note(FileNote::Truncated { segment: base, len, end }).await?;
        tracing::debug!(log = %self.id, from = self.end.0, to = end.0, "log truncated");

        segment.cut(len, end, cut.max_ts);
        self.dirty.cut(base, len);
        self.recent.retain(|(at, _)| *at <= end);
        if end < self.start {
            // The start lay within the batch that was removed.
            self.save_start(end).await?;
            self.start = end;
        }
        self.end = end;
        self.durable_end = self.durable_end.min(end);
        self.shared.cuts().push(end);
        let first_ts = first_timestamp(&segment).await.map_err(|e| self.failed("read", file.path(), e))?;
        self.writer = Writer::over(segment, &self.disk, first_ts, 0, 0);
        self.segments = self.segments[..kept].into();
        Ok(())
    }

    /// The exact position in the files of `offset`, or of the last batch boundary before it.
    pub async fn find_position(&self, offset: Offset) -> Result<FilePosition, LogError> {
        let segment = view::segment_of(&self.segments, offset).unwrap_or(&self.segments[0]);
        let cut = self.find_cut(segment, offset).await?;
        Ok(FilePosition { segment: segment.base(), byte: cut.size })
    }

    /// The last batch boundary at or before `offset`.
    async fn find_cut(&self, segment: &Arc<Segment>, offset: Offset) -> Result<Cut, LogError> {
        let file = segment.file();
        let io = || LogError::io("read", file.path());
        segment.load().await.map_err(io())?;
        let entries = segment.entries_from(0);
        let delta = u32::try_from(offset.0 - segment.base().0).unwrap_or(u32::MAX);
        let Some(entry) = floor_by_offset(&entries, delta).map(|at| entries[at]) else {
            return Ok(Cut { size: 0, end: segment.base(), max_ts: -1 });
        };
        let start = u64::from(entry.position);
        let first = segment.base().plus(i64::from(entry.delta));
        let mut cut = Cut { size: start, end: first, max_ts: entry.max_ts_before };
        let mut walk = Walk::new(file, start, first, segment.size(), CHUNK_LONG);
        loop {
            match walk.next(Check::Crc).await.map_err(io())? {
                Step::Batch { header, .. } if header.next_offset() <= offset => {
                    let max_ts = cut.max_ts.max(header.max_timestamp);
                    cut = Cut { size: walk.position(), end: header.next_offset(), max_ts };
                }
                // Damage in front of the cut is left where it is if sound batches follow it.
                Step::Damaged if walk.resync(offset).await.map_err(io())? => {}
                Step::Batch { .. } | Step::Damaged | Step::End => return Ok(cut),
            }
        }
    }

    /// Raises the log's start to `offset` (DeleteRecords, KIP-107), at most to its end, and removes the segments that
    /// lie wholly before it. Durable when it returns. Returns the log's start.
    pub async fn delete_before(&mut self, offset: Offset) -> Result<Offset, LogError> {
        if offset > self.end {
            return Err(LogError::OutOfRange { offset, start: self.start, end: self.end });
        }
        if offset <= self.start {
            return Ok(self.start);
        }
        self.begin()?;
        self.save_start(offset).await?;
        self.start = offset;
        Arc::make_mut(&mut self.epochs).truncate_from_start(offset);
        let whole = self.segments.iter().skip(1).take_while(|next| next.base() <= offset).count();
        self.remove_first(whole).await?;
        self.busy = false;
        Ok(self.start)
    }

    pub(super) async fn save_start(&self, start: Offset) -> Result<(), LogError> {
        self.write_start(start).await.map_err(|e| self.failed("write the start of", &self.dir, e))
    }

    /// Saves the start if the disk has room for it; whether it had.
    async fn try_save_start(&self, start: Offset) -> Result<bool, LogError> {
        match self.write_start(start).await {
            Ok(()) => Ok(true),
            Err(e) if error::is_full(&e) => Ok(false),
            Err(e) => Err(self.failed("write the start of", &self.dir, e)),
        }
    }

    async fn write_start(&self, start: Offset) -> std::io::Result<()> {
        checkpoint::write(&self.disk, &self.dir, START_FILE, start.0.to_string().as_bytes()).await
    }

    /// Removes the first `count` segments, not the active one. Readers that hold them may go on reading.
    pub(super) async fn remove_first(&mut self, count: usize) -> Result<(), LogError> {
        assert!(count < self.segments.len(), "the active segment of {} stays", self.id);
        if count == 0 {
            return Ok(());
        }
        let segments = self.segments.clone();
        let (gone, kept) = segments.split_at(count);
        // A loss of power may bring back any of the removed files and not the others: then the start tells that all are
        // gone. Where there is no room to say so, they go one by one, from the first on.
        let told = self.start >= kept[0].base() || self.try_save_start(kept[0].base()).await?;
        self.segments = kept.into();
        self.start = self.start.max(kept[0].base());
        Arc::make_mut(&mut self.epochs).truncate_from_start(self.start);
        for segment in gone {
            self.dirty.forget(segment.base());
            self.remove_file(&path(&self.dir, segment.base(), LOG_SUFFIX)).await?;
            self.remove_file(&path(&self.dir, segment.base(), INDEX_SUFFIX)).await?;
            if !told {
                self.disk.sync_dir(&self.dir).await.map_err(|e| self.failed("sync", &self.dir, e))?;
            }
        }
        self.disk.sync_dir(&self.dir).await.map_err(|e| self.failed("sync", &self.dir, e))?;
        for segment in gone {
            self.note(FileNote::Deleted { segment: segment.base() }).await?;
        }
        Ok(())
    }

    /// Removes a file that may not exist.
    pub(super) async fn remove_file(&self, path: &str) -> Result<(), LogError> {
        match self.disk.remove(path).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(self.failed("remove", path, e)),
            _ => Ok(()),
        }
    }
}

/// The timestamp of a segment's first batch, if it has a sound one.
pub(super) async fn first_timestamp(segment: &Segment) -> std::io::Result<Option<i64>> {
    let mut walk =
        Walk::new(segment.file(), 0, segment.base(), segment.size(), norn_protocol::batch::HEADER_LEN);
    match walk.next(Check::Header).await? {
        Step::Batch { header, .. } => Ok(Some(header.max_timestamp)),
        Step::Damaged | Step::End => Ok(None),
    }
}
