//! Changing settings of topics and brokers, for the two requests that do: IncrementalAlterConfigs and AlterConfigs.

use std::collections::BTreeSet;

use norn_core::metadata::{
    controller::{alter_broker_configs, alter_topic_configs, replacing, AdminError, ConfigEdit},
    Command, ConfigMap, Image,
};
use norn_env::clock::Duration;
use norn_protocol::{types::NodeId, ErrorCode};

use super::{
    repeated,
    topics::{protect_internal, Failure},
    Call, Context, Pace,
};
use crate::{
    config::{effective_edits, BROKER_CONFIGS},
    controller::ChangeError,
};

/// Resource types of Kafka's `ConfigResource.Type`.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;

/// The requests have no timeout of their own; Kafka's clients wait 30 s by default.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(25);

/// How often a change is decided anew when another one came first.
const TRIES: usize = 3;

/// One resource of a request.
pub(super) struct Resource {
    /// [`TOPIC`], [`BROKER`] or one that has no settings here.
    pub kind: i8,
    pub name: String,
    pub wanted: Result<Wanted, Failure>,
}

/// What is to be set.
pub(super) enum Wanted {
    /// What these entries make of what is set now.
    Edited(Vec<ConfigEdit>),
    /// Exactly this; everything else goes back to what holds without it.
    Exactly(Vec<(String, Option<String>)>),
}

/// Changes the resources one after another, or only checks that it could. One outcome each, in their order.
pub(super) async fn alter_all(
    call: &Call,
    resources: Vec<Resource>,
    validate_only: bool,
) -> Vec<Result<(), Failure>> {
    let named = |resource: &Resource| (resource.kind, resource.name.clone());
    let repeated: BTreeSet<(i8, String)> = repeated(resources.iter().map(named));
    let mut outcomes = Vec::with_capacity(resources.len());
    let mut pace = Pace::default();
    for resource in resources {
        pace.next().await;
        outcomes.push(if repeated.contains(&named(&resource)) {
            let message = "Each resource must appear at most once.".to_owned();
            Err(Failure { code: ErrorCode::InvalidRequest, message })
        } else {
            match resource.wanted {
                Ok(wanted) => alter(call, resource.kind, &resource.name, &wanted, validate_only).await,
                Err(failure) => Err(failure),
            }
        });
    }
    outcomes
}

async fn alter(
    call: &Call,
    kind: i8,
    name: &str,
    wanted: &Wanted,
    validate_only: bool,
) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        let image = call.ctx.controller.image();
        let command = decide(&call.ctx, &image, kind, name, wanted)?;
        protect_internal(&call.ctx, &image, &command)?;
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

fn decide(ctx: &Context, image: &Image, kind: i8, name: &str, wanted: &Wanted) -> Result<Command, Failure> {
    let edits = |present: Option<&ConfigMap>| match wanted {
        Wanted::Edited(edits) => edits.clone(),
        Wanted::Exactly(wanted) => replacing(present.unwrap_or(&ConfigMap::new()), wanted),
    };
    let decided: Result<Command, AdminError> = match kind {
        TOPIC => {
            let Some(topic) = image.topic_by_name(name) else {
                let message = format!("The topic '{name}' does not exist.");
                return Err(Failure { code: ErrorCode::UnknownTopicOrPartition, message });
            };
            alter_topic_configs(image, name, &edits(Some(&topic.configs)), &ctx.layers.of_broker(image))
        }
        BROKER => {
            let node = match name {
                "" => None,
                name => Some(NodeId(name.parse().map_err(|_| Failure {
                    code: ErrorCode::InvalidRequest,
                    message: format!("Node id must be an integer, but it is: {name}"),
                })?)),
            };
            let present = match node {
                Some(node) => image.broker_configs(node),
                None => Some(image.cluster_configs()),
            };
            effective_edits(edits(present)).and_then(|edits| {
                alter_broker_configs(image, node, &BROKER_CONFIGS, &edits, ctx.layers.file())
            })
        }
        other => {
            let message = format!("Unsupported resource type: {other}");
            return Err(Failure { code: ErrorCode::InvalidRequest, message });
        }
    };
    Ok(decided?)
}
