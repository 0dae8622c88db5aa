//! What every handler may reach: published state and handles of the owners. No handler owns any of it.

use std::sync::Arc;

use norn_env::task::{self, Shutdown};
use norn_protocol::types::NodeId;
use tokio::sync::{watch, OwnedSemaphorePermit, Semaphore};

use crate::{
    config::Config, controller::Controller, coordinator::Coordinators, layers::BrokerLayers,
    metrics::Metrics, partition::PartitionTable, producer_ids::ProducerIds, server::ConnectionLimits,
};

pub(crate) struct Context {
    pub config: Arc<Config>,
    pub node: NodeId,
    pub cluster_id: String,
    /// Image, proposals and the controller's decisions.
    pub controller: Controller,
    /// The partitions that this broker has open.
    pub partitions: watch::Receiver<Arc<PartitionTable>>,
    pub coordinators: Coordinators,
    pub producer_ids: ProducerIds,
    /// The layers of settings that hold here.
    pub layers: Arc<BrokerLayers>,
    pub metrics: Arc<Metrics>,
    pub request_memory: RequestMemory,
    /// The fetch sessions that all connections may have together.
    pub fetch_session_slots: Arc<Semaphore>,
    pub connections: ConnectionLimits,
    /// Signaled when clients are no longer served: long polls end.
    pub stopping: Shutdown,
}

impl Context {
    /// The partitions that are open now.
    pub fn partitions(&self) -> Arc<PartitionTable> {
        self.partitions.borrow().clone()
    }
}

/// Bounds the bytes of requests that are being read or not yet answered, over all connections
/// (`queued.max.request.bytes`). A request larger than the whole bound takes all of it.
pub(crate) struct RequestMemory {
    bytes: Arc<Semaphore>,
    total: u32,
    /// Requests that wait for memory.
    waiting: watch::Sender<usize>,
}

impl RequestMemory {
    pub fn new(total: u32) -> Self {
        let waiting = watch::Sender::new(0);
        RequestMemory { bytes: Arc::new(Semaphore::new(total as usize)), total, waiting }
    }

    /// Waits until `len` bytes are free. Dropping the permit frees them. Whoever came first is first.
    pub async fn take(&self, len: usize) -> OwnedSemaphorePermit {
        let want = u32::try_from(len).unwrap_or(u32::MAX).clamp(1, self.total);
        // What is freed goes to those who wait, so this passes nobody who does.
        if let Ok(permit) = self.bytes.clone().try_acquire_many_owned(want) {
            return permit;
        }
        let _waits = Waits::among(&self.waiting);
        let acquired = self.bytes.clone().acquire_many_owned(want);
        task::wait(|| format!("{want} bytes of queued.max.request.bytes"), acquired)
            .await
            .expect("the semaphore is never closed")
    }

    /// Ends when somebody waits for memory.
    pub async fn wanted(&self) {
        // The sender is `self`'s and outlives this.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }
}

/// One request that waits for memory, until it is dropped.
struct Waits<'a>(&'a watch::Sender<usize>);

impl<'a> Waits<'a> {
    fn among(all: &'a watch::Sender<usize>) -> Self {
        all.send_modify(|waiting| *waiting += 1);
        Waits(all)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}
