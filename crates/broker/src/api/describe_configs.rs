//! DescribeConfigs (key 32) of topics and of this broker: every setting with its value, where it comes from, its synonyms
//! and its documentation.

use std::collections::BTreeSet;

use kafka_protocol::messages::{
    describe_configs_request::DescribeConfigsResource,
    describe_configs_response::{
        DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
    },
    DescribeConfigsRequest, DescribeConfigsResponse,
};
use norn_core::metadata::{ConfigSource, SetAt, TOPIC_CONFIGS};
use norn_env::task;
use norn_protocol::ErrorCode;

use super::{
    alter::{BROKER, TOPIC},
    group::wire,
    Call, Context, Pace, Session,
};
use crate::{
    config::{describe, Described, Overrides},
    server::Reply,
};

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DescribeConfigsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let mut results = Vec::with_capacity(request.resources.len());
    let (mut seen, mut pace) = (BTreeSet::new(), Pace::default());
    for resource in &request.resources {
        pace.next().await;
        // Named again it is not told again: an answer is far longer than a name.
        let keys = resource.configuration_keys.iter().flatten().map(|key| key.as_str());
        let keys: BTreeSet<&str> = keys.collect();
        if !seen.insert((resource.resource_type, &resource.resource_name, keys.clone())) {
            continue;
        }
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        results.push(match described(&call.ctx, resource) {
            Ok(all) => {
                let wanted = |name: &str| keys.is_empty() || keys.contains(name);
                let shown = all.into_iter().filter(|one| wanted(one.name));
                result.with_configs(shown.map(|one| config_result(one, &request, call.version)).collect())
            }
            Err((error, message)) => {
                result.with_error_code(error.code()).with_error_message(Some(wire(&message)))
            }
        });
    }
    call.ready(&DescribeConfigsResponse::default().with_results(results))
}

fn described(
    ctx: &Context,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Described>, (ErrorCode, String)> {
    let image = ctx.controller.image();
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => {
            norn_protocol::topic::validate(name)
                .map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))?;
            let topic = image
                .topic_by_name(name)
                .ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, format!("there is no topic {name}")))?;
            let layers = ctx.layers.of(&image, &topic.configs);
            let defs = TOPIC_CONFIGS.defs.iter().filter(|def| !def.hidden);
            Ok(defs
                .map(|def| {
                    let synonyms: Vec<SetAt> = layers.set_at(def).collect();
                    Described {
                        name: def.name,
                        value: synonyms.first().map(|set| set.value.clone()),
                        kind: def.kind,
                        source: synonyms.first().map_or(ConfigSource::Default, |set| set.source),
                        read_only: false,
                        sensitive: false,
                        synonyms,
                        doc: def.doc,
                    }
                })
                .collect())
        }
        BROKER if name.is_empty() || name.parse() == Ok(ctx.node.0) => {
            let cluster = image.cluster_configs().clone();
            // An empty name asks for what is set for all brokers, whatever counts on this one.
            let own = image.broker_configs(ctx.node).filter(|_| !name.is_empty());
            let broker = own.cloned().unwrap_or_default();
            let all = describe(&ctx.config, &Overrides { cluster, broker }, task::threads());
            let kept = |one: &Described| !name.is_empty() || one.source == ConfigSource::DynamicDefaultBroker;
            Ok(all.into_iter().filter(kept).collect())
        }
        BROKER => {
            let message =
                format!("Unexpected broker id, expected {} or empty string, but received {name}", ctx.node);
            Err((ErrorCode::InvalidRequest, message))
        }
        other => Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}"))),
    }
}

fn config_result(
    one: Described,
    request: &DescribeConfigsRequest,
    version: i16,
) -> DescribeConfigsResourceResult {
    let value = one.value.filter(|_| !one.sensitive);
    let synonyms = one.synonyms.iter().filter(|_| request.include_synonyms).map(|set| {
        DescribeConfigsSynonym::default()
            .with_name(wire(set.name))
            .with_value(Some(wire(&set.value)).filter(|_| !one.sensitive))
            .with_source(set.source.code())
    });
    let documentation = (version >= 3 && request.include_documentation).then(|| wire(one.doc));
    DescribeConfigsResourceResult::default()
        .with_name(wire(one.name))
        .with_value(value.as_deref().map(wire))
        .with_read_only(one.read_only)
        .with_config_source(one.source.code())
        .with_is_sensitive(one.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(one.kind.code())
        .with_documentation(documentation)
}
