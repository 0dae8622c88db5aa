//! Producer ids for this broker's clients, from blocks that the controller hands out (Kafka's `ProducerIdManager`).

use std::sync::{Mutex, PoisonError};

use norn_core::metadata::{Applied, Command};
use norn_env::clock::Instant;
use norn_protocol::{
    types::{NodeId, ProducerId},
    ErrorCode,
};
use tracing::warn;

use crate::controller::Controller;

/// Ids in a block, as in Kafka: a metadata change for every thousand producers.
const BLOCK: i32 = 1000;

/// Hands out ids. One that was handed out is never handed out again, by any broker.
pub(crate) struct ProducerIds {
    controller: Controller,
    node: NodeId,
    /// What is left of the block: the next id, and the first that is not ours. Held for no await.
    left: Mutex<(i64, i64)>,
}

impl ProducerIds {
    pub fn new(controller: Controller, node: NodeId) -> Self {
        ProducerIds { controller, node, left: Mutex::new((0, 0)) }
    }

    /// The next id. Two callers that find the block used up may both fetch one; the ids of the first are then skipped.
    pub async fn next(&self, deadline: Instant) -> Result<ProducerId, ErrorCode> {
        if let Some(id) = self.take() {
            return Ok(id);
        }
        let broker_epoch = self.controller.broker_epoch();
        let command = Command::AllocateProducerIds { node: self.node, broker_epoch, count: BLOCK };
        match self.controller.change(command, deadline).await {
            Ok(Applied::ProducerIds { first, count }) => {
                let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
                *left = (first.0 + 1, first.0 + i64::from(count));
                Ok(first)
            }
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(error) => {
                warn!("no block of producer ids: {error}");
                Err(ErrorCode::CoordinatorLoadInProgress)
            }
        }
    }

    fn take(&self) -> Option<ProducerId> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, end) = *left;
        (next < end).then(|| {
            left.0 += 1;
            ProducerId(next)
        })
    }
}
