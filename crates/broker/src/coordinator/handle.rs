//! How handlers reach the coordinator of a group.

use std::{collections::BTreeMap, sync::Arc};

use norn_core::group::{self, Coordinator, Event, Response, Slot};
use norn_env::{
    clock::{self, Instant},
    task,
};
use norn_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot, watch};

use crate::controller::Controller;

/// The internal topic that holds offsets and group metadata.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Makes the event once its slot is known.
pub(super) type MakeEvent = Box<dyn FnOnce(Slot) -> Event + Send>;
/// Reads loaded state, or is told why there is none.
pub(super) type Look = Box<dyn FnOnce(Result<&Coordinator, ErrorCode>) + Send>;

/// What a coordinator's task is sent.
pub(super) enum Message {
    Step { event: MakeEvent, reply: oneshot::Sender<Response> },
    Look(Look),
}

/// The way to one coordinator's task. Its queue is bounded; who finds it full waits, by its deadline.
#[derive(Clone, Debug)]
pub(crate) struct CoordinatorHandle {
    pub(super) queue: mpsc::Sender<Message>,
}

/// The coordinators that run here, by partition of the offsets topic.
pub(crate) type CoordinatorTable = BTreeMap<i32, CoordinatorHandle>;

/// All coordinators, as handlers see them.
pub(crate) struct Coordinators {
    table: watch::Receiver<Arc<CoordinatorTable>>,
    controller: Controller,
}

impl Coordinators {
    pub fn new(table: watch::Receiver<Arc<CoordinatorTable>>, controller: Controller) -> Self {
        Coordinators { table, controller }
    }

    /// The coordinator of a group: NOT_COORDINATOR where it does not run here, COORDINATOR_LOAD_IN_PROGRESS where it is
    /// about to, COORDINATOR_NOT_AVAILABLE while the offsets topic does not exist.
    pub fn of(&self, group_id: &str) -> Result<CoordinatorHandle, ErrorCode> {
        let image = self.controller.image();
        let topic = image.topic_by_name(OFFSETS_TOPIC).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let index = group::partition_for(group_id, topic.partition_count());
        if let Some(running) = self.table.borrow().get(&index.0) {
            return Ok(running.clone());
        }
        let led_here = topic.partition(index).map(|p| p.leader) == Some(Some(self.controller.node()));
        Err(if led_here { ErrorCode::CoordinatorLoadInProgress } else { ErrorCode::NotCoordinator })
    }

    /// All coordinators that run here, in the order of their partitions.
    pub fn all(&self) -> Vec<CoordinatorHandle> {
        self.table.borrow().values().cloned().collect()
    }
}

impl CoordinatorHandle {
    /// Hands a request over; the answer comes through the receiver. Waits while the queue is full.
    pub async fn step(
        &self,
        deadline: Instant,
        event: impl FnOnce(Slot) -> Event + Send + 'static,
    ) -> Result<oneshot::Receiver<Response>, ErrorCode> {
        let (reply, answered) = oneshot::channel();
        self.send(Message::Step { event: Box::new(event), reply }, deadline).await?;
        Ok(answered)
    }

    /// Reads loaded state on the coordinator's task, in the order of arrival among its requests.
    pub async fn look<T: Send + 'static>(
        &self,
        deadline: Instant,
        read: impl FnOnce(&Coordinator) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, ErrorCode>>, ErrorCode> {
        let (reply, answered) = oneshot::channel();
        let look = move |state: Result<&Coordinator, ErrorCode>| {
            // The asker may have gone; nobody else wants the answer.
            let _ = reply.send(state.map(read));
        };
        self.send(Message::Look(Box::new(look)), deadline).await?;
        Ok(answered)
    }

    async fn send(&self, message: Message, deadline: Instant) -> Result<(), ErrorCode> {
        let sent = clock::timeout_at(deadline, self.queue.send(message));
        match task::wait(|| "room in the coordinator's queue".into(), sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ErrorCode::NotCoordinator),
            Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }
}

/// Waits for a coordinator's answer until the deadline.
pub(crate) async fn answer_by<T>(answered: oneshot::Receiver<T>, deadline: Instant) -> Result<T, ErrorCode> {
    match task::wait(|| "the coordinator's answer".into(), clock::timeout_at(deadline, answered)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(ErrorCode::NotCoordinator),
        Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
    }
}
