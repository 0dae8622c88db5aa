//! Bits that flip at rest: every offset that was not hit stays readable, the others are refused, nothing wrong is
//! handed out.

use super::*;
use proptest::prelude::*;

const BATCHES: i64 = 24;

async fn closed_log(root: &Path, config: &LogConfig) -> i64 {
    let (mut log, _) = open(root, config, None).await;
    for n in 0..BATCHES {
        append_synced(&mut log, 2, 60, (n / 9) as i32).await;
    }
    log.close().await.unwrap().0
}

/// Where the batches of a segment's file stand.
fn places(bytes: &[u8]) -> Vec<(i64, std::ops::Range<usize>)> {
    let mut at = 0;
    Batch::split_all(Bytes::copy_from_slice(bytes))
        .unwrap()
        .into_iter()
        .map(|batch| {
            let range = at..at + batch.bytes.len();
            at = range.end;
            (batch.header.base_offset.0, range)
        })
        .collect()
}

/// Flips a bit of the batch number `batch` of the first segment and reads every offset.
async fn flip_and_read(root: PathBuf, batch: usize, byte: usize, bit: u8, config: LogConfig) {
    let end = closed_log(&root, &config).await;
    let mut bytes = read_raw(&root, &segment_name(0)).await;
    let places = places(&bytes);
    let (base, range) = places[batch % places.len()].clone();
    bytes[range.start + byte % range.len()] ^= 1 << bit;
    write_raw(&root, &segment_name(0), bytes).await;
    let original = |offset: i64| crate::testing::batch_at(offset & !1, 2, ((offset / 2) / 9) as i32, 60);

    for recovery_point in [None, Some(end), Some(end)] {
        let (log, report) = open(&root, &config, recovery_point).await;
        assert_eq!((log.start(), log.end()), (Offset(0), Offset(end)));
        assert_eq!(report.cut_bytes, 0);
        for max in [1, 100_000] {
            for offset in 0..end {
                let read = fetch(&log.view(), offset, max, limit(&log)).await;
                if offset & !1 == base {
                    let named = matches!(&read, Err(ReadError::Corrupt { first, next, .. })
                        if *first == Offset(base) && *next == Offset(base + 2));
                    assert!(named, "{offset}: {read:?}");
                } else {
                    let batches = read.unwrap_or_else(|e| panic!("{offset}, hit {base}: {e}"));
                    assert_eq!(batches[0].bytes, original(offset), "{offset}");
                    assert!(batches.iter().all(|b| b.header.base_offset.0 != base));
                }
            }
        }
        log.close().await.unwrap();
    }
}

#[test]
fn a_flipped_length_costs_only_its_batch() {
    for byte in 8..12 {
        for bit in [0, 3, 7] {
            run(move |root| flip_and_read(root, 3, byte, bit, small()));
        }
    }
}

#[test]
fn a_flipped_epoch_costs_only_its_batch_and_is_not_taken_for_a_new_one() {
    for byte in [12, 15] {
        for batch in [0, 8, 9, 20] {
            let config = LogConfig { segment_bytes: 20_000, ..small() };
            run(move |root| flip_and_read(root, batch, byte, 1, config));
        }
    }
}

#[test]
fn an_offset_that_no_segment_reaches_is_damage_too() {
    run(|root| async move {
        // One segment, so that none behind it bounds its offsets, which is walked through from its start.
        let config = LogConfig { segment_bytes: 20_000, index_interval_bytes: 20_000, ..small() };
        let end = closed_log(&root, &config).await;
        let mut bytes = read_raw(&root, &segment_name(0)).await;
        let places = places(&bytes);
        // The content of one batch, and the offset of the next, which its CRC does not cover.
        bytes[places[3].1.end - 1] ^= 1;
        bytes[places[4].1.start + 1] ^= 1;
        write_raw(&root, &segment_name(0), bytes).await;
        // What is behind this point may or may not be there.
        let (log, _) = open(&root, &config, Some(end / 2)).await;
        assert_eq!(log.end(), Offset(end));
        for offset in 0..end {
            let read = fetch(&log.view(), offset, 1, limit(&log)).await;
            assert_eq!(read.is_err(), (places[3].0..places[5].0).contains(&offset), "{offset}: {read:?}");
        }
    });
}

