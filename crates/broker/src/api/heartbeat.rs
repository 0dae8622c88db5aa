//! Heartbeat (key 12).

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use norn_core::group::{self as core, Event, Response};
use norn_protocol::ErrorCode;

use super::{code, group, Call, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: HeartbeatRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let answer = call.answer();
    let heartbeat = core::HeartbeatRequest {
        group_id: group::text(&request.group_id.0),
        member_id: group::text(&request.member_id),
        instance_id: group::maybe_text(&request.group_instance_id),
        generation: request.generation_id,
    };
    let group_id = heartbeat.group_id.clone();
    let event = |slot| Event::Heartbeat { slot, request: heartbeat };
    group::step(&call, &group_id, call.received + group::ANSWER_MAX, event, move |answered| {
        let result = match answered {
            Ok(Response::Heartbeat(result)) => result,
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(error) => Err(error),
        };
        answer.respond(&HeartbeatResponse::default().with_error_code(code(&result)))
    })
    .await
}
