//! ListGroups (key 16): the groups of every coordinator that runs here.

use std::sync::Arc;

use kafka_protocol::messages::{
    list_groups_response::ListedGroup, GroupId, ListGroupsRequest, ListGroupsResponse,
};
use norn_protocol::ErrorCode;

use super::{
    group::{text, wire, ANSWER_MAX},
    Call, Session,
};
use crate::{coordinator::answer_by, server::Reply};

/// The only kind of group that there is (KIP-848 calls it so).
const CLASSIC: &str = "classic";

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: ListGroupsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, ctx, deadline) = (call.answer(), call.ctx.clone(), call.received + ANSWER_MAX);
    Reply::Waiting(Box::pin(async move {
        let wanted_type = request.types_filter.is_empty()
            || request.types_filter.iter().any(|kind| kind.as_str().eq_ignore_ascii_case(CLASSIC));
        let states: Arc<[Arc<str>]> = request.states_filter.iter().map(text).collect();
        let mut groups = vec![];
        let mut failed = None;
        for coordinator in ctx.coordinators.all().into_iter().filter(|_| wanted_type) {
            let states = states.clone();
            let looked = match coordinator.look(deadline, move |state| state.list_groups(&states)).await {
                Ok(answered) => answer_by(answered, deadline).await.and_then(|looked| looked),
                Err(error) => Err(error),
            };
            match looked {
                Ok(listed) => groups.extend(listed),
                // It went while it was asked; whoever leads now lists its groups.
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => failed = Some(error),
            }
        }
        let listed = groups.iter().map(|group| {
            ListedGroup::default()
                .with_group_id(GroupId(wire(&group.group_id)))
                .with_protocol_type(wire(&group.protocol_type))
                .with_group_state(wire(group.state))
                .with_group_type(wire(CLASSIC))
        });
        let response = ListGroupsResponse::default();
        answer.respond(&match failed {
            Some(error) => response.with_error_code(error.code()),
            None => response.with_groups(listed.collect()),
        })
    }))
}
