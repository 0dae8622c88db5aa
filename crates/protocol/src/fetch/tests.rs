use kafka_protocol::messages::fetch_response as oracle;
use kafka_protocol::messages::{BrokerId, FetchResponse as OracleResponse, TopicName as OracleName};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::response;

/// A file for the tests is its whole content.
type Response = FetchResponse<Bytes>;

fn any_part() -> impl Strategy<Value = Part<Bytes>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from);
    (bytes, any::<bool>(), 0u64..50).prop_map(|(bytes, file, pos)| match file {
        false => Part::Bytes(bytes),
        true => {
            let pos = pos.min(bytes.len() as u64);
            Part::File { len: bytes.len() as u64 - pos, file: bytes, pos }
        }
    })
}

fn any_partition() -> impl Strategy<Value = FetchedPartition<Bytes>> {
    let aborted = prop::collection::vec((any::<i64>(), any::<i64>()), 0..3);
    (
        (any::<i32>(), prop::option::of(1i16..90), any::<i64>(), any::<i64>(), any::<i64>()),
        prop::option::of((0i32.., any::<i64>())),
        prop::option::of((0i32.., 0i32..)),
        prop::option::of(aborted),
        -1i32..10,
        prop::collection::vec(any_part(), 0..4),
    )
        .prop_map(
            |((index, error, high, stable, start), diverging, leader, aborted, preferred, records)| {
                FetchedPartition {
                    index: PartitionIndex(index),
                    error: error.and_then(ErrorCode::try_from_code),
                    high_watermark: Offset(high),
                    last_stable_offset: Offset(stable),
                    log_start: Offset(start),
                    diverging: diverging.map(|(epoch, end)| (LeaderEpoch(epoch), Offset(end))),
                    current_leader: leader.map(|(node, epoch)| (NodeId(node), LeaderEpoch(epoch))),
                    aborted: aborted.map(|list| {
                        list.into_iter().map(|(id, first)| (ProducerId(id), Offset(first))).collect()
                    }),
                    preferred_read_replica: NodeId(preferred),
                    records,
                }
            },
        )
}

fn any_topic() -> impl Strategy<Value = FetchedTopic<Bytes>> {
    ("[a-z.]{0,200}", any::<u128>(), prop::collection::vec(any_partition(), 0..4)).prop_map(
        |(name, id, partitions)| FetchedTopic {
            name: name.into(),
            id: TopicId(Uuid::from_u128(id)),
            partitions,
        },
    )
}

fn any_endpoint() -> impl Strategy<Value = NodeEndpoint> {
    (any::<i32>(), "[a-z.]{0,20}", any::<i32>(), prop::option::of("[a-z]{0,5}"))
        .prop_map(|(node, host, port, rack)| NodeEndpoint { node: NodeId(node), host, port, rack })
}

fn any_response() -> impl Strategy<Value = Response> {
    (
        any::<i32>(),
        prop::option::of(1i16..90),
        any::<i32>(),
        prop::collection::vec(any_topic(), 0..4),
        prop::collection::vec(any_endpoint(), 0..3),
    )
        .prop_map(|(throttle_time_ms, error, session_id, topics, endpoints)| FetchResponse {
            throttle_time_ms,
            error: error.and_then(ErrorCode::try_from_code),
            session_id,
            topics,
            endpoints,
        })
}

fn content(parts: &[Part<Bytes>]) -> Bytes {
    let mut all = BytesMut::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) => all.extend_from_slice(bytes),
            Part::File { file, pos, len } => {
                all.extend_from_slice(&file[*pos as usize..(*pos + *len) as usize]);
            }
        }
    }
    all.freeze()
}

