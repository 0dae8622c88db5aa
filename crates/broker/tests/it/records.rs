//! What a broker makes of the records in a batch, compressed or not: what it refuses, what it names, what it puts right,
//! and what lookups by time then find.

use crate::support::{Client, Node};
use bytes::Bytes;
use kafka_protocol::messages::{
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    produce_response::PartitionProduceResponse,
    ListOffsetsRequest,
};
use norn_env::clock;
use norn_protocol::{
    batch::{build_batch, Batch, BatchOptions, Record},
    client::topic_name,
    compression::Compression,
    types::{LeaderEpoch, Offset},
};

const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TIMESTAMP: i16 = 32;
const INVALID_RECORD: i16 = 87;
const MAX_TIMESTAMP: i64 = -3;

/// A batch of keyed records with these timestamps.
fn stamped(timestamps: &[i64], compression: Compression) -> Batch {
    let record = |timestamp: &i64| Record {
        timestamp: *timestamp,
        key: Some("k".into()),
        value: Some("v".into()),
        ..Record::default()
    };
    let records: Vec<Record> = timestamps.iter().map(record).collect();
    let bytes = build_batch(&records, BatchOptions { compression, ..BatchOptions::default() }).unwrap();
    Batch::split_all(bytes).unwrap().remove(0)
}

async fn produce(client: &mut Client, topic: &str, records: Bytes) -> PartitionProduceResponse {
    client.produce(topic, 0, records).await.responses[0].partition_responses[0].clone()
}

/// The offset and the timestamp that a lookup finds.
async fn lookup(client: &mut Client, topic: &str, timestamp: i64) -> (i64, i64) {
    let partition = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let response = client.ask(7, &request).await;
    let found = &response.topics[0].partitions[0];
    assert_eq!(found.error_code, 0);
    (found.offset, found.timestamp)
}

/// Runs `test` with a broker that has these settings.
fn with_node<F: std::future::Future<Output = ()> + Send + 'static>(
    settings: &'static [(&str, &str)],
    test: impl FnOnce(Client) -> F + Send + 'static,
) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    norn_env::testing::run(move || async move {
        let node = Node::start(&path, settings).await;
        test(node.connect().await).await;
        node.stop().await;
    });
}

fn errors(answer: &PartitionProduceResponse) -> Vec<(i32, String)> {
    let told = |text: &Option<kafka_protocol::protocol::StrBytes>| text.as_ref().unwrap().to_string();
    answer.record_errors.iter().map(|e| (e.batch_index, told(&e.batch_index_error_message))).collect()
}

#[test]
fn the_limits_of_timestamps_are_for_each_record_and_not_only_the_first() {
    with_node(&[], |mut client| async move {
        let limits =
            [("message.timestamp.before.max.ms", "100000"), ("message.timestamp.after.max.ms", "100000")];
        client.create_topic("limited", 1, &limits).await;
        let now = clock::wall_ms();
        for codec in Compression::ALL {
            assert_eq!(produce(&mut client, "limited", stamped(&[now], codec).bytes).await.error_code, 0);
            for wrong in [now - 200_000, now + 200_000] {
                let records = stamped(&[now, wrong, now], codec).with_create_time(now);
                let answer = produce(&mut client, "limited", records.bytes).await;
                assert_eq!(answer.error_code, INVALID_TIMESTAMP, "{codec:?} {}", wrong - now);
                let message = answer.error_message.as_deref();
                assert_eq!(message, Some("One or more records have been rejected due to invalid timestamp"));
                let [(1, text)] = &errors(&answer)[..] else { panic!("{answer:?}") };
                assert!(
                    text.starts_with(&format!("Timestamp {wrong} of message with offset 1 is out of range."))
                );
                assert_eq!((answer.base_offset, answer.log_start_offset), (-1, 0));
            }
        }
    });
}

