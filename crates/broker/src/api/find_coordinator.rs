//! FindCoordinator (key 10): which broker coordinates a group. The first one asked creates the offsets topic.

use kafka_protocol::messages::{
    find_coordinator_response::Coordinator, BrokerId, FindCoordinatorRequest, FindCoordinatorResponse,
};
use kafka_protocol::protocol::StrBytes;
use norn_core::metadata::Endpoint;
use norn_env::clock::Duration;
use norn_protocol::{types::NodeId, ErrorCode};

use super::{topics, Call, Pace, Session};
use crate::{coordinator::OFFSETS_TOPIC, server::Reply};

const KEY_GROUP: i8 = 0;
const KEY_TRANSACTION: i8 = 1;
const KEY_SHARE: i8 = 2;

/// How long creating the offsets topic may take before the client is told to ask again.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: FindCoordinatorRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let keys = if call.version >= 4 { request.coordinator_keys.clone() } else { vec![request.key.clone()] };
    let found = if request.key_type == KEY_GROUP {
        if call.ctx.controller.image().topic_by_name(OFFSETS_TOPIC).is_none() {
            // The topic's creation is waited for here: the connection reads no further meanwhile.
            let deadline = call.received + CREATE_TIMEOUT;
            topics::create_offsets_topic(&call.ctx, deadline).await
        } else {
            Ok(())
        }
    } else if matches!(request.key_type, KEY_TRANSACTION | KEY_SHARE) {
        // There are none, and none will come while the client waits: an error that it does not retry.
        Err(ErrorCode::UnsupportedVersion)
    } else {
        Err(ErrorCode::InvalidRequest)
    };
    let coordinators = answer_all(keys, found, call.ctx.node, &call.endpoint).await;
    if call.version >= 4 {
        return call.ready(&FindCoordinatorResponse::default().with_coordinators(coordinators));
    }
    let response = FindCoordinatorResponse::default();
    call.ready(&match coordinators.into_iter().next() {
        Some(one) => response
            .with_error_code(one.error_code)
            .with_error_message(one.error_message)
            .with_node_id(one.node_id)
            .with_host(one.host)
            .with_port(one.port),
        None => response.with_error_code(ErrorCode::InvalidRequest.code()),
    })
}

/// This node for each key, or why not.
async fn answer_all(
    keys: Vec<StrBytes>,
    found: Result<(), ErrorCode>,
    node: NodeId,
    endpoint: &Endpoint,
) -> Vec<Coordinator> {
    let mut coordinators = Vec::with_capacity(keys.len());
    let mut pace = Pace::default();
    for key in keys {
        pace.next().await;
        let coordinator = Coordinator::default().with_key(key);
        coordinators.push(match found {
            Ok(()) => coordinator
                .with_node_id(BrokerId(node.0))
                .with_host(StrBytes::from_string(endpoint.host.clone()))
                .with_port(i32::from(endpoint.port)),
            Err(error) => coordinator
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_string(error.to_string())))
                .with_node_id(BrokerId(-1))
                .with_port(-1),
        });
    }
    coordinators
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn very_many_groups_are_not_answered_in_one_go() {
        norn_env::testing::run(|| async {
            let keys = vec![StrBytes::default(); 1000];
            let endpoint = Endpoint { host: "localhost".to_owned(), port: 9092 };
            let answered = answer_all(keys, Ok(()), NodeId(1), &endpoint);
            assert!(answered.now_or_never().is_none());
        });
    }
}
