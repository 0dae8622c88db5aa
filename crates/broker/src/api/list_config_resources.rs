//! ListConfigResources (key 74, KIP-1142): what has settings that can be described. Neither loggers nor groups have, and
//! nobody can subscribe to client metrics.

use kafka_protocol::messages::{
    list_config_resources_response::ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use norn_core::admin::{config_resource_types, ConfigResourceType};

use super::{group::wire, Call, Pace, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: ListConfigResourcesRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let kinds = match config_resource_types(call.version, &request.resource_types) {
        Ok(kinds) => kinds,
        Err(error) => {
            return call.ready(&ListConfigResourcesResponse::default().with_error_code(error.code()))
        }
    };
    let image = call.ctx.controller.image();
    let (mut resources, mut pace) = (vec![], Pace::default());
    for kind in kinds {
        let resource = |name: &str| {
            ConfigResource::default().with_resource_name(wire(name)).with_resource_type(kind.code())
        };
        match kind {
            ConfigResourceType::Topic => {
                for topic in image.topics_by_name() {
                    pace.next().await;
                    resources.push(resource(&topic.name));
                }
            }
            ConfigResourceType::Broker => {
                let alive = image.brokers().filter(|broker| !broker.fenced);
                resources.extend(alive.map(|broker| resource(&broker.node.to_string())));
            }
            ConfigResourceType::BrokerLogger
            | ConfigResourceType::ClientMetrics
            | ConfigResourceType::Group => {}
        }
    }
    call.ready(&ListConfigResourcesResponse::default().with_config_resources(resources))
}
