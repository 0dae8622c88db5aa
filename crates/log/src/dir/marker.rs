//! The clean-shutdown marker of a data directory: all its logs were closed, their segments are synced up to the points in it,
//! and the journal says nothing more. A directory with a log that failed or was not closed gets none. A start removes the
//! marker, durably, once the journal has the points and before anything is appended: a crash after that must not find it.

use super::error::DirError;
use super::files::Files;
use super::points::{self, Points};
use crate::frames;
use bytes::{Buf, BufMut, Bytes, BytesMut};

pub(super) const FILE: &str = ".norn-clean-shutdown";
const SEQUENCE: u64 = 1;

/// What a clean shutdown left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CleanShutdown {
    /// The next sequence of the journal.
    pub next_sequence: u64,
    /// Of the logs that end exactly here.
    pub ends: Points,
    /// Of logs that were not opened, or could not be: they are durable up to here, and to be checked from here on.
    pub others: Points,
}

pub(super) fn encode(mark: &CleanShutdown) -> Vec<Bytes> {
    let ends = points::encode(&mark.ends, frames::PAYLOAD_MAX / 2 - 16);
    let mut out = BytesMut::new();
    out.put_u64_le(mark.next_sequence);
    out.put_u32_le(ends.len() as u32);
    out.put_slice(&ends);
    out.put_slice(&points::encode(&mark.others, frames::PAYLOAD_MAX / 2));
    let payload = out.freeze();
    vec![frames::header(SEQUENCE, std::slice::from_ref(&payload)), payload]
}

/// Reads the bytes of a mark; `None` if they are not those of a whole one.
pub(super) fn decode(bytes: &Bytes) -> Option<CleanShutdown> {
    let mut payload = frames::scan(bytes, 0, Some(SEQUENCE)).frames.pop()?.payload;
    let next_sequence = payload.try_get_u64_le().ok()?;
    let ends_len = payload.try_get_u32_le().ok()? as usize;
    if ends_len > payload.len() {
        return None;
    }
    let ends = points::decode(payload.split_to(ends_len))?;
    Some(CleanShutdown { next_sequence, ends, others: points::decode(payload)? })
}

/// Reads the mark. One that does not read is none: the journal is played.
pub(super) async fn read(files: &Files) -> Result<Option<CleanShutdown>, DirError> {
    Ok(files.read(FILE).await?.and_then(|bytes| decode(&bytes)))
}

/// Removes the mark, if there is one.
pub(super) async fn remove(files: &Files) -> Result<(), DirError> {
    match files.disk.exists(FILE).await.map_err(files.error("looking up", FILE))? {
        true => files.remove(FILE).await,
        false => Ok(()),
    }
}

/// Writes the mark; the last thing that a shutdown does to the directory.
pub(super) async fn write(files: &Files, mark: &CleanShutdown) -> Result<(), DirError> {
    files.replace(FILE, encode(mark)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogConfig;
    use crate::dir::{Closed, DirConfig, DirExit, JournalConfig, LogDir, RecoveryPoint};
    use crate::id::LogId;
    use norn_env::disk::Disk;
    use norn_env::task::Handle;
    use norn_env::testing::run;
    use norn_protocol::types::{Offset, TopicId};
    use proptest::prelude::*;
    use std::path::Path;
    use uuid::Uuid;

    fn mark() -> CleanShutdown {
        let point = |end| RecoveryPoint { segment: Offset(0), position: 10, end: Offset(end) };
        let ends = [("t-0".into(), point(4)), ("t-2".into(), point(5))].into();
        CleanShutdown { next_sequence: 9, ends, others: [("t-1".into(), point(6))].into() }
    }

    #[test]
    fn the_mark_reads_back() {
        assert_eq!(decode(&encode(&mark()).concat().into()), Some(mark()));
    }

    proptest! {
        #[test]
        fn a_flipped_mark_is_no_mark(at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = encode(&mark()).concat();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decode(&bytes.into()), None);
        }
    }

    async fn open(root: &Path) -> (LogDir, Handle<DirExit>) {
        let journal = JournalConfig { files: 3, file_bytes: 64 << 10 };
        let config = DirConfig { node_id: 1, cluster_id: None, journal };
        LogDir::open(Disk::open(root).unwrap(), config).await.unwrap()
    }

    #[test]
    fn a_log_that_was_not_closed_costs_its_directory_the_marker() {
        run(|| async {
            let root = tempfile::tempdir().unwrap();
            let (dir, task) = open(root.path()).await;
            let id = |n| LogId { topic: "t".into(), partition: n, topic_id: TopicId::NONE };
            let mut logs = vec![];
            for n in 0..2 {
                logs.push(dir.open_log(id(n), LogConfig::default(), &mut |_| {}).await.unwrap().0);
            }
            dir.close_log(logs.remove(0)).await.unwrap();
            drop(logs);
            assert_eq!(dir.close().await.unwrap(), Closed { marked: false, open: vec!["t-1".into()] });
            assert!(matches!(task.await, Ok(Ok(()))));
            let (dir, _task) = open(root.path()).await;
            assert!(!dir.report().clean, "what the log left is only known to the journal");
        });
    }

    #[test]
    fn a_log_that_could_not_be_opened_costs_the_others_nothing_and_is_looked_at_again() {
        run(|| async {
            let root = tempfile::tempdir().unwrap();
            let id = |topic_id| LogId { topic: "t".into(), partition: 0, topic_id };
            let (ours, other) = (TopicId(Uuid::from_u128(1)), TopicId(Uuid::from_u128(2)));
            let (dir, task) = open(root.path()).await;
            let (log, _) = dir.open_log(id(ours), LogConfig::default(), &mut |_| {}).await.unwrap();
            dir.close_log(log).await.unwrap();
            assert_eq!(dir.close().await.unwrap(), Closed { marked: true, open: vec![] });
            drop(task);
            let (dir, task) = open(root.path()).await;
            assert!(dir.closed.contains("t-0"));
            assert!(dir.open_log(id(other), LogConfig::default(), &mut |_| {}).await.is_err());
            assert!(dir.close().await.unwrap().marked);
            drop(task);
            let (dir, _task) = open(root.path()).await;
            assert!(dir.report().clean && !dir.closed.contains("t-0"));
        });
    }
}
