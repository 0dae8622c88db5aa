//! What every handler may reach: published state and handles of the owners. No handler owns any of it.

use std::sync::Arc;

use norn_env::task::Shutdown;
use norn_protocol::types::NodeId;
use tokio::sync::{watch, Semaphore};

use super::Creations;
use crate::{
    budgets::Budgets,
    config::Config,
    controller::Controller,
    coordinator::Coordinators,
    data_dirs::DataDirs,
    layers::BrokerLayers,
    metrics::Metrics,
    partition::PartitionTable,
    producer_ids::ProducerIds,
    server::{ConnectionBounds, ConnectionLimits},
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
    pub budgets: Budgets,
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

    /// How many connections there may be now.
    pub fn connection_bounds(&self) -> ConnectionBounds {
        self.layers.connection_bounds(&self.controller.image())
    }
}
