//! A data directory on a disk: rounds, the journal, kills, refusals. Losses of power are the simulator's.

use super::*;
use crate::id::{LogId, Retired};
use crate::rounds::{DirtyRange, FileNote, SyncRequest, SyncTicket};
use bytes::Bytes;
use norn_env::disk::{File, Open};
use norn_env::testing::run;
use norn_protocol::types::{Offset, TopicId};
use std::path::Path;

const SEGMENT: Offset = Offset(0);

fn config() -> DirConfig {
    DirConfig { node_id: 1, cluster_id: None, journal: JournalConfig { files: 3, file_bytes: 64 << 10 } }
}

async fn open(root: &Path) -> (LogDir, Handle<DirExit>) {
    LogDir::open(Disk::open(root).unwrap(), config()).await.unwrap()
}

/// Stops as a kill would: nothing is closed.
async fn crash(dir: LogDir, task: Handle<DirExit>) {
    task.abort();
    assert!(task.await.is_err());
    drop(dir);
}

/// As a log drives its directory: one segment, appends, syncs.
struct Writer {
    dir: LogDir,
    key: LogKey,
    file: File,
    position: u64,
}

impl Writer {
    async fn open(dir: &LogDir, name: &str) -> Writer {
        dir.disk().create_dir_all(name).await.unwrap();
        let path = format!("{name}/{:020}.log", SEGMENT.0);
        let file = dir.disk().open_file(&path, Open::Create).await.unwrap();
        dir.disk().sync_dir(name).await.unwrap();
        let position = file.len().await.unwrap();
        let (key, _) = dir.queue.register(name.into());
        Writer { dir: dir.clone(), key, file, position }
    }

    async fn append(&mut self, bytes: &[u8]) -> SyncTicket {
        let request = self.write(bytes).await;
        self.dir.rounds().submit(request)
    }

    async fn write(&mut self, bytes: &[u8]) -> SyncRequest {
        let bytes = Bytes::copy_from_slice(bytes);
        let position = self.position;
        self.file.write_at(position, vec![bytes.clone()]).await.unwrap();
        self.position += bytes.len() as u64;
        let range = DirtyRange {
            segment: SEGMENT,
            file: self.file.clone(),
            position,
            len: bytes.len() as u64,
            bytes: vec![bytes],
        };
        let end = Offset(self.position as i64);
        SyncRequest { log: self.key, ranges: vec![range], end }
    }

    async fn cut(&mut self, len: u64) {
        let (segment, end) = (SEGMENT, Offset(len as i64));
        self.dir.rounds().note(self.key, FileNote::Truncating { segment, len, end }).await.unwrap();
        self.file.truncate(len).await.unwrap();
        self.file.sync_data().await.unwrap();
        self.dir.rounds().note(self.key, FileNote::Truncated { segment, len, end }).await.unwrap();
        self.position = len;
    }
}

async fn segment(root: &Path, name: &str) -> File {
    let path = format!("{name}/{:020}.log", SEGMENT.0);
    Disk::open(root).unwrap().open_file(&path, Open::Write).await.unwrap()
}

async fn content(root: &Path, name: &str) -> Bytes {
    let file = segment(root, name).await;
    file.read_at(0, file.len().await.unwrap() as usize).await.unwrap()
}

/// Appends to many logs at once until the journal takes them; gives what each holds.
async fn fill(dir: &LogDir, logs: usize, rounds: usize) -> Vec<(String, Vec<u8>)> {
    let mut writers = Vec::new();
    for n in 0..logs {
        writers.push((Writer::open(dir, &format!("t-{n}")).await, Vec::new()));
    }
    for round in 0..rounds {
        let mut requests = Vec::new();
        for (n, (writer, content)) in writers.iter_mut().enumerate() {
            let bytes = vec![((round * 7 + n) % 255) as u8 + 1; 100 + n];
            content.extend_from_slice(&bytes);
            requests.push(writer.write(&bytes).await);
        }
        // At once, so that one round has them all.
        let submitted = requests.into_iter().map(|request| (request.end, dir.rounds().submit(request)));
        let tickets: Vec<_> = submitted.collect();
        for (end, ticket) in tickets {
            assert_eq!(ticket.await.unwrap(), end);
        }
        // The first file of the ring is written behind the first rounds.
        if round == 0 {
            norn_env::clock::sleep(norn_env::clock::Duration::from_millis(100)).await;
        }
    }
    writers.into_iter().enumerate().map(|(n, (_, content))| (format!("t-{n}"), content)).collect()
}

