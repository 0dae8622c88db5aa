//! The state of the ring: which file is written, which may be written again, and what in it is still the
//! only durable copy. No I/O here: it plans a write, and is told when it is durable.
//!
//! A file may be used again when every segment with ranges in it has been synced since. The first frame
//! of each file is a checkpoint that says from which frame on the journal counts; until that checkpoint
//! is durable, older frames would still be played, so notes about their files must be written.

use super::entry::{self, Entry, What};
use super::JournalConfig;
use crate::dir::points::Points;
use crate::frames;
use crate::rounds::FileNote;
use bytes::Bytes;
use norn_env::disk::File;
use norn_protocol::types::Offset;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A segment's file: the log's directory name and the segment's base offset.
pub(in crate::dir) type SegmentKey = (Arc<str>, Offset);

/// Frames that one write may hold.
pub(super) const FRAMES_PER_WRITE_MAX: u64 = 2;

/// One file of the ring.
#[derive(Debug)]
pub(in crate::dir) struct RingFile {
    /// `None`: not yet prepared.
    pub file: Option<File>,
    /// Where the next frame goes.
    position: u64,
    /// Sequence of its checkpoint; 0 while it has no frame that counts.
    first_sequence: u64,
    /// Segments with ranges in it that were not synced since.
    dirty: BTreeMap<SegmentKey, File>,
}

/// The ring and what is live in it.
#[derive(Debug)]
pub(in crate::dir) struct Ring {
    file_bytes: u64,
    files: Vec<RingFile>,
    active: Option<usize>,
    next_sequence: u64,
    /// The oldest frame that playing the journal as it is on disk would apply.
    live_from: u64,
    /// The newest frame that says something about a segment's bytes.
    live: BTreeMap<SegmentKey, u64>,
    /// Segments whose sync failed: the ring files that hold their ranges are never used again.
    unsyncable: BTreeSet<SegmentKey>,
}

/// A write that makes one frame durable, to be followed by one fdatasync.
#[derive(Debug)]
pub(in crate::dir) struct PlannedWrite {
    pub file: File,
    pub position: u64,
    pub buffers: Vec<Bytes>,
    index: usize,
    len: u64,
    sequence: u64,
    /// The checkpoint that the write begins its file with: its sequence and the frame that counts first.
    checkpoint: Option<(u64, u64)>,
}

/// Work that makes the next file of the ring usable.
#[derive(Debug)]
pub(in crate::dir) enum Chore {
    /// Create this file and write it once.
    Prepare(usize),
    /// Sync a segment with ranges in the ring file that begins with this sequence.
    Sync { first_sequence: u64, key: SegmentKey, file: File },
}

impl Ring {
    /// A ring whose files are those that were found, none of which has a frame that counts.
    pub fn new(config: JournalConfig, found: Vec<Option<File>>, next_sequence: u64) -> Ring {
        assert!(found.len() >= 2, "a ring of {} files", found.len());
        let file = |file| RingFile { file, position: 0, first_sequence: 0, dirty: BTreeMap::new() };
        Ring {
            file_bytes: config.file_bytes,
            files: found.into_iter().map(file).collect(),
            active: None,
            next_sequence,
            live_from: next_sequence,
            live: BTreeMap::new(),
            unsyncable: BTreeSet::new(),
        }
    }

    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether a note about this file must be durable: something that is played at a start would undo it.
    pub fn is_live(&self, key: &SegmentKey) -> bool {
        self.live.get(key).is_some_and(|sequence| *sequence >= self.live_from)
    }

    /// As [`Ring::is_live`] for any segment of a log from this one on.
    pub fn is_live_from(&self, (log, segment): SegmentKey) -> bool {
        let segments = self.live.range((log.clone(), segment)..=(log, Offset(i64::MAX)));
        segments.into_iter().any(|(_, sequence)| *sequence >= self.live_from)
    }

    /// Whether anything at all stands in the journal, points included.
    pub fn is_used(&self) -> bool {
        self.active.is_some()
    }

    /// The most bytes of ranges that one round should bring: a file must hold several.
    pub fn round_bytes_max(&self) -> u64 {
        self.file_bytes / 4
    }

    /// The write for a round with these payload pieces, or `None` if there is no room for it now.
    pub fn plan(&self, pieces: Vec<Bytes>, points: &Points) -> Option<PlannedWrite> {
        let payload: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let len = payload + frames::HEADER_LEN as u64;
        if let Some(index) = self.active {
            let active = &self.files[index];
            if active.position + len <= self.file_bytes {
                let mut buffers = vec![frames::header(self.next_sequence, &pieces)];
                buffers.extend(pieces);
                let (file, position) = (active.file.clone()?, active.position);
                let sequence = self.next_sequence;
                return Some(PlannedWrite {
                    file,
                    position,
                    buffers,
                    index,
                    len,
                    sequence,
                    checkpoint: None,
                });
            }
        }
        self.plan_rotation(Some(pieces), points)
    }

