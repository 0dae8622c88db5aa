//! One data directory: whose it is, which logs are in it, and how what they write becomes durable.
//!
//! Opening takes the exclusive lock, checks `meta.properties`, consumes the mark of a clean shutdown or
//! else plays the [`journal`] into the segments, and starts the [`rounds`]. Nothing here looks into a
//! segment: logs are opened by [`crate::partition`], which hands over what it wrote.

mod error;
mod files;
mod found;
mod health;
mod inspect;
mod journal;
mod logs;
mod marker;
mod meta;
mod points;
mod rounds;
#[cfg(test)]
mod tests;

pub use error::DirError;
pub use found::FoundLogs;
pub use health::Health;
pub use inspect::{data_directory_of, recorded_points};
pub use journal::JournalConfig;
pub use meta::{Meta, FORMAT_VERSION, METADATA_DIR};
pub use points::RecoveryPoint;

use self::files::Files;
use self::health::HealthSender;
use self::marker::CleanShutdown;
use self::points::Points;
use self::rounds::queue::{self, Item, Queue, Submit};
use self::rounds::RoundsTask;
use crate::rounds::{LogKey, RoundsHandle, SyncError};
use norn_env::disk::{DirLock, Disk};
use norn_env::task::{self, Handle, Shutdown, ShutdownTrigger};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use tokio::sync::{oneshot, watch};

/// The file that a process holds locked while it uses the directory, as Kafka's.
const LOCK: &str = ".lock";

/// How a data directory is opened.
#[derive(Debug, Clone, Default)]
pub struct DirConfig {
    pub node_id: i32,
    /// The cluster that the directory must belong to; `None` takes the one that it says, or makes one for
    /// a new directory.
    pub cluster_id: Option<String>,
    pub journal: JournalConfig,
}

/// What opening a directory did, for the log line of the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirReport {
    /// There was nothing in it.
    pub new: bool,
    /// The last shutdown was clean: no log needs a scan.
    pub clean: bool,
    pub journal_frames: u64,
    /// Bytes of the journal that were written to segments, and to how many.
    pub bytes_played: u64,
    pub segments_played: usize,
}

/// How a directory was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// It has its clean-shutdown marker: the next start of it needs no recovery.
    pub marked: bool,
    /// Directory names of logs that were still open.
    pub open: Vec<Arc<str>>,
}

/// How the directory's task ended: closed, or why it is offline.
pub type DirExit = Result<(), DirError>;

/// A handle on an open data directory. Clones are cheap.
#[derive(Clone)]
pub struct LogDir {
    files: Files,
    meta: Arc<Meta>,
    report: Arc<DirReport>,
    points: Arc<Points>,
    /// Logs that end at their point, as they were closed in good order.
    closed: Arc<BTreeSet<Arc<str>>>,
    queue: Arc<Queue>,
    rounds: RoundsHandle,
    health: watch::Receiver<Health>,
    /// Set once the clean-shutdown marker is durable.
    is_marked: Arc<OnceLock<()>>,
    closing: Arc<ShutdownTrigger>,
}

/// Whose directory the disk holds, without opening or changing it; `None` if it is new. Errors are those of
/// [`LogDir::open`].
pub async fn check(disk: &Disk, node_id: i32, cluster_id: Option<&str>) -> Result<Option<Meta>, DirError> {
    meta::load(&Files { disk: disk.clone() }, node_id, cluster_id).await
}

