//! Appending, rolling, reading, looking up.

use super::*;
use crate::rounds::{NoteTicket, Rounds};
use norn_protocol::batch::{build_batch, BatchOptions};

#[test]
fn what_was_appended_is_read_at_every_offset_and_size() {
    run(|root| async move {
        let (mut log, report) = open(&root, &small(), None).await;
        assert!(report.created);
        for n in 0..40 {
            append(&mut log, 1 + n % 4, 30 + 10 * (n % 7) as usize, 0).await;
        }
        assert!(log.segments.len() > 3);
        let end = log.end().0;
        for max in [1, 150, 400, 1000, 1 << 20] {
            for from in 0..end {
                assert_eq!(offsets_from(&log, from, max).await, (from..end).collect::<Vec<_>>());
            }
        }
        assert!(fetch(&log.view(), end, 100, limit(&log)).await.unwrap().is_empty());
        let beyond = fetch(&log.view(), end + 1, 100, limit(&log)).await;
        assert!(matches!(beyond, Err(ReadError::OutOfRange { .. })));
    });
}

#[test]
fn nothing_at_or_behind_the_limit_is_handed_out() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        let mut positions = vec![(log.end(), limit(&log))];
        for n in 0..30 {
            append(&mut log, 1 + n % 3, 60, 0).await;
            positions.push((log.end(), limit(&log)));
        }
        let view = log.view();
        for (high_watermark, position) in positions {
            assert_eq!(log.position_of(high_watermark), position, "{high_watermark}");
            for from in 0..log.end().0 {
                let batches = fetch(&view, from, 700, position).await.unwrap();
                assert_eq!(batches.is_empty(), from >= high_watermark.0);
                assert!(batches.last().is_none_or(|b| b.header.next_offset() <= high_watermark));
            }
        }
    });
}

#[test]
fn positions_of_old_boundaries_are_found_in_the_index() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        let mut positions = Vec::new();
        for _ in 0..3 * RECENT_BOUNDARIES {
            append(&mut log, 2, 20, 0).await;
            positions.push((log.end(), limit(&log)));
        }
        for (offset, position) in positions {
            let found = log.find_position(offset).await.unwrap();
            let next_segment = FilePosition { segment: offset, byte: 0 };
            assert!(found == position || found == next_segment, "{offset}: {found:?}, not {position:?}");
            // Without waiting for the disk it may be that of an index entry before it.
            let near = log.position_of(offset);
            assert!(near <= found && (near.segment < found.segment || found.byte - near.byte < 500));
        }
    });
}

#[test]
fn a_batch_larger_than_asked_for_comes_whole_or_not_at_all() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        append(&mut log, 1, 900, 0).await;
        let view = log.view();
        let range = view.locate(Offset(0), 10, limit(&log), true).await.unwrap().unwrap();
        assert!(range.len > 900);
        assert!(view.locate(Offset(0), 10, limit(&log), false).await.unwrap().is_none());
    });
}

#[test]
fn batches_of_one_call_become_one_write_and_one_dirty_range() {
    run(|root| async move {
        let (mut log, _) = open(&root, &LogConfig::default(), None).await;
        let batches = [produced(0, 2, 10), produced(2, 1, 10), produced(3, 4, 10)];
        log.append(&batches, LeaderEpoch(3), None).await.unwrap();
        let ranges = log.dirty.take();
        assert_eq!(ranges.len(), 1);
        let written: Vec<u8> = ranges[0].bytes.iter().flat_map(|b| b.to_vec()).collect();
        assert_eq!(written, read_raw(&root, &segment_name(0)).await);
        assert_eq!(ranges[0].len, written.len() as u64);
        assert_eq!(
            fetch(&log.view(), 3, 1, limit(&log)).await.unwrap()[0].header.leader_epoch,
            LeaderEpoch(3)
        );
    });
}

#[test]
fn log_append_time_replaces_the_timestamps() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        log.append(&[produced(0, 3, 10)], LeaderEpoch(0), Some(77_000)).await.unwrap();
        assert!(read_from(&log, 0, 1000).await.iter().all(|r| r.timestamp == 77_000));
        let hit = log.view().offset_for_timestamp(5000, &Decoding::default()).await.unwrap().unwrap();
        assert_eq!((hit.offset, hit.timestamp), (Offset(0), 77_000));
    });
}

#[test]
fn a_timestamp_is_found_to_the_record() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        for _ in 0..40 {
            append(&mut log, 3, 50, 0).await;
        }
        // Records are stamped 1000 + their offset.
        for offset in 0..log.end().0 {
            let hit =
                log.view().offset_for_timestamp(1000 + offset, &Decoding::default()).await.unwrap().unwrap();
            assert_eq!((hit.offset.0, hit.timestamp), (offset, 1000 + offset));
        }
        assert_eq!(
            log.view().offset_for_timestamp(0, &Decoding::default()).await.unwrap().unwrap().offset,
            Offset(0)
        );
        assert_eq!(
            log.view().offset_for_timestamp(1000 + log.end().0, &Decoding::default()).await.unwrap(),
            None
        );
        let max = log.view().max_timestamp(&Decoding::default()).await.unwrap().unwrap();
        assert_eq!(max.offset.0, log.end().0 - 1);
        log.delete_before(Offset(50)).await.unwrap();
        assert_eq!(
            log.view().offset_for_timestamp(0, &Decoding::default()).await.unwrap().unwrap().offset,
            Offset(50)
        );
    });
}

