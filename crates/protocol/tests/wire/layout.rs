//! The table of layouts against the codec: bodies written from the table are read whole by the crate and written back
//! byte for byte, for every API and version. A field too many, too few, of another size or in another version fails.

use bytes::{BufMut, Bytes, BytesMut};
use norn_protocol::layout::{self, ELEMENTS_MAX};
use norn_protocol::request::RequestHead;
use norn_protocol::versions::TABLE;
use norn_protocol::ApiKey;

use crate::codec;

fn each_version(mut test: impl FnMut(ApiKey, i16)) {
    for api in TABLE {
        for version in api.min..=api.max {
            test(api.key, version);
        }
    }
}

#[test]
fn the_layouts_are_the_codecs() {
    each_version(|key, version| {
        for seed in 0..40 {
            let body = codec::body(key, version, seed);
            assert_eq!(layout::check(key, version, &body), Ok(()), "{key:?} {version} seed {seed}");
            let (again, left) = codec::recode(key, version, body.clone())
                .unwrap_or_else(|error| panic!("{key:?} {version} seed {seed}: {error}"));
            assert_eq!((again, left), (body, Bytes::new()), "{key:?} {version} seed {seed}");
        }
    });
}

#[test]
fn a_body_cut_anywhere_is_refused() {
    each_version(|key, version| {
        let body = codec::body(key, version, 7);
        for len in 0..body.len() {
            assert!(layout::check(key, version, &body.slice(..len)).is_err(), "{key:?} {version} at {len}");
        }
    });
}

#[test]
fn bytes_behind_a_request_are_nobodys() {
    each_version(|key, version| {
        let body = codec::body(key, version, 7);
        let longer = Bytes::from([&body[..], b"\0"].concat());
        assert_eq!(layout::check(key, version, &longer), Ok(()), "{key:?} {version}");
    });
}

#[test]
fn an_api_without_a_layout_cannot_be_decoded() {
    assert!(layout::request(ApiKey::Vote).is_none());
    assert!(layout::check(ApiKey::Vote, 0, &Bytes::from_static(b"\0\0\0\0")).is_err());
}

#[test]
fn a_structure_that_is_null_ends_with_its_byte() {
    // No topics, a limit, no cursor, no tagged fields.
    let body = |cursor: i8| Bytes::from(vec![1, 0, 0, 0, 9, cursor as u8, 0]);
    for cursor in [-1, 0, 2] {
        let body = body(cursor);
        assert_eq!(layout::check(ApiKey::DescribeTopicPartitions, 0, &body), Ok(()));
        let (_, left) = codec::recode(ApiKey::DescribeTopicPartitions, 0, body).unwrap();
        assert!(left.is_empty(), "the layout reads what the codec reads: {cursor}");
    }
    assert!(layout::check(ApiKey::DescribeTopicPartitions, 0, &body(1)).is_err());
}

#[test]
fn more_elements_than_a_request_may_have_are_refused() {
    let names = |count: usize| {
        let mut body = BytesMut::new();
        body.put_i32(count as i32);
        body.put_bytes(0, 2 * count);
        RequestHead::parse(codec::frame(ApiKey::DeleteGroups, 0, &body).into()).unwrap()
    };
    codec::decode(&names(ELEMENTS_MAX)).unwrap();
    let error = codec::decode(&names(ELEMENTS_MAX + 1)).unwrap_err();
    assert!(error.to_string().contains("too many elements"), "{error}");
}
