//! A partition's log on real files. What the log says is compared to the records that were put into it.

mod append;
mod cut;
mod damage;
mod kills;
mod model;
mod recovery;
mod shared;

use std::future::Future;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use norn_env::disk::{File, Open};
use norn_protocol::batch::{decode_records, Batch, Record};
use norn_protocol::types::TopicId;

use super::*;
use crate::decoding::Decoding;
use crate::error::ReadError;
use crate::partition::Visit;
use crate::testing::produced;

/// Runs a test in a fresh data directory, in this build's world.
fn run<F: Future<Output = ()>>(test: impl FnOnce(PathBuf) -> F + Send + 'static) {
    norn_env::testing::run(move || async move {
        let root = tempfile::tempdir().unwrap();
        test(root.path().to_owned()).await;
    });
}

/// Small segments with dense indexes.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 300, retention_ms: None, ..LogConfig::default() }
}

fn options(root: &Path, config: &LogConfig, recovery_point: Option<i64>) -> OpenLog {
    OpenLog {
        disk: Disk::open(root).unwrap(),
        dir: "t-0".into(),
        id: LogId { topic: "t".into(), partition: 0, topic_id: TopicId(uuid::Uuid::from_u128(7)) },
        key: LogKey(1),
        config: config.clone(),
        rounds: RoundsHandle::direct(),
        last_end: match recovery_point {
            Some(durable) => LastEnd::Crashed { durable: Offset(durable) },
            None => LastEnd::Closed(None),
        },
    }
}

async fn open(root: &Path, config: &LogConfig, recovery_point: Option<i64>) -> (PartitionLog, Recovered) {
    let mut ignore = |_: Visit<'_>| {};
    PartitionLog::open(options(root, config, recovery_point), &mut ignore).await.unwrap()
}

fn segment_name(base: i64) -> String {
    format!("{base:020}.log")
}

/// A file of the log, opened behind its back.
async fn raw(root: &Path, name: &str) -> File {
    Disk::open(root).unwrap().open_file(&format!("t-0/{name}"), Open::Create).await.unwrap()
}

async fn read_raw(root: &Path, name: &str) -> Vec<u8> {
    let file = raw(root, name).await;
    file.read_at(0, file.len().await.unwrap() as usize).await.unwrap().to_vec()
}

async fn write_raw(root: &Path, name: &str, bytes: Vec<u8>) {
    let file = raw(root, name).await;
    file.truncate(0).await.unwrap();
    file.write_at(0, vec![bytes.into()]).await.unwrap();
}

/// Changes a file's length by so many bytes.
async fn resize(root: &Path, name: &str, by: i64) {
    let file = raw(root, name).await;
    file.truncate(file.len().await.unwrap().checked_add_signed(by).unwrap()).await.unwrap();
}

/// The names of the log's files with this suffix.
async fn files(root: &Path, suffix: &str) -> Vec<String> {
    let entries = Disk::open(root).unwrap().list("t-0").await.unwrap();
    entries.into_iter().map(|e| e.name).filter(|name| name.ends_with(suffix)).collect()
}

/// Appends one batch of `count` records.
async fn append(log: &mut PartitionLog, count: i64, value_len: usize, epoch: i32) {
    let batch = produced(log.end().0, count, value_len);
    log.append(&[batch], LeaderEpoch(epoch), None).await.unwrap();
}

async fn append_synced(log: &mut PartitionLog, count: i64, value_len: usize, epoch: i32) {
    append(log, count, value_len, epoch).await;
    let durable = log.sync().await.unwrap();
    log.synced(durable);
}

/// The position of the log's end.
fn limit(log: &PartitionLog) -> FilePosition {
    log.position_of(log.end())
}

/// The batches that one fetch at `offset` returns.
async fn fetch(view: &LogView, offset: i64, max: u64, limit: FilePosition) -> Result<Vec<Batch>, ReadError> {
    let Some(range) = view.locate(Offset(offset), max, limit, true).await? else { return Ok(Vec::new()) };
    let bytes = range.file.read_at(range.pos, range.len as usize).await.unwrap();
    assert_eq!(bytes.len() as u64, range.len);
    let batches = Batch::split_all(bytes).expect("only whole, sound batches are handed out");
    assert!(batches.len() == 1 || range.len <= max, "more than one batch fits within {max}: {}", range.len);
    assert!(batches[0].header.base_offset.0 <= offset && batches[0].header.last_offset().0 >= offset);
    Ok(batches)
}

/// All records from `from` on, read batch by batch with fetches of `max` bytes.
async fn read_from(log: &PartitionLog, from: i64, max: u64) -> Vec<Record> {
    let view = log.view();
    let (mut records, mut at) = (Vec::new(), from);
    while at < log.end().0 {
        let batches = fetch(&view, at, max, limit(log)).await.unwrap();
        assert!(!batches.is_empty(), "nothing at {at} below the end {}", log.end());
        for batch in batches {
            records.extend(decode_records(&batch.bytes).unwrap().into_iter().filter(|r| r.offset.0 >= from));
            at = batch.header.next_offset().0;
        }
    }
    records
}

/// The offsets of [`read_from`].
async fn offsets_from(log: &PartitionLog, from: i64, max: u64) -> Vec<i64> {
    read_from(log, from, max).await.iter().map(|r| r.offset.0).collect()
}
