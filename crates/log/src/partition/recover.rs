//! Recovering one segment.
//!
//! Below the recovery point everything was durable: it is not read, and where it turns out to be damaged that is
//! reported and served around, never cut off. What stands above it is checked batch by batch and kept as far as
//! it is sound; the rest was never acknowledged and is cut.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use norn_env::disk::{File, Open};
use norn_protocol::types::Offset;

use super::open::{missing, LastEnd, OpenLog, Recovered};
use crate::error::LogError;
use crate::segment::index::{self, Seal, SEAL_LEN};
use crate::segment::scan::{scan, Known, Scanned};
use crate::segment::writer::Writer;
use crate::segment::{path, reach, Opened, Segment, INDEX_SUFFIX, LOG_SUFFIX};

/// A recovered tail up to this long is written again before it is synced: after a failed sync the operating system
/// may hold pages that are not on disk and count as clean, which a sync alone would pass over. A longer one cannot
/// have come from a log that syncs what it acknowledges, and writing it would make the start long.
const REWRITE_BYTES_MAX: u64 = 64 << 20;
const REWRITE_CHUNK: usize = 1 << 20;

/// A segment as it was found, and what is needed to go on writing it if it is the last.
pub(super) struct RecoveredSegment {
    pub segment: Arc<Segment>,
    /// Entries and bytes of its index file that can be kept.
    pub index_kept: (usize, u64),
    /// Durable records at its end are missing.
    pub lost_tail: bool,
}

/// Recovers the segments of one log.
pub(super) struct Recovery<'a> {
    pub open: &'a OpenLog,
    pub report: &'a mut Recovered,
}

