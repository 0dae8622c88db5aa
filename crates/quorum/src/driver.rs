//! The quorum's one task: owns the `RawNode` and the state machine, never waits for the disk.
//!
//! It receives proposals from any number of [`crate::Quorum`] handles (bounded channel; when as many
//! are pending as the config allows it takes no more, the channel fills, callers hear Busy), ticks of
//! the clock, and what the [writer](crate::writer) made durable. It sends the writer the records of
//! each Ready in order (bounded channel; when it is full no Ready is taken), and starts the task that
//! writes a [snapshot](crate::snapshot). Of each source a turn takes a bounded number, and the clock
//! comes before all of them. It ends when it is closed, or with the error of the disk, the state machine
//! or raft; every waiting caller then hears `Stopped`.

use crate::config::{self, QuorumConfig};
use crate::error::{ProposeError, QuorumError};
use crate::handle::Status;
use crate::propose::{Pending, Proposal};
use crate::storage::Storage;
use crate::writer::{Done, Job};
use crate::StateMachine;
use norn_env::clock::{self, Instant};
use norn_env::disk::Disk;
use norn_env::task::{self, Handle, Shutdown};
use raft::eraftpb::{HardState, SnapshotMetadata};
use raft::{RawNode, StateRole};
use std::future::Future;
use std::pin::Pin;
use tokio::sync::{mpsc, watch};

/// Proposals that one turn takes before it drives Raft: what one fdatasync covers when many wait.
const PROPOSALS_PER_TURN_MAX: usize = 256;
/// What the writer made durable that one turn takes.
const DONE_PER_TURN_MAX: usize = 32;

/// When the clock of Raft moves on.
type Tick = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The channels of a driver.
pub(crate) struct Channels {
    pub proposals: mpsc::Receiver<Proposal>,
    pub jobs: mpsc::Sender<Job>,
    pub done: mpsc::Receiver<Done>,
    pub writer: Handle<Result<(), QuorumError>>,
    pub status: watch::Sender<Status>,
    pub closing: Shutdown,
}

/// What woke the driver.
#[derive(Debug)]
enum Event {
    Closing,
    Tick,
    WriterEnded(Result<(), QuorumError>),
    Done(Done),
    Stored(Result<SnapshotMetadata, QuorumError>),
    Proposal(Option<Proposal>),
    /// The last turn has left some of what Raft has ready.
    Ready,
}

/// What may be taken now of the sources that are not always open.
#[derive(Clone, Copy)]
struct Open {
    proposals: bool,
    ready: bool,
}

/// The driver's state; see the module. What it does with a Ready is in [`crate::ready`].
pub(crate) struct Driver<S> {
    pub(crate) config: QuorumConfig,
    /// For snapshots.
    pub(crate) disk: Disk,
    pub(crate) node: RawNode<Storage>,
    pub(crate) machine: S,
    pub(crate) channels: Channels,
    pub(crate) pending: Pending,
    /// Readies that the writer has and has not made durable.
    pub(crate) in_flight: usize,
    /// The hard state that was last handed to the writer.
    pub(crate) written: HardState,
    /// Index and term of the last applied entry.
    pub(crate) applied: (u64, u64),
    pub(crate) snapshots: SnapshotProgress,
}

/// What tells when a snapshot is due.
pub(crate) struct SnapshotProgress {
    /// Index of the last one.
    pub last_index: u64,
    /// Bytes handed to the WAL since.
    pub bytes: u64,
    pub stage: Stage,
}

/// How far a snapshot is.
pub(crate) enum Stage {
    /// There is none under way.
    Idle,
    /// Its file is being written.
    Storing(Handle<Result<SnapshotMetadata, QuorumError>>),
    /// Its file is durable, and the writer has not been told.
    Stored(SnapshotMetadata),
    /// The writer records it in the WAL and drops what it covers.
    Recording,
}

impl Stage {
    /// Waits for the end of the task that writes the file.
    async fn stored(&mut self) -> Result<SnapshotMetadata, QuorumError> {
        match self {
            Stage::Storing(task) => task.await.unwrap_or(Err(QuorumError::WriterEnded)),
            _ => std::future::pending().await,
        }
    }
}

