//! The task that owns the metadata WAL and does all of the quorum's waiting for the disk.
//!
//! It takes jobs from the driver in order over a bounded channel, writes all that wait with one
//! append and one fdatasync (group commit), and says back which Ready is durable. It ends when the
//! driver drops the channel, or with the error of the first write or sync that failed: what is
//! durable is then not known, so nothing is tried again.

use crate::error::QuorumError;
use crate::record::Record;
use crate::snapshot;
use norn_env::disk::Disk;
use norn_env::task;
use norn_log::wal::{self, Wal};
use raft::eraftpb::{HardState, SnapshotMetadata};
use tokio::sync::mpsc;

/// Readies whose records one append may join, and the bytes with which it takes no more. They bound what a single fdatasync
/// covers; a Ready is bounded by what may be proposed and not committed.
const JOBS_PER_APPEND_MAX: usize = 64;
const APPEND_BYTES_MAX: usize = 16 << 20;

/// Work for the writer.
#[derive(Debug)]
pub(crate) enum Job {
    /// Make these durable, then say that Ready `number` is. Without records it only keeps the order.
    Persist { number: u64, records: Vec<wal::Record> },
    /// A snapshot is durable under its name: record that in the WAL with the hard state, drop what it covers.
    Snapshot { metadata: SnapshotMetadata, hard_state: HardState },
}

/// What is durable.
#[derive(Debug)]
pub(crate) enum Done {
    /// All Readies up to this number; `jobs` of them were waiting.
    Persisted { number: u64, jobs: usize },
    /// The snapshot with this metadata, and its mark in the WAL.
    Snapshot(SnapshotMetadata),
}

/// The writer's state; see the module.
pub(crate) struct Writer {
    pub disk: Disk,
    pub dir: String,
    pub wal: Wal,
    pub jobs: mpsc::Receiver<Job>,
    pub done: mpsc::Sender<Done>,
}

impl Writer {
    /// Runs until the driver is gone or the disk fails.
    pub async fn run(mut self) -> Result<(), QuorumError> {
        while let Some(job) =
            task::wait(|| "metadata WAL: the driver's next job".to_owned(), self.jobs.recv()).await
        {
            // A snapshot that was met while gathering goes after what came before it.
            let mut next = Some(job);
            while let Some(job) = next.take() {
                let done = match job {
                    Job::Persist { number, records } => {
                        let (done, after) = self.persist(number, records).await?;
                        next = after;
                        done
                    }
                    Job::Snapshot { metadata, hard_state } => self.snapshot(metadata, hard_state).await?,
                };
                let told =
                    task::wait(|| "metadata WAL: room to tell the driver".to_owned(), self.done.send(done))
                        .await;
                if told.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// One group commit. Gives what it covers, and the job that was met and does not belong to it.
    async fn persist(
        &mut self,
        mut number: u64,
        mut records: Vec<wal::Record>,
    ) -> Result<(Done, Option<Job>), QuorumError> {
        let mut jobs = 1;
        let mut after = None;
        let mut bytes = bytes_of(&records);
        while jobs < JOBS_PER_APPEND_MAX && bytes < APPEND_BYTES_MAX {
            match self.jobs.try_recv() {
                Ok(Job::Persist { number: joined, records: more }) => {
                    assert!(joined > number, "Ready {joined} after {number}");
                    number = joined;
                    jobs += 1;
                    bytes += bytes_of(&more);
                    records.extend(more);
                }
                Ok(other) => {
                    after = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        task::wait(|| "metadata WAL: append and fdatasync".to_owned(), self.wal.append(&records)).await?;
        Ok((Done::Persisted { number, jobs }, after))
    }

    async fn snapshot(
        &mut self,
        metadata: SnapshotMetadata,
        hard_state: HardState,
    ) -> Result<Done, QuorumError> {
        // What the WAL must still say when its old segments are gone.
        let marks = [Record::Snapshot(metadata.clone()).encode(), Record::HardState(hard_state).encode()];
        self.wal.append(&marks).await?;
        self.wal.drop_prefix(metadata.index).await?;
        snapshot::remove_older(&self.disk, &self.dir, metadata.index).await?;
        norn_env::sometimes!("metadata-snapshot-stored");
        Ok(Done::Snapshot(metadata))
    }
}

fn bytes_of(records: &[wal::Record]) -> usize {
    records.iter().map(|record| record.payload.len()).sum()
}
