//! SyncGroup (key 14).

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use norn_core::group::{Event, Response, SyncRequest, SyncResponse};
use norn_protocol::ErrorCode;

use super::{group, Call, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: SyncGroupRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let answer = call.answer();
    let sync = SyncRequest {
        group_id: group::text(&request.group_id.0),
        member_id: group::text(&request.member_id),
        instance_id: group::maybe_text(&request.group_instance_id),
        generation: request.generation_id,
        protocol_type: group::maybe_text(&request.protocol_type),
        protocol_name: group::maybe_text(&request.protocol_name),
        assignments: request
            .assignments
            .iter()
            .map(|a| (group::text(&a.member_id), a.assignment.clone()))
            .collect(),
    };
    let group_id = sync.group_id.clone();
    // A follower waits for the leader's assignment as long as the rebalance timeout, which the coordinator keeps.
    let wait = call.ctx.config.groups.max_session_timeout + group::ANSWER_MAX;
    group::step(
        &call,
        &group_id,
        call.received + wait,
        |slot| Event::Sync { slot, request: sync },
        move |answered| {
            let sync = match answered {
                Ok(Response::Sync(response)) => response,
                Ok(_) => SyncResponse::refused(ErrorCode::UnknownServerError),
                Err(error) => SyncResponse::refused(error),
            };
            answer.respond(
                &SyncGroupResponse::default()
                    .with_error_code(sync.error.map_or(0, |error| error.code()))
                    .with_protocol_type(group::maybe_wire(&sync.protocol_type))
                    .with_protocol_name(group::maybe_wire(&sync.protocol_name))
                    .with_assignment(sync.assignment),
            )
        },
    )
    .await
}
