//! Finds records in a segment, and makes sure that what is handed out is what was written.
//!
//! Bytes that this process wrote, or has checked, may leave by `sendfile`. All others are read and checked
//! first, an index interval at a time; a bit for each remembers it. Damage costs only the offsets it hit: the
//! batches around it in its interval are found one by one.

use std::ops::ControlFlow;
use std::sync::Arc;

use norn_env::disk::File;
use norn_env::task;
use norn_protocol::batch::{scan_records, Batch, BatchHeader, TimestampType};
use norn_protocol::types::{LeaderEpoch, Offset};

use super::index::{floor_by_offset, floor_by_position, floor_by_timestamp, Entry};
use super::recovery::{clean_prefix, Check};
use super::walk::{Step, Walk, CHUNK_LONG, CHUNK_SHORT};
use super::{Interval, Segment};
use crate::decoding::Decoding;
use crate::epochs::EpochCache;
use crate::error::ReadError;

/// Bytes that are checked at once; more than this is handed out in several turns.
const CHECK_BYTES_MAX: u64 = 1 << 20;
/// From this many bytes on, checking them is moved off the executor (about 10 µs of CRC).
const CHECK_INLINE_MAX: usize = 64 << 10;

/// Whole batches in a segment's file, fit to be sent as they are.
#[derive(Clone, Debug)]
pub struct FileRange {
    pub file: File,
    /// First byte.
    pub pos: u64,
    /// Length in bytes.
    pub len: u64,
    /// An offset in the first batch: the one that was asked for.
    pub offset: Offset,
}

/// What to look for in a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub offset: Offset,
    pub max_bytes: u64,
    /// Bytes of the segment that may be read.
    pub end: u64,
    /// Whether the first batch is handed out even if it is larger than `max_bytes` (KIP-74).
    pub min_one: bool,
}

/// A record's place in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

impl Segment {
    /// The batch with the wanted offset and as many behind it as fit. `None` if not even that one does, or it lies
    /// at or behind `wanted.end`.
    pub(crate) async fn locate(
        &self,
        wanted: Wanted,
        epochs: &Arc<EpochCache>,
    ) -> Result<Option<FileRange>, ReadError> {
        let delta = wanted.offset.0.saturating_sub(self.base.0);
        let delta = u32::try_from(delta).unwrap_or(u32::MAX);
        let home = self.loaded_interval(|entries| floor_by_offset(entries, delta)).await?;
        let Some(home) = home else {
            return Err(self.corrupt(0, self.base, self.next_offset()));
        };
        if home.start >= wanted.end {
            return Ok(None);
        }
        let reach = home.start.saturating_add(wanted.max_bytes.max(1)).min(wanted.end);
        let sound_to = self.check(home, reach, epochs).await?;
        if sound_to <= home.start {
            return self.locate_in_damaged(home, wanted, epochs).await;
        }
        let end = sound_to.min(wanted.end);
        let Some(first) = self.find(home, wanted.offset).await? else {
            return self.locate_in_damaged(home, wanted, epochs).await;
        };
        if first.position >= end {
            return Ok(None);
        }
        let target = first.position.saturating_add(wanted.max_bytes);
        let end = if end <= target { end } else { self.whole_batches(home, &first, target, end).await? };
        let oversized = end > target && !wanted.min_one;
        Ok((!oversized).then(|| self.range(first.position, end, wanted.offset)))
    }

    fn range(&self, pos: u64, end: u64, offset: Offset) -> FileRange {
        FileRange { file: self.file.clone(), pos, len: end - pos, offset }
    }

    /// An interval, with the index brought into memory if needed.
    async fn loaded_interval(
        &self,
        find: impl Fn(&[Entry]) -> Option<usize>,
    ) -> Result<Option<Interval>, ReadError> {
        loop {
            self.load().await.map_err(ReadError::io(self.file.path()))?;
            let found = self.interval(&find);
            // The owner may have dropped the index again in between.
            if found.is_some() || self.is_loaded() {
                return Ok(found);
            }
        }
    }