#[test]
fn the_log_start_is_told_beside_those_refusals_where_kafka_tells_it() {
    with_node(&[("message.max.bytes", "200")], |mut client| async move {
        client.create_topic("t", 1, &[]).await;
        let one = stamped(&[1], Compression::None).bytes;
        let large = stamped(&[1; 100], Compression::None).bytes;
        // The second is found in the request, the third in the partition's turn.
        let (two, cut) = (Bytes::from([&one[..], &one].concat()), one.slice(..one.len() - 1));
        for (records, code, log_start) in
            [(large, MESSAGE_TOO_LARGE, -1), (two, INVALID_RECORD, -1), (cut, INVALID_RECORD, 0)]
        {
            let answer = produce(&mut client, "t", records).await;
            assert_eq!((answer.error_code, answer.log_start_offset), (code, log_start));
        }
    });
}

#[test]
fn the_records_without_a_key_are_named_in_a_compacted_topic() {
    with_node(&[], |mut client| async move {
        client.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
        let record = |key: Option<&'static str>| Record {
            timestamp: clock::wall_ms(),
            key: key.map(Bytes::from),
            ..Record::default()
        };
        for compression in Compression::ALL {
            let records = [record(Some("k")), record(None), record(Some("k")), record(None)];
            let options = BatchOptions { compression, ..BatchOptions::default() };
            let answer = produce(&mut client, "compacted", build_batch(&records, options).unwrap()).await;
            assert_eq!((answer.error_code, answer.log_start_offset), (INVALID_RECORD, 0), "{compression:?}");
            let message = "Compacted topic cannot accept message without key in topic partition compacted-0."
                .to_owned();
            assert_eq!(errors(&answer), [(1, message.clone()), (3, message)]);
            let keyed = build_batch(&records[..1], options).unwrap();
            assert_eq!(produce(&mut client, "compacted", keyed).await.error_code, 0);
        }
        // Very many are not all named: a few kilobytes would be answered with megabytes.
        let options = BatchOptions { compression: Compression::Zstd, ..BatchOptions::default() };
        let answer =
            produce(&mut client, "compacted", build_batch(&vec![record(None); 5000], options).unwrap()).await;
        assert_eq!((answer.error_code, answer.record_errors.len()), (INVALID_RECORD, 1000));
        assert!(answer.error_message.unwrap().contains("5000 record errors in total"));
    });
}

#[test]
fn the_largest_timestamp_is_the_records_whatever_the_header_says() {
    with_node(&[], |mut client| async move {
        let now = clock::wall_ms();
        for (n, codec) in Compression::ALL.into_iter().enumerate() {
            for (m, lie) in [-1, 0, now - 60_000, now + 1_000_000_000].into_iter().enumerate() {
                let topic = format!("t-{n}-{m}");
                client.create_topic(&topic, 1, &[]).await;
                let batch = stamped(&[now, now + 1, now + 3, now + 2], codec).with_create_time(lie);
                assert_eq!(produce(&mut client, &topic, batch.bytes).await.error_code, 0, "{codec:?} {lie}");
                assert_eq!(lookup(&mut client, &topic, now).await, (0, now), "{codec:?} {lie}");
                assert_eq!(lookup(&mut client, &topic, now + 3).await, (2, now + 3));
                assert_eq!(lookup(&mut client, &topic, now + 4).await, (-1, -1));
                assert_eq!(lookup(&mut client, &topic, MAX_TIMESTAMP).await, (2, now + 3));
            }
        }
    });
}

#[test]
fn headers_of_compressed_batches_are_believed_where_the_operator_says_so() {
    with_node(&[("trust.compressed.batches", "true")], |mut client| async move {
        let now = clock::wall_ms();
        client.create_topic("t", 1, &[]).await;
        let hidden = |codec| stamped(&[now, now + 1], codec).with_create_time(now - 1);
        assert_eq!(produce(&mut client, "t", hidden(Compression::Lz4).bytes).await.error_code, 0);
        assert_eq!(lookup(&mut client, "t", now).await, (-1, -1));
        assert_eq!(produce(&mut client, "t", hidden(Compression::None).bytes).await.error_code, 0);
        assert_eq!(lookup(&mut client, "t", now).await, (2, now));
    });
}