#[test]
fn the_ring_goes_round_and_nothing_is_ever_only_in_a_file_that_is_used_again() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        // 8 logs x 100 bytes x 800 rounds are several laps of 192 KiB.
        let logs = fill(&dir, 8, 800).await;
        crash(dir, task).await;
        let (dir, _task) = open(root.path()).await;
        for (name, written) in &logs {
            assert!(content(root.path(), name).await == written, "{name}");
            assert_eq!(dir.recovery_point(name).unwrap().end, Offset(written.len() as i64));
        }
    });
}

#[test]
fn a_range_that_was_cut_off_and_written_anew_is_not_played_over() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        fill(&dir, 4, 10).await;
        let mut writer = Writer::open(&dir, "t-0").await;
        writer.cut(50).await;
        writer.append(b"newer").await.await.unwrap();
        let expected = content(root.path(), "t-0").await;
        crash(dir, task).await;
        let (dir, _task) = open(root.path()).await;
        assert!(dir.report().bytes_played > 0);
        assert_eq!(content(root.path(), "t-0").await, expected);
        assert_eq!(expected.len(), 55);
    });
}

#[test]
fn a_log_that_was_removed_leaves_nothing_to_one_of_its_name() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        fill(&dir, 4, 10).await;
        let (key, _) = dir.queue.register("t-0".into());
        dir.forget(key).await.unwrap();
        dir.disk().remove_dir("t-0").await.unwrap();
        let mut writer = Writer::open(&dir, "t-0").await;
        writer.append(b"new").await.await.unwrap();
        crash(dir, task).await;
        let (dir, _task) = open(root.path()).await;
        assert_eq!(content(root.path(), "t-0").await, b"new".as_ref());
        assert!(dir.recovery_point("t-0").is_none_or(|point| point.end <= Offset(3)));
    });
}

#[test]
fn a_retired_log_frees_its_name_and_a_start_finds_what_is_to_be_removed() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        let logs = fill(&dir, 4, 10).await;
        let log = |n: i32| LogId { topic: "t".into(), partition: n, topic_id: TopicId::NONE };
        assert!(format!("{:?}", dir.queue).contains("t-0"));
        let deleted = dir.retire_log(&log(0), Retired::Deleted).await.unwrap().unwrap();
        assert!(!format!("{:?}", dir.queue).contains("t-0"), "nothing is kept of it");
        let stray = dir.retire_log(&log(1), Retired::Stray).await.unwrap().unwrap();
        assert_eq!(dir.retire_log(&log(0), Retired::Deleted).await.unwrap(), None);
        let mut writer = Writer::open(&dir, "t-0").await;
        writer.append(b"new").await.await.unwrap();
        crash(dir, task).await;
        let (dir, _task) = open(root.path()).await;
        assert_eq!(content(root.path(), "t-0").await, b"new".as_ref());
        assert_eq!(content(root.path(), &deleted).await, logs[0].1);
        assert_eq!(content(root.path(), &stray).await, logs[1].1);
        assert_eq!(dir.deleted().await.unwrap(), vec![deleted.clone()]);
        dir.remove_deleted(&deleted).await.unwrap();
        assert!(dir.deleted().await.unwrap().is_empty());
        assert_eq!(content(root.path(), &stray).await, logs[1].1);
    });
}