    /// Makes sure of whole intervals from `from` on, until byte `to` is passed. Returns how far they are sound.
    async fn check(&self, from: Interval, to: u64, epochs: &Arc<EpochCache>) -> Result<u64, ReadError> {
        let (mut slot, mut checked_to) = (from.slot, 0);
        loop {
            let (sound_to, unsound) = self.sound_run(slot, to);
            let sound_to = sound_to.max(checked_to);
            let Some(unsound) = unsound.filter(|unsound| unsound.start < to) else { return Ok(sound_to) };
            let run = self.unchecked_run(unsound, to.min(unsound.start + CHECK_BYTES_MAX));
            let sound = self.check_run(&run, epochs).await?;
            self.mark_sound(&run[..sound]);
            match (run.get(sound), run.last()) {
                (Some(damaged), _) => return Ok(damaged.start),
                (None, Some(last)) => (slot, checked_to) = (last.slot + 1, last.end),
                (None, None) => return Ok(sound_to),
            }
        }
    }

    /// `first` and the intervals behind it that were not checked either, up to the one that passes byte `to`.
    fn unchecked_run(&self, first: Interval, to: u64) -> Vec<Interval> {
        let mut run = vec![first];
        let mut last = first;
        while last.end < to {
            match self.interval(|_| Some(last.slot + 1)) {
                Some(next) if !next.sound => {
                    run.push(next);
                    last = next;
                }
                _ => break,
            }
        }
        run
    }