#[test]
fn a_batch_that_no_consumer_could_read_is_refused() {
    with_node(&[], |mut client| async move {
        client.create_topic("t", 1, &[]).await;
        for codec in Compression::ALL {
            let three = stamped(&[1, 2, 3], codec).bytes;
            // Two and four records where there are three.
            for (count, code) in [(2, INVALID_RECORD), (4, INVALID_RECORD), (3, 0)] {
                let mut bytes = three.to_vec();
                bytes[23..27].copy_from_slice(&(count - 1i32).to_be_bytes());
                bytes[57..61].copy_from_slice(&count.to_be_bytes());
                let crc = crc32c::crc32c(&bytes[21..]);
                bytes[17..21].copy_from_slice(&crc.to_be_bytes());
                let answer = produce(&mut client, "t", bytes.into()).await;
                assert_eq!(answer.error_code, code, "{codec:?} as {count}");
                assert_eq!(answer.log_start_offset, 0);
                let named: Vec<i32> = answer.record_errors.iter().map(|e| e.batch_index).collect();
                assert_eq!(named, if count == 4 { vec![3] } else { vec![] });
            }
        }
    });
}

#[test]
fn a_batch_with_the_time_of_its_append_elsewhere_is_taken_as_created() {
    with_node(&[], |mut client| async move {
        client.create_topic("created", 1, &[]).await;
        client.create_topic("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
        let now = clock::wall_ms();
        for (n, codec) in Compression::ALL.into_iter().enumerate() {
            let time = now + 10 * n as i64;
            let relayed =
                stamped(&[time, time + 1], codec).patched(Offset(7), LeaderEpoch(3), Some(time + 9));
            let relayed = Bytes::from(relayed.concat());
            assert_eq!(produce(&mut client, "created", relayed.clone()).await.error_code, 0, "{codec:?}");
            assert_eq!(lookup(&mut client, "created", time + 1).await, (2 * n as i64 + 1, time + 1));
            assert_eq!(lookup(&mut client, "created", time + 2).await, (-1, -1), "the mark is removed");
            let answer = produce(&mut client, "stamped", relayed).await;
            let indexes: Vec<i32> = answer.record_errors.iter().map(|e| e.batch_index).collect();
            assert_eq!((answer.error_code, indexes), (INVALID_TIMESTAMP, vec![0, 1]), "{codec:?}");
        }
    });
}

#[test]
fn where_no_record_has_a_timestamp_the_first_has_the_largest() {
    with_node(&[], |mut client| async move {
        client.create_topic("t", 1, &[]).await;
        assert_eq!(lookup(&mut client, "t", MAX_TIMESTAMP).await, (-1, -1));
        for codec in Compression::ALL {
            assert_eq!(produce(&mut client, "t", stamped(&[-1, -1], codec).bytes).await.error_code, 0);
            assert_eq!(lookup(&mut client, "t", MAX_TIMESTAMP).await, (0, -1));
        }
    });
}

#[test]
fn a_batch_that_unpacks_to_very_much_is_taken_and_searched_in_little_memory() {
    with_node(&[], |mut client| async move {
        client.create_topic("t", 1, &[]).await;
        let large = Record { timestamp: 1, value: Some(vec![0; 40 << 20].into()), ..Record::default() };
        let last = Record { timestamp: 5, ..Record::default() };
        for compression in [Compression::Gzip, Compression::Zstd] {
            let options = BatchOptions { compression, ..BatchOptions::default() };
            let bytes = build_batch(&[large.clone(), last.clone()], options).unwrap();
            assert!(bytes.len() < 100_000);
            assert_eq!(produce(&mut client, "t", bytes).await.error_code, 0, "{compression:?}");
            assert_eq!(lookup(&mut client, "t", 2).await, (1, 5));
        }
    });
}
