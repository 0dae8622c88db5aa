//! Truncation, DeleteRecords, retention.

use super::*;
use crate::config::Cleanup;

async fn filled(root: &Path, config: &LogConfig) -> PartitionLog {
    let (mut log, _) = open(root, config, None).await;
    for n in 0..40 {
        append_synced(&mut log, 2, 60, n / 10).await;
    }
    log
}

#[test]
fn a_truncated_log_ends_at_the_batch_boundary_and_goes_on_from_there() {
    run(|root| async move {
        for target in [79, 60, 41, 40, 13, 1, 0] {
            let mut log = if target == 79 {
                filled(&root, &small()).await
            } else {
                open(&root, &small(), None).await.0
            };
            let end = log.truncate_to(Offset(target)).await.unwrap().0;
            assert_eq!(end, target & !1);
            assert!(log.durable_end().0 <= end);
            assert!(log.epochs.entries().iter().all(|e| e.start.0 < end));
            assert_eq!(offsets_from(&log, 0, 500).await, (0..end).collect::<Vec<_>>());
            append_synced(&mut log, 1, 33, 20).await;
            assert_eq!(read_from(&log, end, 500).await[0].value.as_ref().unwrap().len(), 33);
            assert_eq!(log.truncate_to(Offset(end)).await.unwrap().0, end);
            let point = if target % 2 == 0 {
                Some(end)
            } else {
                log.sync().await.ok();
                None
            };
            if point.is_none() {
                log.close().await.unwrap();
            }
            let (log, _) = open(&root, &small(), point.map(|p: i64| p)).await;
            assert_eq!(offsets_from(&log, 0, 500).await, (0..end).collect::<Vec<_>>());
            log.close().await.unwrap();
        }
    });
}

#[test]
fn truncating_at_or_beyond_the_end_still_forgets_later_epochs() {
    run(|root| async move {
        let mut log = filled(&root, &small()).await;
        log.assign_epoch(LeaderEpoch(30), log.end()).await.unwrap();
        log.truncate_to(Offset(500)).await.unwrap();
        assert_eq!((log.epochs.latest(), log.end().0), (Some(LeaderEpoch(3)), 80));
    });
}

#[test]
fn a_ticket_from_before_a_cut_says_nothing_of_what_is_written_after_it() {
    run(|root| async move {
        let mut log = filled(&root, &small()).await;
        append(&mut log, 2, 60, 4).await;
        let early = log.sync();
        log.truncate_to(Offset(50)).await.unwrap();
        for _ in 0..20 {
            append(&mut log, 2, 60, 5).await;
        }
        let durable = early.await.unwrap();
        assert_eq!(durable, Offset(50));
        log.synced(durable);
        assert_eq!(log.durable_end(), Offset(50));
        let durable = log.sync().await.unwrap();
        log.synced(durable);
        assert_eq!(log.durable_end(), Offset(90));
    });
}

#[test]
fn deleted_records_are_gone_also_after_a_start() {
    run(|root| async move {
        let mut log = filled(&root, &small()).await;
        assert_eq!(log.delete_before(Offset(31)).await.unwrap(), Offset(31));
        assert_eq!(log.delete_before(Offset(20)).await.unwrap(), Offset(31));
        assert!(log.segments[0].base().0 <= 31 && log.segments[1].base().0 > 31);
        let below = fetch(&log.view(), 30, 100, limit(&log)).await;
        assert!(matches!(below, Err(ReadError::OutOfRange { .. })));
        assert_eq!(offsets_from(&log, 31, 300).await, (31..80).collect::<Vec<_>>());
        log.close().await.unwrap();
        let (mut log, _) = open(&root, &small(), None).await;
        assert_eq!(log.start(), Offset(31));
        assert!(matches!(log.delete_before(Offset(81)).await, Err(LogError::OutOfRange { .. })));
        log.delete_before(Offset(80)).await.unwrap();
        assert_eq!((log.start(), log.end()), (Offset(80), Offset(80)));
        assert_eq!(log.segments.len(), 1);
        append_synced(&mut log, 1, 10, 9).await;
        assert_eq!(offsets_from(&log, 80, 300).await, [80]);
    });
}

