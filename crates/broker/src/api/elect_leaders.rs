//! ElectLeaders (key 43): decided partition by partition by the core's rules. Asked about all partitions, only those are
//! answered that an election is needed for.

use kafka_protocol::messages::{
    elect_leaders_response::{PartitionResult, ReplicaElectionResult},
    ElectLeadersRequest, ElectLeadersResponse, TopicName,
};
use norn_core::{
    admin::{elect_leader, Election, ElectionError},
    metadata::Image,
};
use norn_protocol::ErrorCode;

use super::{group::wire, Call, Pace, Session};
use crate::server::Reply;

pub(super) async fn handle(call: Call, _session: &mut Session) -> Reply {
    let request: ElectLeadersRequest = match call.decode() {
        Ok(request) => request,
        Err(close) => return close,
    };
    let Some(election) = Election::from_code(request.election_type) else {
        // Version 0 has no field for it, and only one type.
        return call
            .ready(&ElectLeadersResponse::default().with_error_code(ErrorCode::InvalidRequest.code()));
    };
    let image = call.ctx.controller.image();
    let mut pace = Pace::default();
    let Some(topics) = request.topic_partitions else {
        return call.ready(
            &ElectLeadersResponse::default()
                .with_replica_election_results(needed(&image, election, &mut pace).await),
        );
    };
    let mut results = Vec::with_capacity(topics.len());
    for asked in topics {
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for index in asked.partitions {
            pace.next().await;
            let error = elect_leader(&image, asked.topic.as_str(), index, election);
            partitions.push(result(index, &error));
        }
        results
            .push(ReplicaElectionResult::default().with_topic(asked.topic).with_partition_result(partitions));
    }
    call.ready(&ElectLeadersResponse::default().with_replica_election_results(results))
}

/// Of all topics the partitions that should have another leader.
async fn needed(image: &Image, election: Election, pace: &mut Pace) -> Vec<ReplicaElectionResult> {
    let mut results = vec![];
    for topic in image.topics_by_name() {
        let mut partitions = vec![];
        for index in 0..topic.partition_count() {
            pace.next().await;
            let error = elect_leader(image, &topic.name, index, election);
            if error != ElectionError::NotNeeded {
                partitions.push(result(index, &error));
            }
        }
        if !partitions.is_empty() {
            let topic = TopicName(wire(&topic.name));
            results
                .push(ReplicaElectionResult::default().with_topic(topic).with_partition_result(partitions));
        }
    }
    results
}

fn result(index: i32, error: &ElectionError) -> PartitionResult {
    PartitionResult::default()
        .with_partition_id(index)
        .with_error_code(error.code().code())
        .with_error_message(Some(wire(&error.to_string())))
}
