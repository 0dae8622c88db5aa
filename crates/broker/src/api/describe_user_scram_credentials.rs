//! DescribeUserScramCredentials (key 50): there are no credentials, so that each user that is named is not found.

use kafka_protocol::messages::{
    describe_user_scram_credentials_response::DescribeUserScramCredentialsResult,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use norn_core::admin::described_users;

use super::{group::wire, Call, Pace, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: DescribeUserScramCredentialsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let (mut results, mut pace) = (vec![], Pace::default());
    for (user, error) in described_users(request.users.iter().flatten().map(|user| user.name.as_str())) {
        pace.next().await;
        results.push(
            DescribeUserScramCredentialsResult::default()
                .with_user(wire(user))
                .with_error_code(error.code().code())
                .with_error_message(Some(wire(&error.to_string()))),
        );
    }
    let response = DescribeUserScramCredentialsResponse::default().with_error_message(None);
    call.ready(&response.with_results(results))
}
