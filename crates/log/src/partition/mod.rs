//! The log of one partition, owned by the partition's task: the only one who writes its files.
//!
//! Appends are written to the active segment and visible through [`PartitionLog::view`] when the write has
//! returned; they are durable when the ticket of a later [`PartitionLog::sync`] has resolved. After a failed
//! write or sync the log is offline: what its files hold above the durable end is not known, nothing is tried
//! again, and no offset is used twice. It comes back by being opened anew.
//!
//! Operations that change files must run to their end. One that is dropped before leaves the log offline.

mod cut;
mod dirty;
mod epochs;
mod metadata;
mod open;
mod recover;
mod retention;
mod snapshots;
mod view;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use futures::FutureExt;
use norn_env::disk::Disk;
use norn_protocol::batch::{Batch, BatchHeader};
use norn_protocol::types::{LeaderEpoch, Offset};

use crate::checkpoint;
use crate::config::{FlushMode, LogConfig};
use crate::epochs::EpochCache;
use crate::error::{self, LogError};
use crate::id::LogId;
use crate::rounds::{FileNote, LogKey, RoundsHandle, SyncError, SyncRequest, SyncTicket};
use crate::segment::writer::{Limits, Writer};
use crate::segment::Segment;
use dirty::Dirty;

pub use metadata::read_topic_id;
pub(crate) use metadata::{is_unfinished, write as write_topic_id, METADATA_FILE};
pub use open::{LastEnd, OpenLog, Recovered};
pub use retention::Deleted;
pub use snapshots::{Visit, Visitor};
pub use view::{FilePosition, LogView};

/// Kafka's name for the file with the leader-epoch cache.
const EPOCHS_FILE: &str = "leader-epoch-checkpoint";
/// Holds the log's start where it lies within a segment.
const START_FILE: &str = "log-start-offset-checkpoint";
/// Ends of the last appends, whose file positions are at hand: the high watermark runs a few syncs behind the log's end.
const RECENT_BOUNDARIES: usize = 64;

/// The log of one partition.
pub struct PartitionLog {
    id: LogId,
    key: LogKey,
    disk: Disk,
    dir: Arc<str>,
    config: LogConfig,
    rounds: RoundsHandle,
    start: Offset,
    end: Offset,
    durable_end: Offset,
    segments: Arc<[Arc<Segment>]>,
    writer: Writer,
    epochs: Arc<EpochCache>,
    /// The file with the epochs lacks the newest.
    epochs_unsaved: bool,
    dirty: Dirty,
    recent: VecDeque<(Offset, FilePosition)>,
    /// Syncs that nobody waits for: of segments that were closed without their records being synced.
    background: Vec<SyncTicket>,
    /// Offsets of the stored producer snapshots, rising.
    snapshots: Vec<Offset>,
    bytes_since_snapshot: u64,
    /// An operation that changes files has begun and not ended.
    busy: bool,
    shared: Arc<Shared>,
}

/// What a log shares with its tickets.
#[derive(Default)]
struct Shared {
    fault: OnceLock<Arc<str>>,
    /// Where the log was cut, in order of time.
    cuts: Mutex<Vec<Offset>>,
}

impl Shared {
    fn fail(&self, reason: &str) -> Arc<str> {
        self.fault.get_or_init(|| Arc::from(reason)).clone()
    }

    fn cuts(&self) -> MutexGuard<'_, Vec<Offset>> {
        self.cuts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What is left of a durable `end` that was asked for after the first `seen` cuts: offsets behind a later cut
    /// name other records now.
    fn left_of(&self, end: Offset, seen: usize) -> Offset {
        self.cuts().iter().skip(seen).fold(end, |end, cut| end.min(*cut))
    }
}

impl PartitionLog {
    pub fn id(&self) -> &LogId {
        &self.id
    }

    /// What the log is called in its disk's sync rounds.
    pub fn key(&self) -> LogKey {
        self.key
    }

    /// The first offset that may be read.
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The offset that the next record gets.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Everything before this offset is safe from a loss of power, as far as the log was told.
    pub fn durable_end(&self) -> Offset {
        self.durable_end
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Takes effect for what happens from now on; segments that exist keep their shape.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
        if self.config.flush == FlushMode::Async {
            self.dirty.let_go();
        }
    }

    /// Why the log is offline, if it is.
    pub fn fault(&self) -> Option<Arc<str>> {
        self.shared.fault.get().cloned()
    }

    /// The log as it is now, for readers.
    pub fn view(&self) -> LogView {
        LogView {
            start: self.start,
            end: self.end,
            segments: self.segments.clone(),
            epochs: self.epochs.clone(),
        }
    }

