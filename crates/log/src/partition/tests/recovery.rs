//! Opening again: after a clean shutdown, after a crash, with files missing or wrong.

use super::*;

async fn filled(root: &Path, batches: i64) -> PartitionLog {
    let (mut log, _) = open(root, &small(), None).await;
    for n in 0..batches {
        append_synced(&mut log, 1 + n % 3, 60, 0).await;
    }
    log
}

#[test]
fn a_clean_start_walks_through_nothing() {
    run(|root| async move {
        let log = filled(&root, 40).await;
        let end = log.close().await.unwrap();
        let (log, report) = open(&root, &small(), None).await;
        assert_eq!(report, Recovered::default());
        assert_eq!((log.end(), log.durable_end()), (end, end));
        assert_eq!(offsets_from(&log, 0, 600).await, (0..end.0).collect::<Vec<_>>());
    });
}

#[test]
fn an_empty_log_is_opened_again() {
    run(|root| async move {
        open(&root, &small(), None).await.0.close().await.unwrap();
        let (log, report) = open(&root, &small(), None).await;
        assert_eq!((log.end(), report.created), (Offset(0), false));
        drop(log);
        let (mut log, _) = open(&root, &small(), Some(0)).await;
        append_synced(&mut log, 1, 10, 0).await;
    });
}

#[test]
fn a_log_is_written_on_after_each_kind_of_start() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        for n in 0..12 {
            for _ in 0..7 {
                append_synced(&mut log, 2, 60, n).await;
            }
            let end = log.end().0;
            let point = match n % 3 {
                0 => {
                    log.close().await.unwrap();
                    None
                }
                1 => Some(end),
                _ => Some(end / 2),
            };
            log = open(&root, &small(), point).await.0;
            assert_eq!(log.end().0, end);
            assert_eq!(offsets_from(&log, 0, 500).await, (0..end).collect::<Vec<_>>());
        }
        assert_eq!(log.epochs.entries().len(), 12);
    });
}

#[test]
fn a_torn_tail_is_cut_and_everything_durable_stays() {
    run(|root| async move {
        let mut log = filled(&root, 20).await;
        let durable = log.end().0;
        for _ in 0..3 {
            append(&mut log, 2, 60, 0).await;
        }
        let last = log.segments.last().unwrap().base().0;
        drop(log);
        resize(&root, &segment_name(last), -7).await;
        let (mut log, report) = open(&root, &small(), Some(durable)).await;
        assert!(report.cut_bytes > 0 && report.damages.is_empty());
        assert_eq!(log.end().0, durable + 4);
        append_synced(&mut log, 3, 60, 0).await;
        assert_eq!(offsets_from(&log, 0, 500).await, (0..durable + 7).collect::<Vec<_>>());
    });
}

#[test]
fn zeros_behind_the_durable_end_are_no_records() {
    run(|root| async move {
        let log = filled(&root, 5).await;
        let end = log.end().0;
        drop(log);
        resize(&root, &segment_name(0), 5000).await;
        let (log, report) = open(&root, &small(), Some(end)).await;
        assert_eq!((log.end().0, report.cut_bytes), (end, 5000));
    });
}

#[test]
fn segments_behind_a_torn_one_go() {
    run(|root| async move {
        let log = filled(&root, 40).await;
        let bases: Vec<i64> = log.segments.iter().map(|s| s.base().0).collect();
        drop(log);
        resize(&root, &segment_name(bases[1]), -1).await;
        let (mut log, report) = open(&root, &small(), Some(bases[1])).await;
        assert!(report.damages.is_empty());
        assert!(log.end().0 < bases[2] && log.end().0 > bases[1]);
        assert_eq!(files(&root, ".log").await.len(), 2);
        let end = log.end().0;
        for _ in 0..20 {
            append_synced(&mut log, 1, 60, 1).await;
        }
        assert_eq!(offsets_from(&log, 0, 500).await, (0..end + 20).collect::<Vec<_>>());
    });
}

