use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::produce_request as oracle;
use kafka_protocol::messages::{TopicName, TransactionalId};
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::layout;

fn any_partition() -> impl Strategy<Value = oracle::PartitionProduceData> {
    let records = prop::option::of(prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from));
    (any::<i32>(), records).prop_map(|(index, records)| {
        oracle::PartitionProduceData::default().with_index(index).with_records(records)
    })
}

fn any_topic() -> impl Strategy<Value = oracle::TopicProduceData> {
    ("[a-z.]{0,20}", any::<u128>(), prop::collection::vec(any_partition(), 0..5)).prop_map(
        |(name, id, partitions)| {
            oracle::TopicProduceData::default()
                .with_name(TopicName(StrBytes::from_string(name)))
                .with_topic_id(Uuid::from_u128(id))
                .with_partition_data(partitions)
        },
    )
}

fn any_request() -> impl Strategy<Value = oracle::ProduceRequest> {
    let topics = prop::collection::vec(any_topic(), 0..5);
    let tag = (100i32..1000, prop::collection::vec(any::<u8>(), 0..5));
    (prop::option::of("[a-z]{0,10}"), -1i16..=1, any::<i32>(), topics, prop::option::of(tag)).prop_map(
        |(transactional_id, acks, timeout, topics, tag)| {
            let id = transactional_id.map(|id| TransactionalId(StrBytes::from_string(id)));
            let request = oracle::ProduceRequest::default()
                .with_transactional_id(id)
                .with_acks(acks)
                .with_timeout_ms(timeout)
                .with_topic_data(topics);
            match tag {
                Some((tag, value)) => request.with_unknown_tagged_field(tag, value.into()),
                None => request,
            }
        },
    )
}

/// What our decoder should say of bytes that the crate decoded to this.
fn expected(request: &oracle::ProduceRequest, version: i16) -> ProduceRequest {
    let partition = |partition: &oracle::PartitionProduceData| ProducePartition {
        index: PartitionIndex(partition.index),
        records: partition.records.clone(),
    };
    let topic = |topic: &oracle::TopicProduceData| ProduceTopic {
        topic: match version >= 13 {
            true => TopicRef::Id(TopicId(topic.topic_id)),
            false => TopicRef::Name(topic.name.0.clone()),
        },
        partitions: topic.partition_data.iter().map(partition).collect(),
    };
    ProduceRequest {
        transactional_id: request.transactional_id.as_ref().map(|id| id.0.clone()),
        acks: request.acks,
        timeout_ms: request.timeout_ms,
        topics: request.topic_data.iter().map(topic).collect(),
    }
}

fn encoded(request: &oracle::ProduceRequest, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    body.freeze()
}

proptest! {
    #[test]
    fn every_version_is_read_as_the_crate_reads_it(request in any_request(), version in 3i16..=13) {
        let body = encoded(&request, version);
        let theirs = oracle::ProduceRequest::decode(&mut body.clone(), version).unwrap();
        prop_assert_eq!(ProduceRequest::decode(version, &body).unwrap(), expected(&theirs, version));
    }

    #[test]
    fn damaged_bytes_are_judged_as_the_crate_judges_them(
        request in any_request(),
        version in 3i16..=13,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..3),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encoded(&request, version).to_vec();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
        let body = Bytes::from(bytes);
        let ours = ProduceRequest::decode(version, &body);
        // The crate alone may not see these bytes: it believes lengths, and refuses strings that are not UTF-8.
        let theirs = |mut body: Bytes| oracle::ProduceRequest::decode(&mut body, version);
        match layout::check(ApiKey::Produce, version, &body) {
            Err(_) => prop_assert!(ours.is_err()),
            Ok(()) => match theirs(body.clone()).or_else(|refused| {
                layout::with_utf8(ApiKey::Produce, version, &body).map_or(Err(refused), theirs)
            }) {
                Ok(theirs) => prop_assert_eq!(ours.unwrap(), expected(&theirs, version)),
                Err(_) => prop_assert!(ours.is_err()),
            },
        }
    }
}

#[test]
fn records_and_names_are_slices_of_the_frame() {
    let partition = oracle::PartitionProduceData::default().with_records(Some(Bytes::from(vec![7; 1000])));
    let topic = oracle::TopicProduceData::default()
        .with_name(TopicName("orders".into()))
        .with_partition_data(vec![partition]);
    let body = encoded(&oracle::ProduceRequest::default().with_topic_data(vec![topic]), 9);
    let request = ProduceRequest::decode(9, &body).unwrap();
    let within = |bytes: &[u8]| body.as_ptr_range().contains(&bytes.as_ptr());
    assert!(within(request.topics[0].partitions[0].records.as_ref().unwrap()));
    assert!(matches!(&request.topics[0].topic, TopicRef::Name(name) if within(name.as_bytes())));
}

#[test]
fn an_array_that_claims_more_than_the_bytes_hold_is_refused() {
    for (version, claim) in [(3, &i32::MAX.to_be_bytes()[..]), (9, &b"\xff\xff\xff\xff\x0f"[..])] {
        let mut body = BytesMut::new();
        match version {
            3 => body.put_i16(-1),
            _ => body.put_u8(0),
        }
        body.put_i16(1);
        body.put_i32(1000);
        body.put_slice(claim);
        let body = body.freeze();
        assert_eq!(ProduceRequest::decode(version, &body), Err(WireError::Truncated));
        assert_eq!(layout::check(ApiKey::Produce, version, &body), Err(WireError::Truncated));
    }
}

#[test]
fn the_first_partition_is_known_by_the_first_bytes() {
    let partition =
        oracle::PartitionProduceData::default().with_index(7).with_records(Some(Bytes::from(vec![7; 1000])));
    let id = Uuid::from_u128(9);
    for version in 3..=13 {
        let topic = oracle::TopicProduceData::default().with_partition_data(vec![partition.clone()]);
        let topic = match version {
            13 => topic.with_topic_id(id),
            _ => topic.with_name(TopicName("orders".into())),
        };
        let request = oracle::ProduceRequest::default().with_topic_data(vec![topic]);
        let frame = crate::client::encode_request(1, version, Some("client"), &request).unwrap().slice(4..);
        let (topic, index) = first_partition(&frame[..100]).unwrap();
        assert_eq!(index, PartitionIndex(7), "version {version}");
        match topic {
            TopicRef::Name(name) => assert_eq!(name.as_str(), "orders"),
            TopicRef::Id(topic) => assert_eq!((topic.0, version), (id, 13)),
        }
        // Nothing is made of what is cut off, or of another request.
        let known = (0..100).find(|len| first_partition(&frame[..*len]).is_some()).unwrap();
        assert!((known..100).all(|len| first_partition(&frame[..len]).is_some()));
        assert_eq!(first_partition(&frame[1..]), None);
    }
}
