//! ListPartitionReassignments (key 46): none is ever in progress, since there is one node. As by Kafka's
//! `ReplicationControlManager.listPartitionReassignments`, topics that are unknown are left out too.

use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::{Call, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    match call.decode::<ListPartitionReassignmentsRequest>() {
        Ok(_) => call.ready(&ListPartitionReassignmentsResponse::default().with_error_message(None)),
        Err(close) => close,
    }
}