    /// The write that begins the next file with a checkpoint, and a round after it.
    pub fn plan_rotation(&self, round: Option<Vec<Bytes>>, points: &Points) -> Option<PlannedWrite> {
        let index = self.active.map_or(0, |active| (active + 1) % self.files.len());
        let next = &self.files[index];
        if !next.dirty.is_empty() {
            return None;
        }
        let file = next.file.clone()?;
        let sequence = self.next_sequence;
        let others =
            self.files.iter().enumerate().filter(|(other, file)| *other != index && !file.dirty.is_empty());
        let live_from = others.map(|(_, file)| file.first_sequence).min().unwrap_or(sequence);
        let checkpoint = [entry::encode_checkpoint(live_from, points, (self.file_bytes / 2) as usize)];
        let mut buffers = vec![frames::header(sequence, &checkpoint)];
        buffers.extend(checkpoint);
        if let Some(pieces) = &round {
            buffers.push(frames::header(sequence + 1, pieces));
            buffers.extend(pieces.iter().cloned());
        }
        let len: u64 = buffers.iter().map(|piece| piece.len() as u64).sum();
        let last = sequence + u64::from(round.is_some());
        let checkpoint = Some((sequence, live_from));
        (len <= self.file_bytes).then_some(PlannedWrite {
            file,
            position: 0,
            buffers,
            index,
            len,
            sequence: last,
            checkpoint,
        })
    }

    /// The write is durable. `entries` are those of its round, `files` the segments of their ranges.
    pub fn written(&mut self, write: &PlannedWrite, entries: &[Entry], files: &BTreeMap<SegmentKey, File>) {
        if let Some((first_sequence, live_from)) = write.checkpoint {
            self.active = Some(write.index);
            let file = &mut self.files[write.index];
            assert!(file.dirty.is_empty(), "a ring file is used again with ranges that are nowhere else");
            (file.first_sequence, file.position) = (first_sequence, 0);
            self.live_from = live_from;
            self.live.retain(|_, sequence| *sequence >= live_from);
        }
        let active = &mut self.files[write.index];
        active.position += write.len;
        self.next_sequence = write.sequence + 1;
        for Entry { log, what } in entries {
            let key = |segment: &Offset| (log.clone(), *segment);
            match what {
                What::Range { segment, .. } => {
                    let key = key(segment);
                    self.live.insert(key.clone(), write.sequence);
                    active.dirty.insert(key.clone(), files[&key].clone());
                }
                // Played without its end, it would cut what is written after the cut.
                What::File(FileNote::Truncating { segment, .. }) => {
                    self.live.insert(key(segment), write.sequence);
                }
                What::File(_) | What::Durable(_) | What::LogDeleted => {}
            }
        }
    }

    /// A segment was synced; `before` is the sequence that the next frame had when that sync began.
    pub fn synced(&mut self, key: &SegmentKey, before: u64) {
        for file in self.files.iter_mut().filter(|file| file.first_sequence < before) {
            file.dirty.remove(key);
        }
    }

    /// A segment's sync failed: what the ring has of it stays the only durable copy.
    pub fn sync_failed(&mut self, key: SegmentKey) {
        self.unsyncable.insert(key);
    }

    /// A log was removed: nobody needs its ranges.
    pub fn forget_log(&mut self, log: &Arc<str>) {
        for file in &mut self.files {
            file.dirty.retain(|(name, _), _| name != log);
        }
    }

    /// A file was created and written once.
    pub fn prepared(&mut self, index: usize, file: File) {
        self.files[index].file = Some(file);
    }

    /// What to do in the background so that there is room when the active file is full: sync segments, and
    /// prepare the next file, if it is `wanted` now or the active one is half full.
    pub fn chore(&self, wanted: bool) -> Option<Chore> {
        let next = self.active.map_or(0, |active| (active + 1) % self.files.len());
        let filling = self.active.is_some_and(|active| self.files[active].position > self.file_bytes / 2);
        if self.files[next].file.is_none() && (wanted || filling) {
            return Some(Chore::Prepare(next));
        }
        let mut sealed: Vec<usize> =
            (0..self.files.len()).filter(|index| Some(*index) != self.active).collect();
        sealed.sort_by_key(|index| self.files[*index].first_sequence);
        sealed.into_iter().find_map(|index| {
            let RingFile { dirty, first_sequence, .. } = &self.files[index];
            let (key, file) = dirty.iter().find(|(key, _)| !self.unsyncable.contains(*key))?;
            Some(Chore::Sync { first_sequence: *first_sequence, key: key.clone(), file: file.clone() })
        })
    }

    /// All segments that are not synced since their ranges were copied.
    pub fn dirty(&self) -> BTreeMap<SegmentKey, File> {
        let all = self.files.iter().flat_map(|file| &file.dirty);
        all.filter(|(key, _)| !self.unsyncable.contains(*key))
            .map(|(key, file)| (key.clone(), file.clone()))
            .collect()
    }
}