    /// Reads a run of intervals. Returns how many of them, from the first on, are sound.
    async fn check_run(&self, run: &[Interval], epochs: &Arc<EpochCache>) -> Result<usize, ReadError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(0) };
        norn_env::sometimes!("records-checked-before-read");
        let start = first.start;
        let len = (last.end - start) as usize;
        let bytes = self.file.read_at(start, len).await.map_err(ReadError::io(self.file.path()))?;
        let (run, epochs) = (run.to_vec(), epochs.clone());
        let count = move || {
            let is_sound = |interval: &&Interval| {
                let range = (interval.start - start) as usize..(interval.end - start) as usize;
                bytes.get(range).is_some_and(|bytes| {
                    let (len, next) = clean_prefix(bytes, interval.first, Check::CrcAndEpoch(&epochs));
                    len == bytes.len() && next == interval.next
                })
            };
            run.iter().take_while(is_sound).count()
        };
        Ok(if len > CHECK_INLINE_MAX { task::blocking("check records", count).await } else { count() })
    }

    /// The batch with `offset` in a sound interval. None if the headers there contradict one another: bits that decayed
    /// since it was checked may have one batch claim the offsets of the next.
    async fn find(&self, home: Interval, offset: Offset) -> Result<Option<Place>, ReadError> {
        if offset == home.first {
            return Ok(Some(Place { position: home.start, len: None }));
        }
        let mut walk = Walk::new(&self.file, home.start, home.first, home.end, CHUNK_SHORT);
        loop {
            match walk.next(Check::Header).await.map_err(ReadError::io(self.file.path()))? {
                Step::Batch { position, header } if header.next_offset() > offset => {
                    let next = walk.next(Check::Header).await.map_err(ReadError::io(self.file.path()))?;
                    let agrees = match next {
                        Step::Batch { .. } => true,
                        Step::End => header.next_offset() == home.next,
                        Step::Damaged => false,
                    };
                    let place = Place { position, len: Some(header.total_len() as u64) };
                    return Ok(agrees.then_some(place));
                }
                Step::Batch { .. } => {}
                Step::Damaged | Step::End => return Ok(None),
            }
        }
    }

    /// Where to stop so that only whole batches lie between `first` and byte `target`, or behind `first` if it
    /// does not fit itself. All up to byte `end`, which is behind `target`, is sound.
    async fn whole_batches(
        &self,
        home: Interval,
        first: &Place,
        target: u64,
        end: u64,
    ) -> Result<u64, ReadError> {
        // Index entries stand at batch boundaries.
        let boundary = self.interval(|entries| floor_by_position(entries, target));
        if let Some(boundary) = boundary.filter(|b| b.start > first.position) {
            return Ok(boundary.start.min(end));
        }
        let first_len = match first.len {
            Some(len) => len,
            None => {
                let mut walk = Walk::new(&self.file, home.start, home.first, end, CHUNK_SHORT);
                match walk.next(Check::Header).await.map_err(ReadError::io(self.file.path()))? {
                    Step::Batch { header, .. } => header.total_len() as u64,
                    Step::Damaged | Step::End => {
                        return Err(self.corrupt(home.start, home.first, home.next));
                    }
                }
            }
        };
        self.last_boundary(first.position, first_len, target, end).await
    }

    /// The last batch boundary at or before `target`, but at least behind the batch at `position`.
    async fn last_boundary(&self, position: u64, len: u64, target: u64, end: u64) -> Result<u64, ReadError> {
        let mut boundary = position + len;
        while boundary < end.min(target) {
            let len = (end - boundary).min(CHUNK_SHORT as u64) as usize;
            let bytes = self.file.read_at(boundary, len).await.map_err(ReadError::io(self.file.path()))?;
            let before = boundary;
            while let Ok(header) = BatchHeader::parse(&bytes[(boundary - before) as usize..]) {
                let next = boundary + header.total_len() as u64;
                if next > target.min(end) {
                    return Ok(boundary);
                }
                boundary = next;
                if boundary - before >= bytes.len() as u64 {
                    break;
                }
            }
            if boundary == before {
                break;
            }
        }
        Ok(boundary.min(end))
    }

    /// As [`Segment::locate`] in an interval that is not sound: batch by batch, each one checked.
    async fn locate_in_damaged(
        &self,
        home: Interval,
        wanted: Wanted,
        epochs: &Arc<EpochCache>,
    ) -> Result<Option<FileRange>, ReadError> {
        let io = || ReadError::io(self.file.path());
        let check = Check::CrcAndEpoch(epochs);
        let mut walk = Walk::new(&self.file, home.start, home.first, home.end, CHUNK_LONG);
        let (first, mut end) = loop {
            match walk.next(check).await.map_err(io())? {
                Step::Batch { position, header } if header.next_offset() > wanted.offset => {
                    break (position, walk.position());
                }
                Step::Batch { .. } => {}
                step => {
                    let (position, due) = (walk.position(), walk.due());
                    let again = step == Step::Damaged && walk.resync(home.next).await.map_err(io())?;
                    let next = if again { walk.due() } else { home.next };
                    if wanted.offset < next || !again {
                        return Err(self.corrupt(position, due, next));
                    }
                }
            }
        };
        if first >= wanted.end || (end - first > wanted.max_bytes && !wanted.min_one) {
            return Ok(None);
        }
        while let Step::Batch { position, .. } = walk.next(check).await.map_err(io())? {
            if walk.position() - first > wanted.max_bytes || position >= wanted.end {
                break;
            }
            end = walk.position();
        }
        Ok(Some(self.range(first, end, wanted.offset)))
    }

    /// The position behind the batch that ends before `offset`, if it can be found without waiting for the disk;
    /// else the last index entry's before it.
    pub(crate) fn boundary_cached(&self, offset: Offset) -> u64 {
        if offset >= self.next_offset() {
            return self.size();
        }
        let delta = u32::try_from(offset.0.saturating_sub(self.base.0)).unwrap_or(u32::MAX);
        let Some(home) = self.interval(|entries| floor_by_offset(entries, delta)) else { return 0 };
        let mut at = home.start;
        while at < home.end {
            let Some(Ok(bytes)) = self.file.read_cached(at, (home.end - at).min(CHUNK_SHORT as u64) as usize)
            else {
                return at;
            };
            let before = at;
            while let Some(Ok(header)) = bytes.get((at - before) as usize..).map(BatchHeader::parse) {
                if header.next_offset() > offset {
                    return at;
                }
                at += header.total_len() as u64;
            }
            if at == before {
                return at;
            }
        }
        at
    }

    /// The first record at or behind `from` with a timestamp of at least `ts`. Damaged batches are passed over.
    pub(crate) async fn find_timestamp(
        &self,
        ts: i64,
        from: Offset,
        epochs: &EpochCache,
        decoding: &Decoding,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let io = || ReadError::io(self.file.path());
        let home = self.loaded_interval(|entries| floor_by_timestamp(entries, ts)).await?;
        let Some(home) = home else { return Ok(None) };
        let (size, next) = (self.size(), self.next_offset());
        let mut walk = Walk::new(&self.file, home.start, home.first, size, CHUNK_SHORT);
        loop {
            match walk.next(Check::CrcAndEpoch(epochs)).await.map_err(io())? {
                Step::Batch { position, header } => {
                    if header.max_timestamp < ts || header.last_offset() < from {
                        continue;
                    }
                    let bytes = walk.batch(position, &header).await.map_err(io())?;
                    let hit = first_since(Batch { header, bytes }, ts, from, decoding).await;
                    if hit.is_some() {
                        return Ok(hit);
                    }
                }
                Step::End => return Ok(None),
                Step::Damaged => {
                    if !walk.resync(next).await.map_err(io())? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The largest timestamp of the records at or behind `from`. Corrupt batches are passed over.
    pub(crate) async fn max_timestamp_since(
        &self,
        from: Offset,
        epochs: &EpochCache,
        decoding: &Decoding,
    ) -> Result<Option<i64>, ReadError> {
        let io = || ReadError::io(self.file.path());
        let (size, next) = (self.size(), self.next_offset());
        let mut walk = Walk::new(&self.file, 0, self.base, size, CHUNK_SHORT);
        let mut max = None;
        loop {
            match walk.next(Check::CrcAndEpoch(epochs)).await.map_err(io())? {
                Step::Batch { header, .. } if header.last_offset() < from => {}
                Step::Batch { header, .. } if header.base_offset >= from => {
                    max = max.max(Some(header.max_timestamp));
                }
                Step::Batch { position, header } => {
                    let bytes = walk.batch(position, &header).await.map_err(io())?;
                    max = max.max(largest_since(Batch { header, bytes }, from, decoding).await);
                }
                Step::End => return Ok(max),
                Step::Damaged => {
                    if !walk.resync(next).await.map_err(io())? {
                        return Ok(max);
                    }
                }
            }
        }
    }

    fn corrupt(&self, position: u64, first: Offset, next: Offset) -> ReadError {
        norn_env::sometimes!("corrupt-records-refused");
        ReadError::Corrupt { file: self.file.path().to_owned(), position, first, next }
    }
}

/// The largest timestamp of a batch's records at or behind `from`.
async fn largest_since(batch: Batch, from: Offset, decoding: &Decoding) -> Option<i64> {
    if batch.header.timestamp_type() == TimestampType::LogAppend {
        return Some(batch.header.max_timestamp);
    }
    let (header, bytes) = (batch.header, batch.bytes.clone());
    let search = move |limit| {
        let mut max = None;
        let scanned = scan_records(&header, &bytes, limit, |record| {
            if header.base_offset.plus(i64::from(record.offset_delta)) >= from {
                max = max.max(Some(record.timestamp));
            }
            ControlFlow::Continue(())
        });
        (!scanned.is_err_and(|error| error.is_over_limit())).then_some(max)
    };
    decoding.run(&batch, search).await.flatten()
}

/// The first record of a batch at or behind `from` with a timestamp of at least `ts`. A batch whose records do not decode
/// came so from its producer: behind the fault it has no record to find.
async fn first_since(batch: Batch, ts: i64, from: Offset, decoding: &Decoding) -> Option<TimestampedOffset> {
    let (header, bytes) = (batch.header, batch.bytes.clone());
    let search = move |limit| {
        let mut hit = None;
        let scanned = scan_records(&header, &bytes, limit, |record| {
            let timestamp = match header.timestamp_type() {
                TimestampType::LogAppend => header.max_timestamp,
                TimestampType::Creation => record.timestamp,
            };
            let offset = header.base_offset.plus(i64::from(record.offset_delta));
            if timestamp < ts || offset < from || offset > header.last_offset() {
                return ControlFlow::Continue(());
            }
            hit = Some(TimestampedOffset { timestamp, offset, leader_epoch: header.leader_epoch });
            ControlFlow::Break(())
        });
        (!scanned.is_err_and(|error| error.is_over_limit())).then_some(hit)
    };
    decoding.run(&batch, search).await.flatten()
}

/// A batch's place in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    position: u64,
    /// Its length, if it was needed to find it.
    len: Option<u64>,
}