#[test]
fn durable_records_that_are_gone_are_reported_and_their_offsets_not_used_again() {
    run(|root| async move {
        let log = filled(&root, 8).await;
        let end = log.end().0;
        drop(log);
        resize(&root, &segment_name(0), -3).await;
        for point in [Some(end), None] {
            let (mut log, report) = open(&root, &small(), point).await;
            assert_eq!(report.damages.len(), usize::from(point.is_some()));
            assert_eq!(log.end().0 - i64::from(point.is_none()), end);
            let lost = log.end().0 - 1 - i64::from(point.is_none());
            let read = fetch(&log.view(), lost, 100, limit(&log)).await;
            assert!(matches!(read, Err(ReadError::Corrupt { next, .. }) if next == Offset(end)), "{read:?}");
            assert!(fetch(&log.view(), 0, 100, limit(&log)).await.is_ok());
            if point.is_some() {
                append_synced(&mut log, 1, 60, 1).await;
                assert_eq!(offsets_from(&log, end, 500).await, [end]);
                log.close().await.unwrap();
            }
        }
    });
}

#[test]
fn lost_or_wrong_indexes_are_rebuilt() {
    run(|root| async move {
        for (n, spoil) in [0, 1, 2].into_iter().enumerate() {
            let log = if n == 0 { filled(&root, 40).await } else { open(&root, &small(), None).await.0 };
            let end = log.close().await.unwrap().0;
            for name in files(&root, ".index").await {
                match spoil {
                    0 => Disk::open(&root).unwrap().remove(&format!("t-0/{name}")).await.unwrap(),
                    1 => write_raw(&root, &name, Vec::new()).await,
                    _ => {
                        let mut bytes = read_raw(&root, &name).await;
                        bytes[20] ^= 4;
                        write_raw(&root, &name, bytes).await;
                    }
                }
            }
            let (log, report) = open(&root, &small(), None).await;
            assert!(report.scanned_bytes > 0 && report.cut_bytes == 0 && report.damages.is_empty());
            assert_eq!(offsets_from(&log, 0, 500).await, (0..end).collect::<Vec<_>>());
            log.close().await.unwrap();
        }
    });
}

#[test]
fn epochs_survive_with_their_file_and_without() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        for epoch in [1, 1, 4, 4, 4, 9] {
            for _ in 0..5 {
                append_synced(&mut log, 2, 60, epoch).await;
            }
        }
        log.assign_epoch(LeaderEpoch(12), log.end()).await.unwrap();
        let mut expected = (*log.epochs).clone();
        expected.truncate_from_end(log.end());
        log.close().await.unwrap();
        for damage in 0..3 {
            match damage {
                0 => {}
                1 => Disk::open(&root).unwrap().remove(&format!("t-0/{EPOCHS_FILE}")).await.unwrap(),
                _ => write_raw(&root, EPOCHS_FILE, b"0\n1\n77 0\n".to_vec()).await,
            }
            let (log, _) = open(&root, &small(), None).await;
            assert_eq!(*log.epochs, expected);
            assert_eq!(log.end_of_epoch(LeaderEpoch(3)), (LeaderEpoch(1), Offset(20)));
            log.close().await.unwrap();
        }
    });
}

#[test]
fn an_epoch_that_replaces_one_without_records_is_not_taken_for_it_after_a_start() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        append_synced(&mut log, 1, 10, 1).await;
        append_synced(&mut log, 1, 10, 2).await;
        log.truncate_to(Offset(0)).await.unwrap();
        append_synced(&mut log, 1, 10, 5).await;
        log.close().await.unwrap();
        let (log, _) = open(&root, &small(), None).await;
        assert_eq!(log.epochs.latest(), Some(LeaderEpoch(5)));
        assert_eq!(log.epochs.entries().len(), 1);
    });
}

