//! The way to the cluster's metadata: the image as it is published, and changes through the quorum.

mod state;

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::Duration,
};

use norn_core::metadata::{
    controller::{check_bounds, AdminError},
    outcome, Applied, Command, Endpoint, Image, Proposal, Refused, RequestId,
};
use norn_env::{
    clock::{self, Instant},
    rand, task,
};
use norn_protocol::{
    types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, TopicId},
    ErrorCode,
};
use norn_quorum::{ProposeError, Quorum, Status};
use tokio::sync::watch;
use tracing::warn;
use uuid::Uuid;

pub(crate) use state::MetadataMachine;

/// A handle on the metadata. Clones are cheap.
#[derive(Clone)]
pub(crate) struct Controller {
    inner: Arc<Inner>,
}

struct Inner {
    quorum: Quorum,
    image: watch::Receiver<Arc<Image>>,
    node: NodeId,
    broker_epoch: BrokerEpoch,
    /// Numbers this incarnation's requests, so that a retry is carried out once.
    requests: AtomicU64,
}

/// Who registers.
pub(crate) struct Registration {
    pub node: NodeId,
    pub directories: Vec<Uuid>,
    pub endpoint: Endpoint,
    pub rack: Option<String>,
}

/// Why a change was not made, or may not have been.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// It was looked at and is not possible.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It would bring more into the metadata than there may be.
    #[error(transparent)]
    Bound(#[from] AdminError),
    /// The quorum gave no answer. Whether the change is made is not known, except for `Busy` and `TooLarge`.
    #[error(transparent)]
    Undecided(#[from] ProposeError),
    #[error("the metadata quorum answered with something that cannot be read: {0}")]
    Unreadable(String),
}

impl ChangeError {
    /// The one mapping to Kafka's codes; what is undecided is retriable for clients.
    pub fn code(&self) -> ErrorCode {
        match self {
            ChangeError::Refused(refused) => refused.code(),
            ChangeError::Bound(error) => error.code(),
            ChangeError::Undecided(ProposeError::NotLeader { .. }) => ErrorCode::NotController,
            ChangeError::Undecided(ProposeError::DeadlineExceeded | ProposeError::Busy) => {
                ErrorCode::RequestTimedOut
            }
            ChangeError::Undecided(ProposeError::Stopped) => ErrorCode::NotController,
            ChangeError::Undecided(ProposeError::TooLarge { .. }) => ErrorCode::InvalidRequest,
            ChangeError::Unreadable(_) => ErrorCode::UnknownServerError,
        }
    }
}

/// Pause before a change is proposed again that found the quorum's queue full.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Pause before a resignation is asked for again.
const RESIGN_PAUSE: Duration = Duration::from_millis(500);
/// How long one attempt of a resignation may take.
const RESIGN_TIMEOUT: Duration = Duration::from_secs(5);

impl Controller {
    /// Registers this incarnation of the broker; from then on no partition is led in an epoch in which an earlier one led.
    pub async fn register(
        quorum: Quorum,
        image: watch::Receiver<Arc<Image>>,
        registration: Registration,
        deadline: Instant,
    ) -> Result<Controller, ChangeError> {
        let Registration { node, directories, endpoint, rack } = registration;
        let incarnation = Uuid::from_bytes(rand::uuid_bytes());
        let command = Command::RegisterBroker { node, incarnation, directories, endpoint, rack };
        let known = image.borrow().clone();
        check_bounds(&known, &command)?;
        let broker_epoch = match propose(&quorum, command.into(), deadline).await? {
            Applied::BrokerRegistered { epoch } => epoch,
            other => return Err(ChangeError::Unreadable(format!("{other:?} to a registration"))),
        };
        let requests = AtomicU64::new(0);
        Ok(Controller { inner: Arc::new(Inner { quorum, image, node, broker_epoch, requests }) })
    }

    /// The image as it is now.
    pub fn image(&self) -> Arc<Image> {
        self.inner.image.borrow().clone()
    }

    /// The image now and every change of it.
    pub fn images(&self) -> watch::Receiver<Arc<Image>> {
        self.inner.image.clone()
    }

    /// Where the metadata quorum stands.
    pub fn quorum(&self) -> Status {
        *self.inner.quorum.status().borrow()
    }

    /// The nodes that vote in the metadata quorum.
    pub fn voters(&self) -> &[u64] {
        self.inner.quorum.voters()
    }

    /// This broker.
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// This broker's incarnation.
    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.inner.broker_epoch
    }

    /// Makes a change. Returns once it is durable and applied here, or why it is not, by the deadline.
    pub async fn change(&self, command: Command, deadline: Instant) -> Result<Applied, ChangeError> {
        if norn_env::buggify!("a change is slow to be proposed") {
            clock::sleep_until(deadline.min(clock::now() + Duration::from_secs(1))).await;
        }
        // Most decisions have looked at them; whatever has not is caught here.
        check_bounds(&self.image(), &command)?;
        let counter = self.inner.requests.fetch_add(1, Ordering::Relaxed);
        let request = RequestId { node: self.inner.node, broker_epoch: self.inner.broker_epoch, counter };
        let proposal = Proposal { request: Some(request), command };
        loop {
            let proposed = propose(&self.inner.quorum, proposal.clone(), deadline).await;
            match proposed {
                // Nothing was proposed. The quorum's queue is bounded, so whoever finds it full comes again.
                Err(ChangeError::Undecided(ProposeError::Busy)) if clock::now() + BUSY_PAUSE < deadline => {}
                ended => return ended,
            }
            task::wait(|| "room in the quorum's queue".into(), clock::sleep(BUSY_PAUSE)).await;
        }
    }

    /// Gives up the leadership of a partition in this epoch; tries until the quorum has decided.
    pub async fn resign_leadership(&self, id: TopicId, partition: i32, leader_epoch: LeaderEpoch) {
        let (node, broker_epoch) = (self.inner.node, self.inner.broker_epoch);
        loop {
            let partition = PartitionIndex(partition);
            let command = Command::ResignLeadership { id, partition, node, broker_epoch, leader_epoch };
            match self.change(command, clock::now() + RESIGN_TIMEOUT).await {
                Ok(_) | Err(ChangeError::Refused(_) | ChangeError::Bound(_)) => return,
                Err(error) => {
                    warn!(topic = %id, %partition, %leader_epoch, "leadership not yet given up: {error}")
                }
            }
            task::wait(|| "the next try to give up leadership".into(), clock::sleep(RESIGN_PAUSE)).await;
        }
    }
}

/// Proposes to the quorum; also for what comes before there is a registration.
pub(crate) async fn propose(
    quorum: &Quorum,
    proposal: Proposal,
    deadline: Instant,
) -> Result<Applied, ChangeError> {
    let outcome = quorum.propose(proposal.encode(), deadline).await?;
    let outcome = outcome::decode(&outcome).map_err(|error| ChangeError::Unreadable(error.to_string()))?;
    Ok(outcome?)
}

#[cfg(test)]
mod tests {
    use norn_core::metadata::RESULTS_KEPT;
    use norn_quorum::QuorumConfig;

    #[test]
    fn the_results_of_all_requests_that_can_be_under_way_are_kept() {
        let waiting = QuorumConfig::new(1).proposals_max;
        assert!(RESULTS_KEPT >= 2 * waiting, "those that wait, and those that are proposed");
    }
}
