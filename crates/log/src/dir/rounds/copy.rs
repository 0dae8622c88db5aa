//! The journal's writes: the copy of a round's ranges, and the points of logs that were synced without it.

use super::batch::Batch;
use super::plan::{self, Load};
use super::untold::Tell;
use super::{RoundsTask, PATIENCE};
use crate::dir::journal::entry::{encode_round, Entry, What};
use crate::dir::journal::ring::{PlannedWrite, SegmentKey};
use crate::rounds::{LogKey, SyncError};
use futures::future::FutureExt;
use norn_env::clock;
use norn_env::disk::File;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// The most bytes of points in one frame: those of some thousand logs.
const POINTS_BYTES_MAX: usize = 64 << 10;

/// The journal's write that is under way.
pub(super) struct Copy {
    write: PlannedWrite,
    entries: Vec<Entry>,
    files: BTreeMap<SegmentKey, File>,
    /// Whose batches wait for it; none if it tells points only.
    logs: Vec<LogKey>,
    synced: bool,
    result: io::Result<()>,
}

impl RoundsTask {
    /// The segments whose ranges are to be copied into the journal.
    pub(super) fn copyable(&self, ready: &BTreeMap<LogKey, Batch>) -> BTreeMap<SegmentKey, File> {
        let files: BTreeMap<SegmentKey, (File, Load)> = ready.values().flat_map(Batch::files).collect();
        let loads: Vec<Load> = files.values().map(|(_, load)| *load).collect();
        let copies = plan::copies(&loads, self.ring.round_bytes_max());
        let chosen = files.into_iter().zip(copies).filter(|(_, copy)| *copy);
        chosen.map(|((key, (file, _)), _)| (key, file)).collect()
    }

    /// Starts the journal's write, if the journal is free and has something to take. Gives the segments
    /// whose ranges it takes; batches that it concerns have one part more.
    pub(super) fn begin_copy(
        &mut self,
        ready: &mut BTreeMap<LogKey, Batch>,
        copied: BTreeMap<SegmentKey, File>,
    ) -> BTreeSet<SegmentKey> {
        if self.copy.is_some() {
            return BTreeSet::new();
        }
        let mut entries = Vec::new();
        let mut logs = Vec::new();
        for (log, batch) in ready.iter() {
            let copies = |key: &SegmentKey| copied.contains_key(key);
            if batch.noted || batch.files().keys().any(copies) {
                entries.extend(batch.entries(copies));
                logs.push(*log);
            }
        }
        if logs.is_empty() {
            return BTreeSet::new();
        }
        // Before the round's own: of two points of a log the later one counts.
        let (told, mut points) = self.points_to_tell();
        points.extend(entries);
        let entries = points;
        let Some(write) = self.ring.plan(encode_round(&entries), &self.points) else {
            self.journal_wanted = true;
            return BTreeSet::new();
        };
        self.untold.told(&told);
        for log in &logs {
            if let Some(batch) = ready.get_mut(log) {
                batch.parts += 1;
                batch.told = batch.files().keys().all(|key| copied.contains_key(key));
            }
        }
        let keys = copied.keys().cloned().collect();
        self.copy = Some(copy(write, entries, copied, logs, true).boxed());
        keys
    }

    /// Tells the journal how far logs are durable by syncs in place, if that is due and the journal is free.
    pub(super) fn begin_tell(&mut self) {
        if self.copy.is_some() || self.full {
            return;
        }
        let Some(tell) = self.untold.due(clock::now()) else { return self.await_tell() };
        let (told, entries) = self.points_to_tell();
        let pieces = encode_round(&entries);
        let unsynced = match tell {
            Tell::Write => self.ring.plan_unsynced(pieces.clone()),
            Tell::Sync => None,
        };
        let synced = unsynced.is_none();
        let Some(write) = unsynced.or_else(|| self.ring.plan(pieces, &self.points)) else {
            self.journal_wanted = true;
            self.full = true;
            return;
        };
        match synced {
            true => self.untold.told(&told),
            false => self.untold.written(),
        }
        let until = clock::now() + PATIENCE;
        self.telling = Some((until, clock::sleep_until(until).boxed()));
        self.told_until = Some(until);
        self.copy = Some(copy(write, entries, BTreeMap::new(), Vec::new(), synced).boxed());
    }

    /// Sees to it that the task wakes when the journal is to be told.
    fn await_tell(&mut self) {
        let armed = self.telling.as_ref().map(|(at, _)| *at);
        if let Some(at) = self.untold.next_at().filter(|at| armed.is_none_or(|armed| *at < armed)) {
            self.telling = Some((at, clock::sleep_until(at).boxed()));
        }
    }

    fn points_to_tell(&self) -> (Vec<Arc<str>>, Vec<Entry>) {
        let room = POINTS_BYTES_MAX.min(self.config.file_bytes as usize / 8);
        let told = self.untold.next(room);
        let entry = |log: &Arc<str>| {
            let point = self.points.get(log)?;
            Some(Entry { log: log.clone(), what: What::Durable(*point) })
        };
        let entries = told.iter().filter_map(entry).collect();
        (told, entries)
    }

    /// The journal's write ended.
    pub(super) fn copied(&mut self, copy: Copy) -> Result<(), SyncError> {
        let Copy { write, entries, files, logs, synced, result } = copy;
        self.told_until = None;
        if let Err(error) = result {
            let reason = format!("the journal {} cannot be written: {error}", write.file.path());
            return Err(SyncError::new(reason));
        }
        if !synced {
            return Ok(());
        }
        match logs.is_empty() {
            true => norn_env::sometimes!("journal-told-of-syncs-in-place"),
            false => norn_env::sometimes!("round-through-journal"),
        }
        self.ring.written(&write, &entries, &files);
        self.full = false;
        logs.into_iter().for_each(|log| self.part_done(log));
        Ok(())
    }
}

/// One write to the journal, and one fdatasync if it is to be synced.
async fn copy(
    write: PlannedWrite,
    entries: Vec<Entry>,
    files: BTreeMap<SegmentKey, File>,
    logs: Vec<LogKey>,
    synced: bool,
) -> Copy {
    let file = write.file.clone();
    let written = file.write_at(write.position, write.buffers.clone());
    let result = match written.await {
        Ok(()) if synced => file.sync_data().await,
        written => written,
    };
    Copy { write, entries, files, logs, synced, result }
}