#[test]
fn where_no_record_has_a_timestamp_the_first_has_the_largest() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        let none = |n| Record { timestamp: -1, value: Some(Bytes::from(vec![n; 100])), ..Record::default() };
        for n in 0..20 {
            let bytes = build_batch(&[none(n), none(n)], BatchOptions::default()).unwrap();
            let batch = Batch::split_all(bytes).unwrap().remove(0);
            log.append(&[(batch, log.end())], LeaderEpoch(0), None).await.unwrap();
        }
        assert!(log.segments.len() > 2);
        let first = log.view().max_timestamp(&Decoding::default()).await.unwrap().unwrap();
        assert_eq!((first.offset, first.timestamp), (Offset(0), -1));
        log.delete_before(Offset(7)).await.unwrap();
        let first = log.view().max_timestamp(&Decoding::default()).await.unwrap().unwrap();
        assert_eq!((first.offset, first.timestamp), (Offset(7), -1));
    });
}

#[test]
fn the_largest_timestamp_is_that_of_a_record_that_is_still_there() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        let at = |timestamp| Record { timestamp, value: Some(Bytes::from_static(b"v")), ..Record::default() };
        for times in [[50, 90], [80, 10], [20, 30]] {
            let bytes = build_batch(&times.map(at), BatchOptions::default()).unwrap();
            let batch = Batch::split_all(bytes).unwrap().remove(0);
            log.append(&[(batch, log.end())], LeaderEpoch(0), None).await.unwrap();
        }
        for (start, offset, timestamp) in [(0, 1, 90), (1, 1, 90), (2, 2, 80), (3, 5, 30), (4, 5, 30)] {
            log.delete_before(Offset(start)).await.unwrap();
            let found = log.view().max_timestamp(&Decoding::default()).await.unwrap().unwrap();
            assert_eq!((found.offset, found.timestamp), (Offset(offset), timestamp), "from {start} on");
        }
        log.delete_before(log.end()).await.unwrap();
        assert_eq!(log.view().max_timestamp(&Decoding::default()).await.unwrap(), None);
    });
}

#[test]
fn an_empty_log_has_no_timestamps() {
    run(|root| async move {
        let (log, _) = open(&root, &small(), None).await;
        assert_eq!(log.view().max_timestamp(&Decoding::default()).await.unwrap(), None);
        assert_eq!(log.view().offset_for_timestamp(-1, &Decoding::default()).await.unwrap(), None);
        assert_eq!(log.end_of_epoch(LeaderEpoch(0)), (LeaderEpoch(-1), Offset(-1)));
    });
}

#[test]
fn a_segment_is_closed_when_a_record_is_much_newer_than_its_first() {
    run(|root| async move {
        let config = LogConfig { segment_ms: 9, ..LogConfig::default() };
        let (mut log, _) = open(&root, &config, None).await;
        for _ in 0..30 {
            append(&mut log, 1, 10, 0).await;
        }
        assert_eq!(files(&root, ".log").await.len(), 3);
    });
}

#[test]
fn topics_that_are_not_synced_hold_no_bytes_for_the_journal() {
    run(|root| async move {
        let config = LogConfig { flush: FlushMode::Async, ..small() };
        let (mut log, _) = open(&root, &config, None).await;
        for _ in 0..50 {
            append(&mut log, 2, 50, 0).await;
        }
        let ranges = log.dirty.take();
        assert_eq!(ranges.len(), 1, "closed segments are synced in the background");
        assert!(ranges[0].bytes.is_empty() && ranges[0].len > 0);
        append(&mut log, 1, 10, 0).await;
    });
}

/// Appends a batch; its bytes have a second owner for as long as the log holds any of them.
async fn append_watched(log: &mut PartitionLog) -> Arc<[u8]> {
    let (batch, base) = produced(log.end().0, 1, 100);
    let bytes: Arc<[u8]> = Arc::from(&batch.bytes[..]);
    let batch = Batch { bytes: Bytes::from_owner(bytes.clone()), ..batch };
    log.append(&[(batch, base)], LeaderEpoch(0), None).await.unwrap();
    bytes
}

