//! AlterConfigs (key 33) of topics and brokers: sets exactly the settings that it names, and takes all others back.
//! Kafka 4 still answers it for clients that have no IncrementalAlterConfigs (kafkajs).

use kafka_protocol::messages::{
    alter_configs_request::AlterConfigsResource, alter_configs_response::AlterConfigsResourceResponse,
    AlterConfigsRequest, AlterConfigsResponse,
};

use super::{
    alter::{alter_all, Resource, Wanted},
    group::wire,
    Call, Session,
};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: AlterConfigsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let asked = |resource: &AlterConfigsResource| {
        let text = |text: &kafka_protocol::protocol::StrBytes| text.as_str().to_owned();
        let configs = resource.configs.iter();
        Resource {
            kind: resource.resource_type,
            name: text(&resource.resource_name),
            wanted: Ok(Wanted::Exactly(
                configs.map(|config| (text(&config.name), config.value.as_ref().map(text))).collect(),
            )),
        }
    };
    let asked = request.resources.iter().map(asked).collect();
    let outcomes = alter_all(&call, asked, request.validate_only).await;
    let responses = request.resources.into_iter().zip(outcomes).map(|(resource, outcome)| {
        AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(outcome.as_ref().err().map_or(0, |failure| failure.code.code()))
            .with_error_message(outcome.err().map(|failure| wire(&failure.message)))
    });
    call.ready(&AlterConfigsResponse::default().with_responses(responses.collect()))
}
