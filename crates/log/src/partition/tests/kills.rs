//! A log in its data directory, killed after its records were acknowledged, and damage found at the next start: it is
//! reported and served around, as no torn write explains it.

use super::*;
use crate::dir::{DirConfig, DirExit, JournalConfig, LogDir};
use norn_env::clock::{self, Duration};
use norn_env::task::Handle;

const BATCHES: i64 = 40;

fn id() -> LogId {
    LogId { topic: "t".into(), partition: 0, topic_id: TopicId(uuid::Uuid::from_u128(7)) }
}

/// One segment, so that nothing but the journal tells where durable records end.
fn whole() -> LogConfig {
    LogConfig { segment_bytes: 1 << 20, ..small() }
}

async fn open_dir(root: &Path) -> (LogDir, Handle<DirExit>) {
    let journal = JournalConfig { files: 3, file_bytes: 64 << 10 };
    let config = DirConfig { node_id: 1, cluster_id: None, journal };
    LogDir::open(Disk::open(root).unwrap(), config).await.unwrap()
}

async fn start(root: &Path) -> (LogDir, Handle<DirExit>, PartitionLog, Recovered) {
    let (dir, task) = open_dir(root).await;
    let (log, report) = dir.open_log(id(), whole(), &mut |_: Visit<'_>| {}).await.unwrap();
    (dir, task, log, report)
}

async fn kill(dir: LogDir, task: Handle<DirExit>, log: PartitionLog) {
    drop(log);
    task.abort();
    assert!(task.await.is_err());
    drop(dir);
}

/// Appends and acknowledges batches of two records, each synced in place, and waits until the journal must have been told.
async fn fill(log: &mut PartitionLog, batches: i64) {
    for _ in 0..batches {
        append_synced(log, 2, 60, 0).await;
    }
    clock::sleep(Duration::from_millis(1500)).await;
}

/// Flips a bit in the middle of the batch number `batch`; all are of one length.
async fn flip(root: &Path, batch: i64) {
    let mut bytes = read_raw(root, &segment_name(0)).await;
    let len = bytes.len() / BATCHES as usize;
    bytes[batch as usize * len + len / 2] ^= 1;
    write_raw(root, &segment_name(0), bytes).await;
}

/// A start that has to be told whose log it is.
async fn start_and_identify(root: &Path) -> (LogDir, Handle<DirExit>, PartitionLog, Recovered) {
    write_raw(root, METADATA_FILE, b"damaged".to_vec()).await;
    let (dir, task) = open_dir(root).await;
    let opened = dir.open_log(id(), whole(), &mut |_: Visit<'_>| {}).await;
    assert!(matches!(opened, Err(LogError::Unidentified { .. })));
    dir.identify(&id()).await.unwrap();
    let (log, report) = dir.open_log(id(), whole(), &mut |_: Visit<'_>| {}).await.unwrap();
    (dir, task, log, report)
}

async fn assert_only_lost(log: &PartitionLog, lost: &[i64]) {
    for batch in 0..BATCHES {
        let offset = 2 * batch;
        let read = fetch(&log.view(), offset, 1, limit(log)).await;
        if lost.contains(&batch) {
            let named = matches!(&read, Err(ReadError::Corrupt { first, next, .. })
                if (first.0..next.0).contains(&offset)
                    && (first.0 / 2..next.0 / 2).all(|batch| lost.contains(&batch)));
            assert!(named, "{offset}: {read:?}");
        } else {
            assert!(read.is_ok(), "{offset}: {read:?}");
        }
    }
}

#[test]
fn damage_in_records_that_were_synced_in_place_is_reported_and_nothing_is_cut() {
    for lost in [vec![0], vec![17], vec![BATCHES - 1], vec![3, BATCHES - 2, BATCHES - 1]] {
        run(move |root| async move {
            let (dir, task, mut log, _) = start(&root).await;
            fill(&mut log, BATCHES).await;
            kill(dir, task, log).await;
            for batch in &lost {
                flip(&root, *batch).await;
            }
            for _ in 0..3 {
                let (dir, task, log, report) = start(&root).await;
                assert_eq!((log.end().0, report.cut_bytes), (2 * BATCHES, 0), "{lost:?}: {report:?}");
                assert_only_lost(&log, &lost).await;
                kill(dir, task, log).await;
            }
        });
    }
}

#[test]
fn a_torn_write_behind_what_was_acknowledged_is_still_cut() {
    run(|root| async move {
        let (dir, task, mut log, _) = start(&root).await;
        fill(&mut log, BATCHES).await;
        append(&mut log, 2, 60, 0).await;
        kill(dir, task, log).await;
        resize(&root, &segment_name(0), -20).await;
        let (_dir, _task, log, report) = start(&root).await;
        assert!(report.cut_bytes > 0 && report.damages.is_empty());
        assert_eq!(log.end().0, 2 * BATCHES);
        assert_only_lost(&log, &[]).await;
    });
}

#[test]
fn a_start_after_a_kill_walks_through_what_was_written_since_the_journal_was_told() {
    run(|root| async move {
        let (dir, task, mut log, _) = start(&root).await;
        // More than a block of the index, which is kept as it fills.
        fill(&mut log, 1200).await;
        append(&mut log, 2, 60, 0).await;
        let size = log.segments[0].size();
        kill(dir, task, log).await;
        let (_dir, _task, log, report) = start(&root).await;
        assert_eq!((log.end().0, report.cut_bytes), (2402, 0));
        assert!(report.scanned_bytes < size / 3, "{} of {size}", report.scanned_bytes);
    });
}

#[test]
fn damage_is_reported_after_a_clean_shutdown_though_the_index_is_lost() {
    run(|root| async move {
        let (dir, task, mut log, _) = start(&root).await;
        fill(&mut log, BATCHES).await;
        dir.close_log(log).await.unwrap();
        dir.close().await.unwrap();
        task.await.unwrap().unwrap();
        for name in files(&root, ".index").await {
            Disk::open(&root).unwrap().remove(&format!("t-0/{name}")).await.unwrap();
        }
        flip(&root, 20).await;
        let (_dir, _task, log, report) = start(&root).await;
        assert_eq!((log.end().0, report.cut_bytes), (2 * BATCHES, 0), "{report:?}");
        assert_only_lost(&log, &[20]).await;
    });
}

#[test]
fn a_log_that_does_not_tell_whose_it_is_is_known_to_be_durable_all_the_same() {
    run(|root| async move {
        let (dir, task, mut log, _) = start(&root).await;
        fill(&mut log, BATCHES).await;
        dir.close_log(log).await.unwrap();
        dir.close().await.unwrap();
        task.await.unwrap().unwrap();
        let (dir, task, log, report) = start_and_identify(&root).await;
        assert_eq!((log.end().0, report.scanned_bytes), (2 * BATCHES, 0), "{report:?}");
        kill(dir, task, log).await;
        flip(&root, 17).await;
        let (dir, task, log, report) = start_and_identify(&root).await;
        assert_eq!((log.end().0, report.cut_bytes), (2 * BATCHES, 0), "{report:?}");
        assert_only_lost(&log, &[17]).await;
        kill(dir, task, log).await;
    });
}
