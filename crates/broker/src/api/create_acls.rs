//! CreateAcls (key 30): refused one by one, as by a Kafka broker without an authorizer.

use kafka_protocol::messages::{
    create_acls_response::AclCreationResult, CreateAclsRequest, CreateAclsResponse,
};
use norn_protocol::ErrorCode;

use super::{describe_acls::NO_AUTHORIZER, group::wire, Call, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: CreateAclsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let refused = AclCreationResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(wire(NO_AUTHORIZER)));
    call.ready(&CreateAclsResponse::default().with_results(vec![refused; request.creations.len()]))
}
