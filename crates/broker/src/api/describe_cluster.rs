//! DescribeCluster (key 60).

use kafka_protocol::messages::{
    describe_cluster_response::DescribeClusterBroker, BrokerId, DescribeClusterRequest,
    DescribeClusterResponse,
};
use norn_core::operations;
use norn_protocol::ErrorCode;

use super::{group::wire, Call, Session};
use crate::server::Reply;

/// The endpoints that can be described: brokers. Controllers have no listener for clients.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DescribeClusterRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    if call.version >= 1 && request.endpoint_type != BROKERS {
        let (error, message) = match request.endpoint_type {
            CONTROLLERS => (
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                    .to_owned(),
            ),
            other => (ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")),
        };
        let refused = DescribeClusterResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(wire(&message)))
            .with_endpoint_type(BROKERS);
        return call.ready(&refused);
    }
    let image = call.ctx.controller.image();
    let shown = image.brokers().filter(|broker| !broker.fenced || request.include_fenced_brokers);
    let brokers = shown.map(|broker| {
        let endpoint = if broker.node == call.ctx.node { &call.endpoint } else { &broker.endpoint };
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(broker.node.0))
            .with_host(wire(&endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(broker.rack.as_deref().map(wire))
            .with_is_fenced(broker.fenced)
    });
    call.ready(
        &DescribeClusterResponse::default()
            .with_endpoint_type(BROKERS)
            .with_cluster_id(wire(&call.ctx.cluster_id))
            .with_controller_id(BrokerId(call.ctx.node.0))
            .with_brokers(brokers.collect())
            .with_cluster_authorized_operations(operations::if_asked(
                request.include_cluster_authorized_operations,
                operations::CLUSTER,
            )),
    )
}
