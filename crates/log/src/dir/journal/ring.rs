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

/// How far beyond the newest whole frame that a start finds others may stand that no sync confirmed: one that told of
/// syncs in place, and two of a write that begins a file.
pub(super) const SEQUENCES_UNSURE: u64 = 3;

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
    /// The file that is written first.
    first: usize,
    next_sequence: u64,
    /// Behind the active file's last frame stands one with the next sequence that was not synced, and that the next one
    /// is written over.
    unsynced_tail: bool,
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
    /// A ring whose files are those that were found, none of which has a frame that counts; it begins with file `first`.
    pub fn new(config: JournalConfig, found: Vec<Option<File>>, first: usize, next_sequence: u64) -> Ring {
        assert!(found.len() >= 2, "a ring of {} files", found.len());
        let file = |file| RingFile { file, position: 0, first_sequence: 0, dirty: BTreeMap::new() };
        Ring {
            file_bytes: config.file_bytes,
            files: found.into_iter().map(file).collect(),
            active: None,
            first,
            next_sequence,
            unsynced_tail: false,
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
        match self.plan_here(&pieces) {
            Some(write) => Some(write),
            None => self.plan_rotation(Some(pieces), points),
        }
    }

    /// The write for a frame that will not be synced; `None` if the active file has no room. The next frame is written
    /// over it: one that was synced never stands behind one that was not, or a loss of power in between would look
    /// like decay. It must only say what is true without it.
    pub fn plan_unsynced(&mut self, pieces: Vec<Bytes>) -> Option<PlannedWrite> {
        let write = self.plan_here(&pieces)?;
        self.unsynced_tail = true;
        Some(write)
    }

    /// The write of a frame behind the active file's last, if there is room.
    fn plan_here(&self, pieces: &[Bytes]) -> Option<PlannedWrite> {
        let index = self.active?;
        let active = &self.files[index];
        let payload: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let len = payload + frames::HEADER_LEN as u64;
        if active.position + len > self.file_bytes {
            return None;
        }
        let sequence = self.next_sequence;
        let mut buffers = vec![frames::header(sequence, pieces)];
        buffers.extend(pieces.iter().cloned());
        let (file, position) = (active.file.clone()?, active.position);
        Some(PlannedWrite { file, position, buffers, index, len, sequence, checkpoint: None })
    }

    /// The file that is written when the active one is full.
    fn next_index(&self) -> usize {
        self.active.map_or(self.first, |active| (active + 1) % self.files.len())
    }

    /// The write that begins the next file with a checkpoint, and a round after it.
    pub fn plan_rotation(&self, round: Option<Vec<Bytes>>, points: &Points) -> Option<PlannedWrite> {
        let index = self.next_index();
        let next = &self.files[index];
        if !next.dirty.is_empty() {
            return None;
        }
        let file = next.file.clone()?;
        // An unsynced frame that the active file ends with keeps its sequence.
        let sequence = self.next_sequence + u64::from(self.unsynced_tail);
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
        self.unsynced_tail = false;
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
        self.unsyncable.retain(|(name, _)| name != log);
        for file in &mut self.files {
            file.dirty.retain(|(name, _), _| name != log);
        }
    }

    /// A file was created and written once.
    pub fn prepared(&mut self, index: usize, file: File) {
        self.files[index].file = Some(file);
    }

    /// What to do in the background so that there is room when the active file is full: sync segments, and prepare the
    /// next file, if one is active or the first is `wanted` now. A start needs a second file: the checkpoint that it
    /// writes must not go over the frames that it has just read.
    pub fn chore(&self, wanted: bool) -> Option<Chore> {
        let next = self.next_index();
        if self.files[next].file.is_none() && (wanted || self.active.is_some()) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::inspect::read_ring_file;
    use crate::dir::journal::entry::encode_round;
    use crate::dir::journal::replay::replay;
    use crate::dir::points::RecoveryPoint;
    use norn_env::disk::{Disk, Open};
    use proptest::prelude::*;

    /// The ring's files by path: as the operating system has them, and what of them is synced.
    #[derive(Default)]
    struct Files {
        cached: BTreeMap<String, Vec<u8>>,
        durable: BTreeMap<String, Vec<u8>>,
    }

    fn put(files: &mut BTreeMap<String, Vec<u8>>, write: &PlannedWrite, part: usize) {
        let bytes = write.buffers.concat();
        let file = files.entry(write.file.path().to_owned()).or_default();
        let at = write.position as usize;
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + part.min(bytes.len())].copy_from_slice(&bytes[..part.min(bytes.len())]);
    }

    /// The durable end of the one log as a start would find it. Nothing that a crash leaves looks like decay.
    fn found(files: &BTreeMap<String, Vec<u8>>) -> i64 {
        let mut frames = Vec::new();
        for bytes in files.values() {
            let bytes = Bytes::copy_from_slice(bytes);
            let scan = frames::scan(&bytes, 0, None);
            assert!(!matches!(scan.tail, frames::Tail::Corrupt { .. }), "{:?}", scan.tail);
            read_ring_file(&bytes, &mut frames);
        }
        frames.sort_by_key(|(sequence, _)| *sequence);
        replay(frames).points.get("t-0").map_or(0, |point| point.end.0)
    }

    fn point(end: i64) -> RecoveryPoint {
        RecoveryPoint { segment: Offset(0), position: end as u64, end: Offset(end) }
    }

    async fn drive(steps: Vec<(bool, usize, prop::sample::Index)>) {
        let root = tempfile::tempdir().unwrap();
        let disk = Disk::open(root.path()).unwrap();
        let mut open = Vec::new();
        for n in 0..2 {
            open.push(Some(disk.open_file(&format!("{n}"), Open::Create).await.unwrap()));
        }
        let config = JournalConfig { files: 2, file_bytes: 1000 };
        let mut ring = Ring::new(config, open, 0, 4);
        let mut files = Files::default();
        let mut durable_end = 0;
        for (end, (synced, others, cut)) in (1..).zip(steps) {
            // Entries of other logs make the frames of different lengths.
            let other = |n| Entry { log: format!("other-{n}").into(), what: What::Durable(point(1)) };
            let mut entries: Vec<Entry> = (0..others).map(other).collect();
            entries.push(Entry { log: "t-0".into(), what: What::Durable(point(end)) });
            let pieces = encode_round(&entries);
            let points = [("t-0".into(), point(durable_end))].into();
            let unsynced = if synced { None } else { ring.plan_unsynced(pieces.clone()) };
            let synced = unsynced.is_none();
            let write = unsynced.or_else(|| ring.plan(pieces, &points)).expect("nothing is dirty");
            let part = cut.index(write.buffers.concat().len() + 1);
            // The power goes while it is written, with or without what was not synced before.
            for base in [&files.durable, &files.cached] {
                let mut left = base.clone();
                put(&mut left, &write, part);
                assert!(found(&left) >= durable_end, "{} of {durable_end}", found(&left));
            }
            put(&mut files.cached, &write, usize::MAX);
            assert_eq!(found(&files.cached), end, "a kill leaves what was written last");
            if synced {
                put(&mut files.durable, &write, usize::MAX);
                files.durable.insert(write.file.path().to_owned(), files.cached[write.file.path()].clone());
                ring.written(&write, &[], &BTreeMap::new());
                durable_end = end;
            }
        }
    }

    #[test]
    fn a_segment_whose_sync_failed_is_forgotten_with_its_log() {
        norn_env::testing::run(|| async {
            let root = tempfile::tempdir().unwrap();
            let disk = Disk::open(root.path()).unwrap();
            let file = disk.open_file("0", Open::Create).await.unwrap();
            let config = JournalConfig { files: 2, file_bytes: 1000 };
            let mut ring = Ring::new(config, vec![Some(file.clone()), None], 0, 1);
            let log: Arc<str> = "t-0".into();
            let key = (log.clone(), Offset(0));
            let copy = |ring: &mut Ring| {
                let what =
                    What::Range { segment: Offset(0), position: 0, bytes: vec![Bytes::from_static(b"r")] };
                let entries = [Entry { log: log.clone(), what }];
                let write = ring.plan(encode_round(&entries), &Points::new()).unwrap();
                ring.written(&write, &entries, &[(key.clone(), file.clone())].into());
            };
            copy(&mut ring);
            ring.sync_failed(key.clone());
            assert!(ring.dirty().is_empty(), "it is not tried again");
            ring.forget_log(&log);
            copy(&mut ring);
            assert!(ring.dirty().contains_key(&key), "it is another log's");
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn neither_a_kill_nor_a_loss_of_power_takes_back_what_was_told(
            steps in prop::collection::vec((any::<bool>(), 0..5usize, any::<prop::sample::Index>()), 1..60),
        ) {
            norn_env::testing::run(move || drive(steps));
        }
    }
}
