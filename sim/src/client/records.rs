//! Records that say what they are: each value holds its content's name, some padding and a checksum, so that whoever
//! reads it knows which record of the world it is, or that it is none.

use bytes::{Buf, BufMut, Bytes};
use norn_env::sim::trace::digest as checksum;
use norn_protocol::batch::{
    build_batch, decode_records, verify_crc, BatchError, BatchIter, BatchOptions, Header, Record,
    TimestampType,
};
use norn_protocol::compression::Compression;
use norn_protocol::{ProducerEpoch, ProducerId, Sequence, StrBytes};

use crate::check::{Content, Seen};

const MARK: u32 = 0x4e4f_524e;
/// Mark, client, stream, counter, timestamp and checksum.
const FIXED: usize = 4 + 4 + 4 + 8 + 8 + 8;

/// A batch to be built.
#[derive(Clone, Debug)]
pub struct BatchSpec {
    pub first: Content,
    pub count: u32,
    /// Padding of each value, in bytes.
    pub padding: usize,
    pub compression: Compression,
    /// Producer id, epoch and base sequence of an idempotent producer.
    pub producer: Option<Sequenced>,
    /// Unix ms.
    pub timestamp: i64,
    /// Records are older than that by up to so many milliseconds, in no order; with 0 each is 1 ms younger than the last.
    pub scatter_ms: u64,
}

/// An idempotent producer's place in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequenced {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub base: Sequence,
}

/// Writes the batch.
pub fn encode_batch(spec: &BatchSpec) -> Bytes {
    let records: Vec<Record> = (0..spec.count).map(|i| record(spec, u64::from(i))).collect();
    let plain = BatchOptions { compression: spec.compression, ..BatchOptions::default() };
    let options = match spec.producer {
        None => plain,
        Some(Sequenced { id, epoch, base }) => {
            BatchOptions { producer_id: id, producer_epoch: epoch, base_sequence: base, ..plain }
        }
    };
    build_batch(&records, options).expect("a small batch can be built")
}

fn record(spec: &BatchSpec, i: u64) -> Record {
    let content = Content { counter: spec.first.counter + i, ..spec.first };
    let timestamp = match spec.scatter_ms {
        0 => spec.timestamp + i as i64,
        scatter => spec.timestamp - (noise(content.counter) % (scatter + 1)) as i64,
    };
    Record {
        timestamp,
        key: key(content),
        value: Some(value(content, timestamp, spec.padding)),
        headers: headers(content),
        ..Record::default()
    }
}

/// The key of the record with this content: none, empty, binary or text.
fn key(content: Content) -> Option<Bytes> {
    match content.counter % 6 {
        0 => None,
        1 => Some(Bytes::new()),
        2 => Some(Bytes::copy_from_slice(&content.counter.to_be_bytes())),
        _ => Some(Bytes::from(content.counter.to_string())),
    }
}

/// Its headers: mostly none. Kafka allows two of one name, one without a value, and one without a name.
fn headers(content: Content) -> Vec<Header> {
    let header = |key: &'static str, value: Option<Bytes>| {
        let key = StrBytes::from_static_str(key);
        Header { key, value }
    };
    match (content.counter + u64::from(content.stream)) % 12 {
        0 => vec![header("h", Some(Bytes::from_static(b"1"))), header("h", None)],
        1 => vec![header("", Some(Bytes::copy_from_slice(&content.counter.to_be_bytes())))],
        2 => vec![header("größe", Some(Bytes::new()))],
        _ => vec![],
    }
}

/// What of a record is not as it was written, but for its value.
fn odd(record: &Record, content: Content) -> Option<Box<str>> {
    let (key, headers) = (key(content), headers(content));
    if record.key != key {
        return Some(format!("its key is {:?}, not {key:?}", record.key).into());
    }
    (record.headers != headers)
        .then(|| format!("its headers are {:?}, not {headers:?}", record.headers).into())
}

fn noise(seed: u64) -> u64 {
    seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33
}

fn value(content: Content, timestamp: i64, padding: usize) -> Bytes {
    let mut value = Vec::with_capacity(FIXED + padding);
    value.put_u32(MARK);
    value.put_u32(content.client);
    value.put_u32(content.stream);
    value.put_u64(content.counter);
    value.put_i64(timestamp);
    let mut noise = content.counter ^ u64::from(content.client) << 32;
    value.extend((0..padding).map(|_| {
        // Repeats enough to be compressed, differs enough to be told apart.
        noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (noise >> 60) as u8
    }));
    value.put_u64(checksum(&value));
    Bytes::from(value)
}