#[test]
fn only_a_log_without_records_is_discarded() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, _task) = open(root.path()).await;
        let log = |n: i32| LogId { topic: "t".into(), partition: n, topic_id: TopicId::NONE };
        let mut writer = Writer::open(&dir, "t-0").await;
        writer.append(b"record").await.await.unwrap();
        let _created = Writer::open(&dir, "t-1").await;
        assert!(!dir.discard_empty(&log(0)).await.unwrap());
        assert!(dir.discard_empty(&log(1)).await.unwrap());
        assert!(dir.discard_empty(&log(2)).await.unwrap());
        assert_eq!(content(root.path(), "t-0").await, b"record".as_ref());
        assert!(!dir.disk().exists("t-1").await.unwrap());
    });
}

#[test]
fn a_directory_that_does_not_tell_whose_it_is_is_told_from_a_creation_that_was_cut_off() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, _task) = open(root.path()).await;
        let log = |partition, id| LogId {
            topic: "t".into(),
            partition,
            topic_id: TopicId(uuid::Uuid::from_u128(id)),
        };
        let _created = Writer::open(&dir, "t-0").await;
        let mut writer = Writer::open(&dir, "t-1").await;
        writer.append(b"record").await.await.unwrap();
        // No record is left in it, but its offsets go on.
        dir.disk().create_dir_all("t-2").await.unwrap();
        dir.disk().open_file("t-2/00000000000000000007.log", Open::Create).await.unwrap();
        dir.identify(&log(2, 9)).await.unwrap();
        let _named = Writer::open(&dir, "t-3").await;
        dir.identify(&log(3, 9)).await.unwrap();
        let found = FoundLogs { logs: vec![log(2, 9), log(3, 9)], unidentified: vec![log(1, 0)] };
        assert_eq!(dir.logs().await.unwrap(), found);
        for n in 0..4 {
            let file =
                dir.disk().open_file(&format!("t-{n}/partition.metadata"), Open::Create).await.unwrap();
            file.write_at(3, vec!["x".into()]).await.unwrap();
        }
        let found = FoundLogs { logs: vec![], unidentified: vec![log(1, 0), log(2, 0)] };
        assert_eq!(dir.logs().await.unwrap(), found);
    });
}

#[test]
fn a_log_that_is_removed_under_its_name_tells_whose_it_is_to_the_last() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, _task) = open(root.path()).await;
        let log = LogId { topic: "t".into(), partition: 0, topic_id: TopicId(uuid::Uuid::from_u128(9)) };
        let mut writer = Writer::open(&dir, "t-0").await;
        writer.append(b"record").await.await.unwrap();
        dir.identify(&log).await.unwrap();
        // What cannot be removed as a file, and comes last in the order of names.
        dir.disk().create_dir_all("t-0/z").await.unwrap();
        dir.remove_in_place(&log).await.unwrap_err();
        let left: Vec<_> = dir.disk().list("t-0").await.unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(left, ["partition.metadata", "z"]);
        dir.disk().remove_dir("t-0/z").await.unwrap();
        dir.remove_in_place(&log).await.unwrap();
        assert!(!dir.disk().exists("t-0").await.unwrap());
    });
}

#[test]
fn the_mark_of_a_clean_shutdown_is_used_once_and_then_gone() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        fill(&dir, 4, 10).await;
        dir.close().await.unwrap();
        assert!(matches!(task.await, Ok(Ok(()))));
        let (dir, task) = open(root.path()).await;
        assert!(dir.report().clean);
        crash(dir, task).await;
        let (dir, task) = open(root.path()).await;
        assert!(!dir.report().clean, "the process that used it did not end cleanly");
        crash(dir, task).await;
    });
}

#[test]
fn data_without_its_ids_are_refused_and_stay_as_they_are() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        dir.close().await.unwrap();
        drop(task);
        let disk = Disk::open(root.path()).unwrap();
        disk.remove(meta::FILE).await.unwrap();
        for _ in 0..2 {
            let refused = LogDir::open(disk.clone(), config()).await.err().unwrap();
            assert!(
                matches!(&refused, DirError::MetaMissing { beside, .. } if beside == ".journal"),
                "{refused}"
            );
        }
        assert!(check(&disk, 1, None).await.is_err());
    });
}

