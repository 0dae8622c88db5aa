//! The quorum's one task: owns the `RawNode` and the state machine, never waits for the disk.
//!
//! It receives proposals from any number of [`crate::Quorum`] handles (bounded channel; when as many
//! are pending as the config allows it takes no more, the channel fills, callers hear Busy), ticks of
//! the clock, and what the [writer](crate::writer) made durable. It sends the writer the records of
//! each Ready in order (bounded channel; when it is full no Ready is taken). It ends when it is closed,
//! or with the error of the disk, the state machine or raft; every waiting caller then hears `Stopped`.

use crate::config::{self, QuorumConfig};
use crate::error::{ProposeError, QuorumError};
use crate::handle::Status;
use crate::propose::{Pending, Proposal};
use crate::storage::Storage;
use crate::writer::{Done, Job};
use crate::StateMachine;
use norn_env::clock::{self, Instant};
use norn_env::task::{self, Handle, Shutdown};
use raft::eraftpb::HardState;
use raft::{RawNode, StateRole};
use std::future::Future;
use std::pin::Pin;
use tokio::sync::{mpsc, watch};

/// Proposals that one turn takes before it drives Raft: what one fdatasync covers when many wait.
const PROPOSALS_PER_TURN_MAX: usize = 256;

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
enum Event {
    Closing,
    WriterEnded(Result<(), QuorumError>),
    Done(Done),
    Proposal(Option<Proposal>),
    Tick,
}

/// The driver's state; see the module. What it does with a Ready is in [`crate::ready`].
pub(crate) struct Driver<S> {
    pub(crate) config: QuorumConfig,
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
    /// The writer has one that is not durable yet.
    pub in_progress: bool,
}

impl<S: StateMachine> Driver<S> {
    /// A driver over what was replayed; the state machine stands at `applied`.
    pub fn new(
        config: QuorumConfig,
        node: RawNode<Storage>,
        machine: S,
        channels: Channels,
        wal_bytes: u64,
    ) -> Driver<S> {
        let applied = node.raft.raft_log.applied();
        // Term 0 is never led in: this node names itself leader only after an entry of its own term.
        Driver {
            config,
            machine,
            channels,
            pending: Pending::default(),
            in_flight: 0,
            written: node.store().hard_state().clone(),
            applied: (applied, 0),
            snapshots: SnapshotProgress { last_index: applied, bytes: wal_bytes, in_progress: false },
            node,
        }
    }

    /// Runs until closed or failed.
    pub async fn run(mut self) -> Result<(), QuorumError> {
        if self.alone() {
            // Nobody else can be voted for, so there is no reason to wait for the election timeout.
            self.node.campaign()?;
        }
        let mut tick = Box::pin(clock::sleep_until(clock::now() + self.config.tick));
        loop {
            self.drive()?;
            self.publish();
            match self.next_event(&mut tick).await {
                Event::Closing => return self.finish().await,
                Event::WriterEnded(ended) => return Err(ended.err().unwrap_or(QuorumError::WriterEnded)),
                Event::Done(done) => self.done(done),
                Event::Proposal(None) => return self.finish().await,
                Event::Proposal(Some(first)) => self.propose_waiting(first),
                Event::Tick => {
                    self.node.tick();
                    tick = Box::pin(clock::sleep_until(clock::now() + self.config.tick));
                }
            }
        }
    }

    fn alone(&self) -> bool {
        let alone = self.node.raft.prs().conf().voters().ids().iter().all(|voter| voter == self.node.raft.id);
        alone
    }

    async fn next_event(&mut self, tick: &mut Pin<Box<impl Future<Output = ()>>>) -> Event {
        let Channels { proposals, done, writer, closing, .. } = &mut self.channels;
        let room = self.pending.len() < self.config.proposals_max;
        let event = async {
            norn_env::select! {
                ended = &mut *writer => Event::WriterEnded(ended.unwrap_or(Err(QuorumError::WriterEnded))),
                Some(done) = done.recv() => Event::Done(done),
                () = closing.signaled() => Event::Closing,
                proposal = proposals.recv(), if room => Event::Proposal(proposal),
                () = tick.as_mut() => Event::Tick,
            }
        };
        task::wait(|| "quorum driver: a proposal, the WAL or the next tick".to_owned(), event).await
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
                self.snapshots.in_progress = false;
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
        self.channels.status.send_if_modified(|status| std::mem::replace(status, now) != now);
    }

    /// Lets what was proposed become durable and be answered, then ends the writer. The rest is dropped,
    /// and its callers hear `Stopped`.
    async fn finish(mut self) -> Result<(), QuorumError> {
        while self.in_flight > 0 {
            let Channels { done, writer, .. } = &mut self.channels;
            let event = async {
                norn_env::select! {
                    ended = &mut *writer => Err(ended.unwrap_or(Err(QuorumError::WriterEnded))),
                    Some(done) = done.recv() => Ok(done),
                }
            };
            match task::wait(|| "quorum driver: the WAL, to close".to_owned(), event).await {
                Ok(done) => self.done(done),
                Err(ended) => return Err(ended.err().unwrap_or(QuorumError::WriterEnded)),
            }
            self.drive()?;
            self.publish();
        }
        let Channels { jobs, done, writer, .. } = self.channels;
        drop((jobs, done));
        task::wait(|| "quorum driver: the WAL writer's end".to_owned(), writer).await.unwrap_or(Ok(()))
    }
}
