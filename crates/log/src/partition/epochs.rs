//! The leader epochs of a log that is opened: from their file, or from the batches themselves.

use std::io;
use std::sync::Arc;

use norn_protocol::types::{LeaderEpoch, Offset};

use super::open::Stored;
use super::PartitionLog;
use crate::epochs::{EpochCache, EpochRun};
use crate::error::LogError;
use crate::segment::recovery::Check;
use crate::segment::walk::{Step, Walk, CHUNK_LONG, CHUNK_SHORT};
use crate::segment::Segment;

/// Runs of one epoch that are weighed against each other. A log has few; more are a sign of widespread damage.
const RUNS_MAX: usize = 4000;

impl PartitionLog {
    /// Takes over the stored epochs. The file is written before the first record of an epoch is, so that a sound one
    /// lacks nothing.
    pub(super) async fn recover_epochs(&mut self, stored: Stored<EpochCache>) -> Result<(), LogError> {
        let (mut cache, mut changed) = match stored {
            Stored::Sound(cache) => (cache, false),
            Stored::Missing if self.segments.iter().all(|s| s.size() == 0) => (EpochCache::default(), false),
            Stored::Missing | Stored::Damaged => {
                tracing::warn!(log = %self.id, "the leader epochs are read from the records");
                (self.read_epochs().await?, true)
            }
        };
        changed |= cache.truncate_from_end(self.end);
        cache.truncate_from_start(self.start);
        self.epochs = Arc::new(cache);
        if changed {
            self.save_epochs().await?;
        }
        Ok(())
    }

    /// The epochs of the batches. Only segments in which the epoch changes are walked through.
    async fn read_epochs(&self) -> Result<EpochCache, LogError> {
        let mut runs = Vec::new();
        let filled: Vec<_> = self.segments.iter().filter(|s| s.size() > 0).collect();
        for (at, segment) in filled.iter().enumerate() {
            let io = || LogError::io("read", segment.file().path());
            let first = first_epoch(segment).await.map_err(io())?;
            let last = match filled.get(at + 1) {
                Some(next) => first_epoch(next).await.map_err(io())?,
                None => last_epoch(segment).await.map_err(io())?,
            };
            match first {
                Some(epoch) if first == last => {
                    add(&mut runs, epoch, segment.base(), segment.next_offset());
                }
                _ => walk_epochs(segment, &mut runs).await.map_err(io())?,
            }
        }
        let mut cache = EpochCache::from_runs(&runs[..runs.len().min(RUNS_MAX)]);
        // What the first batches are of is known even if they themselves tell it wrong.
        let first = cache.entries().first().copied();
        if let Some(first) = first.filter(|first| first.start > self.segments[0].base()) {
            let mut whole = EpochCache::default();
            whole.assign(first.epoch, self.segments[0].base());
            for later in &cache.entries()[1..] {
                whole.assign(later.epoch, later.start);
            }
            cache = whole;
        }
        Ok(cache)
    }
}

fn add(runs: &mut Vec<EpochRun>, epoch: LeaderEpoch, first: Offset, next: Offset) {
    let weight = next.0 - first.0;
    match runs.last_mut() {
        Some(last) if last.epoch == epoch => last.weight += weight,
        _ => runs.push(EpochRun { epoch, first, weight }),
    }
}

async fn first_epoch(segment: &Segment) -> io::Result<Option<LeaderEpoch>> {
    let mut walk = Walk::new(segment.file(), 0, segment.base(), segment.size(), CHUNK_SHORT);
    Ok(match walk.next(Check::Header).await? {
        Step::Batch { header, .. } => Some(header.leader_epoch),
        Step::Damaged | Step::End => None,
    })
}

async fn last_epoch(segment: &Segment) -> io::Result<Option<LeaderEpoch>> {
    segment.load().await?;
    let entries = segment.entries_from(0);
    let Some(entry) = entries.last() else { return Ok(None) };
    let first = segment.base().plus(i64::from(entry.delta));
    let mut walk = Walk::new(segment.file(), u64::from(entry.position), first, segment.size(), CHUNK_SHORT);
    let mut last = None;
    while let Step::Batch { header, .. } = walk.next(Check::Header).await? {
        last = Some(header.leader_epoch);
    }
    Ok(last)
}

async fn walk_epochs(segment: &Segment, runs: &mut Vec<EpochRun>) -> io::Result<()> {
    let mut walk = Walk::new(segment.file(), 0, segment.base(), segment.size(), CHUNK_LONG);
    loop {
        match walk.next(Check::Header).await? {
            Step::Batch { header, .. } => {
                add(runs, header.leader_epoch, header.base_offset, header.next_offset());
            }
            Step::Damaged if walk.resync(segment.next_offset()).await? => {}
            Step::Damaged | Step::End => return Ok(()),
        }
    }
}