/// The same response for the crate, whose encoder refuses fields that the version lacks.
fn as_oracle(response: &Response, version: i16) -> OracleResponse {
    let code = |error: Option<ErrorCode>| error.map_or(0, |error| error.code());
    let partition = |p: &FetchedPartition<Bytes>| {
        let aborted = p.aborted.as_ref().map(|list| {
            let aborted = |&(id, first): &(ProducerId, Offset)| {
                oracle::AbortedTransaction::default().with_producer_id(id.0.into()).with_first_offset(first.0)
            };
            list.iter().map(aborted).collect()
        });
        let mut data = oracle::PartitionData::default()
            .with_partition_index(p.index.0)
            .with_error_code(code(p.error))
            .with_high_watermark(p.high_watermark.0)
            .with_last_stable_offset(p.last_stable_offset.0)
            .with_log_start_offset(p.log_start.0)
            .with_aborted_transactions(aborted)
            .with_records(Some(content(&p.records)));
        if version >= 11 {
            data = data.with_preferred_read_replica(BrokerId(p.preferred_read_replica.0));
        }
        if let Some((epoch, end)) = p.diverging.filter(|_| version >= 12) {
            let diverging = oracle::EpochEndOffset::default().with_epoch(epoch.0).with_end_offset(end.0);
            data = data.with_diverging_epoch(diverging);
        }
        if let Some((node, epoch)) = p.current_leader.filter(|_| version >= 12) {
            let leader = oracle::LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(node.0))
                .with_leader_epoch(epoch.0);
            data = data.with_current_leader(leader);
        }
        data
    };
    let topic = |t: &FetchedTopic<Bytes>| {
        oracle::FetchableTopicResponse::default()
            .with_topic(OracleName(StrBytes::from_string(t.name.to_string())))
            .with_topic_id(t.id.0)
            .with_partitions(t.partitions.iter().map(partition).collect())
    };
    let endpoint = |e: &NodeEndpoint| {
        oracle::NodeEndpoint::default()
            .with_node_id(BrokerId(e.node.0))
            .with_host(StrBytes::from_string(e.host.clone()))
            .with_port(e.port)
            .with_rack(e.rack.clone().map(StrBytes::from_string))
    };
    let mut theirs = OracleResponse::default()
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_error_code(code(response.error))
        .with_responses(response.topics.iter().map(topic).collect());
    if version >= 7 {
        theirs = theirs.with_session_id(response.session_id);
    }
    if version >= 16 {
        theirs = theirs.with_node_endpoints(response.endpoints.iter().map(endpoint).collect());
    }
    theirs
}

proptest! {
    #[test]
    fn every_version_is_written_as_the_crate_writes_it(
        response in any_response(),
        correlation in any::<i32>(),
        version in 4i16..=18,
    ) {
        let theirs = response::encode(correlation, ApiKey::Fetch, version, &as_oracle(&response, version)).unwrap();
        let ours = response.encode(correlation, version).unwrap();
        prop_assert_eq!(content(&ours), theirs);
    }
}

#[test]
fn the_versions_tested_are_all_there_are() {
    let range = crate::versions::range(ApiKey::Fetch).unwrap();
    assert_eq!((range.min, range.max), (4, 18));
}

fn with_records(records: Vec<Part<&'static str>>) -> FetchResponse<&'static str> {
    let partition =
        FetchedPartition { records, ..FetchedPartition::failed(PartitionIndex(0), ErrorCode::Unknown(0)) };
    let topic = FetchedTopic { name: "t".into(), id: TopicId::NONE, partitions: vec![partition] };
    FetchResponse { topics: vec![topic], ..FetchResponse::default() }
}

#[test]
fn records_are_passed_on_and_not_copied() {
    let batch = Bytes::from(vec![1; 5000]);
    let file = Part::File { file: "00000.log", pos: 77, len: 1 << 30 };
    let parts = with_records(vec![Part::Bytes(batch.clone()), file.clone()]).encode(1, 12).unwrap();
    assert!(matches!(&parts[1], Part::Bytes(bytes) if bytes.as_ptr() == batch.as_ptr()));
    assert_eq!(parts[2], file);
    let total: u64 = parts.iter().map(Part::len).sum();
    let Part::Bytes(head) = &parts[0] else { panic!("a response begins with its size") };
    assert_eq!(head[..4], (total as u32 - 4).to_be_bytes());
}

#[test]
fn more_than_a_frame_holds_is_an_error() {
    let half = || Part::File { file: "00000.log", pos: 0, len: 1 << 30 };
    assert!(with_records(vec![half(), half()]).encode(1, 12).is_err());
    let mut response = with_records(vec![half()]);
    response.topics.extend(with_records(vec![half()]).topics);
    assert!(response.encode(1, 12).is_err());
}
