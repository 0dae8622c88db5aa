//! The seam between a partition's log and its disk: what the log hands over to be made durable, and what it
//! tells the disk's journal about files that were created, cut or removed.
//!
//! A log never syncs a segment itself. It submits the ranges that it wrote; the disk decides whether to sync
//! the files in place or to copy the ranges into its journal. [`RoundsHandle::direct`] is the implementation
//! without a journal: each request syncs its own files.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared};
use norn_env::disk::File;
use norn_protocol::types::Offset;

/// Names a log on its disk for as long as the log exists; given out by the disk when the log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey(pub u64);

/// Bytes of one segment that were written and are not yet durable.
#[derive(Clone, Debug)]
pub struct DirtyRange {
    /// Base offset of the segment, which names its file.
    pub segment: Offset,
    pub file: File,
    /// First byte of the range in the file.
    pub position: u64,
    /// Length of the range in bytes.
    pub len: u64,
    /// The bytes that were written at `position`, for the journal, in order. Empty if the log no longer holds
    /// them (much was written, or the topic does not ask for syncs): such a range can only be synced in place.
    pub bytes: Vec<Bytes>,
}

/// What one log wants durable. All ranges become durable before `end` is reported.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    pub log: LogKey,
    /// In the order of their offsets. May be empty: then the request only waits for those before it.
    pub ranges: Vec<DirtyRange>,
    /// The log's durable end once this request and all earlier ones of the log are done.
    pub end: Offset,
}

/// A change to a log's files that the journal must know in its place among the ranges, since playing an old
/// range into a file that was cut or made anew would put old bytes over newer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileNote {
    /// The segment's file was created empty. Ranges noted before are of an earlier file with that name.
    Created { segment: Offset },
    /// The segment is about to be cut to `len` bytes, and the log to `end`. On playback without the matching
    /// [`FileNote::Truncated`], the cut is made (again) at this place in the order.
    Truncating { segment: Offset, len: u64, end: Offset },
    /// The cut is durable in the file. On playback, ranges noted earlier that reach past `len` lose what lies
    /// beyond it, and the file itself is left alone: what is there is newer.
    Truncated { segment: Offset, len: u64, end: Offset },
    /// The segment's file was removed and its directory synced. Ranges noted before are void. (A file that is
    /// missing on playback was removed without the note: its ranges are void too.)
    Deleted { segment: Offset },
}

/// Why bytes could not be made durable. Final for the log: nothing is tried again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SyncError {
    pub reason: Arc<str>,
}

impl SyncError {
    pub fn new(reason: impl Into<Arc<str>>) -> SyncError {
        SyncError { reason: reason.into() }
    }
}

/// A future that only its owner polls. The mutex is never locked: it makes the owner `Sync`, so that a log that keeps
/// tickets can be borrowed across an await.
struct Unshared<T>(Mutex<BoxFuture<'static, T>>);

impl<T> Unshared<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Unshared(Mutex::new(future.boxed()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
    }
}

/// Resolves with the durable end that a request gives. Dropping it does not withdraw the request.
#[must_use = "nothing is known to be durable before the ticket resolves"]
pub struct SyncTicket(Unshared<Result<Offset, SyncError>>);

impl SyncTicket {
    pub fn new(done: impl Future<Output = Result<Offset, SyncError>> + Send + 'static) -> SyncTicket {
        SyncTicket(Unshared::new(done))
    }
}

impl Future for SyncTicket {
    type Output = Result<Offset, SyncError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

/// Resolves when a note is durable.
#[must_use = "the order of a note and later writes is only kept by waiting for it"]
pub struct NoteTicket(Unshared<Result<(), SyncError>>);

impl NoteTicket {
    pub fn new(done: impl Future<Output = Result<(), SyncError>> + Send + 'static) -> NoteTicket {
        NoteTicket(Unshared::new(done))
    }
}

impl Future for NoteTicket {
    type Output = Result<(), SyncError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

/// What a disk offers its logs.
///
/// For each log, in the order of submission: tickets resolve in that order; a request is done only when all
/// earlier ones are; after one failed, all later ones fail. Notes and requests keep their order in the journal.
pub trait Rounds: Send + Sync + 'static {
    fn submit(&self, request: SyncRequest) -> SyncTicket;
    fn note(&self, log: LogKey, note: FileNote) -> NoteTicket;
    /// Whether the caller, who is about to write to a segment and then to submit it, may begin the segment's
    /// sync with the write, since no round is under way that it could join. Given to one log at a time.
    fn claim_early_sync(&self) -> bool {
        false
    }
}

/// A disk's sync rounds, shared by its logs.
#[derive(Clone)]
pub struct RoundsHandle(Arc<dyn Rounds>);

impl RoundsHandle {
    pub fn new(rounds: Arc<dyn Rounds>) -> RoundsHandle {
        RoundsHandle(rounds)
    }

    /// Rounds without a journal: each ticket, when polled, syncs the files of its request. For tools and tests
    /// that open a single log.
    pub fn direct() -> RoundsHandle {
        RoundsHandle(Arc::new(Direct::default()))
    }

    /// Takes over what must become durable; never waits.
    pub fn submit(&self, request: SyncRequest) -> SyncTicket {
        self.0.submit(request)
    }

    /// See [`Rounds::claim_early_sync`].
    pub fn claim_early_sync(&self) -> bool {
        self.0.claim_early_sync()
    }

    /// Records a change to a log's files; never waits, the ticket does.
    pub fn note(&self, log: LogKey, note: FileNote) -> NoteTicket {
        self.0.note(log, note)
    }
}

impl fmt::Debug for RoundsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoundsHandle")
    }
}

type Chained = Shared<BoxFuture<'static, Result<Offset, SyncError>>>;

/// Each request waits for the one before it of the same log, then syncs its files one by one.
#[derive(Default)]
struct Direct {
    last: Mutex<BTreeMap<LogKey, Chained>>,
}

impl Rounds for Direct {
    fn submit(&self, request: SyncRequest) -> SyncTicket {
        let mut last = self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = last.get(&request.log).cloned();
        let log = request.log;
        let chained = async move {
            if let Some(before) = before {
                before.await?;
            }
            for range in request.ranges {
                range.file.sync_data().await.map_err(|e| failed_sync(range.file.path(), &e))?;
            }
            Ok(request.end)
        }
        .boxed()
        .shared();
        last.insert(log, chained.clone());
        SyncTicket::new(chained)
    }

    fn note(&self, _log: LogKey, _note: FileNote) -> NoteTicket {
        NoteTicket::new(async { Ok(()) })
    }
}

fn failed_sync(path: &str, error: &io::Error) -> SyncError {
    SyncError::new(format!("sync of {path} failed: {error}"))
}
