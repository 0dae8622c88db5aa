//! The quorum as others hold it: propose, watch, close.

use crate::error::ProposeError;
use crate::propose::Proposal;
use bytes::Bytes;
use norn_env::clock::{self, Instant};
use norn_env::task::{self, ShutdownTrigger};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// Where the quorum stands, as its driver last published it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    pub term: u64,
    /// The node that leads. This node names itself only once it has applied an entry of its own term:
    /// from then on its state machine has seen all that was committed before.
    pub leader: Option<u64>,
    /// Highest index known to be committed.
    pub commit: u64,
    /// Highest index of the log, committed or not.
    pub last: u64,
    /// Highest index that the state machine has seen.
    pub applied: u64,
}

/// A handle on the running quorum. Clones are cheap; dropping the last one closes it.
#[derive(Clone)]
pub struct Quorum {
    pub(crate) proposals: mpsc::Sender<Proposal>,
    pub(crate) proposal_bytes_max: usize,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) voters: Arc<[u64]>,
    pub(crate) closing: Arc<ShutdownTrigger>,
}

impl Quorum {
    /// Proposes a command and waits until the state machine has applied it here: its result is what
    /// [`crate::StateMachine::apply`] returned. Always ends by the deadline.
    pub async fn propose(&self, command: Bytes, deadline: Instant) -> Result<Bytes, ProposeError> {
        if command.len() > self.proposal_bytes_max {
            return Err(ProposeError::TooLarge { bytes: command.len(), max: self.proposal_bytes_max });
        }
        let permit = self.proposals.try_reserve().map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(()) => ProposeError::Busy,
            mpsc::error::TrySendError::Closed(()) => ProposeError::Stopped,
        })?;
        let (reply, answer) = oneshot::channel();
        permit.send(Proposal { command, deadline, reply });
        let answer =
            task::wait(|| "quorum: result of a proposal".to_owned(), clock::timeout_at(deadline, answer));
        match answer.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ProposeError::Stopped),
            Err(_) => Err(ProposeError::DeadlineExceeded),
        }
    }

    /// The status now and every change of it.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The nodes that vote. This build does not change them.
    pub fn voters(&self) -> &[u64] {
        &self.voters
    }

    /// Ends the quorum: what it took before is made durable and answered, the rest hears `Stopped`.
    /// Returns when it has ended.
    pub async fn close(&self) {
        self.closing.signal();
        task::wait(|| "quorum: its end".to_owned(), self.proposals.closed()).await;
    }
}
