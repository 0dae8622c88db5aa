//! The write-ahead log of the metadata quorum: segmented, checksummed, synced with each append.
//!
//! Its records are opaque (the quorum's entries, hard state and snapshot marks) but for an index, by
//! which old segments are dropped after a snapshot. It is append-only: an owner that must replace a
//! suffix appends the replacement, and its replay lets the later record win, so that no crash can
//! fall between a cut and what was to follow it. Each append is one frame, one write, one fdatasync.

mod error;
mod segment;
#[cfg(test)]
mod tests;

pub use error::WalError;

use crate::frames;
use bytes::Bytes;
use norn_env::disk::{Disk, File, Open};
use std::collections::VecDeque;

/// Limits of a WAL.
#[derive(Debug, Clone, Copy)]
pub struct WalConfig {
    /// A segment that has reached this size is not appended to any more.
    pub segment_bytes: u64,
}

/// One record as appended and as recovery visits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What [`Wal::drop_prefix`] goes by: a record may go when a snapshot covers its index.
    pub index: u64,
    pub payload: Bytes,
}

/// What opening found, for the log line of the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalRecovery {
    pub segments: usize,
    pub records: u64,
    /// The torn tail that was cut: file, position, bytes. None of it was ever acknowledged.
    pub torn_tail: Option<(String, u64, u64)>,
}

/// A segment that is on disk.
#[derive(Debug)]
struct Segment {
    first_sequence: u64,
    /// Highest index of its records; 0 while it has none.
    max_index: u64,
    bytes: u64,
}

/// The open log. Owned by one task; every method that fails once leaves it stopped for good.
#[derive(Debug)]
pub struct Wal {
    disk: Disk,
    dir: String,
    config: WalConfig,
    sealed: VecDeque<Segment>,
    active: Segment,
    file: File,
    next_sequence: u64,
    stopped: bool,
}

impl Wal {
    /// Opens the log in `dir`, creating it if it is not there, and hands every record to `visit` in the
    /// order of appending. A torn tail is cut, and what was visited is durable, before this returns.
    pub async fn open(
        disk: Disk,
        dir: &str,
        config: WalConfig,
        visit: &mut (dyn FnMut(Record) + Send),
    ) -> Result<(Wal, WalRecovery), WalError> {
        create_dir(&disk, dir).await?;
        let entries = disk.list(dir).await.map_err(WalError::disk("listing", dir))?;
        let names: Vec<u64> = entries.iter().filter_map(|entry| segment::parse_name(&entry.name)).collect();
        let mut report = WalRecovery { segments: names.len(), ..WalRecovery::default() };
        let mut found: VecDeque<Segment> = VecDeque::with_capacity(names.len());
        let mut next_sequence = names.first().copied().unwrap_or(1);
        let mut last_file = None;
        for (n, first_sequence) in names.iter().copied().enumerate() {
            let path = path(dir, first_sequence);
            let corrupt = |at, what| WalError::Corrupt { file: path.clone(), at, what };
            if first_sequence != next_sequence {
                return Err(corrupt(0, "frames are missing before it"));
            }
            let last = n + 1 == names.len();
            let file = disk.open_file(&path, Open::Write).await.map_err(WalError::disk("opening", &path))?;
            let length = file.len().await.map_err(WalError::disk("reading", &path))?;
            let bytes = file.read_at(0, length as usize).await.map_err(WalError::disk("reading", &path))?;
            let recovered =
                segment::recover(first_sequence, &bytes, last).map_err(|damage| match damage {
                    segment::Damage::Corrupt { at, what } => corrupt(at, what),
                    segment::Damage::Newer { version } => WalError::Newer { file: path.clone(), version },
                })?;
            if let Some(torn) = recovered.torn {
                norn_env::sometimes!("wal-torn-tail-cut");
                report.torn_tail = Some((path.clone(), recovered.end, torn));
            }
            if last && length > 0 {
                settle(&file, &path, length, bytes.slice(..recovered.end as usize)).await?;
            }
            report.records += recovered.records.len() as u64;
            let max_index = recovered.records.iter().map(|record| record.index).max().unwrap_or(0);
            found.push_back(Segment { first_sequence, max_index, bytes: recovered.end });
            next_sequence = recovered.next_sequence;
            recovered.records.into_iter().for_each(&mut *visit);
            last_file = Some(file);
        }
        let (active, file) = match (found.pop_back(), last_file) {
            (Some(active), Some(file)) => (active, file),
            _ => create_segment(&disk, dir, next_sequence).await?,
        };
        let wal = Wal {
            disk,
            dir: dir.to_owned(),
            config,
            sealed: found,
            active,
            file,
            next_sequence,
            stopped: false,
        };
        Ok((wal, report))
    }

