//! DeleteAcls (key 31): refused filter by filter, as by a Kafka broker without an authorizer.

use kafka_protocol::messages::{
    delete_acls_response::DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse,
};
use norn_protocol::ErrorCode;

use super::{describe_acls::NO_AUTHORIZER, group::wire, Call, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DeleteAclsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(wire(NO_AUTHORIZER)));
    call.ready(&DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()]))
}
