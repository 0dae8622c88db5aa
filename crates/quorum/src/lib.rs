//! Agrees: Raft over the metadata WAL.
//!
//! The quorum replicates opaque commands to a state machine that its user brings; it knows bytes, not
//! topics. What it answers has been made durable and applied here. Inside, the [`driver`] owns Raft and
//! the state machine and never waits for the disk; the [`writer`] owns the WAL and does nothing else; a
//! [`snapshot`] is written by a task of its own.
//! There is one voter: the node itself. What [`storage`], [`writer`] and [`ready`] guarantee (durable
//! before spoken of, applied in order, a snapshot before its prefix goes) is what several need too.

mod config;
mod driver;
mod error;
mod handle;
mod propose;
mod ready;
mod record;
mod replay;
mod snapshot;
mod storage;
#[cfg(test)]
mod tests;
mod writer;

pub use config::QuorumConfig;
pub use error::{Fatal, ProposeError, QuorumError};
pub use handle::{Quorum, Status};

use bytes::Bytes;
use norn_env::disk::Disk;
use norn_env::task::{self, Handle};
use norn_log::wal::Wal;
use raft::eraftpb::SnapshotMetadata;
use raft::RawNode;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// What the committed commands act on. Everything in it is a function of the commands and their order:
/// no clock, no randomness, no I/O.
pub trait StateMachine: Send + 'static {
    /// Applies the command at `index`; the result goes to its proposer. A command may be refused by its
    /// result; `Err` is for one that this build does not know, and halts the node.
    fn apply(&mut self, index: u64, command: &[u8]) -> Result<Bytes, Fatal>;

    /// Called after the state was restored, and after some commands were applied and before their proposers hear of it:
    /// the place to publish the new state once for all of them.
    fn publish(&mut self) {}

    /// The whole state as it is now, in chunks of about `chunk_bytes`, from which [`StateMachine::restore_chunk`] makes an
    /// equal one. Taking it is cheap; another task makes and writes the chunks while commands are applied.
    fn snapshot(&self, chunk_bytes: usize) -> Box<dyn Iterator<Item = Bytes> + Send>;

    /// Takes the next chunk of a snapshot, in their order. Only a start restores, before it applies anything.
    fn restore_chunk(&mut self, chunk: &[u8]) -> Result<(), Fatal>;

    /// Replaces the state by that of the chunks that were taken, which are all.
    fn restore_end(&mut self) -> Result<(), Fatal>;
}

/// How a quorum ended: closed by its user, or by an error after which the node cannot go on.
pub type QuorumExit = Result<(), QuorumError>;

/// Readies that may wait for the disk. While all are taken proposals wait, and then join in one.
const JOBS_MAX: usize = 32;
/// Bytes of committed commands that one turn applies.
const APPLY_BYTES_MAX: u64 = 4 << 20;
/// Proposed and not yet committed bytes, in largest commands; beyond, callers hear Busy.
const UNCOMMITTED_COMMANDS_MAX: u64 = 4;

