//! Producer snapshots: opaque bytes with what their owner knows of the log's producers up to an offset, so that
//! after a start only the batches behind it have to be looked at (Kafka's `<offset>.snapshot` files).

use bytes::Bytes;
use norn_protocol::batch::BatchHeader;
use norn_protocol::types::Offset;

use super::{view, PartitionLog};
use crate::checkpoint::{self, Found};
use crate::error::LogError;
use crate::segment::file_name;
use crate::segment::index::floor_by_offset;
use crate::segment::recovery::Check;
use crate::segment::walk::{Step, Walk, CHUNK_LONG};

pub(super) const SNAPSHOT_SUFFIX: &str = ".snapshot";
/// Kept: the newest, and one to fall back on if it is damaged or lies behind a truncation.
const SNAPSHOTS_KEPT: usize = 2;
/// A new snapshot is due after this many bytes, which bounds what a start has to walk through.
const SNAPSHOT_BYTES: u64 = 64 << 20;

/// What a log tells of its producers: first a snapshot, if there is one, then the batches behind it, in order.
#[derive(Clone, Debug)]
pub enum Visit<'a> {
    /// What [`PartitionLog::store_producer_snapshot`] was given when the log ended at `at`.
    Snapshot {
        at: Offset,
        bytes: &'a Bytes,
    },
    Batch(&'a BatchHeader),
    /// Records that cannot be read, of producers that nobody knows.
    Damaged,
}

/// Whoever keeps the state of the producers.
pub type Visitor<'a> = &'a mut (dyn FnMut(Visit<'_>) + Send);

impl PartitionLog {
    /// Whether enough was appended since the last snapshot for a new one.
    pub fn snapshot_due(&self) -> bool {
        self.bytes_since_snapshot >= SNAPSHOT_BYTES.min(self.config.segment_bytes)
    }

    /// Stores what is known of the producers up to the log's end, durably.
    pub async fn store_producer_snapshot(&mut self, bytes: Bytes) -> Result<(), LogError> {
        self.begin()?;
        let name = file_name(self.end, SNAPSHOT_SUFFIX);
        let stored = checkpoint::write(&self.disk, &self.dir, &name, &bytes).await;
        stored.map_err(|e| self.failed("write a producer snapshot in", &self.dir, e))?;
        self.bytes_since_snapshot = 0;
        if self.snapshots.last() != Some(&self.end) {
            self.snapshots.push(self.end);
        }
        if let Some(surplus) = self.snapshots.len().checked_sub(SNAPSHOTS_KEPT).filter(|n| *n > 0) {
            let oldest_kept = self.snapshots[surplus];
            self.drop_snapshots(|at| at < oldest_kept).await?;
        }
        self.busy = false;
        Ok(())
    }

    /// Shows `visit` all there is to know of the log's producers: at the start, and again after a truncation, when
    /// what it knew of the removed records must be forgotten. Returns the snapshot's offset.
    pub async fn replay_producers(&self, visit: Visitor<'_>) -> Result<Option<Offset>, LogError> {
        let mut used = None;
        for at in self.snapshots.iter().rev().copied() {
            let name = file_name(at, SNAPSHOT_SUFFIX);
            let found = checkpoint::read(&self.disk, &self.dir, &name).await;
            match found.map_err(LogError::io("read a producer snapshot in", &*self.dir))? {
                Found::Body(bytes) => {
                    visit(Visit::Snapshot { at, bytes: &bytes });
                    used = Some(at);
                    break;
                }
                Found::Missing | Found::Corrupt => {
                    tracing::warn!(log = %self.id, offset = at.0, "a producer snapshot cannot be read");
                }
            }
        }
        let from = used.unwrap_or(self.segments[0].base());
        let first = view::segment_of(&self.segments, from).map_or(self.segments[0].base(), |s| s.base());
        for segment in self.segments.iter().filter(|s| s.base() >= first && s.next_offset() > s.base()) {
            let io = || LogError::io("read", segment.file().path());
            segment.load().await.map_err(io())?;
            let delta = u32::try_from(from.0.saturating_sub(segment.base().0).max(0)).unwrap_or(u32::MAX);
            let entries = segment.entries_from(0);
            let entry = floor_by_offset(&entries, delta).map(|at| entries[at]);
            let (position, due) = entry.map_or((0, segment.base()), |entry| {
                (u64::from(entry.position), segment.base().plus(i64::from(entry.delta)))
            });
            let mut walk = Walk::new(segment.file(), position, due, segment.size(), CHUNK_LONG);
            loop {
                match walk.next(Check::CrcAndEpoch(&self.epochs)).await.map_err(io())? {
                    Step::Batch { header, .. } if header.base_offset >= from => visit(Visit::Batch(&header)),
                    Step::Batch { .. } => {}
                    Step::Damaged => {
                        visit(Visit::Damaged);
                        if !walk.resync(segment.next_offset()).await.map_err(io())? {
                            break;
                        }
                    }
                    Step::End => {
                        // The file is shorter than it was.
                        if walk.due() < segment.next_offset() {
                            visit(Visit::Damaged);
                        }
                        break;
                    }
                }
            }
        }
        Ok(used)
    }

    /// Removes the snapshots that `gone` picks. The caller syncs the directory where the order matters.
    pub(super) async fn drop_snapshots(&mut self, gone: impl Fn(Offset) -> bool) -> Result<(), LogError> {
        for at in self.snapshots.iter().copied().filter(|at| gone(*at)).collect::<Vec<_>>() {
            self.remove_file(&format!("{}/{}", self.dir, file_name(at, SNAPSHOT_SUFFIX))).await?;
        }
        self.snapshots.retain(|at| !gone(*at));
        Ok(())
    }
}