impl<S: StateMachine> Driver<S> {
    /// A driver over what was replayed; the state machine stands at `applied`.
    pub fn new(
        config: QuorumConfig,
        disk: Disk,
        node: RawNode<Storage>,
        machine: S,
        channels: Channels,
        wal_bytes: u64,
    ) -> Driver<S> {
        let applied = node.raft.raft_log.applied();
        // Term 0 is never led in: this node names itself leader only after an entry of its own term.
        Driver {
            config,
            disk,
            machine,
            channels,
            pending: Pending::default(),
            in_flight: 0,
            written: node.store().hard_state().clone(),
            applied: (applied, 0),
            snapshots: SnapshotProgress { last_index: applied, bytes: wal_bytes, stage: Stage::Idle },
            node,
        }
    }

    /// Runs until closed or failed.
    pub async fn run(mut self) -> Result<(), QuorumError> {
        if self.alone() {
            // Nobody else can be voted for, so there is no reason to wait for the election timeout.
            self.node.campaign()?;
        }
        let mut tick = self.next_tick();
        loop {
            self.drive()?;
            self.publish();
            let open =
                Open { proposals: self.pending.len() < self.config.proposals_max, ready: self.has_ready() };
            match self.channels.next_event(&mut tick, &mut self.snapshots.stage, open).await {
                Event::Closing | Event::Proposal(None) => return self.finish().await,
                Event::Tick => {
                    self.node.tick();
                    tick = self.next_tick();
                }
                Event::WriterEnded(ended) => return Err(ended.err().unwrap_or(QuorumError::WriterEnded)),
                Event::Done(first) => self.done_waiting(first),
                Event::Stored(stored) => self.snapshots.stage = Stage::Stored(stored?),
                Event::Proposal(Some(first)) => self.propose_waiting(first),
                Event::Ready => {}
            }
        }
    }

    fn next_tick(&self) -> Tick {
        Box::pin(clock::sleep_until(clock::now() + self.config.tick))
    }

    fn alone(&self) -> bool {
        let alone = self.node.raft.prs().conf().voters().ids().iter().all(|voter| voter == self.node.raft.id);
        alone
    }

    /// Takes what else the writer has made durable.
    fn done_waiting(&mut self, first: Done) {
        self.done(first);
        for _ in 1..DONE_PER_TURN_MAX {
            let Ok(done) = self.channels.done.try_recv() else { break };
            self.done(done);
        }
    }

    /// Proposes all that waits, so that one Ready and one fdatasync carry it.
    fn propose_waiting(&mut self, first: Proposal) {
        let now = clock::now();
        self.propose(first, now);
        for _ in 1..PROPOSALS_PER_TURN_MAX {
            if self.pending.len() >= self.config.proposals_max {
                break;
            }
            let Ok(proposal) = self.channels.proposals.try_recv() else { break };
            self.propose(proposal, now);
        }
    }

    fn propose(&mut self, proposal: Proposal, now: Instant) {
        let Proposal { command, deadline, reply } = proposal;
        let refused = if self.node.raft.state != StateRole::Leader {
            // raft-rs would forward silently to the leader it knows.
            ProposeError::NotLeader { leader: config::node_id(self.node.raft.leader_id) }
        } else if deadline <= now {
            ProposeError::DeadlineExceeded
        } else {
            match self.node.propose(Vec::new(), command.into()) {
                Ok(()) => {
                    let index = self.node.raft.raft_log.last_index();
                    self.pending.insert(index, self.node.raft.term, reply);
                    return;
                }
                // Its bound of bytes that are not committed yet, or a transfer of the lead.
                Err(_) => ProposeError::Busy,
            }
        };
        let _ = reply.send(Err(refused));
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Persisted { number, jobs } => {
                self.in_flight -= jobs;
                self.node.on_persist_ready(number);
            }
            Done::Snapshot(metadata) => {
                self.snapshots.stage = Stage::Idle;
                self.node.mut_store().compact(&metadata);
            }
        }
    }

    /// Publishes the status if it moved.
    pub(crate) fn publish(&self) {
        let raft = &self.node.raft;
        let unready = raft.state == StateRole::Leader && self.applied.1 != raft.term;
        let leader = if unready { None } else { config::node_id(raft.leader_id) };
        let now = Status {
            term: raft.term,
            leader,
            commit: raft.raft_log.committed,
            last: raft.raft_log.last_index(),
            applied: self.applied.0,
        };
        let moved = self.channels.status.send_if_modified(|status| std::mem::replace(status, now) != now);
        if moved {
            let Status { term, commit, applied, .. } = now;
            tracing::debug!(term, ?leader, commit, applied, "quorum moved");
        }
    }

    /// Lets what was proposed become durable and be answered, then ends the writer. The rest is dropped,
    /// and its callers hear `Stopped`.
    async fn finish(mut self) -> Result<(), QuorumError> {
        loop {
            self.drive()?;
            self.publish();
            if self.has_ready() {
                continue;
            }
            // A snapshot too, so that nothing of it is under way when another process opens the directory.
            let storing = matches!(self.snapshots.stage, Stage::Storing(_));
            if self.in_flight == 0 && matches!(self.snapshots.stage, Stage::Idle) {
                break;
            }
            let Channels { done, writer, .. } = &mut self.channels;
            let stage = &mut self.snapshots.stage;
            let event = async {
                norn_env::select! {
                    ended = &mut *writer => Event::WriterEnded(ended.unwrap_or(Err(QuorumError::WriterEnded))),
                    Some(done) = done.recv() => Event::Done(done),
                    stored = stage.stored(), if storing => Event::Stored(stored),
                }
            };
            match task::wait(|| "quorum driver: the WAL, to close".to_owned(), event).await {
                Event::Done(done) => self.done(done),
                Event::Stored(stored) => self.snapshots.stage = Stage::Stored(stored?),
                Event::WriterEnded(ended) => return Err(ended.err().unwrap_or(QuorumError::WriterEnded)),
                other => unreachable!("{other:?} is not waited for"),
            }
        }
        let Channels { jobs, done, writer, .. } = self.channels;
        drop((jobs, done));
        task::wait(|| "quorum driver: the WAL writer's end".to_owned(), writer).await.unwrap_or(Ok(()))
    }
}

