//! ApiVersions (key 18): what is served, made from the handlers that exist, and the finalized features.
//! A version that is not served is answered in the format of version 0 with the whole list (KIP-511).

use kafka_protocol::messages::{
    api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey},
    ApiKey, ApiVersionsRequest, ApiVersionsResponse,
};
use kafka_protocol::protocol::StrBytes;
use norn_core::admin::{Feature, FEATURES};
use norn_protocol::{versions, ErrorCode};

use super::{Answer, Call, Session, HANDLED};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: ApiVersionsRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    if call.version >= 3
        && !(is_name(&request.client_software_name) && is_name(&request.client_software_version))
    {
        return call.ready(&ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code()));
    }
    call.ready(&served(call.version))
}

/// Answers a version that is not served.
pub(super) fn unsupported(correlation: i32) -> Reply {
    let body = served(0).with_error_code(ErrorCode::UnsupportedVersion.code());
    Reply::Ready(Answer { key: ApiKey::ApiVersions, version: 0, correlation }.respond(&body))
}

fn served(version: i16) -> ApiVersionsResponse {
    let keys = HANDLED.iter().filter_map(|key| versions::range(*key)).map(|range| {
        ApiVersion::default()
            .with_api_key(range.key as i16)
            .with_min_version(range.advertised_min)
            .with_max_version(range.max)
    });
    let mut response = ApiVersionsResponse::default().with_api_keys(keys.collect());
    if version >= 3 {
        let supported = FEATURES.map(|Feature { name, min, max, .. }| {
            let name = StrBytes::from_static_str(name);
            SupportedFeatureKey::default().with_name(name).with_min_version(min).with_max_version(max)
        });
        let finalized = FEATURES.map(|Feature { name, level, .. }| {
            let name = StrBytes::from_static_str(name);
            FinalizedFeatureKey::default()
                .with_name(name)
                .with_min_version_level(level)
                .with_max_version_level(level)
        });
        response.supported_features = supported.into();
        response.finalized_features = finalized.into();
        response.finalized_features_epoch = 0;
    }
    response
}

/// Kafka's rule for client software names: letters and digits, with dots and dashes inside.
fn is_name(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inside)
}