#[test]
fn a_second_process_another_cluster_and_another_node_are_refused_with_what_to_do() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        let again = LogDir::open(Disk::open(root.path()).unwrap(), config()).await.err().unwrap().to_string();
        assert!(again.contains("in use by another process; stop that one"), "{again}");
        let (cluster_id, directory_id) = (dir.meta().cluster_id.clone(), dir.meta().directory_id.clone());
        dir.close().await.unwrap();
        assert!(matches!(task.await, Ok(Ok(()))));
        let other = DirConfig { cluster_id: Some("other".to_owned()), ..config() };
        let refused = LogDir::open(Disk::open(root.path()).unwrap(), other).await.err().unwrap();
        assert!(matches!(refused, DirError::OtherCluster { found, .. } if found == cluster_id));
        let other = DirConfig { node_id: 2, ..config() };
        let refused = LogDir::open(Disk::open(root.path()).unwrap(), other).await.err().unwrap();
        assert!(matches!(refused, DirError::OtherNode { found: 1, expected: 2, .. }));
        let files = Files { disk: Disk::open(root.path()).unwrap() };
        let newer =
            String::from_utf8(files.read("meta.properties").await.unwrap().unwrap().to_vec()).unwrap();
        let newer = newer.replace("format.version=1", "format.version=2");
        files.replace("meta.properties", vec![newer.into()]).await.unwrap();
        let refused = LogDir::open(Disk::open(root.path()).unwrap(), config()).await.err().unwrap();
        assert!(matches!(refused, DirError::NewerFormat { found: 2, known: 1, .. }));
        assert_eq!(directory_id.len(), 22);
    });
}

#[test]
fn tickets_fail_when_the_directory_is_gone_and_none_waits_for_ever() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        let mut writer = Writer::open(&dir, "t-0").await;
        dir.close().await.unwrap();
        assert!(matches!(task.await, Ok(Ok(()))));
        assert!(writer.append(b"late").await.await.is_err());
    });
}

/// What the files of the directory tell of a log, read behind its back.
async fn recorded(root: &Path, name: &str) -> Option<RecoveryPoint> {
    let files = Files { disk: Disk::open(root).unwrap() };
    let mut found = Vec::new();
    for path in [".journal/0000", ".journal/0001", ".journal/0002", ".norn-clean-shutdown"] {
        found.extend(files.read(path).await.unwrap().map(|bytes| (path, bytes)));
    }
    recorded_points(&found).into_iter().find(|(log, _)| log == name).map(|(_, point)| point)
}

/// Waits until the files tell that the log is durable up to `end`. Nobody else does, and it takes them half a second.
async fn told(root: &Path, name: &str, end: u64) {
    for _ in 0..200 {
        if recorded(root, name).await.is_some_and(|point| point.position == end) {
            return;
        }
        norn_env::clock::sleep(norn_env::clock::Duration::from_millis(20)).await;
    }
    panic!("of {name} {:?} is told, not {end}", recorded(root, name).await);
}

#[test]
fn a_kill_leaves_what_is_known_of_logs_that_are_only_synced_in_place() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        let mut writer = Writer::open(&dir, "t-0").await;
        for _ in 0..100 {
            writer.append(b"0123456789").await.await.unwrap();
        }
        told(root.path(), "t-0", 1000).await;
        writer.append(b"0123456789").await.await.unwrap();
        told(root.path(), "t-0", 1010).await;
        crash(dir, task).await;
        let (dir, _task) = open(root.path()).await;
        assert_eq!(dir.report().bytes_played, 0);
        let point = RecoveryPoint { segment: SEGMENT, position: 1010, end: Offset(1010) };
        assert_eq!(dir.recovery_point("t-0"), Some(point));
    });
}

