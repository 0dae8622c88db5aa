//! DeleteGroups (key 42).

use kafka_protocol::messages::{
    delete_groups_response::DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use norn_core::group::{Event, Response};
use norn_protocol::ErrorCode;

use super::{
    code,
    group::{text, ANSWER_MAX},
    Call, Pace, Session,
};
use crate::{coordinator::answer_by, server::Reply};

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DeleteGroupsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (answer, deadline) = (call.answer(), call.received + ANSWER_MAX);
    let mut waiting = Vec::with_capacity(request.groups_names.len());
    let mut pace = Pace::default();
    for name in request.groups_names {
        pace.next().await;
        let group_id = text(&name.0);
        let coordinator = call.ctx.coordinators.of(&group_id);
        let answered = match coordinator {
            Ok(coordinator) => coordinator.step(deadline, |slot| Event::DeleteGroup { slot, group_id }).await,
            Err(error) => Err(error),
        };
        waiting.push((name, answered));
    }
    Reply::Waiting(Box::pin(async move {
        let mut results = Vec::with_capacity(waiting.len());
        for (name, answered) in waiting {
            pace.next().await;
            let answer = match answered {
                Ok(answered) => answer_by(answered, deadline).await,
                Err(error) => Err(error),
            };
            let result = match answer {
                Ok(Response::DeleteGroup(result)) => result,
                Ok(_) => Err(ErrorCode::UnknownServerError),
                Err(error) => Err(error),
            };
            results.push(DeletableGroupResult::default().with_group_id(name).with_error_code(code(&result)));
        }
        answer.respond(&DeleteGroupsResponse::default().with_results(results))
    }))
}