#[test]
fn a_view_from_before_retention_is_still_readable() {
    run(|root| async move {
        let mut log = filled(&root, &small()).await;
        let (view, end) = (log.view(), limit(&log));
        log.delete_before(Offset(80)).await.unwrap();
        for at in 0..80 {
            assert!(!fetch(&view, at, 500, end).await.unwrap().is_empty());
        }
    });
}

#[test]
fn retention_by_size_keeps_at_least_what_is_configured() {
    run(|root| async move {
        let config = LogConfig { retention_bytes: Some(4500), ..small() };
        let mut log = filled(&root, &config).await;
        let before = log.view().size();
        assert_eq!(log.retain(0, Offset(0)).await.unwrap().segments, 0, "never above the high watermark");
        let deleted = log.retain(0, log.end()).await.unwrap();
        let after = log.view().size();
        assert!(deleted.segments > 0 && before - after == deleted.bytes);
        assert!((4500..6500).contains(&after), "{after}");
        assert_eq!((deleted.start, log.start()), (log.segments[0].base(), log.segments[0].base()));
        assert_eq!(files(&root, ".log").await.len(), log.segments.len());
        assert!(log.epochs.epoch_at(log.start()).is_some());
        let start = log.start();
        log.close().await.unwrap();
        assert_eq!(open(&root, &config, None).await.0.start(), start);
    });
}

#[test]
fn retention_by_time_goes_by_the_records_timestamps() {
    run(|root| async move {
        let config = LogConfig { retention_ms: Some(100), ..small() };
        let mut log = filled(&root, &config).await;
        // The last record is stamped 1079.
        assert_eq!(log.retain(1100, log.end()).await.unwrap().segments, 0);
        let first_ts = log.segments[0].max_timestamp();
        let deleted = log.retain(first_ts + 101, log.end()).await.unwrap();
        assert_eq!(deleted.segments, 1);
        let rest = log.segments.len();
        let deleted = log.retain(5000, log.end()).await.unwrap();
        assert_eq!(deleted.segments, rest);
        assert_eq!((log.start(), log.end(), log.segments.len()), (Offset(80), Offset(80), 1));
        assert_eq!(log.retain(9000, log.end()).await.unwrap().segments, 0, "an empty log stays as it is");
        append_synced(&mut log, 2, 60, 7).await;
        log.close().await.unwrap();
        let (log, _) = open(&root, &config, None).await;
        assert_eq!((log.start(), log.end()), (Offset(80), Offset(82)));
    });
}

#[test]
fn compacted_topics_are_never_subject_to_retention() {
    run(|root| async move {
        let config = LogConfig {
            cleanup: Cleanup::Compact,
            retention_ms: Some(1),
            retention_bytes: Some(1),
            ..small()
        };
        let mut log = filled(&root, &config).await;
        assert_eq!(log.retain(i64::MAX, log.end()).await.unwrap().segments, 0);
        log.set_config(LogConfig { cleanup: Cleanup::CompactDelete, ..config });
        assert!(log.retain(i64::MAX, log.end()).await.unwrap().segments > 0);
    });
}

#[test]
fn producers_are_told_anew_after_a_truncation() {
    run(|root| async move {
        let mut log = filled(&root, &small()).await;
        log.store_producer_snapshot(Bytes::from_static(b"at 80")).await.unwrap();
        log.truncate_to(Offset(60)).await.unwrap();
        let mut batches = 0;
        let mut visit = |visit: Visit<'_>| match visit {
            Visit::Batch(_) => batches += 1,
            Visit::Snapshot { .. } => panic!("the snapshot knows of records that are gone"),
            Visit::Damaged => panic!("nothing is damaged"),
        };
        assert_eq!(log.replay_producers(&mut visit).await.unwrap(), None);
        assert_eq!(batches, 30);
    });
}
