//! The whole against a simple map: random operations, crashes that take back or tear what was not synced, and
//! reads of every offset.

use std::collections::BTreeMap;

use super::*;
use crate::rounds::{NoteTicket, Rounds};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Append {
        batches: u8,
        records: u8,
        value_len: u16,
    },
    Sync,
    Roll,
    NewEpoch,
    Truncate {
        part: u8,
    },
    DeleteBefore {
        part: u8,
    },
    RetainBytes {
        bytes: u16,
    },
    Snapshot,
    CloseAndOpen,
    /// The process dies; of what no sync covered, this part of the bytes is left, and then `torn` bytes of zeros.
    Crash {
        left: u8,
        torn: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (1u8..5, 1u8..6, 0u16..700)
            .prop_map(|(batches, records, value_len)| Op::Append { batches, records, value_len }),
        6 => Just(Op::Sync),
        1 => Just(Op::Roll),
        2 => Just(Op::NewEpoch),
        2 => any::<u8>().prop_map(|part| Op::Truncate { part }),
        1 => any::<u8>().prop_map(|part| Op::DeleteBefore { part }),
        1 => (2000u16..20_000).prop_map(|bytes| Op::RetainBytes { bytes }),
        1 => Just(Op::Snapshot),
        2 => Just(Op::CloseAndOpen),
        3 => (any::<u8>(), 0u8..100).prop_map(|(left, torn)| Op::Crash { left, torn }),
    ]
}

/// What is on disk for sure: the content of each segment at its last sync.
#[derive(Clone, Default)]
struct Synced(Arc<Mutex<BTreeMap<String, u64>>>);

impl Rounds for Synced {
    fn submit(&self, request: SyncRequest) -> SyncTicket {
        let synced = self.clone();
        SyncTicket::new(async move {
            for range in request.ranges {
                let len = range.position + range.len;
                let mut synced = synced.0.lock().unwrap();
                let known = synced.entry(range.file.path().to_owned()).or_default();
                *known = len.max(*known);
            }
            Ok(request.end)
        })
    }

    fn note(&self, _: LogKey, note: FileNote) -> NoteTicket {
        let mut synced = self.0.lock().unwrap();
        match note {
            FileNote::Truncated { segment, len, .. } => {
                let path = format!("t-0/{:020}.log", segment.0);
                synced.retain(|known, _| *known <= path);
                synced.entry(path).and_modify(|known| *known = len.min(*known));
            }
            FileNote::Created { segment } | FileNote::Deleted { segment } => {
                synced.remove(&format!("t-0/{:020}.log", segment.0));
            }
            FileNote::Truncating { .. } => {}
        }
        NoteTicket::new(async { Ok(()) })
    }
}

struct World {
    root: PathBuf,
    config: LogConfig,
    synced: Synced,
    log: Option<PartitionLog>,
    /// What each offset holds: epoch and length of the value.
    records: BTreeMap<i64, (i32, usize)>,
    start: i64,
    end: i64,
    durable: i64,
    epoch: i32,
}

