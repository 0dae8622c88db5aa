//! CreateTopics (key 19). All topics of a request are decided on one image and proposed together.

use futures::{stream, StreamExt};
use kafka_protocol::messages::{
    create_topics_request::CreatableTopic,
    create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
    CreateTopicsRequest, CreateTopicsResponse,
};
use norn_core::metadata::{
    controller::{CreateTopic, Placement},
    Command, ConfigMap, Image, TOPIC_CONFIGS,
};
use norn_protocol::{
    types::{NodeId, PartitionIndex, TopicId},
    ErrorCode,
};

use super::{
    group::wire,
    repeated,
    room::{Room, Turn},
    topics::{decide, protect_internal, wait_until_open, Failure},
    Call, Context, Pace, Session,
};
use crate::{controller::ChangeError, server::Reply};

/// Changes of one request that are with the quorum at once: many, so that they share syncs, and a fraction of what its queue
/// takes, so that there is room for others.
const PROPOSED_TOGETHER_MAX: usize = 256;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: CreateTopicsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let ctx = &call.ctx;
    let deadline = call.deadline(request.timeout_ms);
    let turn = Turn::of(ctx, deadline).await;
    let image = ctx.controller.image();
    let repeated = repeated(request.topics.iter().map(|topic| topic.name.as_str()));
    let mut placement = Placement::of(&image);
    let mut room = Room::of(ctx, &image);
    let mut decided: Vec<Result<(TopicId, Command), Failure>> = Vec::with_capacity(request.topics.len());
    let mut pace = Pace::default();
    for topic in &request.topics {
        pace.next().await;
        decided.push(if repeated.contains(topic.name.as_str()) {
            let message = format!(
                "Create topics request from client contains multiple entries for {}",
                topic.name.as_str()
            );
            Err(Failure { code: ErrorCode::InvalidRequest, message })
        } else {
            decide_one(ctx, &image, &mut placement, topic)
                .and_then(|decided| room.take(&decided.1).map(|()| decided))
        });
    }
    let changes = decided.into_iter().map(|decided| async {
        let (id, command) = decided?;
        let turn = turn.as_ref().map_err(ChangeError::clone)?;
        if !request.validate_only {
            turn.change(command.clone(), deadline).await?;
        }
        Ok::<_, Failure>((id, command))
    });
    let results: Vec<Result<(TopicId, Command), Failure>> =
        stream::iter(changes).buffered(PROPOSED_TOGETHER_MAX).collect().await;
    drop(turn);
    if !request.validate_only {
        for (topic, result) in request.topics.iter().zip(&results) {
            if result.is_ok() {
                wait_until_open(ctx, topic.name.as_str(), deadline).await;
            }
        }
    }
    let answers = request.topics.iter().zip(results).map(|(topic, result)| {
        let answer = CreatableTopicResult::default().with_name(topic.name.clone());
        match result {
            Ok((id, command)) => created(ctx, &image, answer, id, &command),
            Err(failure) => answer
                .with_error_code(failure.code.code())
                .with_error_message(Some(wire(&failure.message)))
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_configs(Some(vec![])),
        }
    });
    call.ready(&CreateTopicsResponse::default().with_topics(answers.collect()))
}

fn decide_one(
    ctx: &Context,
    image: &Image,
    placement: &mut Placement,
    topic: &CreatableTopic,
) -> Result<(TopicId, Command), Failure> {
    let assignments: Vec<(PartitionIndex, Vec<NodeId>)> = topic
        .assignments
        .iter()
        .map(|a| (PartitionIndex(a.partition_index), a.broker_ids.iter().map(|id| NodeId(id.0)).collect()))
        .collect();
    let configs: Vec<(String, Option<String>)> = topic
        .configs
        .iter()
        .map(|config| {
            (config.name.as_str().to_owned(), config.value.as_ref().map(|value| value.as_str().to_owned()))
        })
        .collect();
    let asked = CreateTopic {
        name: topic.name.as_str(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: &assignments,
        configs: &configs,
    };
    let (id, command) = decide(ctx, image, placement, &asked)?;
    protect_internal(ctx, image, &command)?;
    Ok((id, command))
}

/// The answer for a topic that was created (or would be), with all settings that hold for it (KIP-525).
fn created(
    ctx: &Context,
    image: &Image,
    answer: CreatableTopicResult,
    id: TopicId,
    command: &Command,
) -> CreatableTopicResult {
    let Command::CreateTopic { assignments, configs, .. } = command else { return answer };
    let own: ConfigMap = configs.iter().cloned().collect();
    let layers = ctx.layers.of(image, &own);
    let shown = TOPIC_CONFIGS.defs.iter().filter(|def| !def.hidden).map(|def| {
        let set = layers.value(def);
        CreatableTopicConfigs::default()
            .with_name(wire(def.name))
            .with_value(set.as_ref().map(|set| wire(&set.value)))
            .with_config_source(
                set.map_or(norn_core::metadata::ConfigSource::Default.code(), |set| set.source.code()),
            )
            .with_is_sensitive(false)
            .with_read_only(false)
    });
    answer
        .with_error_message(None)
        .with_topic_id(id.0)
        .with_num_partitions(assignments.len() as i32)
        .with_replication_factor(assignments.first().map_or(0, Vec::len) as i16)
        .with_configs(Some(shown.collect()))
}