    /// Writes batches behind the end, each with the offset that it was given: the first one the log's end, and no
    /// gaps. With `log_append_time` (Unix ms) they get that time instead of their own.
    pub async fn append(
        &mut self,
        batches: &[(Batch, Offset)],
        epoch: LeaderEpoch,
        log_append_time: Option<i64>,
    ) -> Result<(), LogError> {
        let Some(&(_, first)) = batches.first() else { return Ok(()) };
        self.begin()?;
        self.note_epoch(epoch, first)?;
        if self.epochs_unsaved {
            self.save_epochs().await?;
        }
        let mut rest = batches;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.writer.fitting(rest, log_append_time, &self.limits()));
            if now.is_empty() {
                self.roll_segment().await?;
            } else {
                self.write(now, epoch, log_append_time).await?;
            }
            rest = later;
        }
        self.busy = false;
        Ok(())
    }

    async fn write(
        &mut self,
        batches: &[(Batch, Offset)],
        epoch: LeaderEpoch,
        time: Option<i64>,
    ) -> Result<(), LogError> {
        let segment = self.writer.segment().clone();
        let position = segment.size();
        let mut headers = Vec::with_capacity(batches.len());
        let mut bytes = Vec::with_capacity(batches.len() * 2);
        let mut end = self.end;
        for (batch, base) in batches {
            assert_eq!(*base, end, "offsets of {} rise without gaps", self.id);
            let header = BatchHeader {
                base_offset: *base,
                leader_epoch: epoch,
                max_timestamp: time.unwrap_or(batch.header.max_timestamp),
                ..batch.header
            };
            end = header.next_offset();
            headers.push(header);
            bytes.extend(batch.patched(*base, epoch, time));
        }
        let hold = self.config.flush == FlushMode::Sync;
        let sync_early = hold && self.rounds.claim_early_sync();
        let written = self.writer.append(&headers, bytes.clone(), sync_early).await;
        written.map_err(|e| self.failed("write", segment.file().path(), e))?;
        let at = FilePosition { segment: segment.base(), byte: segment.size() };
        self.remember(end, at);
        self.end = end;
        self.bytes_since_snapshot += at.byte - position;
        self.dirty.add(segment.base(), segment.file(), position, bytes, hold);
        Ok(())
    }

    /// Submits everything written since the last call to the disk's next sync round. The ticket resolves with the
    /// durable end that this gives; the owner hands it to [`PartitionLog::synced`].
    pub fn sync(&mut self) -> SyncTicket {
        if let Some(reason) = self.fault() {
            return SyncTicket::new(async { Err(SyncError { reason }) });
        }
        let ranges = self.dirty.take();
        let ticket = self.rounds.submit(SyncRequest { log: self.key, ranges, end: self.end });
        let shared = self.shared.clone();
        let seen = shared.cuts().len();
        SyncTicket::new(async move {
            match ticket.await {
                Ok(end) => Ok(shared.left_of(end, seen)),
                Err(error) => Err(SyncError { reason: shared.fail(&error.reason) }),
            }
        })
    }

    /// Lets go of what was to be made durable, with the buffers that are held for it: the owner will not serve the log again.
    pub fn give_up(&mut self) {
        self.dirty.take();
    }

    /// Told by the owner what a ticket resolved with.
    pub fn synced(&mut self, durable_end: Offset) {
        assert!(durable_end <= self.end, "nothing is durable beyond the end of {}", self.id);
        self.durable_end = self.durable_end.max(durable_end);
    }

    /// Closes the active segment and begins the next, unless it is empty.
    pub async fn roll(&mut self) -> Result<(), LogError> {
        self.begin()?;
        if self.writer.segment().size() > 0 {
            self.roll_segment().await?;
        }
        self.busy = false;
        Ok(())
    }

    async fn roll_segment(&mut self) -> Result<(), LogError> {
        norn_env::sometimes!("segment-rolled");
        self.writer.seal().await;
        if self.config.flush == FlushMode::Async {
            self.sync_in_background();
        }
        let segments: Vec<_> = self.segments.to_vec();
        self.begin_segment(self.end, segments).await
    }

    /// Creates the segment at `base` behind `before`. Its directory entry is durable before anything in it can be.
    async fn begin_segment(&mut self, base: Offset, mut before: Vec<Arc<Segment>>) -> Result<(), LogError> {
        let created = Writer::create(&self.disk, &self.dir, base, self.config.index_interval_bytes).await;
        self.writer = created.map_err(|e| self.failed("create a segment in", &self.dir, e))?;
        self.disk.sync_dir(&self.dir).await.map_err(|e| self.failed("sync", &self.dir, e))?;
        self.note(FileNote::Created { segment: base }).await?;
        tracing::debug!(log = %self.id, base = base.0, "segment created");
        before.push(self.writer.segment().clone());
        self.segments = before.into();
        Ok(())
    }

    /// Starts a sync whose failure is noticed by a later operation.
    fn sync_in_background(&mut self) {
        let ticket = self.sync();
        self.background.push(ticket);
    }

    /// The position in the files of `offset`, a batch boundary such as the high watermark. Exact for the log's end
    /// and the ends of the last appends; else, if it is not found without waiting for the disk,
    /// that of an index entry before it. See [`PartitionLog::find_position`].
    pub fn position_of(&self, offset: Offset) -> FilePosition {
        let known = self.recent.partition_point(|(at, _)| *at < offset);
        if let Some((_, position)) = self.recent.get(known).filter(|(at, _)| *at == offset) {
            return *position;
        }
        // A boundary between two segments is the end of the earlier one: the later may be empty.
        let segment = view::segment_of(&self.segments, offset).unwrap_or(&self.segments[0]);
        FilePosition { segment: segment.base(), byte: segment.boundary_cached(offset) }
    }

    fn remember(&mut self, offset: Offset, position: FilePosition) {
        if self.recent.len() >= RECENT_BOUNDARIES {
            self.recent.pop_front();
        }
        self.recent.push_back((offset, position));
    }

    /// Notes that `epoch` begins at `start`, where this replica becomes its leader, and makes it durable, so that the
    /// first record of the epoch waits for no other file than its own. Where there is no room for that, the log goes on
    /// to be read and to be trimmed, and the first record tries again.
    pub async fn assign_epoch(&mut self, epoch: LeaderEpoch, start: Offset) -> Result<(), LogError> {
        self.begin()?;
        self.note_epoch(epoch, start)?;
        if self.epochs_unsaved {
            match self.write_epochs().await {
                Err(error) if error::is_full(&error) => {
                    tracing::warn!(log = %self.id, "its leader epoch is not saved before it is written to: {error}");
                }
                written => written.map_err(|e| self.failed("write the epochs of", &self.dir, e))?,
            }
        }
        self.busy = false;
        Ok(())
    }

    /// Epochs never fall: one below the log's latest means that the log and the metadata are not of one history.
    fn note_epoch(&mut self, epoch: LeaderEpoch, start: Offset) -> Result<(), LogError> {
        let latest = self.epochs.latest();
        if let Some(latest) = latest.filter(|latest| *latest > epoch) {
            let reason = format!(
                "leader epoch {epoch} is below {latest}, which its records have: the log is not this topic's, or the \
                 metadata are older than it"
            );
            return Err(LogError::Offline { reason: self.shared.fail(&reason) });
        }
        if latest != Some(epoch) && Arc::make_mut(&mut self.epochs).assign(epoch, start) {
            self.epochs_unsaved = true;
        }
        Ok(())
    }

    async fn save_epochs(&mut self) -> Result<(), LogError> {
        let saved = self.write_epochs().await;
        saved.map_err(|e| self.failed("write the epochs of", &self.dir, e))
    }

    async fn write_epochs(&mut self) -> io::Result<()> {
        checkpoint::write(&self.disk, &self.dir, EPOCHS_FILE, &self.epochs.encode()).await?;
        self.epochs_unsaved = false;
        Ok(())
    }

    /// The largest epoch not above `epoch` and where it ended; see [`EpochCache::end_of_epoch`].
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        self.epochs.end_of_epoch(epoch, self.end)
    }

    /// Makes all durable and completes the index, so that the next start needs no scan. Returns the log's end.
    pub async fn close(mut self) -> Result<Offset, LogError> {
        self.begin()?;
        let end = self.sync().await?;
        self.writer.seal().await;
        Ok(end)
    }

    fn limits(&self) -> Limits {
        Limits {
            segment_bytes: self.config.segment_bytes,
            segment_ms: self.config.segment_ms,
            index_entries_max: self.config.index_entries_max,
        }
    }

    /// Begins an operation that changes files; it ends by clearing `busy`.
    fn begin(&mut self) -> Result<(), LogError> {
        let mut failed = false;
        self.background.retain_mut(|ticket| match ticket.now_or_never() {
            Some(outcome) => {
                failed |= outcome.is_err();
                false
            }
            None => true,
        });
        if self.busy {
            self.shared.fail("an operation on the log was given up before its end");
        }
        match self.fault() {
            Some(reason) => Err(LogError::Offline { reason }),
            None => {
                self.busy = true;
                Ok(())
            }
        }
    }

    /// Takes the log offline.
    fn failed(&self, operation: &'static str, path: &str, source: io::Error) -> LogError {
        self.shared.fail(&format!("{operation} {path}: {source}"));
        LogError::Io { operation, path: path.to_owned(), source }
    }

    async fn note(&self, note: FileNote) -> Result<(), LogError> {
        self.rounds.note(self.key, note).await.map_err(|error| {
            self.shared.fail(&error.reason);
            LogError::from(error)
        })
    }
}
