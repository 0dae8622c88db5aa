//! IncrementalAlterConfigs (key 44, KIP-339) of topics and brokers: changes settings entry by entry.

use kafka_protocol::messages::{
    incremental_alter_configs_request::AlterConfigsResource,
    incremental_alter_configs_response::AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use norn_core::metadata::controller::{ConfigEdit, ConfigOp};

use super::{
    alter::{alter_all, Resource, Wanted},
    group::wire,
    topics::Failure,
    Call, Session,
};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: IncrementalAlterConfigsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let asked = |resource: &AlterConfigsResource| Resource {
        kind: resource.resource_type,
        name: resource.resource_name.as_str().to_owned(),
        wanted: edits(resource).map(Wanted::Edited),
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
    call.ready(&IncrementalAlterConfigsResponse::default().with_responses(responses.collect()))
}

fn edits(resource: &AlterConfigsResource) -> Result<Vec<ConfigEdit>, Failure> {
    let edit = |config: &kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig| {
        let op = ConfigOp::try_from(config.config_operation).map_err(|code| {
            let operation = config.config_operation;
            let message =
                format!("Unknown operation type {operation} in config entry {}", config.name.as_str());
            Failure { code, message }
        })?;
        let value = config.value.as_ref().map(|value| value.as_str().to_owned());
        Ok(ConfigEdit { name: config.name.as_str().to_owned(), op, value })
    };
    resource.configs.iter().map(edit).collect()
}