impl Channels {
    /// The first in this order of what there is.
    async fn next_event(&mut self, tick: &mut Tick, snapshot: &mut Stage, open: Open) -> Event {
        let Channels { proposals, done, writer, closing, .. } = self;
        let storing = matches!(snapshot, Stage::Storing(_));
        let event = async {
            norn_env::select! {
                () = closing.signaled() => Event::Closing,
                () = &mut *tick => Event::Tick,
                ended = &mut *writer => Event::WriterEnded(ended.unwrap_or(Err(QuorumError::WriterEnded))),
                Some(done) = done.recv() => Event::Done(done),
                stored = snapshot.stored(), if storing => Event::Stored(stored),
                proposal = proposals.recv(), if open.proposals => Event::Proposal(proposal),
                () = tokio::task::yield_now(), if open.ready => Event::Ready,
            }
        };
        task::wait(|| "quorum driver: a proposal, the WAL or the next tick".to_owned(), event).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use norn_env::clock::Duration;
    use norn_env::testing::run;
    use tokio::sync::oneshot;

    #[test]
    fn the_clock_comes_before_what_load_keeps_ready_and_closing_before_that() {
        run(|| async {
            let (proposer, proposals) = mpsc::channel(1);
            let (jobs, _waiting_jobs) = mpsc::channel(1);
            let (done_sender, done) = mpsc::channel(1);
            let (status, _) = watch::channel(Status::default());
            let (trigger, closing) = task::shutdown();
            let writer = task::spawn("writer", std::future::pending());
            let mut channels = Channels { proposals, jobs, done, writer, status, closing };
            let deadline = clock::now() + Duration::from_secs(1);
            let reply = oneshot::channel().0;
            proposer.try_send(Proposal { command: Bytes::new(), deadline, reply }).unwrap();
            done_sender.try_send(Done::Persisted { number: 1, jobs: 1 }).unwrap();
            let open = Open { proposals: true, ready: true };
            let mut due: Tick = Box::pin(std::future::ready(()));
            let first = channels.next_event(&mut due, &mut Stage::Idle, open).await;
            assert!(matches!(first, Event::Tick), "{first:?}");
            let mut tick: Tick = Box::pin(std::future::pending());
            let second = channels.next_event(&mut tick, &mut Stage::Idle, open).await;
            assert!(matches!(second, Event::Done(_)), "{second:?}");
            let third = channels.next_event(&mut tick, &mut Stage::Idle, open).await;
            assert!(matches!(third, Event::Proposal(Some(_))), "{third:?}");
            let fourth = channels.next_event(&mut tick, &mut Stage::Idle, open).await;
            assert!(matches!(fourth, Event::Ready), "{fourth:?}");
            trigger.signal();
            let mut due: Tick = Box::pin(std::future::ready(()));
            let last = channels.next_event(&mut due, &mut Stage::Idle, open).await;
            assert!(matches!(last, Event::Closing), "{last:?}");
        });
    }
}
