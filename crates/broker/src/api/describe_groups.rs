//! DescribeGroups (key 15).

use kafka_protocol::messages::{
    describe_groups_response::{DescribedGroup, DescribedGroupMember},
    DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
};
use norn_core::{group::DescribedGroup as Described, operations};
use norn_protocol::ErrorCode;

use super::{
    group::{look_each, maybe_wire, text, wire, ANSWER_MAX},
    Call, Pace, Session,
};
use crate::server::Reply;

/// A group that does not exist is an error from this version on; before, it is in state "Dead".
const NOT_FOUND_SINCE: i16 = 6;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DescribeGroupsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, ctx, deadline) = (call.answer(), call.ctx.clone(), call.received + ANSWER_MAX);
    Reply::Waiting(Box::pin(async move {
        let asked = request.groups.iter().map(|group| text(&group.0)).collect();
        let looked = look_each(&ctx, deadline, asked, |state, group| state.describe_group(group)).await;
        let (mut groups, mut pace) = (Vec::with_capacity(looked.len()), Pace::default());
        for (group, result) in looked {
            pace.next().await;
            let response = DescribedGroup::default()
                .with_group_id(GroupId(wire(&group)))
                .with_authorized_operations(operations::NOT_ASKED);
            let allowed = operations::if_asked(request.include_authorized_operations, operations::GROUP);
            groups.push(match result {
                Ok(Some(described)) => describe(response.with_authorized_operations(allowed), described),
                Ok(None) if answer.version >= NOT_FOUND_SINCE => {
                    let message = format!("Group {group} not found.");
                    response
                        .with_group_state(wire("Dead"))
                        .with_error_code(ErrorCode::GroupIdNotFound.code())
                        .with_error_message(Some(wire(&message)))
                }
                Ok(None) => response.with_group_state(wire("Dead")).with_authorized_operations(allowed),
                Err(error) => response.with_error_code(error.code()),
            });
        }
        answer.respond(&DescribeGroupsResponse::default().with_groups(groups))
    }))
}

fn describe(response: DescribedGroup, group: Described) -> DescribedGroup {
    let members = group.members.iter().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(wire(&member.member_id))
            .with_group_instance_id(maybe_wire(&member.instance_id))
            .with_client_id(wire(&member.client_id))
            .with_client_host(wire(&member.client_host))
            .with_member_metadata(member.metadata.clone())
            .with_member_assignment(member.assignment.clone())
    });
    response
        .with_group_state(wire(group.state))
        .with_protocol_type(wire(&group.protocol_type))
        .with_protocol_data(wire(&group.protocol))
        .with_members(members.collect())
}
