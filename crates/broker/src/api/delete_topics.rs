//! DeleteTopics (key 20): by name, or by id from version 6 on.

use kafka_protocol::messages::{
    delete_topics_response::DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use norn_core::metadata::controller::delete_topic;
use norn_protocol::{types::TopicId, ErrorCode};

use super::{group::wire, topics::Failure, Call, Session};
use crate::server::Reply;

/// TOPIC_DELETION_DISABLED is known from this version on.
const DELETION_DISABLED_SINCE: i16 = 3;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DeleteTopicsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let deadline = call.deadline(request.timeout_ms);
    let asked: Vec<(Option<TopicName>, TopicId)> = if call.version >= 6 {
        request.topics.iter().map(|topic| (topic.name.clone(), TopicId(topic.topic_id))).collect()
    } else {
        request.topic_names.iter().map(|name| (Some(name.clone()), TopicId::NONE)).collect()
    };
    let mut responses = Vec::with_capacity(asked.len());
    for (name, id) in asked {
        let image = call.ctx.controller.image();
        let topic = match &name {
            Some(name) => image.topic_by_name(name.as_str()),
            None => image.topic(id),
        };
        let answer = DeletableTopicResult::default();
        responses.push(match topic {
            None => {
                let error = if name.is_some() { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::UnknownTopicId };
                answer.with_name(name).with_topic_id(id.0).with_error_code(error.code())
            }
            Some(topic) => {
                let answer = answer.with_name(Some(TopicName(wire(&topic.name)))).with_topic_id(topic.id.0);
                match delete(&call, topic.id, deadline).await {
                    Ok(()) => answer,
                    Err(failure) => {
                        answer.with_error_code(failure.code.code()).with_error_message(Some(wire(&failure.message)))
                    }
                }
            }
        });
    }
    call.ready(&DeleteTopicsResponse::default().with_responses(responses))
}

async fn delete(call: &Call, id: TopicId, deadline: norn_env::clock::Instant) -> Result<(), Failure> {
    let ctx = &call.ctx;
    if !ctx.config.topics.delete_enable {
        let message = "Topic deletion is disabled (delete.topic.enable).".to_owned();
        let known = call.version >= DELETION_DISABLED_SINCE;
        let code = if known { ErrorCode::TopicDeletionDisabled } else { ErrorCode::InvalidRequest };
        return Err(Failure { code, message });
    }
    let command = delete_topic(&ctx.controller.image(), id)?;
    ctx.controller.change(command, deadline).await?;
    Ok(())
}
