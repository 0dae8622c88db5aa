//! A log among others: readers on other threads, and the real sync rounds of a data directory.

use super::*;
use crate::dir::{DirConfig, LogDir};
use norn_env::task;
use tokio::sync::watch;

/// Reads all that becomes visible, as consumers do, until the log ends at `last`.
async fn follow(mut published: watch::Receiver<(LogView, FilePosition)>, last: i64) -> i64 {
    let mut at = 0;
    while at < last {
        let (view, limit) = published.borrow_and_update().clone();
        at = at.max(view.start.0);
        match fetch(&view, at, 4000, limit).await.unwrap() {
            batches if batches.is_empty() => published.changed().await.unwrap(),
            batches => {
                for batch in batches {
                    assert!(batch.header.base_offset.0 <= at && batch.header.next_offset() <= view.end);
                    let records = decode_records(&batch.bytes).unwrap();
                    assert!(records.iter().all(|r| r.timestamp == 1000 + r.offset.0));
                    at = batch.header.next_offset().0;
                }
            }
        }
    }
    at
}

#[test]
fn readers_see_whole_batches_while_the_log_grows_rolls_and_loses_its_start() {
    const LAST: i64 = 6000;
    run(|root| async move {
        let config = LogConfig { segment_bytes: 20_000, retention_bytes: Some(100_000), ..small() };
        let (mut log, _) = open(&root, &config, None).await;
        let (publish, published) = watch::channel((log.view(), limit(&log)));
        let mut readers = task::Tasks::new();
        for n in 0..4 {
            readers.spawn(format!("reader {n}"), follow(published.clone(), LAST));
        }
        while log.end().0 < LAST {
            let count = 1 + log.end().0 % 5;
            append(&mut log, count, 40, 0).await;
            if log.end().0 % 100 < 5 {
                log.retain(0, log.end()).await.unwrap();
            }
            publish.send_replace((log.view(), limit(&log)));
        }
        while let Some((_, at)) = readers.join_next().await {
            assert!(at.unwrap() >= LAST);
        }
        assert!(log.start().0 > 0);
    });
}

/// Opens the data directory and its logs as a broker does. What each holds is checked against its `ends`.
async fn open_all(
    root: &Path,
    ends: &[i64],
) -> (LogDir, task::Handle<crate::dir::DirExit>, Vec<PartitionLog>) {
    let config = DirConfig { node_id: 1, ..DirConfig::default() };
    let (dir, task) = LogDir::open(Disk::open(root).unwrap(), config).await.unwrap();
    let mut logs = Vec::new();
    for (partition, end) in ends.iter().enumerate() {
        let topic_id = TopicId(uuid::Uuid::from_u128(7));
        let id = LogId { topic: "t".into(), partition: partition as i32, topic_id };
        let (log, report) = dir.open_log(id, small(), &mut |_: Visit<'_>| {}).await.unwrap();
        assert_eq!((log.end().0, report.damages.len()), (*end, 0));
        assert_eq!(offsets_from(&log, 0, 3000).await, (0..*end).collect::<Vec<_>>());
        logs.push(log);
    }
    (dir, task, logs)
}

#[test]
fn logs_of_a_directory_survive_kills_and_clean_stops() {
    run(|root| async move {
        let mut ends = vec![0; 12];
        for round in 0..8 {
            let (dir, task, mut logs) = open_all(&root, &ends).await;
            for step in 0..6 {
                for (n, log) in logs.iter_mut().enumerate() {
                    append(log, 1 + (n + step) as i64 % 4, 50, round).await;
                }
                let tickets: Vec<_> = logs.iter_mut().map(|log| log.sync()).collect();
                for (log, ticket) in logs.iter_mut().zip(tickets) {
                    let durable = ticket.await.unwrap();
                    log.synced(durable);
                    assert_eq!(log.durable_end(), log.end());
                }
                if step == 3 {
                    let log = &mut logs[round as usize];
                    log.truncate_to(Offset(log.end().0 * 2 / 3)).await.unwrap();
                }
            }
            ends = logs.iter().map(|log| log.end().0).collect();
            if round % 2 == 0 {
                drop(logs);
                task.abort();
                assert!(task.await.is_err());
            } else {
                for log in logs {
                    dir.close_log(log).await.unwrap();
                }
                dir.close().await.unwrap();
                task.await.unwrap().unwrap();
            }
        }
    });
}
