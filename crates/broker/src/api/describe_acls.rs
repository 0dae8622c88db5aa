//! DescribeAcls (key 29): as by a Kafka broker without an authorizer, since there is none.

use kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use norn_protocol::ErrorCode;

use super::{group::wire, Call, Session};
use crate::server::Reply;

/// What Kafka's `AclApis` says to those who would change ACLs, and, with more words, to those who ask for them.
pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured.";
const NO_AUTHORIZER_HERE: &str = "No Authorizer is configured on the broker";

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    if let Err(close) = call.decode::<DescribeAclsRequest>() {
        return close;
    }
    call.ready(
        &DescribeAclsResponse::default()
            .with_error_code(ErrorCode::SecurityDisabled.code())
            .with_error_message(Some(wire(NO_AUTHORIZER_HERE))),
    )
}
