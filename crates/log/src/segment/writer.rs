//! The end of a log that is written: the active segment and its index file.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use norn_env::disk::{Disk, File, Open};
use norn_protocol::batch::{Batch, BatchHeader};
use norn_protocol::types::Offset;

use super::index::{encode_block, encode_seal, BLOCK_ENTRIES};
use super::{path, Segment, LOG_SUFFIX, OFFSETS_MAX, SEGMENT_BYTES_MAX};

/// Appends to one segment. Owned by the log; readers share the [`Segment`].
pub(crate) struct Writer {
    segment: Arc<Segment>,
    disk: Disk,
    /// Timestamp of the segment's first batch, from which `segment.ms` counts.
    first_ts: Option<i64>,
    index_file: IndexFile,
}

/// The index file grows in whole blocks. It only saves work after a restart, so a failure to write it is no
/// failure of the log: from then on there is none for this segment.
enum IndexFile {
    /// `entries` of the index are in the file's blocks, which take `len` bytes.
    Kept {
        file: Option<File>,
        entries: usize,
        len: u64,
    },
    Abandoned,
}

impl Writer {
    /// Creates the segment that begins at `base`. The caller syncs the directory.
    pub async fn create(disk: &Disk, dir: &str, base: Offset, interval: u32) -> io::Result<Writer> {
        let file = disk.open_file(&path(dir, base, LOG_SUFFIX), Open::CreateNew).await?;
        let segment = Arc::new(Segment::created(disk.clone(), file, base, interval));
        Ok(Writer::over(segment, disk, None, 0, 0))
    }

    /// Goes on writing a segment. Of its index file, blocks with `entries` entries and `len` bytes are sound.
    pub fn over(
        segment: Arc<Segment>,
        disk: &Disk,
        first_ts: Option<i64>,
        entries: usize,
        len: u64,
    ) -> Writer {
        let index_file = IndexFile::Kept { file: None, entries, len };
        Writer { segment, disk: disk.clone(), first_ts, index_file }
    }

    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// How many of these batches, from the first on, the segment has room for. An empty segment takes any one.
    /// `time` replaces the batches' own timestamps.
    pub fn fitting(&self, batches: &[(Batch, Offset)], time: Option<i64>, limits: &Limits) -> usize {
        let mut size = self.segment.size();
        let base = self.segment.base();
        let index_full = self.segment.index_len() >= limits.index_entries_max;
        let mut first_ts = self.first_ts;
        let fits = |(batch, offset): &&(Batch, Offset)| {
            let timestamp = time.unwrap_or(batch.header.max_timestamp);
            let started = size > 0;
            size += batch.header.total_len() as u64;
            let last = offset.0 - base.0 + i64::from(batch.header.last_offset_delta);
            let first_ts = *first_ts.get_or_insert(timestamp);
            let full = size > limits.segment_bytes.min(SEGMENT_BYTES_MAX)
                || last >= OFFSETS_MAX
                || index_full
                || timestamp.saturating_sub(first_ts) > limits.segment_ms;
            !(started && full)
        };
        batches.iter().take_while(fits).count()
    }

    /// Writes batches behind the end, in one write, and makes them visible. `headers` are those of the batches in
    /// `bytes`, with their final offsets. With `sync_early` the segment's sync begins with the write.
    pub async fn append(
        &mut self,
        headers: &[BatchHeader],
        bytes: Vec<Bytes>,
        sync_early: bool,
    ) -> io::Result<()> {
        let (file, position) = (self.segment.file(), self.segment.size());
        match sync_early {
            true => file.write_and_begin_sync(position, bytes).await?,
            false => file.write_at(position, bytes).await?,
        }
        if self.first_ts.is_none() {
            self.first_ts = headers.first().map(|h| h.max_timestamp);
        }
        let entries = self.segment.publish(headers.iter().copied());
        if entries >= self.index_entries_kept() + BLOCK_ENTRIES {
            self.keep_index(false).await;
        }
        Ok(())
    }

    /// Closes the segment: completes its index file, so that opening the log need not look into the segment.
    pub async fn seal(&mut self) {
        self.keep_index(true).await;
    }

    fn index_entries_kept(&self) -> usize {
        match self.index_file {
            IndexFile::Kept { entries, .. } => entries,
            IndexFile::Abandoned => usize::MAX - BLOCK_ENTRIES,
        }
    }

    async fn keep_index(&mut self, seal: bool) {
        if let Err(error) = self.write_index(seal).await {
            tracing::warn!(segment = self.segment.file().path(), %error, "no index is kept on disk");
            self.index_file = IndexFile::Abandoned;
            // What is in the file must not be taken for the index of what is written from now on. If it cannot be
            // removed either, its seal and offsets will not match, and it is rebuilt.
            let _ = self.disk.remove(&self.segment.index_path()).await;
        }
    }

    async fn write_index(&mut self, seal: bool) -> io::Result<()> {
        let IndexFile::Kept { file, entries, len } = &mut self.index_file else { return Ok(()) };
        let new = self.segment.entries_from(*entries);
        if new.is_empty() && (!seal || *entries == 0) {
            return Ok(());
        }
        let file = match file {
            Some(file) => file,
            None => file.insert(self.disk.open_file(&self.segment.index_path(), Open::Create).await?),
        };
        let mut bytes = Vec::with_capacity(2);
        if !new.is_empty() {
            bytes.push(encode_block(&new));
        }
        let blocks_len: u64 = bytes.iter().map(|b| b.len() as u64).sum();
        if seal {
            bytes.push(encode_seal(&self.segment.seal()));
        }
        let total: u64 = bytes.iter().map(|b| b.len() as u64).sum();
        file.write_at(*len, bytes).await?;
        // An older seal, or blocks of before a cut, may reach further.
        if seal {
            file.truncate(*len + total).await?;
        }
        *entries += new.len();
        *len += blocks_len;
        Ok(())
    }
}

/// When a segment is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub segment_bytes: u64,
    pub segment_ms: i64,
    pub index_entries_max: usize,
}