/// The content that a value names, and the timestamp that its producer gave it.
fn content(value: Option<&Bytes>) -> Result<(Content, i64), String> {
    let value = value.ok_or("no value")?;
    let (body, sum) = value.split_last_chunk::<8>().ok_or("a value too short")?;
    if body.len() < FIXED - 8 || checksum(body) != u64::from_be_bytes(*sum) {
        return Err(format!("a value of {} bytes with a wrong checksum", value.len()));
    }
    let mut body = body;
    match body.get_u32() {
        MARK => {
            let content = Content { client: body.get_u32(), stream: body.get_u32(), counter: body.get_u64() };
            Ok((content, body.get_i64()))
        }
        mark => Err(format!("a value marked {mark:x}")),
    }
}

/// What fetched bytes hold for a reader at some position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// From the position on.
    pub records: Vec<Seen>,
    /// Bytes that are no records of ours, and where.
    pub bad: Option<(i64, String)>,
}

/// Reads batches up to one that was cut off at the end, leaving out records before `position`.
pub fn decode_batches(bytes: &[u8], position: i64) -> Decoded {
    let mut decoded = Decoded::default();
    for item in BatchIter::new(bytes) {
        let (header, batch) = match item {
            Ok(item) => item,
            Err(BatchError::Truncated { .. }) => break,
            Err(error) => {
                let at = decoded.records.last().map_or(position, |last| last.offset + 1);
                decoded.bad = Some((at, error.to_string()));
                break;
            }
        };
        let base = header.base_offset.0;
        let records = verify_crc(batch).map_err(|error| error.to_string());
        let records = records.and_then(|()| decode_records(batch).map_err(|error| error.to_string()));
        let records = match records {
            Ok(records) => records,
            Err(error) => {
                decoded.bad = Some((base, error));
                break;
            }
        };
        for record in records {
            let offset = record.offset.0;
            if offset < position {
                continue;
            }
            match content(record.value.as_ref()) {
                Ok((content, created)) => decoded.records.push(Seen {
                    offset,
                    epoch: header.leader_epoch.0,
                    content,
                    timestamp: record.timestamp,
                    appended: header.timestamp_type() == TimestampType::LogAppend,
                    created,
                    odd: odd(&record, content),
                }),
                Err(error) => {
                    decoded.bad = Some((offset, error));
                    return decoded;
                }
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(compression: Compression) -> BatchSpec {
        let first = Content { client: 3, stream: 1, counter: 7 };
        BatchSpec {
            first,
            count: 4,
            padding: 50,
            compression,
            producer: None,
            timestamp: 1_000,
            scatter_ms: 50,
        }
    }

    #[test]
    fn a_batch_is_read_as_it_was_written() {
        for compression in Compression::ALL {
            let decoded = decode_batches(&encode_batch(&spec(compression)), 1);
            assert!(decoded.records.iter().all(|seen| seen.odd.is_none() && seen.timestamp == seen.created));
            let contents: Vec<_> =
                decoded.records.iter().map(|seen| (seen.offset, seen.content.counter)).collect();
            assert_eq!(contents, [(1, 8), (2, 9), (3, 10)]);
            assert_eq!(decoded.bad, None);
        }
    }

    #[test]
    fn a_cut_batch_is_left_and_a_flipped_one_told() {
        let batch = encode_batch(&spec(Compression::None));
        assert_eq!(decode_batches(&batch[..batch.len() - 1], 0), Decoded::default());
        let mut flipped = batch.to_vec();
        flipped[100] ^= 1;
        assert!(decode_batches(&flipped, 0).bad.is_some());
    }

    #[test]
    fn a_key_or_headers_of_another_are_told() {
        let spec = spec(Compression::None);
        for counter in 0..72 {
            let content = Content { counter, ..spec.first };
            let whole = record(&BatchSpec { first: content, ..spec.clone() }, 0);
            assert_eq!(odd(&whole, content), None);
            let other = key(content).is_none().then(Bytes::new);
            assert!(odd(&Record { key: other, ..whole.clone() }, content).is_some());
            let mut headers = whole.headers.clone();
            if headers.pop().is_some() {
                assert!(odd(&Record { headers, ..whole }, content).is_some());
            }
        }
    }

    #[test]
    fn a_value_of_another_is_told() {
        assert!(content(Some(&Bytes::from_static(b"hello, world, this is not one of ours"))).is_err());
        let whole = value(spec(Compression::None).first, 1_000, 9);
        assert_eq!(content(Some(&whole)), Ok((spec(Compression::None).first, 1_000)));
        assert!(content(Some(&whole.slice(1..))).is_err());
    }
}