/// Recovers what is in the directory and starts the quorum. The returned handle of its task ends when the
/// quorum does: whoever supervises the node watches it. Dropping that handle stops the quorum at once, as
/// a crash would.
pub async fn start(
    config: QuorumConfig,
    disk: Disk,
    mut machine: impl StateMachine,
) -> Result<(Quorum, Handle<QuorumExit>), QuorumError> {
    let (mut wal, replayed) = recover(&config, &disk, &mut machine).await?;
    let replayed = match replayed.conf_state.voters.is_empty() {
        true => found(&config, &mut wal).await?,
        false => replayed,
    };
    let id = config::raft_id(config.node_id);
    if replayed.conf_state.voters != [id] {
        let found = replayed.conf_state.voters.iter().filter_map(|voter| config::node_id(*voter)).collect();
        return Err(QuorumError::OtherVoters { dir: config.dir, found, node_id: config.node_id });
    }
    let raft_config = raft::Config {
        id,
        election_tick: config.election_ticks(),
        heartbeat_tick: config::HEARTBEAT_TICKS,
        applied: replayed.snapshot.index,
        max_size_per_msg: 1 << 20,
        max_uncommitted_size: UNCOMMITTED_COMMANDS_MAX * config.proposal_bytes_max.max(1 << 20) as u64,
        max_committed_size_per_ready: APPLY_BYTES_MAX,
        check_quorum: true,
        pre_vote: true,
        ..raft::Config::default()
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let node = RawNode::new(&raft_config, storage::Storage::new(replayed), &logger)?;

    let (proposals, waiting_proposals) = mpsc::channel(config.proposals_max);
    let (jobs, waiting_jobs) = mpsc::channel(JOBS_MAX);
    let (done_sender, done) = mpsc::channel(JOBS_MAX);
    let (status_sender, status) = watch::channel(Status::default());
    let (trigger, closing) = task::shutdown();
    let wal_bytes = wal.bytes();
    let writer = writer::Writer {
        disk: disk.clone(),
        dir: config.dir.clone(),
        wal,
        jobs: waiting_jobs,
        done: done_sender,
    };
    let channels = driver::Channels {
        proposals: waiting_proposals,
        jobs,
        done,
        writer: task::spawn("metadata-wal", writer.run()),
        status: status_sender,
        closing,
    };
    let proposal_bytes_max = config.proposal_bytes_max;
    let voters = node.raft.prs().conf().voters().ids().iter().filter_map(config::node_id).collect();
    let driver = driver::Driver::new(config, disk, node, machine, channels, wal_bytes);
    let task = task::spawn("quorum", driver.run());
    Ok((Quorum { proposals, proposal_bytes_max, status, voters, closing: Arc::new(trigger) }, task))
}

/// Restores the newest snapshot, if there is one; gives what it is of.
async fn restore(
    config: &QuorumConfig,
    disk: &Disk,
    machine: &mut impl StateMachine,
) -> Result<Option<SnapshotMetadata>, QuorumError> {
    let dir = &config.dir;
    let looked_up = |source| QuorumError::SnapshotDisk { operation: "looking up", file: dir.clone(), source };
    if !disk.exists(dir).await.map_err(looked_up)? {
        return Ok(None);
    }
    let snapshot = snapshot::load(disk, dir, &mut |chunk| machine.restore_chunk(chunk)).await?;
    if let Some(index) = snapshot.as_ref().map(|snapshot| snapshot.index) {
        machine.restore_end().map_err(|reason| QuorumError::Restore { index, reason })?;
        machine.publish();
    }
    Ok(snapshot)
}

/// Restores the newest snapshot and replays the WAL after it.
async fn recover(
    config: &QuorumConfig,
    disk: &Disk,
    machine: &mut impl StateMachine,
) -> Result<(Wal, replay::Replayed), QuorumError> {
    let snapshot = restore(config, disk, machine).await?;
    let mut replay = replay::Replay::new(snapshot);
    let mut misfit = None;
    let mut visit = |record: norn_log::wal::Record| {
        let index = record.index;
        let decoded = record::Record::decode(&record.payload).map_err(|what| replay::Misfit { index, what });
        if misfit.is_none() {
            misfit = decoded.and_then(|record| replay.record(record)).err();
        }
    };
    let (wal, report) = Wal::open(disk.clone(), &config.dir, config.wal, &mut visit).await?;
    let replayed = match misfit {
        Some(misfit) => Err(misfit),
        None => replay.finish(),
    };
    let replay_error = |misfit: replay::Misfit| QuorumError::Replay {
        dir: config.dir.clone(),
        index: misfit.index,
        what: misfit.what,
    };
    let replayed = replayed.map_err(replay_error)?;
    if let Some((file, at, bytes)) = &report.torn_tail {
        tracing::warn!(
            file,
            at,
            bytes,
            "cut the torn tail of the metadata WAL; nothing of it was acknowledged"
        );
    }
    let (snapshot, entries) = (replayed.snapshot.index, replayed.entries.len());
    tracing::info!(
        dir = config.dir,
        segments = report.segments,
        snapshot,
        entries,
        "recovered the metadata WAL"
    );
    Ok((wal, replayed))
}

/// Begins a new metadata log, whose one voter is this node.
async fn found(config: &QuorumConfig, wal: &mut Wal) -> Result<replay::Replayed, QuorumError> {
    let mut mark = SnapshotMetadata::default();
    mark.mut_conf_state().voters.push(config::raft_id(config.node_id));
    wal.append(&[record::Record::Snapshot(mark.clone()).encode()]).await?;
    Ok(replay::Replayed { conf_state: mark.take_conf_state(), ..replay::Replayed::default() })
}