impl World {
    async fn open(&mut self, recovery_point: Option<i64>) {
        let mut options = options(&self.root, &self.config, recovery_point);
        options.rounds = RoundsHandle::new(Arc::new(self.synced.clone()));
        let mut next = 0;
        let mut visit = |visit: Visit<'_>| match visit {
            Visit::Snapshot { at, bytes } => {
                assert_eq!(*bytes, Bytes::from(at.0.to_string()));
                next = at.0;
            }
            Visit::Batch(header) => {
                assert!(next <= header.base_offset.0);
                next = header.next_offset().0;
            }
            Visit::Damaged => panic!("nothing is damaged"),
        };
        let (log, report) = PartitionLog::open(options, &mut visit).await.unwrap();
        assert!(report.damages.is_empty(), "{report:?}");
        assert!(next == log.end().0 || log.view().size() == 0, "all batches are visited");
        assert!(log.end().0 >= self.durable, "durable to {}, ends at {}", self.durable, log.end());
        assert!(log.end().0 <= self.end);
        self.end = log.end().0;
        self.durable = self.end;
        self.records.split_off(&self.end);
        for segment in log.segments.iter() {
            let mut synced = self.synced.0.lock().unwrap();
            synced.insert(segment.file().path().to_owned(), segment.size());
        }
        self.log = Some(log);
    }

    fn log(&mut self) -> &mut PartitionLog {
        self.log.as_mut().unwrap()
    }

    fn at_part(&self, part: u8) -> i64 {
        self.start + (self.end - self.start) * i64::from(part) / 255
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Append { batches, records, value_len } => {
                let mut to_append = Vec::new();
                for _ in 0..batches {
                    to_append.push(produced(self.end, i64::from(records), usize::from(value_len)));
                    for offset in self.end..self.end + i64::from(records) {
                        self.records.insert(offset, (self.epoch, usize::from(value_len)));
                    }
                    self.end += i64::from(records);
                }
                let epoch = LeaderEpoch(self.epoch);
                self.log().append(&to_append, epoch, None).await.unwrap();
            }
            Op::Sync => {
                let durable = self.log().sync().await.unwrap();
                self.log().synced(durable);
                self.durable = durable.0;
                assert_eq!(self.durable, self.end);
            }
            Op::Roll => self.log().roll().await.unwrap(),
            Op::NewEpoch => {
                self.epoch += 1;
                let (epoch, end) = (LeaderEpoch(self.epoch), Offset(self.end));
                self.log().assign_epoch(epoch, end).await.unwrap();
            }
            Op::Truncate { part } => {
                let target = self.at_part(part);
                let end = self.log().truncate_to(Offset(target)).await.unwrap().0;
                assert!(end <= target && target - end < 6);
                // The whole batch in which the start lies may go.
                self.end = end;
                self.durable = self.durable.min(end);
                self.records.split_off(&end);
                if end < self.start {
                    self.start = end;
                    assert_eq!(self.log().start().0, end);
                }
                self.epoch += 1;
            }
            Op::DeleteBefore { part } => {
                let target = self.at_part(part).min(self.durable);
                self.start = self.start.max(target);
                let start = self.log().delete_before(Offset(target)).await.unwrap();
                assert_eq!(start.0, self.start);
            }
            Op::RetainBytes { bytes } => {
                let config = LogConfig { retention_bytes: Some(u64::from(bytes)), ..self.config.clone() };
                let limit = Offset(self.durable);
                self.log().set_config(config);
                let deleted = self.log().retain(0, limit).await.unwrap();
                assert!(deleted.start.0 <= self.durable.max(self.start));
                self.start = deleted.start.0;
            }
            Op::Snapshot => {
                let end = self.end;
                self.log().store_producer_snapshot(Bytes::from(end.to_string())).await.unwrap();
            }
            Op::CloseAndOpen => {
                let log = self.log.take().unwrap();
                assert_eq!(log.close().await.unwrap().0, self.end);
                self.durable = self.end;
                self.open(None).await;
            }
            Op::Crash { left, torn } => {
                let point = self.durable;
                self.log = None;
                self.lose_unsynced(left, torn).await;
                self.open(Some(point)).await;
                // As after each start of a broker.
                self.epoch += 1;
            }
        }
    }

    /// Takes back a part of what no sync covered.
    async fn lose_unsynced(&self, left: u8, torn: u8) {
        for name in files(&self.root, ".log").await {
            let file = raw(&self.root, &name).await;
            let durable = self.synced.0.lock().unwrap().get(&format!("t-0/{name}")).copied().unwrap_or(0);
            let len = file.len().await.unwrap();
            assert!(durable <= len, "{name}: {durable} of {len} bytes are durable");
            if len > durable {
                let kept = durable + (len - durable) * u64::from(left) / 255;
                file.truncate(kept).await.unwrap();
                file.truncate(len.min(kept + u64::from(torn))).await.unwrap();
            }
        }
    }

    async fn check(&mut self, max: u64) {
        let (start, end) = (self.start, self.end);
        let log = self.log.as_ref().unwrap();
        assert_eq!((log.start().0, log.end().0, log.durable_end().0), (start, end, self.durable));
        let read = read_from(log, start, max).await;
        assert_eq!(read.len() as i64, end - start);
        for record in &read {
            let (epoch, value_len) = self.records[&record.offset.0];
            assert_eq!(record.value.as_ref().unwrap().len(), value_len, "offset {}", record.offset);
            assert_eq!(log.epochs.epoch_at(record.offset), Some(LeaderEpoch(epoch)));
        }
        let middle = start + (end - start) / 2;
        if middle < end {
            let hit =
                log.view().offset_for_timestamp(1000 + middle, &Decoding::default()).await.unwrap().unwrap();
            assert_eq!(hit.offset.0, middle);
            let batches = fetch(&log.view(), middle, max, limit(log)).await.unwrap();
            assert_eq!(batches[0].header.leader_epoch.0, self.records[&middle].0);
        }
    }
}

/// Carries the operations out on a new log, and compares after each.
fn play(ops: Vec<Op>, config: LogConfig, max: u64) {
    run(move |root| async move {
        let mut world = World {
            root,
            config,
            synced: Synced::default(),
            log: None,
            records: BTreeMap::new(),
            start: 0,
            end: 0,
            durable: 0,
            epoch: 0,
        };
        world.open(None).await;
        for op in ops {
            world.apply(op).await;
            world.check(max).await;
        }
    });
}

#[test]
fn the_index_of_a_segment_that_was_cut_off_is_not_that_of_the_next_one_at_its_offset() {
    let append = |batches, records, value_len| Op::Append { batches, records, value_len };
    let ops = vec![
        append(3, 5, 655),
        Op::Sync,
        // The last three of these are a segment of their own, which is closed and has its index.
        append(4, 2, 191),
        Op::Roll,
        Op::Crash { left: 128, torn: 0 },
        append(2, 1, 31),
        // A segment that begins where that one did.
        append(2, 1, 654),
        Op::Sync,
        Op::Crash { left: 0, torn: 0 },
    ];
    play(ops, LogConfig { segment_bytes: 10_604, index_interval_bytes: 1, ..small() }, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_what_was_put_into_it(
        ops in prop::collection::vec(op(), 1..60),
        segment_bytes in 300u64..20_000,
        index_interval_bytes in 1u32..5000,
        max in 1u64..5000,
    ) {
        play(ops, LogConfig { segment_bytes, index_interval_bytes, ..small() }, max);
    }
}