    /// Appends a batch and makes it durable: one write, one fdatasync.
    pub async fn append(&mut self, records: &[Record]) -> Result<(), WalError> {
        if self.stopped {
            return Err(WalError::Stopped);
        }
        if records.is_empty() {
            return Ok(());
        }
        // Also if the caller's future is dropped half-way: what is durable then is not known.
        self.stopped = true;
        if self.active.bytes >= self.config.segment_bytes && self.active.bytes > 0 {
            let (next, file) = create_segment(&self.disk, &self.dir, self.next_sequence).await?;
            self.sealed.push_back(std::mem::replace(&mut self.active, next));
            self.file = file;
        }
        let mut pieces = segment::encode_batch(records);
        pieces.insert(0, frames::header(self.next_sequence, &pieces));
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let path = || path(&self.dir, self.active.first_sequence);
        self.file.write_at(self.active.bytes, pieces).await.map_err(WalError::disk("writing", path()))?;
        self.file.sync_data().await.map_err(WalError::disk("syncing", path()))?;
        self.active.bytes += length;
        let max_index = records.iter().map(|record| record.index).max().unwrap_or(0);
        self.active.max_index = self.active.max_index.max(max_index);
        self.next_sequence += 1;
        self.stopped = false;
        Ok(())
    }

    /// Removes segments all of whose records have an index up to and including `index`, oldest first.
    /// The caller has a durable snapshot at `index` or later, and has appended since whatever else the
    /// log must still say. The segment that is appended to stays.
    pub async fn drop_prefix(&mut self, index: u64) -> Result<(), WalError> {
        if self.stopped {
            return Err(WalError::Stopped);
        }
        while self.sealed.front().is_some_and(|oldest| oldest.max_index <= index) {
            let Some(oldest) = self.sealed.pop_front() else { break };
            let path = path(&self.dir, oldest.first_sequence);
            self.stopped = true;
            self.disk.remove(&path).await.map_err(WalError::disk("removing", &path))?;
            // Each removal by itself: two that reach the disk in the other order would leave a gap.
            self.disk.sync_dir(&self.dir).await.map_err(WalError::disk("syncing", &self.dir))?;
            self.stopped = false;
        }
        Ok(())
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + self.active.bytes
    }
}

/// Makes the last segment's file what was kept of it, durably.
///
/// After a failed sync the operating system may hold pages that are not on disk and count as clean: a sync alone would pass
/// over them, and frames that follow would stand behind a hole.
async fn settle(file: &File, path: &str, length: u64, kept: Bytes) -> Result<(), WalError> {
    if length > kept.len() as u64 {
        file.truncate(kept.len() as u64).await.map_err(WalError::disk("truncating", path))?;
    }
    file.write_at(0, vec![kept]).await.map_err(WalError::disk("writing", path))?;
    file.sync_data().await.map_err(WalError::disk("syncing", path))
}

fn path(dir: &str, first_sequence: u64) -> String {
    format!("{dir}/{}", segment::file_name(first_sequence))
}

async fn create_dir(disk: &Disk, dir: &str) -> Result<(), WalError> {
    disk.create_dir_all(dir).await.map_err(WalError::disk("creating", dir))?;
    let parent = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
    disk.sync_dir(parent).await.map_err(WalError::disk("syncing", parent))
}

/// A new, empty segment whose directory entry is durable before the first byte is written to it.
async fn create_segment(disk: &Disk, dir: &str, first_sequence: u64) -> Result<(Segment, File), WalError> {
    let path = path(dir, first_sequence);
    let file = disk.open_file(&path, Open::CreateNew).await.map_err(WalError::disk("creating", &path))?;
    disk.sync_dir(dir).await.map_err(WalError::disk("syncing", dir))?;
    Ok((Segment { first_sequence, max_index: 0, bytes: 0 }, file))
}