/// Flips a bit of the header of one batch under a log that trusts what it wrote, and reads the first record of each other
/// batch and the last.
async fn flip_under_and_read(root: PathBuf, byte: usize, bit: u8) {
    let config = LogConfig { index_interval_bytes: 1 << 20, segment_bytes: 1 << 20, ..small() };
    let (mut log, _) = open(&root, &config, None).await;
    for _ in 0..BATCHES {
        append_synced(&mut log, 2, 60, 0).await;
    }
    let mut bytes = read_raw(&root, &segment_name(0)).await;
    let (base, range) = places(&bytes)[5].clone();
    bytes[range.start + byte] ^= 1 << bit;
    write_raw(&root, &segment_name(0), bytes).await;
    for offset in (0..2 * BATCHES).filter(|offset| offset & !1 != base) {
        let batches = fetch(&log.view(), offset, 1, limit(&log)).await;
        let batches = batches.unwrap_or_else(|e| panic!("{offset}, hit {base}: {e}"));
        assert_eq!(batches[0].bytes, crate::testing::batch_at(offset & !1, 2, 0, 60), "{offset}");
    }
    log.close().await.unwrap();
}

#[test]
fn a_number_of_offsets_that_is_flipped_under_a_log_hides_no_other_batch() {
    for byte in 23..27 {
        for bit in [0, 1, 4] {
            run(move |root| flip_under_and_read(root, byte, bit));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_costs_only_its_batch(batch in 0usize..30, byte in 0usize..300, bit in 0u8..8, interval in 1u32..2000, segment in 500u64..9000) {
        let config = LogConfig { index_interval_bytes: interval, segment_bytes: segment, ..small() };
        run(move |root| flip_and_read(root, batch, byte, bit, config));
    }

    #[test]
    fn a_flipped_header_costs_only_its_batch(batch in 0usize..30, byte in 0usize..61, bit in 0u8..8, interval in 1u32..2000, segment in 500u64..9000) {
        let config = LogConfig { index_interval_bytes: interval, segment_bytes: segment, ..small() };
        run(move |root| flip_and_read(root, batch, byte, bit, config));
    }
}

#[test]
fn a_flipped_bit_beside_the_records_costs_none_of_them() {
    for seed in 0..60usize {
        run(move |root| async move {
            let (mut log, _) = open(&root, &small(), None).await;
            for n in 0..BATCHES {
                append_synced(&mut log, 2, 60, (n / 9) as i32).await;
                if n % 10 == 0 {
                    log.store_producer_snapshot(Bytes::from_static(b"known")).await.unwrap();
                }
            }
            log.delete_before(Offset(5)).await.unwrap();
            let end = log.close().await.unwrap().0;
            let mut names = files(&root, "").await;
            names.retain(|name| !name.ends_with(".log"));
            let name = &names[seed % names.len()];
            let mut bytes = read_raw(&root, name).await;
            let at = seed * 7919 % (bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            write_raw(&root, name, bytes).await;
            if name == METADATA_FILE {
                let opened = PartitionLog::open(options(&root, &small(), None), &mut |_: Visit<'_>| {}).await;
                assert!(matches!(opened, Err(LogError::Unidentified { .. })));
                let open = options(&root, &small(), None);
                write_topic_id(&open.disk, &open.dir, open.id.topic_id).await.unwrap();
            }
            for recovery_point in [None, Some(end), Some(end / 2)] {
                let (log, report) = open(&root, &small(), recovery_point).await;
                assert!(report.damages.is_empty() && report.cut_bytes == 0, "{name}: {report:?}");
                assert_eq!(log.end().0, end);
                assert_eq!(log.end_of_epoch(LeaderEpoch(0)), (LeaderEpoch(0), Offset(18)));
                let start = log.start().0;
                assert!(start == 5 || name == START_FILE);
                assert_eq!(offsets_from(&log, start, 3000).await, (start..end).collect::<Vec<_>>(), "{name}");
                drop(log);
            }
        });
    }
}

#[test]
fn what_this_process_wrote_is_not_read_again_and_all_else_is_once() {
    run(|root| async move {
        let end = closed_log(&root, &small()).await;
        let (mut log, _) = open(&root, &small(), None).await;
        append_synced(&mut log, 2, 60, 5).await;
        assert_eq!(offsets_from(&log, 0, 100_000).await, (0..end + 2).collect::<Vec<_>>());
        // Behind the back of the process: what was checked is not checked again.
        let mut bytes = read_raw(&root, &segment_name(0)).await;
        bytes[70] ^= 1;
        write_raw(&root, &segment_name(0), bytes).await;
        assert!(log.view().locate(Offset(0), 100_000, limit(&log), true).await.is_ok());
    });
}

#[test]
fn timestamps_are_looked_up_around_damage() {
    run(|root| async move {
        let end = closed_log(&root, &small()).await;
        let mut bytes = read_raw(&root, &segment_name(0)).await;
        let (base, range) = places(&bytes)[2].clone();
        bytes[range.start + 9] ^= 0x10;
        write_raw(&root, &segment_name(0), bytes).await;
        let (log, _) = open(&root, &small(), None).await;
        for offset in 0..end {
            let hit =
                log.view().offset_for_timestamp(1000 + offset, &Decoding::default()).await.unwrap().unwrap();
            let expected = if offset & !1 == base { base + 2 } else { offset };
            assert_eq!(hit.offset.0, expected);
        }
    });
}

/// Opens the log; what it tells of its producers: the offsets of batches, and where some are damaged.
async fn told(root: &Path, durable: i64) -> Vec<Option<i64>> {
    let mut seen = Vec::new();
    let mut visit = |visit: Visit<'_>| match visit {
        Visit::Batch(header) => seen.push(Some(header.base_offset.0)),
        Visit::Damaged => seen.push(None),
        Visit::Snapshot { .. } => panic!("none was stored"),
    };
    let opened = PartitionLog::open(options(root, &LogConfig::default(), Some(durable)), &mut visit).await;
    opened.unwrap().0.close().await.unwrap();
    seen
}

#[test]
fn who_keeps_the_producers_learns_where_batches_are_damaged() {
    run(|root| async move {
        let end = closed_log(&root, &LogConfig::default()).await;
        let mut bytes = read_raw(&root, &segment_name(0)).await;
        let (places, last) = (places(&bytes), BATCHES as usize - 1);
        for batch in [2, last] {
            bytes[places[batch].1.start + 70] ^= 1;
        }
        write_raw(&root, &segment_name(0), bytes).await;
        let expected = (0..BATCHES).map(|n| (n != 2 && n != last as i64).then_some(n * 2));
        assert_eq!(told(&root, end).await, expected.collect::<Vec<_>>());
    });
}

#[test]
fn who_keeps_the_producers_learns_that_the_last_batches_are_lost() {
    for kept in [0, 5] {
        run(move |root| async move {
            let end = closed_log(&root, &LogConfig::default()).await;
            let mut bytes = read_raw(&root, &segment_name(0)).await;
            bytes.truncate(places(&bytes)[kept].1.start);
            write_raw(&root, &segment_name(0), bytes).await;
            let expected: Vec<_> = (0..kept as i64).map(|n| Some(n * 2)).chain([None]).collect();
            // The second start finds the segment that the first began behind it.
            for _ in 0..2 {
                assert_eq!(told(&root, end).await, expected);
            }
        });
    }
}
