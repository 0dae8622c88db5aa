//! What the handlers of the group APIs share: conversions, and handing an event to the group's coordinator.

use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;
use norn_core::group::{Event, Response, Slot};
use norn_env::{
    clock::{Duration, Instant},
    select,
};
use norn_protocol::ErrorCode;

use super::{Call, Context};
use crate::{
    coordinator::answer_by,
    server::{self, Reply},
};

/// Past this a coordinator that has not answered is given up on; clients retry COORDINATOR_NOT_AVAILABLE.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

pub(super) fn text(from: &StrBytes) -> Arc<str> {
    Arc::from(from.as_str())
}

pub(super) fn maybe_text(from: &Option<StrBytes>) -> Option<Arc<str>> {
    from.as_ref().map(text)
}

pub(super) fn wire(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_string())
}

pub(super) fn maybe_wire(from: &Option<Arc<str>>) -> Option<StrBytes> {
    from.as_deref().map(wire)
}

/// Hands an event to the coordinator of its group; `encode` makes the response of the answer, or of why there is none.
pub(super) async fn step(
    call: &Call,
    group_id: &str,
    answer_by_at: Instant,
    event: impl FnOnce(Slot) -> Event + Send + 'static,
    encode: impl FnOnce(Result<Response, ErrorCode>) -> server::Response + Send + 'static,
) -> Reply {
    let handed_over = match call.ctx.coordinators.of(group_id) {
        Ok(coordinator) => coordinator.step(call.received + ANSWER_MAX, event).await,
        Err(error) => Err(error),
    };
    match handed_over {
        Ok(answered) => {
            let mut stopping = call.ctx.stopping.clone();
            // Joins and syncs wait for other members, which a shutdown does not.
            let parked = answer_by_at > call.received + ANSWER_MAX;
            Reply::Waiting(Box::pin(async move {
                encode(select! {
                    answer = answer_by(answered, answer_by_at) => answer,
                    _ = stopping.signaled(), if parked => Err(ErrorCode::NotCoordinator),
                })
            }))
        }
        Err(error) => Reply::Ready(encode(Err(error))),
    }
}

/// The client's address as group descriptions show it.
pub(super) fn client_host(call: &Call) -> Arc<str> {
    Arc::from(format!("/{}", call.peer.ip()))
}

pub(super) fn client_id(call: &Call) -> Arc<str> {
    call.head.client_id.as_ref().map_or_else(|| Arc::from(""), text)
}

/// Reads each group at its coordinator, in the order asked; groups of one coordinator are read one after another.
pub(super) async fn look_each<T: Send + 'static>(
    ctx: &Context,
    deadline: Instant,
    groups: Vec<Arc<str>>,
    read: impl Fn(&norn_core::group::Coordinator, &str) -> T + Clone + Send + 'static,
) -> Vec<(Arc<str>, Result<T, ErrorCode>)> {
    let mut results = Vec::with_capacity(groups.len());
    for group in groups {
        let result = match ctx.coordinators.of(&group) {
            Ok(coordinator) => {
                let (read, asked) = (read.clone(), group.clone());
                match coordinator.look(deadline, move |state| read(state, &asked)).await {
                    Ok(answered) => answer_by(answered, deadline).await.and_then(|looked| looked),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        results.push((group, result));
    }
    results
}
