//! JoinGroup (key 11).

use kafka_protocol::messages::{
    join_group_response::JoinGroupResponseMember, JoinGroupRequest, JoinGroupResponse,
};
use norn_core::group::{Event, JoinRequest, JoinResponse, Protocol, Response};
use norn_env::{clock::Duration, rand};
use norn_protocol::ErrorCode;
use uuid::Uuid;

use super::{group, Answer, Call, Session};
use crate::server::{self, Reply};

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: JoinGroupRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let answer = call.answer();
    let member_id = group::text(&request.member_id);
    let join = JoinRequest {
        group_id: group::text(&request.group_id.0),
        member_id: member_id.clone(),
        instance_id: group::maybe_text(&request.group_instance_id),
        client_id: group::client_id(&call),
        client_host: group::client_host(&call),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if call.version >= 1 { request.rebalance_timeout_ms } else { -1 },
        protocol_type: group::text(&request.protocol_type),
        protocols: request
            .protocols
            .iter()
            .map(|p| Protocol { name: group::text(&p.name), metadata: p.metadata.clone() })
            .collect(),
        requires_known_member_id: call.version >= 4,
        knows_skip_assignment: call.version >= 9,
        fresh_id: Uuid::from_bytes(rand::uuid_bytes()),
    };
    // A join waits for the others as long as their rebalance timeouts, and for the initial delay.
    let patience = request.rebalance_timeout_ms.max(request.session_timeout_ms).max(0) as u64;
    let wait =
        Duration::from_millis(patience) + call.ctx.config.groups.max_session_timeout + group::ANSWER_MAX;
    let group_id = join.group_id.clone();
    group::step(
        &call,
        &group_id,
        call.received + wait,
        |slot| Event::Join { slot, request: join },
        move |answered| {
            let response = match answered {
                Ok(Response::Join(response)) => response,
                Ok(_) => JoinResponse::refused(member_id, ErrorCode::UnknownServerError),
                Err(error) => JoinResponse::refused(member_id, error),
            };
            encode(answer, response)
        },
    )
    .await
}

fn encode(answer: Answer, join: JoinResponse) -> server::Response {
    let members = join.members.iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(group::wire(&member.member_id))
            .with_group_instance_id(group::maybe_wire(&member.instance_id))
            .with_metadata(member.metadata.clone())
    });
    // Before version 7 the protocol's name cannot be null.
    let name = group::maybe_wire(&join.protocol_name);
    let name = if answer.version >= 7 { name } else { Some(name.unwrap_or_default()) };
    answer.respond(
        &JoinGroupResponse::default()
            .with_error_code(join.error.map_or(0, |error| error.code()))
            .with_generation_id(join.generation)
            .with_protocol_type(group::maybe_wire(&join.protocol_type))
            .with_protocol_name(name)
            .with_leader(group::wire(&join.leader))
            .with_skip_assignment(join.skip_assignment)
            .with_member_id(group::wire(&join.member_id))
            .with_members(members.collect()),
    )
}
