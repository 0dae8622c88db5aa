//! Strings of requests that are not UTF-8: whatever bytes they hold, the request is read, with U+FFFD in the place of what
//! cannot be read, and everything else in it is as it was sent.

use bytes::{BufMut, Bytes};
use kafka_protocol::messages::{FetchRequest, MetadataRequest, OffsetCommitRequest};
use norn_protocol::produce::TopicRef;
use norn_protocol::request::RequestHead;
use norn_protocol::versions::TABLE;
use norn_protocol::ApiKey;
use proptest::prelude::*;

use crate::codec;

/// The head of a frame whose client id and body are these.
fn head(key: ApiKey, version: i16, client_id: &[u8], body: &[u8]) -> RequestHead {
    let mut frame = Vec::new();
    frame.put_i16(key as i16);
    frame.put_i16(version);
    frame.put_i32(7);
    frame.put_i16(client_id.len() as i16);
    frame.put_slice(client_id);
    if key.request_header_version(version) >= 2 {
        frame.put_u8(0);
    }
    frame.put_slice(body);
    RequestHead::parse(frame.into()).unwrap()
}

fn short(text: &[u8]) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes()[..], text].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_request_is_read_whatever_its_strings_hold(
        api in any::<prop::sample::Index>(),
        version in any::<prop::sample::Index>(),
        seed in any::<u64>(),
        client_id in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let api = api.get(TABLE);
        let version = api.min + version.index((api.max - api.min + 1) as usize) as i16;
        let body = codec::body_with_any_strings(api.key, version, seed);
        let head = head(api.key, version, &client_id, &body);
        let text = String::from_utf8_lossy(&client_id);
        prop_assert_eq!(head.client_id.as_deref(), Some(text.as_ref()));
        prop_assert_eq!(codec::decode(&head), Ok(()), "{:?} {}", api.key, version);
        if api.key == ApiKey::Produce {
            prop_assert!(head.decode_produce().is_ok());
        }
    }
}

#[test]
fn what_is_replaced_is_what_cannot_be_read_and_nothing_else() {
    let latin1 = b"caf\xe9";
    let body = [
        short(latin1),                   // group
        (-1_i32).to_be_bytes().to_vec(), // generation
        short(b"m"),                     // member
        (-1_i64).to_be_bytes().to_vec(), // retention
        1_i32.to_be_bytes().to_vec(),    // topics
        short("ü".as_bytes()),
        1_i32.to_be_bytes().to_vec(),  // partitions
        3_i32.to_be_bytes().to_vec(),  // partition
        41_i64.to_be_bytes().to_vec(), // offset
        short(b"\xff\xfe x"),          // metadata
    ];
    let commit: OffsetCommitRequest =
        head(ApiKey::OffsetCommit, 2, b"c", &body.concat()).decode_body().unwrap();
    assert_eq!(commit.group_id.as_str(), "caf\u{fffd}");
    let topic = &commit.topics[0];
    assert_eq!((topic.name.as_str(), topic.partitions[0].partition_index), ("ü", 3));
    assert_eq!(topic.partitions[0].committed_offset, 41);
    assert_eq!(topic.partitions[0].committed_metadata.as_deref(), Some("\u{fffd}\u{fffd} x"));
}

#[test]
fn the_size_of_a_tagged_field_follows_its_content() {
    // Version 12: no topics, an empty rack, the cluster id behind tag 0 and an unknown field behind it.
    let body = [&[0; 4 + 4 + 4 + 4 + 1 + 4 + 4][..], &[1, 1, 1], &[2, 0, 3, 3, b'a', 0xff, 9, 1, 5]].concat();
    let fetch: FetchRequest = head(ApiKey::Fetch, 12, b"", &body).decode_body().unwrap();
    assert_eq!(fetch.cluster_id.as_deref(), Some("a\u{fffd}"));
    assert_eq!(fetch.unknown_tagged_fields.get(&9), Some(&Bytes::from_static(&[5])));
}

#[test]
fn a_replaced_string_is_no_longer_than_a_string_may_be() {
    let long = vec![0xff; i16::MAX as usize];
    let body = [1_i32.to_be_bytes().to_vec(), short(&long)].concat();
    let asked: MetadataRequest = head(ApiKey::Metadata, 1, &long, &body).decode_body().unwrap();
    let name = asked.topics.unwrap()[0].name.clone().unwrap();
    assert_eq!(name.len(), 3 * (i16::MAX as usize / 3));
    assert!(name.chars().all(|c| c == '\u{fffd}'));
}

#[test]
fn replacements_are_bounded() {
    let names = |count: usize| {
        let each = short(&[0xff; 30_000]);
        let body = [(count as i32).to_be_bytes().to_vec(), each.repeat(count)].concat();
        head(ApiKey::Metadata, 1, b"", &body).decode_body::<MetadataRequest>()
    };
    assert!(names(10).is_ok());
    assert!(names(1000).is_err());
}

#[test]
fn a_topic_of_produce_is_read_so_too() {
    let body = [
        (-1_i16).to_be_bytes().to_vec(), // transactional id
        1_i16.to_be_bytes().to_vec(),    // acks
        9_i32.to_be_bytes().to_vec(),    // timeout
        1_i32.to_be_bytes().to_vec(),    // topics
        short(b"t\xe9"),
        0_i32.to_be_bytes().to_vec(), // partitions
    ];
    let produce = head(ApiKey::Produce, 3, b"", &body.concat()).decode_produce().unwrap();
    let TopicRef::Name(name) = &produce.topics[0].topic else { panic!("by name") };
    assert_eq!(name.as_str(), "t\u{fffd}");
}