impl LogDir {
    /// Opens the directory. The returned handle of its task ends when the directory is closed or goes
    /// offline; dropping it stops the syncs at once, as a crash would. The lock is held until that task
    /// has ended.
    pub async fn open(disk: Disk, config: DirConfig) -> Result<(LogDir, Handle<DirExit>), DirError> {
        let files = Files { disk: disk.clone() };
        let lock = disk.lock(LOCK).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => DirError::InUse { dir: files.dir() },
            _ => files.error("locking", LOCK)(error),
        })?;
        let mut report = DirReport::default();
        let (meta, new) = meta::load_or_create(&files, config.node_id, config.cluster_id.as_deref()).await?;
        report.new = new;
        let mut settled = BTreeSet::new();
        let mut newest = None;
        let (next_sequence, points) = match marker::read(&files).await? {
            Some(CleanShutdown { next_sequence, ends, others }) => {
                report.clean = true;
                settled.extend(ends.keys().cloned());
                (next_sequence, ends.into_iter().chain(others).collect())
            }
            None => {
                let (played, journal) = journal::recovery::play(&files).await?;
                for (file, at) in &journal.damage {
                    tracing::error!(
                        dir = files.dir(),
                        file,
                        at,
                        "the journal is damaged; logs check what they have"
                    );
                }
                report.journal_frames = journal.frames;
                report.bytes_played = journal.bytes_written;
                report.segments_played = journal.files_written;
                newest = journal.newest;
                (played.next_sequence, played.points)
            }
        };
        let newest = newest.as_deref();
        let ring = journal::recovery::begin(&files, config.journal, next_sequence, &points, newest).await?;
        // Not before the journal tells the points, so that no crash loses them; and before anything can be appended.
        marker::remove(&files).await?;
        let queue = Arc::new(Queue::new(points.keys().cloned()));
        let (health_sender, health) = watch::channel(Health::Online);
        let (trigger, closing) = task::shutdown();
        let health_sender = HealthSender(health_sender);
        let closed = Arc::new(settled.clone());
        let rounds = RoundsTask::new(disk, config.journal, queue.clone(), ring, points.clone(), settled);
        let is_marked = Arc::default();
        let task = run(rounds, files.clone(), lock, health_sender, closing, Arc::clone(&is_marked));
        let dir = LogDir {
            files,
            meta: Arc::new(meta),
            report: Arc::new(report),
            points: Arc::new(points),
            closed,
            rounds: RoundsHandle::new(Arc::new(Submit(queue.clone()))),
            queue,
            health,
            is_marked,
            closing: Arc::new(trigger),
        };
        Ok((dir, task::spawn("data-directory", task)))
    }

    /// Whose directory it is.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// What opening did.
    pub fn report(&self) -> &DirReport {
        &self.report
    }

    /// The disk below.
    pub fn disk(&self) -> &Disk {
        &self.files.disk
    }

    /// Changes from online to offline or closed, once.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// How far the log in this directory was durable when the data directory was opened; `None` if nothing
    /// is known.
    pub fn recovery_point(&self, dir_name: &str) -> Option<RecoveryPoint> {
        self.points.get(dir_name).copied()
    }

    /// Where logs hand over what they wrote.
    pub fn rounds(&self) -> &RoundsHandle {
        &self.rounds
    }

    /// Tells the journal, durably where it matters, that the log's directory is about to be removed: nothing
    /// of it may be played into another of its name.
    async fn forget(&self, log: LogKey) -> Result<(), SyncError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(log, Item::Delete(reply));
        task::wait(|| "sync rounds: a log's removal".to_owned(), answer)
            .await
            .unwrap_or_else(|_| Err(queue::ended()))
    }

    /// Makes everything durable that was handed over, leaves the clean-shutdown marker, frees the lock. The logs have been
    /// closed before. If one has not, or a sync of one failed, the directory is closed without a marker: the next start
    /// recovers all its logs.
    pub async fn close(&self) -> Result<Closed, DirError> {
        self.closing.signal();
        let mut health = self.health.clone();
        let ended = task::wait(
            || "data directory: its task's end".to_owned(),
            health.wait_for(|health| *health != Health::Online),
        );
        let reason = match ended.await.as_deref() {
            Ok(Health::Offline(reason)) => reason.to_string(),
            Ok(_) => {
                return Ok(Closed { marked: self.is_marked.get().is_some(), open: self.queue.open_logs() })
            }
            Err(_) => "its task was stopped".to_owned(),
        };
        Err(DirError::Offline { dir: self.files.dir(), reason })
    }
}

/// The directory's task: the rounds, then the clean-shutdown marker. It holds the lock.
async fn run(
    rounds: RoundsTask,
    files: Files,
    lock: DirLock,
    health: HealthSender,
    closing: Shutdown,
    marked: Arc<OnceLock<()>>,
) -> DirExit {
    let ended = match rounds.run(closing).await {
        Ok(Some(marker)) => marker::write(&files, &marker).await.map(|()| _ = marked.set(())),
        Ok(None) => Ok(()),
        Err(error) => Err(DirError::Offline { dir: files.dir(), reason: error.reason.to_string() }),
    };
    drop(lock);
    match &ended {
        Ok(()) => health.closed(),
        Err(error) => health.offline(error),
    }
    ended
}
