//! InitProducerId (key 22): a new producer id for an idempotent producer. Ids come from blocks that the controller hands out.

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use norn_env::clock::Duration;
use norn_protocol::ErrorCode;

use super::{Call, Session};
use crate::server::Reply;

/// How long getting a new block of ids may take before the client is told to ask again.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: InitProducerIdRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let id = if request.transactional_id.is_some() {
        // There is no transaction coordinator: FindCoordinator says so too.
        Err(ErrorCode::UnsupportedVersion)
    } else if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        Err(ErrorCode::InvalidRequest)
    } else {
        // An idempotent producer that has an id already gets another: only transactions bump an epoch (KIP-360).
        call.ctx.producer_ids.next(call.received + BLOCK_TIMEOUT).await
    };
    let response = InitProducerIdResponse::default();
    call.ready(&match id {
        Ok(id) => response.with_producer_id(ProducerId(id.0)).with_producer_epoch(0),
        Err(error) => {
            response.with_error_code(error.code()).with_producer_id(ProducerId(-1)).with_producer_epoch(-1)
        }
    })
}
