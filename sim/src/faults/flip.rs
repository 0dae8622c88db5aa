//! Bits that decay at rest: in record batches of user topics, wherever a broker that loses its power now would know that
//! they were durable. Above that it cannot tell decay from a write that was torn and never acknowledged.
//!
//! The world has one copy of each, so that nothing can repair it: the broker must say CORRUPT_MESSAGE at these offsets,
//! and nothing else may come of it. The log of `__consumer_offsets` and the metadata are left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use norn_env::sim::disk::DiskFile;
use norn_env::sim::{world, DiskCtl};
use norn_log::dir::{data_directory_of, recorded_points, RecoveryPoint};
use norn_log::LogId;
use norn_protocol::batch::{BatchHeader, HEADER_LEN};

use super::director::Director;
use super::Fault;

/// Where the CRC of a batch stands in it; what it covers follows.
const CRC_AT: usize = 17;

/// A batch that was flipped a bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupted {
    /// Virtual time.
    pub at: Duration,
    pub topic: String,
    /// As it is displayed.
    pub topic_id: String,
    pub partition: i32,
    pub first_offset: i64,
    pub last_offset: i64,
    /// The file and the position in it.
    pub path: String,
    pub position: u64,
}

/// A segment of a user topic with something durable in it.
struct Candidate {
    path: String,
    topic: String,
    partition: i32,
    durable_len: u64,
}

impl Director {
    pub(super) fn bit_flip(&self, fault: &Fault, broker: usize, [file, batch, bit]: [u64; 3]) {
        let key = self.brokers[broker].key;
        let disks = DiskCtl::current();
        let files = disks.files(key);
        let points = points(key, &files);
        let candidates: Vec<Candidate> = files.iter().filter_map(|file| candidate(file, &points)).collect();
        let Some(file) = pick(&candidates, file) else { return };
        let bytes = disks.read_raw(key, &file.path, 0, file.durable_len as usize);
        let batches = batches(&bytes);
        let Some((at, header)) = pick(&batches, batch) else { return };
        let covered = (header.total_len() - CRC_AT) as u64;
        let position = *at as u64 + CRC_AT as u64 + bit / 8 % covered;
        if !disks.flip_bit(key, &file.path, position, (bit % 8) as u8) {
            return;
        }
        self.note(fault);
        let corrupted = Corrupted {
            at: world().elapsed(),
            topic: file.topic.clone(),
            topic_id: topic_id(key, &file.path),
            partition: file.partition,
            first_offset: header.base_offset.0,
            last_offset: header.last_offset().0,
            path: file.path.clone(),
            position,
        };
        tracing::info!(target: "norn_sim::fault", "{corrupted:?}");
        self.harm.lock().expect("no holder panics").corrupted.push(corrupted);
    }
}

/// The id of the topic that a segment belongs to, as the file beside it has it.
fn topic_id(key: u64, segment: &str) -> String {
    let dir = segment.rsplit_once('/').map_or("", |(dir, _)| dir);
    let bytes = DiskCtl::current().read_raw(key, &format!("{dir}/partition.metadata"), 0, 256);
    let text = String::from_utf8_lossy(&bytes);
    text.lines().find_map(|line| line.strip_prefix("topic_id: ")).unwrap_or_default().to_owned()
}

fn pick<T>(items: &[T], choice: u64) -> Option<&T> {
    items.get((choice.checked_rem(items.len() as u64)?) as usize)
}

/// What the node's data directories tell, by the whole path of each log's directory.
fn points(key: u64, files: &[DiskFile]) -> BTreeMap<String, RecoveryPoint> {
    let mut records: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for file in files {
        if let Some((root, name)) = data_directory_of(&file.path) {
            let bytes = DiskCtl::current().read_raw(key, &file.path, 0, file.durable_len as usize);
            records.entry(root).or_default().push((name, bytes));
        }
    }
    let told = records.into_iter().flat_map(|(root, files)| {
        recorded_points(&files).into_iter().map(move |(log, point)| (format!("{root}/{log}"), point))
    });
    told.collect()
}

fn candidate(file: &DiskFile, points: &BTreeMap<String, RecoveryPoint>) -> Option<Candidate> {
    let (dir, name) = file.path.rsplit_once('/')?;
    let base: i64 = name.strip_suffix(".log")?.parse().ok()?;
    let point = points.get(dir)?;
    let durable_len = match base.cmp(&point.segment.0) {
        std::cmp::Ordering::Less => file.durable_len,
        std::cmp::Ordering::Equal => file.durable_len.min(point.position),
        std::cmp::Ordering::Greater => 0,
    };
    let (topic, partition) = LogId::parse_dir_name(dir.rsplit_once('/')?.1)?;
    let eligible = !topic.starts_with("__") && durable_len > HEADER_LEN as u64;
    eligible.then(|| Candidate { path: file.path.clone(), topic: topic.to_owned(), partition, durable_len })
}

/// The whole batches at the front of `bytes`, with their positions.
fn batches(bytes: &[u8]) -> Vec<(usize, BatchHeader)> {
    let mut found = vec![];
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        let next = at + header.total_len();
        if next > bytes.len() || next < at + HEADER_LEN {
            break;
        }
        found.push((at, header));
        at = next;
    }
    found
}
