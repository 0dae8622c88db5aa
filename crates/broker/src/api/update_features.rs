//! UpdateFeatures (key 57, KIP-584): checked by the core's rules. What passes is what there is already.

use std::collections::BTreeMap;

use kafka_protocol::messages::{
    update_features_request::FeatureUpdateKey, update_features_response::UpdatableFeatureResult,
    UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use norn_core::admin::{check_updates, FeatureUpdate};
use norn_protocol::ErrorCode;

use super::{group::wire, Call, Session};
use crate::server::Reply;

/// From this version on the response tells of all features together.
const WITHOUT_RESULTS_SINCE: i16 = 2;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: UpdateFeaturesRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    // The last one of a name counts.
    let updates: BTreeMap<&str, FeatureUpdate> = request
        .feature_updates
        .iter()
        .map(|update| {
            let of = FeatureUpdate { level: update.max_version_level, upgrade_type: update.upgrade_type };
            (update.feature.as_str(), of)
        })
        .collect();
    let response = UpdateFeaturesResponse::default();
    call.ready(&match check_updates(call.ctx.node, &updates) {
        Ok(()) if call.version < WITHOUT_RESULTS_SINCE => {
            let result = |update: &FeatureUpdateKey| {
                UpdatableFeatureResult::default()
                    .with_feature(update.feature.clone())
                    .with_error_message(None)
            };
            response
                .with_results(request.feature_updates.iter().map(result).collect())
                .with_error_message(None)
        }
        Ok(()) => response.with_error_message(None),
        Err(reason) => {
            let message = format!(
                "The update failed for all features since the following feature had an error: {reason}"
            );
            response
                .with_error_code(ErrorCode::InvalidUpdateVersion.code())
                .with_error_message(Some(wire(&message)))
        }
    })
}
