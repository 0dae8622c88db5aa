//! DescribeClientQuotas (key 48): a filter is checked as Kafka checks it, and matches nothing, since there are no quotas.

use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use norn_core::admin::check_quota_filter;

use super::{group::wire, Call, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DescribeClientQuotasRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    // The first component that is wrong ends the check, and there are three kinds of entities: it is short.
    let components = request.components.iter();
    let checked = check_quota_filter(components.map(|component| {
        let to_match = component._match.as_ref().map(|to_match| to_match.as_str());
        (component.entity_type.as_str(), component.match_type, to_match)
    }));
    let response = DescribeClientQuotasResponse::default();
    call.ready(&match checked {
        Ok(()) => response.with_entries(Some(vec![])).with_error_message(None),
        Err(error) => response
            .with_entries(None)
            .with_error_code(error.code().code())
            .with_error_message(Some(wire(&error.to_string()))),
    })
}
