//! Bytes that real clients made, kept as they were: the same three records from Kafka's Java client
//! (`MemoryRecords.withIdempotentRecords`) and from kafka-python (`DefaultRecordBatchBuilder`) in every compression, and
//! the first request of librdkafka 2.16.0.

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;
use norn_protocol::batch::{build_batch, decode_records, produced_batch, BatchOptions, Header, Record};
use norn_protocol::compression::Compression;
use norn_protocol::request::RequestHead;
use norn_protocol::types::{Offset, ProducerEpoch, ProducerId, Sequence};

const JAVA: &str = include_str!("golden/batches-java-4.3.0.txt");
const KAFKA_PYTHON: &str = include_str!("golden/batches-kafka-python-3.0.12.txt");
/// Without its size prefix: ApiVersions version 3.
const LIBRDKAFKA: &str =
    "0012000300000001000272640017636f6e666c75656e742d6b61666b612d707974686f6e16322e31362e312d72\
    646b61666b612d322e31362e3000";

fn bytes(hex: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn batches(golden: &str) -> Vec<(Compression, Bytes)> {
    let batch = |line: &str| {
        let (codec, hex) = line.split_once(' ').unwrap();
        (Compression::from_name(codec).unwrap(), bytes(hex))
    };
    let batches: Vec<_> = golden.lines().map(batch).collect();
    assert_eq!(batches.len(), Compression::ALL.len());
    batches
}

fn records() -> Vec<Record> {
    let header = |value: &'static str| Header { key: "trace".into(), value: Some(value.into()) };
    let text = Some(Bytes::from("the same text, again and again, ".repeat(4)));
    let record = |n: i64, key: Option<&'static str>, value: Option<Bytes>, headers: Vec<Header>| Record {
        offset: Offset(n),
        timestamp: 1_700_000_000_000 + n,
        key: key.map(Bytes::from),
        value,
        headers,
    };
    vec![
        record(0, None, text.clone(), vec![header("1"), header("2")]),
        record(1, Some("key-1"), text, Vec::new()),
        record(2, Some("key-2"), None, Vec::new()),
    ]
}

#[test]
fn batches_of_real_clients_are_read() {
    for golden in [JAVA, KAFKA_PYTHON] {
        for (codec, bytes) in batches(golden) {
            let batch = produced_batch(Some(bytes.clone()), 9).unwrap();
            assert_eq!(batch.header.compression(), Ok(codec));
            assert_eq!(batch.header.producer_id, ProducerId(4000));
            assert_eq!(batch.header.last_sequence(), Sequence(12));
            assert_eq!(decode_records(&bytes).unwrap(), records(), "{codec:?}");
        }
    }
}

#[test]
fn what_we_build_is_what_javas_client_builds() {
    let options = BatchOptions {
        producer_id: ProducerId(4000),
        producer_epoch: ProducerEpoch(2),
        base_sequence: Sequence(10),
        ..BatchOptions::default()
    };
    // Compressed bytes depend on a codec's library; uncompressed ones on nothing.
    assert_eq!(build_batch(&records(), options).unwrap(), batches(JAVA)[0].1);
}

#[test]
fn librdkafkas_first_request_is_read() {
    let head = RequestHead::parse(bytes(LIBRDKAFKA)).unwrap();
    assert_eq!((head.key, head.version, head.correlation), (18, 3, 1));
    assert_eq!(head.client_id.as_deref(), Some("rd"));
    let request = head.decode_body::<ApiVersionsRequest>().unwrap();
    assert_eq!(&request.client_software_name[..], "confluent-kafka-python");
    assert_eq!(&request.client_software_version[..], "2.16.1-rdkafka-2.16.0");
}