#[test]
fn a_directory_of_a_deleted_topic_of_the_same_name_is_refused() {
    run(|root| async move {
        open(&root, &small(), None).await.0.close().await.unwrap();
        let mut other = options(&root, &small(), None);
        other.id.topic_id = TopicId(uuid::Uuid::from_u128(8));
        let refused = PartitionLog::open(other, &mut |_: Visit<'_>| {}).await;
        assert!(matches!(refused, Err(LogError::OtherTopic { .. })));
    });
}

#[test]
fn a_creation_that_was_cut_off_is_completed() {
    run(|root| async move {
        Disk::open(&root).unwrap().create_dir_all("t-0").await.unwrap();
        write_raw(&root, "partition.metadata.tmp", b"vers".to_vec()).await;
        let (mut log, report) = open(&root, &small(), Some(0)).await;
        assert!(report.created);
        append_synced(&mut log, 1, 10, 0).await;
        assert_eq!(files(&root, ".tmp").await.len(), 0);
        log.close().await.unwrap();
        assert!(!open(&root, &small(), None).await.1.created);
    });
}

#[test]
fn producers_are_told_the_newest_snapshot_and_the_batches_behind_it() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        let mut snapshots = Vec::new();
        for n in 0..30 {
            append_synced(&mut log, 2, 60, 0).await;
            if n % 8 == 7 {
                log.store_producer_snapshot(Bytes::from(format!("state {n}"))).await.unwrap();
                snapshots.push(log.end());
            }
        }
        assert_eq!(files(&root, ".snapshot").await.len(), 2);
        let end = log.close().await.unwrap();
        for lost in 0..3 {
            let (mut at, mut batches) = (None, Vec::new());
            let mut visit = |visit: Visit<'_>| match visit {
                Visit::Snapshot { at: offset, .. } => at = Some(offset),
                Visit::Batch(header) => batches.push(header.base_offset.0),
                Visit::Damaged => panic!("nothing is damaged"),
            };
            let (log, report) = PartitionLog::open(options(&root, &small(), None), &mut visit).await.unwrap();
            let expected = snapshots.iter().rev().nth(lost).copied().filter(|_| lost < 2);
            assert_eq!((at, report.producer_snapshot), (expected, expected));
            let from = expected.map_or(0, |at| at.0);
            assert_eq!(batches, (from..end.0).step_by(2).collect::<Vec<_>>());
            log.close().await.unwrap();
            if let Some(at) = expected {
                write_raw(&root, &format!("{:020}.snapshot", at.0), b"rot".to_vec()).await;
            }
        }
    });
}

#[test]
fn a_snapshot_of_records_that_were_lost_is_forgotten() {
    run(|root| async move {
        let mut log = filled(&root, 5).await;
        let durable = log.end().0;
        append(&mut log, 5, 60, 0).await;
        log.store_producer_snapshot(Bytes::from_static(b"too much")).await.unwrap();
        drop(log);
        resize(&root, &segment_name(0), -1).await;
        let (log, report) = open(&root, &small(), Some(durable)).await;
        assert_eq!((log.end().0, report.producer_snapshot), (durable, None));
        assert_eq!(files(&root, ".snapshot").await.len(), 0);
    });
}

#[test]
fn removed_segments_that_a_loss_of_power_brings_back_are_removed_again() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        for _ in 0..60 {
            append(&mut log, 2, 50, 0).await;
        }
        let first = segment_name(0);
        let bytes = read_raw(&root, &first).await;
        log.set_config(LogConfig { retention_bytes: Some(3000), ..small() });
        let end = log.end();
        let deleted = log.retain(0, end).await.unwrap();
        assert!(deleted.segments > 2);
        drop(log);
        // Of all that was removed only the first file is back: between it and the rest there is a hole.
        write_raw(&root, &first, bytes).await;
        for last_end in [Some(end.0), None] {
            let (log, found) = open(&root, &small(), last_end).await;
            assert_eq!((log.start(), log.end(), found.cut_bytes), (deleted.start, end, 0));
            assert!(!files(&root, ".log").await.contains(&first));
        }
    });
}

#[test]
fn an_index_without_its_segment_does_not_outlive_a_start() {
    run(|root| async move {
        drop(open(&root, &small(), None).await);
        let orphan = format!("t-0/{:020}.index", 7);
        Disk::open(&root).unwrap().open_file(&orphan, Open::CreateNew).await.unwrap();
        drop(open(&root, &small(), None).await);
        assert_eq!(files(&root, ".index").await, Vec::<String>::new());
    });
}
