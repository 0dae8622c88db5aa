//! What every handler may reach: published state and handles of the owners. No handler owns any of it.

use std::sync::Arc;

use norn_env::task::{self, Shutdown};
use norn_log::Decoding;
use norn_protocol::types::NodeId;
use tokio::sync::{watch, OwnedSemaphorePermit, Semaphore};

use super::Creations;
use crate::{
    config::Config, controller::Controller, coordinator::Coordinators, data_dirs::DataDirs,
    layers::BrokerLayers, metrics::Metrics, partition::PartitionTable, producer_ids::ProducerIds,
    server::ConnectionLimits,
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
    pub data_dirs: Arc<DataDirs>,
    pub producer_ids: ProducerIds,
    /// The layers of settings that hold here.
    pub layers: Arc<BrokerLayers>,
    /// The turns of requests that create partitions.
    pub creations: Creations,
    pub metrics: Arc<Metrics>,
    pub request_memory: RequestMemory,
    /// Permits to decompress and decode records, for all connections and partitions.
    pub decoding: Decoding,
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
/// (`queued.max.request.bytes`): half of it for large requests that are still arriving, half for those that are here, so
/// that a peer that is slow to send never keeps a request waiting that has come. One larger than its half takes all of it.
pub(crate) struct RequestMemory {
    here: Share,
    arriving: Share,
    /// Large requests that wait to be read.
    waiting: watch::Sender<usize>,
}

impl RequestMemory {
    pub fn new(total: u32) -> Self {
        let arriving = total / 2;
        RequestMemory {
            here: Share::new(total - arriving),
            arriving: Share::new(arriving),
            waiting: watch::Sender::new(0),
        }
    }

    /// Waits until there is room for a request of `len` bytes that is here. Dropping the permit frees it. Whoever came
    /// first is first.
    pub async fn take(&self, len: usize) -> OwnedSemaphorePermit {
        self.here.take(len).await
    }

    /// As [`RequestMemory::take`], for one that is about to be read.
    pub async fn take_to_read(&self, len: usize) -> OwnedSemaphorePermit {
        if let Some(permit) = self.arriving.try_take(len) {
            return permit;
        }
        let _waits = Waits::among(&self.waiting);
        self.arriving.take(len).await
    }

    /// Ends when somebody waits to read a large request.
    pub async fn wanted(&self) {
        // The sender is `self`'s and outlives this.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }

    /// Whether somebody does.
    pub fn is_wanted(&self) -> bool {
        *self.waiting.borrow() > 0
    }
}

/// A part of the memory.
struct Share {
    bytes: Arc<Semaphore>,
    total: u32,
}

impl Share {
    fn new(total: u32) -> Self {
        let total = total.max(1);
        Share { bytes: Arc::new(Semaphore::new(total as usize)), total }
    }

    fn want(&self, len: usize) -> u32 {
        u32::try_from(len).unwrap_or(u32::MAX).clamp(1, self.total)
    }

    /// What is freed goes to those who wait, so this passes nobody who does.
    fn try_take(&self, len: usize) -> Option<OwnedSemaphorePermit> {
        self.bytes.clone().try_acquire_many_owned(self.want(len)).ok()
    }

    async fn take(&self, len: usize) -> OwnedSemaphorePermit {
        let want = self.want(len);
        let acquired = self.bytes.clone().acquire_many_owned(want);
        task::wait(|| format!("{want} bytes of queued.max.request.bytes"), acquired)
            .await
            .expect("the semaphore is never closed")
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
