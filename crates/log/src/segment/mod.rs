//! One segment: a file of record batches and its sparse index, shared between the log that writes it and the
//! threads that read it.
//!
//! What changes (size, index, which parts are known to be sound) stands under one short lock, so that a reader
//! never sees a size without the index entries below it. The lock is never held across a disk operation.

pub(crate) mod index;
pub(crate) mod reader;
pub mod recovery;
pub(crate) mod scan;
pub(crate) mod walk;
pub(crate) mod writer;

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard};

use norn_env::disk::{Disk, File, Open};
use norn_protocol::batch::BatchHeader;
use norn_protocol::types::Offset;

use index::{Entry, Seal};

/// The suffix of a segment's file; the stem is its base offset in 20 digits.
pub(crate) const LOG_SUFFIX: &str = ".log";
pub(crate) const INDEX_SUFFIX: &str = ".index";
/// A segment never grows beyond this, since the index counts bytes in 32 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64;
/// Most offsets of one segment, for the same reason; fewer than would fit, as Kafka has it.
pub(crate) const OFFSETS_MAX: i64 = i32::MAX as i64 + 1;

/// The path of a segment's file of one kind, below the disk's root.
pub(crate) fn path(dir: &str, base: Offset, suffix: &str) -> String {
    format!("{dir}/{}", file_name(base, suffix))
}

pub(crate) fn file_name(base: Offset, suffix: &str) -> String {
    format!("{:020}{suffix}", base.0)
}

/// The base offset in a file's name, if it has this suffix and 20 digits.
pub(crate) fn parse_name(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    let sound = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    sound.then(|| digits.parse().ok().map(Offset))?
}

/// A segment of a log.
pub struct Segment {
    base: Offset,
    file: File,
    disk: Disk,
    /// Bytes between two index entries.
    interval: u32,
    state: Mutex<State>,
}

struct State {
    /// Bytes of whole batches.
    size: u64,
    /// Offset after the last record.
    next: Offset,
    /// Largest timestamp; -1 if there is no record.
    max_ts: i64,
    /// Bytes from here on were written or checked by this process.
    sound_from: u64,
    /// `None`: not in memory, to be loaded when needed. Only of closed segments.
    index: Option<Index>,
    /// When retention first saw the segment, for one whose records carry no timestamps.
    seen_ms: Option<i64>,
    /// Whether a reader needed the index since the last [`Segment::unload_idle`].
    used: bool,
}

#[derive(Default)]
struct Index {
    entries: Vec<Entry>,
    /// One bit for each entry: whether the bytes from it to the next were found to be sound. Shorter than the
    /// entries where none was.
    sound: Vec<u64>,
}

/// The bytes from one index entry to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    /// Which entry it begins with.
    pub slot: usize,
    pub start: u64,
    pub end: u64,
    /// Offset of its first batch.
    pub first: Offset,
    /// Offset after its last batch.
    pub next: Offset,
    /// Whether its bytes were written or checked by this process.
    pub sound: bool,
}

/// What opening a segment found out about it.
pub(crate) struct Opened {
    pub size: u64,
    pub next: Offset,
    pub max_ts: i64,
    pub sound_from: u64,
    pub entries: Option<Vec<Entry>>,
}

impl Segment {
    /// A segment that was just created.
    pub(crate) fn created(disk: Disk, file: File, base: Offset, interval: u32) -> Segment {
        let opened = Opened { size: 0, next: base, max_ts: -1, sound_from: 0, entries: Some(Vec::new()) };
        Segment::opened(disk, file, base, interval, opened)
    }

    pub(crate) fn opened(disk: Disk, file: File, base: Offset, interval: u32, opened: Opened) -> Segment {
        let Opened { size, next, max_ts, sound_from, entries } = opened;
        let index = entries.map(|entries| Index { entries, sound: Vec::new() });
        let state = State { size, next, max_ts, sound_from, index, seen_ms: None, used: false };
        Segment { base, file, disk, interval, state: Mutex::new(state) }
    }

