//! AlterPartitionReassignments (key 45): decided partition by partition by the core's rules.

use kafka_protocol::messages::{
    alter_partition_reassignments_response::{ReassignablePartitionResponse, ReassignableTopicResponse},
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
use norn_core::admin::alter_reassignment;
use norn_protocol::types::NodeId;

use super::{group::wire, Call, Pace, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: AlterPartitionReassignmentsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let may_change_factor = request.allow_replication_factor_change;
    let image = call.ctx.controller.image();
    let (mut responses, mut pace) = (vec![], Pace::default());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            pace.next().await;
            let index = asked.partition_index;
            let target: Option<Vec<NodeId>> =
                asked.replicas.map(|replicas| replicas.iter().map(|node| NodeId(node.0)).collect());
            let altered =
                alter_reassignment(&image, topic.name.as_str(), index, target.as_deref(), may_change_factor);
            let response = ReassignablePartitionResponse::default().with_partition_index(index);
            partitions.push(match altered {
                Ok(()) => response.with_error_message(None),
                Err(error) => response
                    .with_error_code(error.code().code())
                    .with_error_message(Some(wire(&error.to_string()))),
            });
        }
        let topic = ReassignableTopicResponse::default().with_name(topic.name).with_partitions(partitions);
        responses.push(topic);
    }
    call.ready(
        &AlterPartitionReassignmentsResponse::default()
            .with_allow_replication_factor_change(may_change_factor)
            .with_error_message(None)
            .with_responses(responses),
    )
}
