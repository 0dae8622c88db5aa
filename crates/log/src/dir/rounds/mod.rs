//! The sync rounds of one disk: the task that makes durable what its logs wrote.
//!
//! Logs hand over through the [`queue`] (any number of senders; bounded by the bytes that connections may
//! have in flight). A round takes all that waits and makes it durable by whichever costs less
//! ([`plan`]): an fdatasync of each file, several at once, whose tickets resolve as each completes; or one
//! copy into the journal and one fdatasync for all. The next round gathers meanwhile. A log has one batch
//! under way at a time, so its tickets keep their order, its removal comes after all else of it, and a file whose sync
//! is slow holds up its own log only: the others go on after [`PATIENCE`]. A failed sync is final for its log; a failed journal
//! takes the directory offline. In the background segments are synced so that the journal's next file can
//! be used again. The task ends when it is closed, having synced everything, or when the directory goes
//! offline; tickets that are not answered then fail.
//!
//! The journal also says how far each log is durable, for recovery to go by. Of a log that it copies it says so in the
//! same frame; of one that was synced in place later, and nobody waits for that ([`untold`]).

mod batch;
mod copy;
mod plan;
pub(super) mod queue;
#[cfg(test)]
mod tests;
mod untold;

use self::batch::{cut_of, Batch};
use self::copy::Copy;
use self::queue::Queue;
use self::untold::Untold;
use super::journal::recovery;
use super::journal::ring::{Chore, Ring, SegmentKey};
use super::marker::CleanShutdown;
use super::points::{Points, RecoveryPoint};
use super::JournalConfig;
use crate::rounds::{FileNote, LogKey, SyncError};
use futures::future::{BoxFuture, FutureExt, OptionFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use norn_env::clock::{self, Duration, Instant};
use norn_env::disk::{Disk, File};
use norn_env::task::{self, Shutdown};
use norn_protocol::types::Offset;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

/// Syncs of segments at the same time: at 16 the measured disk had its best time per file.
const SYNCS_MAX: usize = 16;
/// A round that takes longer than this no longer keeps the next one waiting. A sync takes 0.05 to 3 ms on
/// a healthy disk.
const PATIENCE: Duration = Duration::from_millis(5);

/// What a log's point takes in a frame of the journal, beside its name.
const POINT_ENTRY_BYTES: usize = 27;

/// A sync of a segment that ended.
struct Synced {
    log: LogKey,
    key: SegmentKey,
    /// The journal's next sequence when it began.
    before: u64,
    result: io::Result<()>,
}

/// A chore of the ring that ended.
enum ChoreDone {
    Prepared(usize, io::Result<File>),
    Synced { first_sequence: u64, key: SegmentKey, result: io::Result<()> },
}

enum Event {
    Synced(Synced),
    Copied(Copy),
    Chore(ChoreDone),
    Added,
    Patience,
    Telling,
    Closing,
}

/// The task's state; see the module.
pub(super) struct RoundsTask {
    disk: Disk,
    config: JournalConfig,
    queue: Arc<Queue>,
    ring: Ring,
    points: Points,
    /// Logs that are durable up to their point once all syncs are done: those that were opened, and those
    /// that a clean shutdown left.
    settled: BTreeSet<Arc<str>>,
    untold: Untold,
    batches: BTreeMap<LogKey, Batch>,
    /// The batches of the round that the next one waits for.
    round: BTreeSet<LogKey>,
    /// Batches whose notes found no room in the journal.
    postponed: BTreeMap<LogKey, Batch>,
    /// By directory name: the failure is of the files, whoever has them open.
    failed: BTreeMap<Arc<str>, SyncError>,
    syncs: FuturesUnordered<BoxFuture<'static, Synced>>,
    waiting_syncs: VecDeque<(LogKey, SegmentKey, File)>,
    copy: Option<BoxFuture<'static, Copy>>,
    chore: Option<BoxFuture<'static, ChoreDone>>,
    /// Whose segment the chore syncs, unless that log was removed meanwhile.
    chore_log: Option<Arc<str>>,
    /// A round found no room in the journal.
    journal_wanted: bool,
    /// The first write of a ring file failed: there will be no more journal than there is.
    unprepared: bool,
    /// When the round that is under way stops keeping the next one waiting.
    patience: Option<BoxFuture<'static, ()>>,
    /// Wakes the task when the journal is to be told, or when a round no longer waits until it was.
    telling: Option<(Instant, BoxFuture<'static, ()>)>,
    /// While the journal is told and nobody waits for that: until when a round that wants to copy waits.
    told_until: Option<Instant>,
    /// There was no room in the journal to tell it anything, and nothing has made any since.
    full: bool,
}

impl RoundsTask {
    pub fn new(
        disk: Disk,
        config: JournalConfig,
        queue: Arc<Queue>,
        ring: Ring,
        points: Points,
        settled: BTreeSet<Arc<str>>,
    ) -> RoundsTask {
        RoundsTask {
            disk,
            config,
            queue,
            ring,
            points,
            settled,
            untold: Untold::default(),
            batches: BTreeMap::new(),
            round: BTreeSet::new(),
            postponed: BTreeMap::new(),
            failed: BTreeMap::new(),
            syncs: FuturesUnordered::new(),
            waiting_syncs: VecDeque::new(),
            copy: None,
            chore: None,
            chore_log: None,
            journal_wanted: false,
            unprepared: false,
            patience: None,
            telling: None,
            told_until: None,
            full: false,
        }
    }

    /// Runs until closed; gives what the clean-shutdown marker is to say, or why the directory is offline. `None`: there
    /// is to be no marker, because a sync of a log failed or a log has not been closed, and the next start recovers.
    pub async fn run(mut self, mut closing: Shutdown) -> Result<Option<CleanShutdown>, SyncError> {
        let mut closed = false;
        let ended = loop {
            if self.patience.is_none() {
                self.begin_round();
            }
            if !closed {
                self.begin_tell();
            }
            self.begin_chore();
            self.queue.set_busy(!self.batches.is_empty() || !self.postponed.is_empty());
            if closed && self.is_unclean() {
                // A log that hangs would hold up the end for nothing: the journal is played at the next start.
                break Ok(false);
            }
            if closed && self.is_idle() {
                break self.sync_all().await.map(|()| !self.is_unclean());
            }
            match self.next_event(&mut closing, closed).await {
                Event::Synced(synced) => self.synced(synced),
                Event::Copied(copy) => {
                    if let Err(error) = self.copied(copy) {
                        break Err(error);
                    }
                }
                Event::Chore(done) => self.chore_done(done),
                Event::Added => {}
                Event::Patience => self.round.clear(),
                Event::Telling => {}
                Event::Closing => closed = true,
            }
            if self.round.is_empty() {
                self.patience = None;
            }
        };
        self.queue.close();
        if let Err(error) = &ended {
            std::mem::take(&mut self.batches).into_values().for_each(|mut batch| batch.fail(error));
        }
        ended.map(|is_clean| {
            let queue = self.queue;
            let ends_there = |log: &Arc<str>| self.settled.contains(log) && !queue.is_unopenable(log);
            let (ends, others) = self.points.into_iter().partition(|(log, _)| ends_there(log));
            is_clean.then(|| CleanShutdown { next_sequence: self.ring.next_sequence(), ends, others })
        })
    }

    /// Whether what the logs hold is known to their files only in part, so that the journal must be played.
    fn is_unclean(&self) -> bool {
        !self.failed.is_empty() || !self.queue.open_logs().is_empty()
    }

    /// Nothing waits and nothing is under way.
    fn is_idle(&self) -> bool {
        self.batches.is_empty() && self.postponed.is_empty() && self.queue.is_empty() && self.copy.is_none()
    }

    async fn next_event(&mut self, closing: &mut Shutdown, closed: bool) -> Event {
        let syncs = self.syncs.len();
        let copying = self.copy.is_some();
        let RoundsTask { syncs: running, copy, chore, patience, telling, queue, .. } = self;
        let telling = telling.as_mut().map(|(_, timer)| timer);
        let event = async {
            norn_env::select! {
                Some(synced) = running.next(), if !running.is_empty() => Event::Synced(synced),
                Some(done) = OptionFuture::from(copy.as_mut()), if copy.is_some() => Event::Copied(done),
                Some(done) = OptionFuture::from(chore.as_mut()), if chore.is_some() => Event::Chore(done),
                Some(()) = OptionFuture::from(patience.as_mut()), if patience.is_some() => Event::Patience,
                Some(()) = OptionFuture::from(telling), if !closed => Event::Telling,
                () = queue.added() => Event::Added,
                () = closing.signaled(), if !closed => Event::Closing,
            }
        };
        let event =
            task::wait(|| format!("sync rounds: {syncs} syncs, journal write: {copying}"), event).await;
        match event {
            Event::Copied(_) => self.copy = None,
            Event::Chore(_) => self.chore = None,
            Event::Telling => self.telling = None,
            _ => {}
        }
        event
    }

    /// Takes what waits and starts to make it durable.
    fn begin_round(&mut self) {
        let mut ready = std::mem::take(&mut self.postponed);
        let taken = self.queue.take(|log| !self.batches.contains_key(&log) && !ready.contains_key(&log));
        for (log, name, items) in taken {
            let mut batch = Batch::new(name, items);
            match self.failed.get(&batch.log).filter(|_| !batch.deletes) {
                Some(error) => batch.fail(error),
                None => {
                    ready.insert(log, batch);
                }
            }
        }
        if ready.is_empty() {
            return;
        }
        for batch in ready.values_mut() {
            batch.noted |= self.must_note(batch);
            self.lower_point(batch);
        }
        let copyable = self.copyable(&ready);
        if !copyable.is_empty() && self.told_until.is_some_and(|until| clock::now() < until) {
            // Copied when the journal has been told, they cost less than synced in place now.
            self.postponed = ready;
            return;
        }
        let logs = ready.len();
        let copied = self.begin_copy(&mut ready, copyable);
        for (log, mut batch) in ready {
            if batch.noted && batch.parts == 0 {
                self.postpone(log, batch);
                continue;
            }
            for (key, (file, _)) in batch.files() {
                if !copied.contains(&key) {
                    batch.parts += 1;
                    self.waiting_syncs.push_back((log, key, file));
                }
            }
            match batch.parts {
                0 => self.finish(batch),
                _ => {
                    self.round.insert(log);
                    self.batches.insert(log, batch);
                }
            }
        }
        let (copied, syncs) = (copied.len(), self.waiting_syncs.len());
        tracing::debug!(dir = %self.disk.root().display(), logs, copied, syncs, "group commit begun");
        if !self.round.is_empty() {
            let none = norn_env::buggify!("a round has no patience");
            self.patience = Some(clock::sleep(if none { Duration::ZERO } else { PATIENCE }).boxed());
        }
        self.begin_syncs();
    }

    /// Whether a start would undo what the batch's notes tell, if they were not durable.
    fn must_note(&self, batch: &Batch) -> bool {
        let point = self.points.get(&batch.log);
        let key = |segment| (batch.log.clone(), segment);
        let must = |note: &FileNote| match note {
            FileNote::Created { segment } => {
                self.ring.is_live(&key(*segment)) || point.copied() > cut_of(note)
            }
            FileNote::Truncating { segment, .. } | FileNote::Truncated { segment, .. } => {
                self.ring.is_live_from(key(*segment)) || point.copied() > cut_of(note)
            }
            // A file that is missing is not played into; one of its name would be noted as created.
            FileNote::Deleted { .. } => false,
        };
        let log_goes = batch.deletes && (point.is_some() || self.ring.is_live_from(key(Offset(i64::MIN))));
        self.ring.is_used() && (log_goes || batch.notes().any(must))
    }

    /// Whatever the journal is told from now on, it is not told of what the batch's notes take away.
    fn lower_point(&mut self, batch: &Batch) {
        if batch.deletes {
            self.points.remove(&batch.log);
            self.untold.forget(&batch.log);
        }
        if let Some(point) = self.points.get_mut(&batch.log) {
            *point = batch.notes().filter_map(cut_of).fold(*point, RecoveryPoint::min);
        }
    }

    /// Its notes must be durable before it goes on, and the journal has no room now.
    fn postpone(&mut self, log: LogKey, mut batch: Batch) {
        let room_comes = self.copy.is_some() || self.chore.is_some() || self.next_chore().is_some();
        match room_comes {
            true => {
                self.postponed.insert(log, batch);
            }
            false => {
                batch.fail(&SyncError::new("the journal has no room, as syncs of segments in it failed"))
            }
        }
    }

    fn begin_syncs(&mut self) {
        while self.syncs.len() < SYNCS_MAX {
            let Some((log, key, file)) = self.waiting_syncs.pop_front() else { return };
            let before = self.ring.next_sequence();
            let sync = async move { Synced { log, key, before, result: file.sync_data().await } };
            self.syncs.push(sync.boxed());
        }
    }

    fn next_chore(&self) -> Option<Chore> {
        self.ring
            .chore(self.journal_wanted)
            .filter(|chore| !(self.unprepared && matches!(chore, Chore::Prepare(_))))
    }

    fn begin_chore(&mut self) {
        if self.chore.is_some() {
            return;
        }
        self.chore = self.next_chore().map(|chore| {
            self.chore_log = match &chore {
                Chore::Prepare(_) => None,
                Chore::Sync { key: (log, _), .. } => Some(log.clone()),
            };
            let (disk, file_bytes) = (self.disk.clone(), self.config.file_bytes);
            async move {
                match chore {
                    Chore::Prepare(index) => {
                        ChoreDone::Prepared(index, recovery::prepare(&disk, index, file_bytes).await)
                    }
                    Chore::Sync { first_sequence, key, file } => {
                        ChoreDone::Synced { first_sequence, key, result: file.sync_data().await }
                    }
                }
            }
            .boxed()
        });
    }

    fn synced(&mut self, Synced { log, key, before, result }: Synced) {
        match result {
            Ok(()) => self.ring.synced(&key, before),
            Err(error) => self.fail(Some(log), key, &error),
        }
        self.part_done(log);
        self.begin_syncs();
    }

    fn chore_done(&mut self, done: ChoreDone) {
        self.full = false;
        match done {
            ChoreDone::Prepared(index, Ok(file)) => {
                self.journal_wanted = false;
                self.ring.prepared(index, file);
            }
            ChoreDone::Prepared(_, Err(error)) => {
                // Without it every round syncs in place, which is slower and just as safe.
                tracing::warn!(dir = %self.disk.root().display(), %error, "cannot prepare a journal file");
                self.unprepared = true;
            }
            ChoreDone::Synced { first_sequence, key, result: Ok(()) } => {
                // Ranges that were copied since it began are in newer files of the ring.
                self.ring.synced(&key, first_sequence + 1);
            }
            ChoreDone::Synced { key, result: Err(error), .. } => {
                if self.chore_log.take().is_some() {
                    self.fail(None, key, &error);
                }
            }
        }
    }

    /// A segment's sync failed: what is durable of it is not known, so its log ends here.
    fn fail(&mut self, log: Option<LogKey>, key: SegmentKey, error: &io::Error) {
        let (name, segment) = &key;
        tracing::error!(log = %name, segment = segment.0, %error, "sync failed; the log goes offline");
        let error = SyncError::new(format!("sync of segment {} of {name} failed: {error}", segment.0));
        self.failed.insert(name.clone(), error.clone());
        self.settled.remove(name);
        if let Some(log) = log {
            // It stays until its last part is done, so that the log's removal does not overtake that.
            self.round.remove(&log);
            if let Some(batch) = self.batches.get_mut(&log) {
                batch.fail(&error);
            }
        }
        self.ring.sync_failed(key);
    }

    fn part_done(&mut self, log: LogKey) {
        let batch = self.batches.get_mut(&log).expect("a batch stays until its last part is done");
        batch.parts -= 1;
        if batch.parts == 0 {
            self.round.remove(&log);
            if let Some(batch) = self.batches.remove(&log).filter(|batch| !batch.failed) {
                self.finish(batch);
            }
        }
    }

    fn finish(&mut self, batch: Batch) {
        let before = self.points.get(&batch.log).copied();
        let after = batch.point_after(before);
        tracing::debug!(log = %batch.log, flushed = ?after.map(|point| point.end), journal = batch.told, "group commit done");
        match after {
            Some(point) => self.points.insert(batch.log.clone(), point),
            None => self.points.remove(&batch.log),
        };
        match batch.told {
            true => self.untold.forget(&batch.log),
            false if after != before => self.untold.moved(&batch.log, batch.bytes, clock::now()),
            false => {}
        }
        if batch.opened {
            self.settled.insert(batch.log.clone());
        }
        if batch.deletes {
            self.settled.remove(&batch.log);
            self.ring.forget_log(&batch.log);
            self.failed.remove(&batch.log);
            self.chore_log.take_if(|log| *log == batch.log);
        }
        batch.resolve();
    }

    /// Syncs every segment that only the journal holds, so that the journal says nothing more.
    async fn sync_all(&mut self) -> Result<(), SyncError> {
        if let Some(chore) = self.chore.take() {
            let done = task::wait(|| "sync rounds: a chore, to close".to_owned(), chore).await;
            self.chore_done(done);
        }
        let syncs = self.ring.dirty().into_iter().map(|((log, segment), file)| async move {
            let failed = |error| format!("sync of segment {} of {log} failed: {error}", segment.0);
            file.sync_data().await.map_err(|error| SyncError::new(failed(error)))
        });
        let syncs: Vec<_> = futures::stream::iter(syncs).buffer_unordered(SYNCS_MAX).collect().await;
        syncs.into_iter().collect()
    }
}