#[test]
fn a_topic_that_is_no_longer_synced_lets_go_of_what_was_held_for_the_journal() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        let bytes = append_watched(&mut log).await;
        log.set_config(small());
        assert_eq!(Arc::strong_count(&bytes), 2, "the next sync may copy them into the journal");
        log.set_config(LogConfig { flush: FlushMode::Async, ..small() });
        assert_eq!(Arc::strong_count(&bytes), 1);
        // What was written is still to be synced when the segment is closed, in place.
        let ranges = log.dirty.take();
        assert_eq!((ranges.len(), ranges[0].len), (1, bytes.len() as u64));
    });
}

#[test]
fn a_large_dirty_range_is_left_to_be_synced_in_place() {
    run(|root| async move {
        let (mut log, _) = open(&root, &LogConfig::default(), None).await;
        for _ in 0..3 {
            append(&mut log, 1, 600 << 10, 0).await;
        }
        let ranges = log.dirty.take();
        assert!(ranges[0].bytes.is_empty());
        assert_eq!(ranges[0].len, read_raw(&root, &segment_name(0)).await.len() as u64);
    });
}

#[test]
#[should_panic(expected = "without gaps")]
fn a_gap_in_the_offsets_is_a_broken_invariant() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        let _ = log.append(&[produced(5, 1, 10)], LeaderEpoch(0), None).await;
    });
}

#[test]
fn an_epoch_below_the_logs_takes_it_offline() {
    run(|root| async move {
        for assigned in [true, false] {
            let (mut log, _) = open(&root, &small(), None).await;
            append(&mut log, 1, 10, 4).await;
            let end = log.end();
            let refused = match assigned {
                true => log.assign_epoch(LeaderEpoch(3), end).await,
                false => log.append(&[produced(end.0, 1, 10)], LeaderEpoch(3), None).await,
            };
            assert!(refused.unwrap_err().to_string().contains("leader epoch 3 is below 4"));
            assert!(log.fault().is_some() && log.end() == end);
        }
    });
}

/// A disk whose syncs fail and whose journal never answers.
struct Broken;

impl Rounds for Broken {
    fn submit(&self, _: SyncRequest) -> SyncTicket {
        SyncTicket::new(async { Err(SyncError::new("sync failed: EIO")) })
    }

    fn note(&self, _: LogKey, _: FileNote) -> NoteTicket {
        NoteTicket::new(std::future::pending())
    }
}

async fn open_on_broken_disk(root: &Path) -> PartitionLog {
    let mut options = options(root, &small(), None);
    options.rounds = RoundsHandle::new(Arc::new(Broken));
    PartitionLog::open(options, &mut |_: Visit<'_>| {}).await.unwrap().0
}

#[test]
fn after_a_failed_sync_nothing_is_appended_and_nothing_is_durable() {
    run(|root| async move {
        let mut log = open_on_broken_disk(&root).await;
        append(&mut log, 1, 10, 0).await;
        assert!(log.sync().await.is_err());
        let refused = log.append(&[produced(1, 1, 10)], LeaderEpoch(0), None).await;
        assert!(matches!(refused, Err(LogError::Offline { .. })));
        assert!(log.sync().await.is_err());
        assert_eq!((log.durable_end(), log.end()), (Offset(0), Offset(1)));
        assert!(log.fault().unwrap().contains("EIO"));
        assert!(matches!(log.close().await, Err(LogError::Offline { .. })));
    });
}

#[test]
fn an_operation_that_is_dropped_takes_the_log_offline() {
    run(|root| async move {
        let mut log = open_on_broken_disk(&root).await;
        append(&mut log, 1, 10, 0).await;
        assert!(log.roll().now_or_never().is_none());
        let refused = log.append(&[produced(1, 1, 10)], LeaderEpoch(0), None).await;
        assert!(matches!(refused, Err(LogError::Offline { .. })));
    });
}

#[test]
fn a_log_that_is_offline_lets_go_of_what_no_sync_takes_any_more() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        let bytes = append_watched(&mut log).await;
        // The name of the next segment is taken.
        let taken = format!("t-0/{}", segment_name(1));
        Disk::open(&root).unwrap().create_dir_all(&taken).await.unwrap();
        assert!(log.roll().await.is_err());
        assert!(log.fault().is_some() && log.sync().await.is_err());
        assert_eq!(Arc::strong_count(&bytes), 2, "nobody has taken them");
        log.give_up();
        assert_eq!(Arc::strong_count(&bytes), 1);
    });
}

#[test]
fn indexes_that_nobody_uses_leave_memory_and_come_back() {
    run(|root| async move {
        let (mut log, _) = open(&root, &small(), None).await;
        for _ in 0..60 {
            append(&mut log, 2, 50, 0).await;
        }
        for _ in 0..2 {
            log.retain(0, Offset(0)).await.unwrap();
        }
        assert!(log.segments[..log.segments.len() - 1].iter().all(|s| s.index_len() == 0));
        assert_eq!(offsets_from(&log, 0, 500).await, (0..log.end().0).collect::<Vec<_>>());
        assert!(log.segments[0].index_len() > 0);
    });
}
