//! What one log has in a round: its files and ranges, and who waits for them. Pure.

use super::plan::Load;
use super::queue::Item;
use crate::dir::journal::entry::{Entry, What};
use crate::dir::journal::ring::SegmentKey;
use crate::dir::points::RecoveryPoint;
use crate::rounds::{DirtyRange, FileNote, SyncError};
use norn_env::disk::File;
use norn_protocol::types::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Who waits for a batch, in the log's order.
#[derive(Debug)]
enum Reply {
    Sync(oneshot::Sender<Result<Offset, SyncError>>, Offset),
    Note(oneshot::Sender<Result<(), SyncError>>),
}

/// Something of a log, in the order in which the journal must know it.
#[derive(Debug)]
enum Step {
    Range(DirtyRange),
    /// With the ranges before it, the log is durable up to here.
    Reached(RecoveryPoint),
    Note(FileNote),
    Delete,
}

/// Everything that a log handed over by the time a round began.
#[derive(Debug)]
pub(super) struct Batch {
    pub log: Arc<str>,
    steps: Vec<Step>,
    replies: Vec<Reply>,
    /// Writes and syncs that are still under way.
    pub parts: usize,
    /// One of them failed, and all tickets have been told.
    pub failed: bool,
    /// The log was opened since the last batch.
    pub opened: bool,
    /// The log's directory goes.
    pub deletes: bool,
    /// Bytes of its ranges.
    pub bytes: u64,
    /// The journal must say its notes, durably, before its tickets resolve. Once true it stays so: whatever is found out
    /// later, the journal may say what the notes take back.
    pub noted: bool,
    /// The journal's write that the batch waits for says how far the log will be durable.
    pub told: bool,
}

impl Batch {
    pub fn new(log: Arc<str>, items: Vec<Item>) -> Batch {
        let mut batch = Batch {
            log,
            steps: Vec::new(),
            replies: Vec::new(),
            parts: 0,
            failed: false,
            opened: false,
            deletes: false,
            bytes: 0,
            noted: false,
            told: false,
        };
        for item in items {
            match item {
                Item::Sync(request, reply) => {
                    let reached = request.ranges.last().map(|last| RecoveryPoint {
                        segment: last.segment,
                        position: last.position + last.len,
                        end: request.end,
                    });
                    batch.bytes += request.ranges.iter().map(|range| range.len).sum::<u64>();
                    batch.steps.extend(request.ranges.into_iter().map(Step::Range));
                    batch.steps.extend(reached.map(Step::Reached));
                    batch.replies.push(Reply::Sync(reply, request.end));
                }
                Item::Note(note, reply) => {
                    batch.steps.push(Step::Note(note));
                    batch.replies.push(Reply::Note(reply));
                }
                Item::Opened(point) => {
                    batch.opened = true;
                    batch.steps.push(Step::Reached(point));
                }
                Item::Delete(reply) => {
                    batch.deletes = true;
                    batch.steps.push(Step::Delete);
                    batch.replies.push(Reply::Note(reply));
                }
            }
        }
        batch
    }

    /// The segment files with something to make durable, and how much.
    pub fn files(&self) -> BTreeMap<SegmentKey, (File, Load)> {
        let mut files: BTreeMap<SegmentKey, (File, Load)> = BTreeMap::new();
        for step in &self.steps {
            let Step::Range(range) = step else { continue };
            let held: u64 = range.bytes.iter().map(|piece| piece.len() as u64).sum();
            let none = || (range.file.clone(), Load { bytes: 0, copyable: true });
            let (_, load) = files.entry((self.log.clone(), range.segment)).or_insert_with(none);
            load.bytes += range.len;
            load.copyable &= held == range.len;
        }
        files
    }

    /// Notes, with their targets.
    pub fn notes(&self) -> impl Iterator<Item = &FileNote> {
        self.steps.iter().filter_map(|step| match step {
            Step::Note(note) => Some(note),
            _ => None,
        })
    }

    /// Where the log is durable when all is done, after it was so up to `point`.
    pub fn point_after(&self, point: Option<RecoveryPoint>) -> Option<RecoveryPoint> {
        self.steps.iter().fold(point, |point, step| match step {
            Step::Reached(reached) => Some(*reached),
            Step::Note(note) => cut_of(note).map_or(point, |cut| point.map(|point| point.min(cut))),
            Step::Delete => None,
            Step::Range(_) => point,
        })
    }

    /// What the journal is to say of this batch: the ranges of the files that `copied` allows, and the
    /// notes if it must or if they take something of these ranges back; and how far the log is durable by that, if all
    /// its ranges are copied.
    pub fn entries(&self, copied: impl Fn(&SegmentKey) -> bool) -> Vec<Entry> {
        let files = self.files();
        let whole = files.keys().all(&copied);
        let noted = self.noted || files.keys().any(&copied);
        let copied = |segment: Offset| copied(&(self.log.clone(), segment));
        let mut entries = Vec::new();
        let mut push = |what| entries.push(Entry { log: self.log.clone(), what });
        for step in &self.steps {
            match step {
                Step::Range(DirtyRange { segment, position, bytes, .. }) if copied(*segment) => {
                    push(What::Range { segment: *segment, position: *position, bytes: bytes.clone() });
                }
                Step::Reached(point) if whole => push(What::Durable(*point)),
                Step::Note(note) if noted => push(What::File(*note)),
                Step::Delete if noted => push(What::LogDeleted),
                _ => {}
            }
        }
        entries
    }

    /// All is durable: every ticket resolves, in order.
    pub fn resolve(self) {
        for reply in self.replies {
            // A caller that dropped its ticket does not care.
            let _ = match reply {
                Reply::Sync(reply, end) => reply.send(Ok(end)).is_ok(),
                Reply::Note(reply) => reply.send(Ok(())).is_ok(),
            };
        }
    }

    /// Something failed: every ticket says so.
    pub fn fail(&mut self, error: &SyncError) {
        self.failed = true;
        for reply in self.replies.drain(..) {
            let _ = match reply {
                Reply::Sync(reply, _) => reply.send(Err(error.clone())).is_ok(),
                Reply::Note(reply) => reply.send(Err(error.clone())).is_ok(),
            };
        }
    }
}

/// Where a note leaves the log's end at most. A log goes on in a new file, so that one made anew tells
/// that nothing from its base on was there.
pub(super) fn cut_of(note: &FileNote) -> Option<RecoveryPoint> {
    match note {
        FileNote::Truncating { segment, len, end } | FileNote::Truncated { segment, len, end } => {
            Some(RecoveryPoint { segment: *segment, position: *len, end: *end })
        }
        FileNote::Created { segment } => {
            Some(RecoveryPoint { segment: *segment, position: 0, end: *segment })
        }
        FileNote::Deleted { .. } => None,
    }
}
