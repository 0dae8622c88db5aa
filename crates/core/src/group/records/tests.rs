//! Golden bytes: what Kafka 4.3's own classes (`org.apache.kafka.coordinator.group.generated`, written
//! with `MessageUtil.toVersionPrefixedBytes`) give for the values named here.

use norn_protocol::{LeaderEpoch, Offset, TopicId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::Millis;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

const OFFSET_KEY: &str = "000100066f72646572730003742d3100000007";
const GROUP_KEY: &str = "000200066f7264657273";

fn offset_key() -> RecordKey {
    RecordKey::Offset { group: "orders".into(), topic: "t-1".into(), partition: PartitionIndex(7) }
}

#[test]
fn keys_are_kafkas_bytes() {
    assert_eq!(offset_key().encode(), unhex(OFFSET_KEY));
    assert_eq!(RecordKey::decode(&unhex(OFFSET_KEY)), Ok(offset_key()));
    let legacy = OFFSET_KEY.replacen("0001", "0000", 1);
    assert_eq!(RecordKey::decode(&unhex(&legacy)), Ok(offset_key()), "key version 0 is read too");

    let group = RecordKey::Group { group: "orders".into() };
    assert_eq!(group.encode(), unhex(GROUP_KEY));
    assert_eq!(RecordKey::decode(&unhex(GROUP_KEY)), Ok(group));
    assert_eq!(RecordKey::decode(&unhex("000300066f7264657273")), Ok(RecordKey::Other { kind: 3 }));
}

fn offset_value() -> OffsetValue {
    OffsetValue {
        offset: Offset(1234567890123),
        leader_epoch: LeaderEpoch::NONE,
        metadata: "né".into(),
        committed_at: Millis(1700000000000),
        expires_at: None,
        topic_id: TopicId::NONE,
    }
}

#[test]
fn offsets_of_every_version_are_read() {
    let id = TopicId(Uuid::from_u128(0x0102030405060708090a0b0c0d0e0f10));
    let with_epoch = OffsetValue { leader_epoch: LeaderEpoch(5), ..offset_value() };
    let cases = [
        ("00000000011f71fb04cb00036ec3a90000018bcfe56800", offset_value()),
        (
            "00010000011f71fb04cb00036ec3a90000018bcfe568000000018bcfee8fc0",
            OffsetValue { expires_at: Some(Millis(1700000600000)), ..offset_value() },
        ),
        ("00020000011f71fb04cb00036ec3a90000018bcfe56800", offset_value()),
        ("00030000011f71fb04cb0000000500036ec3a90000018bcfe56800", with_epoch.clone()),
        (
            "00040000011f71fb04cb00000005046ec3a90000018bcfe568000100100102030405060708090a0b0c0d0e0f10",
            OffsetValue { topic_id: id, ..with_epoch },
        ),
    ];
    for (hex, value) in cases {
        assert_eq!(OffsetValue::decode(&unhex(hex)), Ok(value.clone()), "{hex}");
        let version = i16::from_str_radix(&hex[..4], 16).unwrap();
        if matches!(version, 1 | 3 | 4) {
            assert_eq!(value.encode(), unhex(hex), "version {version} is written as Kafka writes it");
        }
    }
    let without_tags =
        OffsetValue::decode(&unhex("00040000000000000000ffffffff01000000000000000000")).unwrap();
    assert_eq!((without_tags.leader_epoch, without_tags.topic_id), (LeaderEpoch::NONE, TopicId::NONE));
}

fn member(instance_id: Option<&str>, rebalance_timeout_ms: i32) -> MemberValue {
    MemberValue {
        member_id: "c1-x".into(),
        instance_id: instance_id.map(Arc::from),
        client_id: "c1".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms,
        session_timeout_ms: 45000,
        subscription: Bytes::from_static(&[1, 2, 3]),
        assignment: Bytes::from_static(&[9]),
    }
}

fn group_value(version: i16) -> GroupValue {
    let rebalance_timeout_ms = if version >= 1 { 300000 } else { 45000 };
    let second = MemberValue {
        member_id: "c2-y".into(),
        assignment: Bytes::new(),
        ..member(None, rebalance_timeout_ms)
    };
    GroupValue {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: Some("c1-x".into()),
        state_since: (version >= 2).then_some(Millis(1700000000001)),
        members: vec![member((version >= 3).then_some("i1"), rebalance_timeout_ms), second],
    }
}

#[test]
fn group_metadata_of_every_version_is_read() {
    let cases = [
        "00000008636f6e73756d657200000003000572616e6765000463312d7800000002000463312d7800026331000a2f3132372e\
         302e302e310000afc8000000030102030000000109000463322d7900026331000a2f3132372e302e302e310000afc8000000\
         0301020300000000",
        "00010008636f6e73756d657200000003000572616e6765000463312d7800000002000463312d7800026331000a2f3132372e\
         302e302e31000493e00000afc8000000030102030000000109000463322d7900026331000a2f3132372e302e302e31000493\
         e00000afc80000000301020300000000",
        "00020008636f6e73756d657200000003000572616e6765000463312d780000018bcfe5680100000002000463312d78000263\
         31000a2f3132372e302e302e31000493e00000afc8000000030102030000000109000463322d7900026331000a2f3132372e\
         302e302e31000493e00000afc80000000301020300000000",
        "00030008636f6e73756d657200000003000572616e6765000463312d780000018bcfe5680100000002000463312d78000269\
         3100026331000a2f3132372e302e302e31000493e00000afc8000000030102030000000109000463322d79ffff0002633100\
         0a2f3132372e302e302e31000493e00000afc80000000301020300000000",
        "000409636f6e73756d6572000000030672616e67650563312d780000018bcfe56801030563312d780369310363310b2f3132\
         372e302e302e31000493e00000afc8040102030209000563322d79000363310b2f3132372e302e302e31000493e00000afc8\
         04010203010000",
    ];
    for (version, hex) in (0..).zip(cases) {
        assert_eq!(GroupValue::decode(&unhex(hex)), Ok(group_value(version)), "version {version}");
    }
    assert_eq!(group_value(3).encode(), unhex(cases[3]));
}

#[test]
fn an_empty_generation_is_written_with_nulls() {
    let empty = GroupValue {
        protocol_type: "consumer".into(),
        generation: 4,
        protocol: None,
        leader: None,
        state_since: Some(Millis(1700000000002)),
        members: vec![],
    };
    let hex = "00030008636f6e73756d657200000004ffffffff0000018bcfe5680200000000";
    assert_eq!(empty.encode(), unhex(hex));
    assert_eq!(GroupValue::decode(&unhex(hex)), Ok(empty));
}

#[test]
fn a_null_value_is_a_tombstone() {
    let (key, value) = Record::Group { group: "orders".into(), value: None }.encode();
    assert_eq!((key, value), (Bytes::from(unhex(GROUP_KEY)), None));
    let read = Record::decode(&unhex(OFFSET_KEY), None).unwrap();
    let expected = Record::Offset {
        group: "orders".into(),
        topic: "t-1".into(),
        partition: PartitionIndex(7),
        value: None,
    };
    assert_eq!(read, Some(expected));
}

#[test]
fn what_is_cut_short_or_newer_is_told_apart() {
    let v3 = unhex("00030000011f71fb04cb0000000500036ec3a90000018bcfe56800");
    for len in 0..v3.len() {
        assert!(matches!(OffsetValue::decode(&v3[..len]), Err(RecordError::Truncated { .. })), "{len}");
    }
    let newer = RecordError::UnknownVersion { format: "GroupMetadataValue", version: 5 };
    assert_eq!(GroupValue::decode(&[0, 5, 0]), Err(newer));
    // An array of two thousand million members in eleven bytes must not be believed.
    let huge = unhex("0000000000000001ffffffff7fffffff");
    assert!(matches!(GroupValue::decode(&huge), Err(RecordError::Truncated { .. })));
}

fn any_name() -> impl Strategy<Value = Arc<str>> {
    ".{0,12}".prop_map(Arc::from)
}

prop_compose! {
    fn any_offset()(
        offset in any::<i64>(), epoch in proptest::option::of(0..i32::MAX), metadata in any_name(),
        at in any::<i64>(), expires in proptest::option::of(0..i64::MAX), id in proptest::option::of(1..u128::MAX),
    ) -> OffsetValue {
        OffsetValue {
            offset: Offset(offset),
            // Version 1, the one with an expiry, has neither epoch nor id.
            leader_epoch: epoch.filter(|_| expires.is_none()).map_or(LeaderEpoch::NONE, LeaderEpoch),
            metadata,
            committed_at: Millis(at),
            expires_at: expires.map(Millis),
            topic_id: id.filter(|_| expires.is_none()).map_or(TopicId::NONE, |id| TopicId(Uuid::from_u128(id))),
        }
    }
}

proptest! {
    #[test]
    fn offsets_come_back_as_they_were_written(value in any_offset(), group in any_name(), topic in any_name()) {
        let record = Record::Offset { group, topic, partition: PartitionIndex(3), value: Some(value) };
        let (key, bytes) = record.encode();
        prop_assert_eq!(Record::decode(&key, bytes.as_deref()), Ok(Some(record)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(key in proptest::collection::vec(any::<u8>(), 0..40),
                                     value in proptest::collection::vec(any::<u8>(), 0..120),
                                     kind in 0..3u8, version in 0..6u8) {
        let key = [&[0, kind], &key[..]].concat();
        let value = [&[0, version], &value[..]].concat();
        let _ = Record::decode(&key, Some(&value));
    }
}
