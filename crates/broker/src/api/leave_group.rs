//! LeaveGroup (key 13): of one member up to version 2, of several from version 3 on (KIP-345).

use kafka_protocol::messages::{leave_group_response::MemberResponse, LeaveGroupRequest, LeaveGroupResponse};
use norn_core::group::{Event, LeaveRequest, LeavingMember, Response};
use norn_protocol::ErrorCode;

use super::{code, group, Call, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: LeaveGroupRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let answer = call.answer();
    let members = if call.version >= 3 {
        let leaving = request.members.iter().map(|member| LeavingMember {
            member_id: group::text(&member.member_id),
            instance_id: group::maybe_text(&member.group_instance_id),
        });
        leaving.collect()
    } else {
        vec![LeavingMember { member_id: group::text(&request.member_id), instance_id: None }]
    };
    let leave = LeaveRequest { group_id: group::text(&request.group_id.0), members };
    let group_id = leave.group_id.clone();
    let event = |slot| Event::Leave { slot, request: leave };
    group::step(&call, &group_id, call.received + group::ANSWER_MAX, event, move |answered| {
        let result = match answered {
            Ok(Response::Leave(result)) => result,
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(error) => Err(error),
        };
        let response = LeaveGroupResponse::default().with_error_code(code(&result));
        let left = result.unwrap_or_default();
        answer.respond(&if answer.version >= 3 {
            let members = left.iter().map(|member| {
                MemberResponse::default()
                    .with_member_id(group::wire(&member.member_id))
                    .with_group_instance_id(group::maybe_wire(&member.instance_id))
                    .with_error_code(member.error.map_or(0, |error| error.code()))
            });
            response.with_members(members.collect())
        } else {
            let of_member = left
                .first()
                .and_then(|member| member.error)
                .map_or(response.error_code, |error| error.code());
            response.with_error_code(of_member)
        })
    })
    .await
}