impl Recovery<'_> {
    /// Recovers the segment with this base, whose file has `len` bytes; `next` is the base of the one behind it.
    pub async fn segment(
        mut self,
        base: Offset,
        len: u64,
        next: Option<Offset>,
    ) -> Result<RecoveredSegment, LogError> {
        let path = path(&self.open.dir, base, LOG_SUFFIX);
        let io = || LogError::io("recover", path.as_str());
        let file = self.open.disk.open_file(&path, Open::Write).await.map_err(io())?;
        // All of it was durable: a segment below the recovery point, or a log that was closed in good order.
        let trusted = match self.open.last_end {
            LastEnd::Closed(_) => true,
            LastEnd::Crashed { durable } => next.is_some_and(|next| next <= durable),
        };
        let known = if trusted { self.sealed(base, len, next).await.map_err(io())? } else { None };
        match known {
            Some((opened, index_kept)) => {
                let segment = self.opened(file, base, opened);
                Ok(RecoveredSegment { segment, index_kept, lost_tail: false })
            }
            None => self.scanned(file, base, len, next, trusted).await.map_err(io()),
        }
    }

    fn opened(&self, file: File, base: Offset, opened: Opened) -> Arc<Segment> {
        let interval = self.open.config.index_interval_bytes;
        Arc::new(Segment::opened(self.open.disk.clone(), file, base, interval, opened))
    }

    /// What the seal of its index says, if there is one that fits the segment. The index itself is loaded only for the
    /// last segment, which goes on being written.
    async fn sealed(
        &self,
        base: Offset,
        len: u64,
        next: Option<Offset>,
    ) -> io::Result<Option<(Opened, (usize, u64))>> {
        let expected = next.or(match self.open.last_end {
            LastEnd::Closed(end) => end,
            LastEnd::Crashed { .. } => None,
        });
        if len == 0 && next.is_none() && expected.is_none_or(|end| end == base) {
            let empty = Opened { size: 0, next: base, max_ts: -1, sound_from: 0, entries: Some(Vec::new()) };
            return Ok(Some((empty, (0, 0))));
        }
        let fits = |seal: &Seal| seal.size == len && expected.is_none_or(|end| seal.next == end);
        if next.is_some() {
            let seal = self.stored_seal(base).await?.filter(fits);
            return Ok(seal.map(|Seal { size, next, max_ts }| {
                (Opened { size, next, max_ts, sound_from: u64::MAX, entries: None }, (0, 0))
            }));
        }
        let decoded = index::decode(&self.stored_index(base).await?);
        let begins = decoded.entries.first().is_some_and(|e| e.delta == 0 && e.position == 0);
        Ok(decoded.seal.filter(fits).filter(|_| begins).map(|Seal { size, next, max_ts }| {
            let kept = (decoded.entries.len(), decoded.blocks_len);
            (Opened { size, next, max_ts, sound_from: size, entries: Some(decoded.entries) }, kept)
        }))
    }

    async fn stored_seal(&self, base: Offset) -> io::Result<Option<Seal>> {
        let Some(file) = self.index_file(base).await? else { return Ok(None) };
        let Some(at) = file.len().await?.checked_sub(SEAL_LEN as u64) else { return Ok(None) };
        Ok(index::decode_seal(&file.read_at(at, SEAL_LEN).await?))
    }

    async fn stored_index(&self, base: Offset) -> io::Result<Bytes> {
        let Some(file) = self.index_file(base).await? else { return Ok(Bytes::new()) };
        let len = usize::try_from(file.len().await?).map_err(io::Error::other)?;
        file.read_at(0, len).await
    }

    async fn index_file(&self, base: Offset) -> io::Result<Option<File>> {
        missing(self.open.disk.open_file(&path(&self.open.dir, base, INDEX_SUFFIX), Open::Read).await)
    }

    /// Finds out what is in the segment by walking through it.
    async fn scanned(
        &mut self,
        file: File,
        base: Offset,
        len: u64,
        next: Option<Offset>,
        trusted: bool,
    ) -> io::Result<RecoveredSegment> {
        let durable = match self.open.last_end {
            LastEnd::Crashed { durable } if !trusted => durable,
            LastEnd::Crashed { .. } => next.unwrap_or(base),
            // A closed segment's end is known from the next.
            LastEnd::Closed(end) => next.or(end).unwrap_or(base),
        };
        let bound = reach(base, next);
        let interval = self.open.config.index_interval_bytes;
        let mut stored = index::decode(&self.stored_index(base).await?).entries;
        let last_stored = stored.last().copied();
        let begins = stored.first().is_some_and(|e| e.delta == 0 && e.position == 0);
        // Entries above the durable end may be of batches that are gone, and an index without its seal that should
        // have one is of no known state.
        stored.retain(|e| {
            begins && !trusted && u64::from(e.position) < len && base.plus(i64::from(e.delta)) <= durable
        });
        let from_start = stored.is_empty();
        let mut scanned = scan(&file, base, len, Known { entries: stored, durable, bound }, interval).await?;
        if !from_start && (!scanned.damages.is_empty() || scanned.scanned == 0) {
            // Perhaps it is the index that is wrong.
            scanned = scan(&file, base, len, Known { entries: Vec::new(), durable, bound }, interval).await?;
        }
        self.report.scanned_bytes += scanned.scanned;
        for damage in &scanned.damages {
            let (first, next) = (damage.first.0, damage.next.0);
            tracing::error!(
                file = damage.file,
                position = damage.position,
                first,
                next,
                "records are damaged"
            );
        }
        let Scanned { entries, size, next: reached, max_ts, sound_from, lost_tail, damages, .. } = scanned;
        self.report.damages.extend(damages);

        let goes_beyond = last_stored.is_some_and(|e| u64::from(e.position) >= size);
        if !trusted || next.is_none() {
            self.settle(&file, len, size, sound_from).await?;
        }
        if goes_beyond {
            // Its entries would be taken for those of the batches that are written there next.
            missing(self.open.disk.remove(&path(&self.open.dir, base, INDEX_SUFFIX)).await)?;
            self.open.disk.sync_dir(&self.open.dir).await?;
        }
        let opened = Opened { size, next: reached, max_ts, sound_from, entries: Some(entries) };
        let segment = self.opened(file, base, opened);
        if next.is_some() {
            Writer::over(segment.clone(), &self.open.disk, None, 0, 0).seal().await;
        }
        Ok(RecoveredSegment { segment, index_kept: (0, 0), lost_tail })
    }

    /// Cuts what lies behind the sound part, and makes the part that was not known to be durable so.
    async fn settle(&mut self, file: &File, len: u64, size: u64, sound_from: u64) -> io::Result<()> {
        if size < len {
            norn_env::sometimes!("segment-tail-cut");
            tracing::info!(file = file.path(), bytes = len - size, at = size, "cut off an unfinished write");
            self.report.cut_bytes += len - size;
            file.truncate(size).await?;
        }
        let rewrites = size - sound_from <= REWRITE_BYTES_MAX;
        let mut at = if rewrites { sound_from } else { size };
        while at < size {
            let chunk = file.read_at(at, REWRITE_CHUNK.min((size - at) as usize)).await?;
            let read = chunk.len() as u64;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_at(at, vec![chunk]).await?;
            at += read;
        }
        if size < len || sound_from < size {
            file.sync_data().await?;
        }
        Ok(())
    }
}