    /// Offset of the first record, if there is one; names the segment within its log.
    pub fn base(&self) -> Offset {
        self.base
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Length in bytes of what is in it.
    pub fn size(&self) -> u64 {
        self.state().size
    }

    /// Offset after the last record; the base of the next segment, if there is one.
    pub fn next_offset(&self) -> Offset {
        self.state().next
    }

    /// Largest timestamp of its records in Unix ms, -1 if it has none.
    pub fn max_timestamp(&self) -> i64 {
        self.state().max_ts
    }

    /// The time in Unix ms from which the segment's age counts: its largest timestamp.
    pub(crate) fn aged_from(&self, now_ms: i64) -> i64 {
        let mut state = self.state();
        match state.max_ts {
            ..0 => *state.seen_ms.get_or_insert(now_ms),
            max_ts => max_ts,
        }
    }

    pub(crate) fn index_path(&self) -> String {
        let stem = self.file.path().strip_suffix(LOG_SUFFIX).unwrap_or(self.file.path());
        format!("{stem}{INDEX_SUFFIX}")
    }

    pub(crate) fn seal(&self) -> Seal {
        let state = self.state();
        Seal { size: state.size, next: state.next, max_ts: state.max_ts }
    }

    /// Makes batches that were written behind the end visible. Their positions follow each other from the
    /// segment's size on. Returns how many entries the index has now.
    pub(crate) fn publish(&self, batches: impl Iterator<Item = BatchHeader>) -> usize {
        let mut guard = self.state();
        let state = &mut *guard;
        let index = state.index.get_or_insert_with(Index::default);
        for header in batches {
            assert!(header.base_offset >= state.next, "offsets rise within a segment");
            let due = index.entries.last().is_none_or(|last| {
                // An interval lies wholly within what this process wrote, or wholly outside.
                state.size == state.sound_from
                    || state.size - u64::from(last.position) >= u64::from(self.interval)
            });
            if due {
                index.entries.push(entry(self.base, header.base_offset, state.size, state.max_ts));
            }
            state.size += header.total_len() as u64;
            state.next = header.next_offset();
            state.max_ts = state.max_ts.max(header.max_timestamp);
        }
        index.entries.len()
    }

    /// Entries in the index; 0 if it is not in memory.
    pub(crate) fn index_len(&self) -> usize {
        self.state().index.as_ref().map_or(0, |index| index.entries.len())
    }

    /// Cuts the segment's view of its file; the caller cuts the file.
    pub(crate) fn cut(&self, size: u64, next: Offset, max_ts: i64) {
        let mut state = self.state();
        state.size = size;
        state.next = next;
        state.max_ts = max_ts;
        state.sound_from = state.sound_from.min(size);
        if let Some(index) = &mut state.index {
            index.entries.retain(|e| u64::from(e.position) < size);
            let len = index.entries.len();
            index.sound.truncate(len.div_ceil(64));
            if let Some(last) = index.sound.last_mut().filter(|_| len % 64 > 0) {
                *last &= (1 << (len % 64)) - 1;
            }
        }
    }

    /// Entries from `from` on, to be written to the index file.
    pub(crate) fn entries_from(&self, from: usize) -> Vec<Entry> {
        let state = self.state();
        state.index.as_ref().and_then(|i| i.entries.get(from..)).unwrap_or_default().to_vec()
    }

    /// Drops the index of a closed segment from memory if no reader needed it since the last call.
    pub(crate) fn unload_idle(&self) {
        let mut state = self.state();
        if !std::mem::take(&mut state.used) {
            state.index = None;
        }
    }

    /// Brings the index into memory: from its file, or if that is not sound by walking through the segment.
    pub(crate) async fn load(&self) -> io::Result<()> {
        let (size, next) = {
            let mut state = self.state();
            state.used = true;
            if state.index.is_some() {
                return Ok(());
            }
            (state.size, state.next)
        };
        let stored = self.stored_index(size, next).await?;
        let entries = match stored {
            Some(entries) => entries,
            None => {
                let known = scan::Known { entries: Vec::new(), durable: Offset(i64::MAX), bound: next };
                scan::scan(&self.file, self.base, size, known, self.interval).await?.entries
            }
        };
        let mut state = self.state();
        if state.index.is_none() && state.size == size {
            state.index = Some(Index { entries, sound: Vec::new() });
        }
        Ok(())
    }

    async fn stored_index(&self, size: u64, next: Offset) -> io::Result<Option<Vec<Entry>>> {
        let file = match self.disk.open_file(&self.index_path(), Open::Read).await {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let len = file.len().await?;
        let bytes = file.read_at(0, usize::try_from(len).map_err(io::Error::other)?).await?;
        let decoded = index::decode(&bytes);
        let sealed = decoded.seal.is_some_and(|seal| seal.size == size && seal.next == next);
        let covers = match decoded.entries.first() {
            Some(first) => first.position == 0 && first.delta == 0,
            None => size == 0,
        };
        let inside = decoded.entries.last().is_none_or(|last| u64::from(last.position) < size);
        Ok((sealed && covers && inside).then_some(decoded.entries))
    }

    /// The interval that `find` picks from the entries. `None` if there is none, or the index is not loaded.
    fn interval(&self, find: impl FnOnce(&[Entry]) -> Option<usize>) -> Option<Interval> {
        let state = self.state();
        let slot = find(&state.index.as_ref()?.entries)?;
        state.interval_of(slot, self.base)
    }

    /// From the interval in `slot` on, up to the one that passes byte `to`: how far they are known to be sound, and
    /// the first that is not.
    fn sound_run(&self, slot: usize, to: u64) -> (u64, Option<Interval>) {
        let state = self.state();
        let mut reached = 0;
        for slot in slot.. {
            match state.interval_of(slot, self.base) {
                Some(interval) if !interval.sound => return (interval.start, Some(interval)),
                // Nothing behind what this process wrote was there before.
                Some(interval) if interval.start >= state.sound_from => return (state.size, None),
                Some(interval) => reached = interval.end,
                None => break,
            }
            if reached >= to {
                break;
            }
        }
        (reached, None)
    }

    fn is_loaded(&self) -> bool {
        self.state().index.is_some()
    }

    fn mark_sound(&self, intervals: &[Interval]) {
        let mut state = self.state();
        let Some(index) = &mut state.index else { return };
        for interval in intervals {
            // The index may have been loaded anew or cut since the bytes were read.
            let same =
                index.entries.get(interval.slot).is_some_and(|e| u64::from(e.position) == interval.start);
            if same {
                let word = interval.slot / 64;
                if index.sound.len() <= word {
                    index.sound.resize(word + 1, 0);
                }
                index.sound[word] |= 1 << (interval.slot % 64);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn interval_of(&self, slot: usize, base: Offset) -> Option<Interval> {
        let index = self.index.as_ref()?;
        let entry = index.entries.get(slot)?;
        let (end, next) = match index.entries.get(slot + 1) {
            Some(after) => (u64::from(after.position), base.plus(i64::from(after.delta))),
            None => (self.size, self.next),
        };
        let start = u64::from(entry.position);
        let found_sound = index.sound.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1);
        let sound = start >= self.sound_from || found_sound;
        Some(Interval { slot, start, end, first: base.plus(i64::from(entry.delta)), next, sound })
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("base", &self.base)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// What no offset of a segment goes beyond, whose next one begins at `next`. No CRC covers a base offset: behind damage, one
/// that no segment reaches is damaged too.
pub(crate) fn reach(base: Offset, next: Option<Offset>) -> Offset {
    let most = Offset(base.0.saturating_add(OFFSETS_MAX));
    next.map_or(most, |next| next.min(most))
}

/// An index entry for the batch with offset `first` at `position`. The caller keeps both within 32 bits of the
/// segment's base and start: a segment is closed before it outgrows them.
pub(crate) fn entry(base: Offset, first: Offset, position: u64, max_ts_before: i64) -> Entry {
    let fits = "a segment spans less than 2^32 bytes and offsets";
    Entry {
        delta: u32::try_from(first.0 - base.0).expect(fits),
        position: u32::try_from(position).expect(fits),
        max_ts_before,
    }
}
