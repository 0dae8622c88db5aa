//! Bytes from a stranger: whatever a frame or a batch holds, reading it ends in a value or an error, never in a panic,
//! and never in more memory than its length accounts for. The test's allocator counts.

use bytes::Bytes;
use std::ops::ControlFlow;

use norn_protocol::batch::{
    build_batch, decode_records, produced_batch, scan_records, validate_records, Batch, BatchHeader,
    BatchOptions, Record, Records, UNPACKED_MAX,
};
use norn_protocol::compression::Compression;
use norn_protocol::request::RequestHead;
use norn_protocol::versions::TABLE;
use norn_protocol::ApiKey;
use proptest::prelude::*;

use crate::codec;
use crate::counting::peak_of;

/// What reading `len` bytes may hold: the largest decoded element is a few hundred bytes for one on the wire, errors
/// carry a text and perhaps a backtrace.
fn allowance(len: usize) -> usize {
    512 * len + (256 << 10)
}

/// Reads a frame as a broker does, as far as it goes.
fn read_frame(frame: Bytes) {
    let Ok(head) = RequestHead::parse(frame) else { return };
    if head.key == ApiKey::Produce as i16 {
        let Ok(request) = head.decode_produce() else { return };
        for partition in request.topics.into_iter().flat_map(|topic| topic.partitions) {
            if let Ok(batch) = produced_batch(partition.records, head.version) {
                let _ = validate_records(&batch, UNPACKED_MAX, |_| {});
            }
        }
    }
    let _ = codec::decode(&head);
}

fn check_frame(frame: Vec<u8>) -> Result<(), TestCaseError> {
    let len = frame.len();
    let peak = peak_of(|| read_frame(frame.into()));
    prop_assert!(peak <= allowance(len), "{peak} bytes held for a frame of {len}");
    Ok(())
}

fn any_api() -> impl Strategy<Value = (ApiKey, i16)> {
    (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(api, version)| {
        let api = api.get(TABLE);
        (api.key, api.min + version.index((api.max - api.min + 1) as usize) as i16)
    })
}

/// Lengths that lie, as they stand on the wire.
const LIES: [&[u8]; 6] = [
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\x00\xff\xff\xff",
    b"\xff\xff\xff\x7f",
];

fn any_records() -> impl Strategy<Value = Vec<Record>> {
    let record = prop::collection::vec(any::<u8>(), 0..50)
        .prop_map(|value| Record { value: Some(value.into()), ..Record::default() });
    prop::collection::vec(record, 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn random_bodies((key, version) in any_api(), body in prop::collection::vec(any::<u8>(), 0..300)) {
        check_frame(codec::frame(key, version, &body))?;
    }

    #[test]
    fn random_frames(frame in prop::collection::vec(any::<u8>(), 0..100)) {
        check_frame(frame)?;
    }

    #[test]
    fn valid_requests((key, version) in any_api(), seed in any::<u64>()) {
        let frame = codec::frame(key, version, &codec::body(key, version, seed));
        let head = RequestHead::parse(frame.clone().into()).unwrap();
        prop_assert_eq!(codec::decode(&head), Ok(()));
        check_frame(frame)?;
    }

    #[test]
    fn damaged_requests(
        (key, version) in any_api(),
        seed in any::<u64>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        lie in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(&LIES[..]))),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut frame = codec::frame(key, version, &codec::body(key, version, seed));
        let intact = frame.len();
        if let Some((at, lie)) = lie {
            let at = at.index(intact);
            let end = (at + lie.len()).min(intact);
            frame[at..end].copy_from_slice(&lie[..end - at]);
        }
        for (at, bit) in flips {
            frame[at.index(intact)] ^= 1 << bit;
        }
        frame.truncate(cut.map_or(intact, |cut| cut.index(intact)));
        check_frame(frame)?;
    }

    #[test]
    fn damaged_batches(
        records in any_records(),
        codec in 0u8..5,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        true_crc in any::<bool>(),
    ) {
        let compression = Compression::from_code(codec).unwrap();
        let batch = build_batch(&records, BatchOptions { compression, ..BatchOptions::default() }).unwrap();
        let mut bytes = batch.to_vec();
        for (at, bit) in flips {
            bytes[at.index(batch.len())] ^= 1 << bit;
        }
        bytes.truncate(cut.map_or(batch.len(), |cut| cut.index(batch.len())));
        if true_crc && bytes.len() > 21 {
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let len = bytes.len();
        let peak = peak_of(|| {
            let _ = decode_records(&bytes);
            if let Ok(header) = BatchHeader::parse(&bytes) {
                let bytes = Bytes::copy_from_slice(&bytes);
                let _ = scan_records(&header, &bytes, UNPACKED_MAX, |_| ControlFlow::Continue(()));
            }
            let _ = Batch::split_all(bytes.into());
        });
        // A codec's own buffers are not proportional to the bytes.
        prop_assert!(peak <= allowance(len) + (4 << 20), "{peak} bytes held for a batch of {len}");
    }
}

/// A batch of `count` empty records of seven bytes each, which compresses to nearly nothing.
fn tiny_records(codec: Compression, count: i32) -> Bytes {
    let one = build_batch(&[Record::default()], BatchOptions::default()).unwrap();
    let plain = one[61..].repeat(count as usize);
    let packed = norn_protocol::compression::compress(codec, &plain).unwrap();
    let mut batch = one[..61].to_vec();
    batch[8..12].copy_from_slice(&(49 + packed.len() as i32).to_be_bytes());
    batch[22] = codec.code();
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch.extend_from_slice(&packed);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

#[test]
fn very_many_tiny_records_are_read_in_a_chunk_of_memory() {
    const COUNT: i32 = 300_000;
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let batch = tiny_records(codec, COUNT);
        let header = BatchHeader::parse(&batch).unwrap();
        let (mut scanned, mut read) = (0, 0);
        let peak = peak_of(|| {
            let count = |_: &_| {
                scanned += 1;
                ControlFlow::Continue(())
            };
            scan_records(&header, &batch, UNPACKED_MAX, count).unwrap();
            read = Records::of(batch.clone(), UNPACKED_MAX).unwrap().map(Result::unwrap).count();
        });
        assert_eq!((scanned, read), (COUNT, COUNT as usize));
        assert!(peak < 512 << 10, "{codec:?}: {peak}");
    }
}

#[test]
fn an_array_that_claims_billions_reserves_nothing() {
    for api in TABLE {
        for version in api.min..=api.max {
            let body = codec::body(api.key, version, 3);
            for at in 0..body.len() {
                for lie in LIES {
                    let mut lying = body[..at].to_vec();
                    lying.extend_from_slice(lie);
                    lying.extend_from_slice(&body[at..]);
                    let frame = codec::frame(api.key, version, &lying);
                    let len = frame.len();
                    let peak = peak_of(|| read_frame(frame.into()));
                    assert!(peak <= allowance(len), "{:?} {version} at {at}: {peak}", api.key);
                }
            }
        }
    }
}
