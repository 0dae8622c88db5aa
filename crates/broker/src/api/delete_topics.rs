//! DeleteTopics (key 20): by name, or by id from version 6 on.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::{
    delete_topics_response::DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use norn_core::metadata::controller::delete_topic;
use norn_protocol::{types::TopicId, ErrorCode};

use super::{
    group::wire,
    topics::{protect_internal, Failure},
    Call, Session,
};
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
    let image = call.ctx.controller.image();
    let (asked, mut responses) = sort_out(asked, |name| image.topic_by_name(name).map(|topic| topic.id));
    for (name, id) in asked {
        let image = call.ctx.controller.image();
        let topic = match &name {
            Some(name) => image.topic_by_name(name.as_str()),
            None => image.topic(id),
        };
        let answer = DeletableTopicResult::default();
        responses.push(match topic {
            None => {
                let (error, message) = match &name {
                    Some(_) => (
                        ErrorCode::UnknownTopicOrPartition,
                        "This server does not host this topic-partition.",
                    ),
                    None => (ErrorCode::UnknownTopicId, "This server does not host this topic ID."),
                };
                let answer = answer.with_name(name).with_topic_id(id.0).with_error_code(error.code());
                answer.with_error_message(Some(wire(message)))
            }
            Some(topic) => {
                let answer = answer.with_name(Some(TopicName(wire(&topic.name)))).with_topic_id(topic.id.0);
                match delete(&call, topic.id, deadline).await {
                    Ok(()) => answer,
                    Err(failure) => answer
                        .with_error_code(failure.code.code())
                        .with_error_message(Some(wire(&failure.message))),
                }
            }
        });
    }
    call.ready(&DeleteTopicsResponse::default().with_responses(responses))
}

/// What may be deleted, and the refusals of what is not named by one name or one id, once: Kafka's
/// `ControllerApis.deleteTopics`, which gives one answer to all that name the same.
fn sort_out(
    asked: Vec<(Option<TopicName>, TopicId)>,
    id_of: impl Fn(&str) -> Option<TopicId>,
) -> (Vec<(Option<TopicName>, TopicId)>, Vec<DeletableTopicResult>) {
    let mut times: BTreeMap<&(Option<TopicName>, TopicId), usize> = BTreeMap::new();
    asked.iter().for_each(|one| *times.entry(one).or_default() += 1);
    let mut refused = BTreeMap::new();
    let mut named_too = BTreeSet::new();
    for one @ (name, id) in &asked {
        let repeated = times.get(one) > Some(&1);
        let also = |name: &TopicName| id_of(name.as_str()).filter(|id| times.contains_key(&(None, *id)));
        let (id, why) = match (name, *id) {
            (None, TopicId::NONE) => (*id, "Neither topic name nor id were specified."),
            (Some(_), id) if id != TopicId::NONE => (id, "You may not specify both topic name and topic id."),
            (Some(_), id) if repeated => (id, "Duplicate topic name."),
            (None, id) if repeated => (id, "Duplicate topic id."),
            (None, _) => continue,
            (Some(name), _) => match also(name) {
                None => continue,
                Some(id) => {
                    named_too.insert((None, id));
                    (id, "The provided topic name maps to an ID that was already supplied.")
                }
            },
        };
        refused.insert(one.clone(), (id, why));
    }
    let answer = |((name, _), (id, why)): (&(Option<TopicName>, TopicId), &(TopicId, &str))| {
        DeletableTopicResult::default()
            .with_name(name.clone())
            .with_topic_id(id.0)
            .with_error_code(ErrorCode::InvalidRequest.code())
            .with_error_message(Some(wire(why)))
    };
    let responses = refused.iter().map(answer).collect();
    let left = |one: &(Option<TopicName>, TopicId)| !refused.contains_key(one) && !named_too.contains(one);
    (asked.iter().filter(|one| left(one)).cloned().collect(), responses)
}

async fn delete(call: &Call, id: TopicId, deadline: norn_env::clock::Instant) -> Result<(), Failure> {
    let ctx = &call.ctx;
    if !ctx.config.topics.delete_enable {
        let message = "Topic deletion is disabled (delete.topic.enable).".to_owned();
        let known = call.version >= DELETION_DISABLED_SINCE;
        let code = if known { ErrorCode::TopicDeletionDisabled } else { ErrorCode::InvalidRequest };
        return Err(Failure { code, message });
    }
    let image = ctx.controller.image();
    let command = delete_topic(&image, id)?;
    protect_internal(ctx, &image, &command)?;
    ctx.controller.change(command, deadline).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use norn_protocol::client::topic_name;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_topic_is_named_by_one_name_or_one_id_and_once() {
        let id = |number| TopicId(Uuid::from_u128(number));
        let name = |name| Some(topic_name(name));
        let asked = vec![
            (None, TopicId::NONE),
            (name("foo"), id(1)),
            (None, id(1)),
            (name("bar"), TopicId::NONE),
            (None, id(2)),
            (name("quux"), TopicId::NONE),
            (name("quux"), TopicId::NONE),
            (name("quux"), TopicId::NONE),
            (None, id(3)),
            (None, id(3)),
            (name("sound"), TopicId::NONE),
            (None, id(4)),
        ];
        let (left, refused) = sort_out(asked, |name| match name {
            "foo" => Some(id(1)),
            "bar" => Some(id(2)),
            _ => None,
        });
        assert_eq!(left, [(None, id(1)), (name("sound"), TopicId::NONE), (None, id(4))]);
        let mut told: Vec<_> = refused
            .iter()
            .map(|r| {
                (
                    r.name.as_ref().map_or("", |n| n.as_str()),
                    r.topic_id.as_u128(),
                    r.error_message.as_deref().unwrap(),
                )
            })
            .collect();
        told.sort_unstable();
        assert_eq!(
            told,
            [
                ("", 0, "Neither topic name nor id were specified."),
                ("", 3, "Duplicate topic id."),
                ("bar", 2, "The provided topic name maps to an ID that was already supplied."),
                ("foo", 1, "You may not specify both topic name and topic id."),
                ("quux", 0, "Duplicate topic name."),
            ]
        );
        assert!(refused.iter().all(|r| r.error_code == ErrorCode::InvalidRequest.code()));
    }
}
