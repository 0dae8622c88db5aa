//! ListGroups (key 16): the groups of every coordinator that runs here.

use std::sync::Arc;

use kafka_protocol::messages::{
    list_groups_response::ListedGroup, GroupId, ListGroupsRequest, ListGroupsResponse,
};
use norn_core::group::{Coordinator, ListedGroup as Listed, StateFilter};
use norn_env::clock::Instant;
use norn_protocol::ErrorCode;

use super::{
    group::{wire, ANSWER_MAX},
    Call, Pace, Session,
};
use crate::{
    coordinator::{answer_by, CoordinatorHandle},
    server::Reply,
};

/// The only kind of group that there is (KIP-848 calls it so).
const CLASSIC: &str = "classic";

/// Groups that one visit to a coordinator lists.
const GROUPS_AT_ONCE: usize = 1024;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: ListGroupsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, ctx, deadline) = (call.answer(), call.ctx.clone(), call.received + ANSWER_MAX);
    Reply::Waiting(Box::pin(async move {
        let mut pace = Pace::default();
        let mut wanted_type = request.types_filter.is_empty();
        for kind in &request.types_filter {
            pace.next().await;
            wanted_type |= kind.as_str().eq_ignore_ascii_case(CLASSIC);
        }
        let mut states = StateFilter::default();
        for state in &request.states_filter {
            pace.next().await;
            states.add(state.as_str());
        }
        let states = Arc::new(states);
        let mut groups = vec![];
        let mut failed = None;
        for coordinator in ctx.coordinators.all().into_iter().filter(|_| wanted_type) {
            match list(&coordinator, &states, deadline).await {
                Ok(listed) => groups.extend(listed),
                // It went while it was asked; whoever leads now lists its groups.
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => failed = Some(error),
            }
        }
        let mut listed = Vec::with_capacity(groups.len());
        for group in groups {
            pace.next().await;
            let response = ListedGroup::default()
                .with_group_id(GroupId(wire(&group.group_id)))
                .with_protocol_type(wire(&group.protocol_type))
                .with_group_state(wire(group.state))
                .with_group_type(wire(CLASSIC));
            listed.push(response);
        }
        let response = ListGroupsResponse::default();
        answer.respond(&match failed {
            Some(error) => response.with_error_code(error.code()),
            None => response.with_groups(listed),
        })
    }))
}

/// All groups of a coordinator in these states, which it gives a bounded number at a time.
async fn list(
    coordinator: &CoordinatorHandle,
    states: &Arc<StateFilter>,
    deadline: Instant,
) -> Result<Vec<Listed>, ErrorCode> {
    let mut groups = vec![];
    let mut after: Option<Arc<str>> = None;
    loop {
        let states = states.clone();
        let read = move |state: &Coordinator| state.list_groups(&states, after.as_ref(), GROUPS_AT_ONCE);
        let (listed, last) = answer_by(coordinator.look(deadline, read).await?, deadline).await??;
        groups.extend(listed);
        match last {
            Some(last) => after = Some(last),
            None => return Ok(groups),
        }
    }
}