#[test]
fn a_start_that_is_cut_off_leaves_what_was_known() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        let mut writer = Writer::open(&dir, "t-0").await;
        writer.append(b"0123456789").await.await.unwrap();
        told(root.path(), "t-0", 10).await;
        crash(dir, task).await;
        let files = Files { disk: Disk::open(root.path()).unwrap() };
        for start in 0..5 {
            let ring = |index: usize| format!(".journal/{index:04}");
            let mut before = Vec::new();
            for index in 0..3 {
                before.push(files.read(&ring(index)).await.unwrap());
            }
            let (dir, task) = open(root.path()).await;
            assert_eq!(dir.recovery_point("t-0").map(|point| point.position), Some(10));
            crash(dir, task).await;
            // Whatever was written over, what is left tells as much.
            let mut left = Vec::new();
            for (index, before) in before.into_iter().enumerate() {
                let now = files.read(&ring(index)).await.unwrap();
                left.extend(before.filter(|before| now.as_ref() == Some(before)).map(|bytes| ("", bytes)));
            }
            assert_eq!(recorded_points(&left).len(), 1, "start {start}");
        }
    });
}

#[test]
fn a_clean_shutdown_and_a_kill_leave_what_is_known_of_every_log() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        let logs = fill(&dir, 4, 10).await;
        // Some may have been synced in place, of which the journal is told a little later.
        for (name, written) in &logs {
            told(root.path(), name, written.len() as u64).await;
        }
        crash(dir, task).await;
        // None of the logs is opened from here on.
        for end_cleanly in [true, false, true, true, false] {
            let (dir, task) = open(root.path()).await;
            for (name, written) in &logs {
                assert_eq!(dir.recovery_point(name).unwrap().end, Offset(written.len() as i64));
                assert!(!dir.closed.contains(name.as_str()), "nobody has looked whether it ends there");
            }
            if end_cleanly {
                dir.close().await.unwrap();
                assert!(matches!(task.await, Ok(Ok(()))));
            } else {
                crash(dir, task).await;
            }
        }
    });
}

#[test]
fn a_log_that_is_cut_is_known_to_be_shorter_before_it_is() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        let mut writer = Writer::open(&dir, "t-0").await;
        for len in [40, 30, 50] {
            writer.append(&[1; 60]).await.await.unwrap();
            told(root.path(), "t-0", writer.position).await;
            let note = FileNote::Truncating { segment: SEGMENT, len, end: Offset(len as i64) };
            dir.rounds().note(writer.key, note).await.unwrap();
            assert_eq!(recorded(root.path(), "t-0").await.unwrap().position, len);
            writer.cut(len).await;
        }
        crash(dir, task).await;
        let (dir, _task) = open(root.path()).await;
        assert_eq!(dir.recovery_point("t-0").unwrap().position, 50);
        assert_eq!(content(root.path(), "t-0").await, [1; 50].as_ref());
    });
}

#[test]
fn what_is_handed_over_with_its_own_cut_does_not_come_back() {
    run(|| async {
        let root = tempfile::tempdir().unwrap();
        let (dir, task) = open(root.path()).await;
        fill(&dir, 4, 10).await;
        let mut writers = Vec::new();
        for n in 0..4 {
            writers.push(Writer::open(&dir, &format!("t-{n}")).await);
        }
        let mut requests = Vec::new();
        for writer in &mut writers {
            requests.push(writer.write(&[9; 100]).await);
        }
        // At once, so that one round copies the ranges and hears that one of them is about to be cut off.
        let len = writers[0].position - 100;
        let cut = FileNote::Truncating { segment: SEGMENT, len, end: Offset(len as i64) };
        let tickets: Vec<_> = requests.into_iter().map(|request| dir.rounds().submit(request)).collect();
        dir.rounds().note(writers[0].key, cut).await.unwrap();
        for ticket in tickets {
            ticket.await.unwrap();
        }
        writers[0].cut(len).await;
        writers[0].append(&[8; 10]).await.await.unwrap();
        let expected = content(root.path(), "t-0").await;
        crash(dir, task).await;
        let (_dir, _task) = open(root.path()).await;
        assert_eq!(content(root.path(), "t-0").await, expected);
    });
}
