//! IncrementalAlterConfigs (key 44) of topics and brokers.

use kafka_protocol::messages::{
    incremental_alter_configs_request::AlterConfigsResource,
    incremental_alter_configs_response::AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use norn_core::metadata::{
    controller::{alter_broker_configs, alter_topic_configs, AdminError, ConfigEdit, ConfigOp},
    Command, Image,
};
use norn_env::clock::Duration;
use norn_protocol::{types::NodeId, ErrorCode};

use super::{group::wire, repeated, topics::Failure, Call, Context, Pace, Session};
use crate::{config::BROKER_CONFIGS, controller::ChangeError, server::Reply};

/// Resource types of Kafka's `ConfigResource.Type`.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;

/// The request has no timeout of its own; Kafka's clients wait 30 s by default.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(25);

/// How often a change is decided anew when another one came first.
const TRIES: usize = 3;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: IncrementalAlterConfigsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let named = |resource: &AlterConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let repeated = repeated(request.resources.iter().map(named));
    let mut responses = Vec::with_capacity(request.resources.len());
    let mut pace = Pace::default();
    for resource in &request.resources {
        pace.next().await;
        let altered = if repeated.contains(&named(resource)) {
            let message = "Each resource must appear at most once.".to_owned();
            Err(Failure { code: ErrorCode::InvalidRequest, message })
        } else {
            alter(&call, resource, request.validate_only).await
        };
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        responses.push(match altered {
            Ok(()) => response,
            Err(failure) => {
                response.with_error_code(failure.code.code()).with_error_message(Some(wire(&failure.message)))
            }
        });
    }
    call.ready(&IncrementalAlterConfigsResponse::default().with_responses(responses))
}

async fn alter(call: &Call, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Failure> {
    let edits = edits(resource)?;
    let mut tries = 0;
    loop {
        let image = call.ctx.controller.image();
        let command = decide(&call.ctx, &image, resource, &edits)?;
        if validate_only || matches!(&command, Command::SetConfigs { changes, .. } if changes.is_empty()) {
            return Ok(());
        }
        tries += 1;
        match call.ctx.controller.change(command, call.received + CHANGE_TIMEOUT).await {
            Ok(_) => return Ok(()),
            Err(ChangeError::Refused(refused)) if refused.is_overtaken() && tries < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn edits(resource: &AlterConfigsResource) -> Result<Vec<ConfigEdit>, Failure> {
    let edit = |config: &kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig| {
        let op = match config.config_operation {
            0 => ConfigOp::Set,
            1 => ConfigOp::Delete,
            2 => ConfigOp::Append,
            3 => ConfigOp::Subtract,
            other => {
                let message =
                    format!("Unknown operation type {other} in config entry {}", config.name.as_str());
                return Err(Failure { code: ErrorCode::InvalidRequest, message });
            }
        };
        let value = config.value.as_ref().map(|value| value.as_str().to_owned());
        Ok(ConfigEdit { name: config.name.as_str().to_owned(), op, value })
    };
    resource.configs.iter().map(edit).collect()
}

fn decide(
    ctx: &Context,
    image: &Image,
    resource: &AlterConfigsResource,
    edits: &[ConfigEdit],
) -> Result<Command, Failure> {
    let name = resource.resource_name.as_str();
    let decided: Result<Command, AdminError> = match resource.resource_type {
        TOPIC if image.topic_by_name(name).is_none() => {
            let message = format!("The topic '{name}' does not exist.");
            return Err(Failure { code: ErrorCode::UnknownTopicOrPartition, message });
        }
        TOPIC => alter_topic_configs(image, name, edits, &ctx.layers.of_broker(image)),
        BROKER => {
            let node = match name {
                "" => None,
                name => Some(NodeId(name.parse().map_err(|_| Failure {
                    code: ErrorCode::InvalidRequest,
                    message: format!("Node id must be an integer, but it is: {name}"),
                })?)),
            };
            alter_broker_configs(image, node, &BROKER_CONFIGS, edits, ctx.layers.file())
        }
        other => {
            let message = format!("Unsupported resource type: {other}");
            return Err(Failure { code: ErrorCode::InvalidRequest, message });
        }
    };
    Ok(decided?)
}
