//! The leader-epoch cache: at which offset each leader epoch began (KIP-101, Kafka's `LeaderEpochFileCache`).
//!
//! Pure. An epoch without records needs no durability: its entry would be replaced by the next epoch, which
//! starts at the same offset. So the log saves the cache at the latest before it writes the first record of a new epoch.

use norn_protocol::types::{LeaderEpoch, Offset};

/// Where one epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

/// Successive batches that carry the same epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochRun {
    pub epoch: LeaderEpoch,
    pub first: Offset,
    /// How many offsets say so.
    pub weight: i64,
}

/// Epochs and start offsets, both strictly rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<EpochStart>,
}

impl EpochCache {
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// The newest epoch; `None` before the first.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|e| e.epoch)
    }

    /// The epoch that the record at `offset` was (or would be) written in.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|e| e.start <= offset);
        Some(self.entries[after.checked_sub(1)?].epoch)
    }

    /// Notes that `epoch` begins at `start`. Entries that it contradicts (same or higher epoch, or the same or a
    /// later start) give way. Returns whether anything changed.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if self.entries.last().is_some_and(|last| last.epoch == epoch && last.start <= start) {
            return false;
        }
        let kept = self.entries.iter().take_while(|e| e.epoch < epoch && e.start < start).count();
        self.entries.truncate(kept);
        self.entries.push(EpochStart { epoch, start });
        true
    }

    /// The log now ends at `end`: forgets epochs that begin there or later. Returns whether anything changed.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        let kept = self.entries.partition_point(|e| e.start < end);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// The log now starts at `start`: forgets epochs that ended before it. The epoch in which `start` lies then
    /// begins there. Returns whether anything changed.
    pub fn truncate_from_start(&mut self, start: Offset) -> bool {
        let Some(current) = self.entries.partition_point(|e| e.start <= start).checked_sub(1) else {
            return false;
        };
        let changed = current > 0 || self.entries[current].start < start;
        self.entries.drain(..current);
        self.entries[0].start = start;
        changed
    }

    /// The largest epoch not above `requested`, and the offset at which it ended (`log_end` for the newest):
    /// Kafka's `endOffsetFor`. `(-1, -1)` if `requested` is above every known epoch or none is known; the start of
    /// the first epoch, under the requested number, if it is below all.
    pub fn end_of_epoch(&self, requested: LeaderEpoch, log_end: Offset) -> (LeaderEpoch, Offset) {
        if requested != LeaderEpoch::NONE && self.latest() == Some(requested) {
            return (requested, log_end);
        }
        let above = self.entries.partition_point(|e| e.epoch <= requested);
        match (requested, self.entries.get(above)) {
            (LeaderEpoch::NONE, _) | (_, None) => (LeaderEpoch::NONE, Offset::NONE),
            (_, Some(next)) => {
                let floor = above.checked_sub(1).map_or(requested, |at| self.entries[at].epoch);
                (floor, next.start)
            }
        }
    }

    /// The epochs of a log's batches, as read from the batches themselves. No CRC covers their epochs, so that some may
    /// be wrong: those of the heaviest choice of runs in which epochs never fall are believed.
    pub fn from_runs(runs: &[EpochRun]) -> EpochCache {
        // For each run, the weight of the best choice that ends with it, and the run before it in that choice.
        let mut best: Vec<(i64, Option<usize>)> = Vec::with_capacity(runs.len());
        for (at, run) in runs.iter().enumerate() {
            let before = (0..at).filter(|b| runs[*b].epoch <= run.epoch).max_by_key(|b| best[*b].0);
            best.push((run.weight + before.map_or(0, |b| best[b].0), before));
        }
        let mut chosen = Vec::new();
        let mut next = (0..runs.len()).max_by_key(|at| best[*at].0);
        while let Some(at) = next {
            chosen.push(runs[at]);
            next = best[at].1;
        }
        let mut cache = EpochCache::default();
        for run in chosen.iter().rev().filter(|run| run.epoch >= LeaderEpoch(0)) {
            if cache.latest() < Some(run.epoch) {
                cache.assign(run.epoch, run.first);
            }
        }
        cache
    }

    /// The text of `leader-epoch-checkpoint`, as Kafka writes it: version, count, then `epoch start` by line.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("0\n{}\n", self.entries.len());
        for EpochStart { epoch, start } in &self.entries {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        text.into_bytes()
    }

    /// Reads [`EpochCache::encode`]'s text; `None` if it is anything else.
    pub fn decode(text: &[u8]) -> Option<EpochCache> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut cache = EpochCache::default();
        for line in lines {
            let (epoch, start) = line.split_once(' ')?;
            let next =
                EpochStart { epoch: LeaderEpoch(epoch.parse().ok()?), start: Offset(start.parse().ok()?) };
            let rises = cache.entries.last().is_none_or(|e| e.epoch < next.epoch && e.start < next.start);
            if !rises {
                return None;
            }
            cache.entries.push(next);
        }
        (cache.entries.len() == count).then_some(cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for &(epoch, start) in entries {
            assert!(cache.assign(LeaderEpoch(epoch), Offset(start)));
        }
        cache
    }

    fn end_of(cache: &EpochCache, epoch: i32) -> (i32, i64) {
        let (epoch, end) = cache.end_of_epoch(LeaderEpoch(epoch), Offset(100));
        (epoch.0, end.0)
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let cache = cache(&[(0, 0), (2, 10), (5, 40)]);
        assert_eq!(end_of(&cache, 0), (0, 10));
        assert_eq!(end_of(&cache, 1), (0, 10));
        assert_eq!(end_of(&cache, 2), (2, 40));
        assert_eq!(end_of(&cache, 4), (2, 40));
        assert_eq!(end_of(&cache, 5), (5, 100));
        assert_eq!(end_of(&cache, 6), (-1, -1));
        assert_eq!(end_of(&cache, -1), (-1, -1));
    }

    #[test]
    fn an_epoch_below_all_known_ends_where_the_first_begins() {
        assert_eq!(end_of(&cache(&[(3, 7)]), 1), (1, 7));
        assert_eq!(end_of(&EpochCache::default(), 0), (-1, -1));
    }

    #[test]
    fn an_epoch_without_records_gives_way_to_the_next() {
        let cache = cache(&[(0, 0), (1, 10), (2, 10)]);
        assert_eq!(cache, super::tests::cache(&[(0, 0), (2, 10)]));
        assert_eq!(end_of(&cache, 1), (0, 10));
    }

    #[test]
    fn epoch_zero_is_an_epoch() {
        let cache = cache(&[(0, 0)]);
        assert_eq!(cache.latest(), Some(LeaderEpoch(0)));
        assert_eq!(EpochCache::decode(&cache.encode()), Some(cache));
    }

    #[test]
    fn assigning_an_epoch_again_keeps_its_first_start() {
        let mut cache = cache(&[(0, 0), (1, 10)]);
        assert!(!cache.assign(LeaderEpoch(1), Offset(15)));
        assert_eq!(end_of(&cache, 0), (0, 10));
    }

    #[test]
    fn truncation_forgets_epochs_at_or_beyond_the_cut() {
        let mut cut = cache(&[(0, 0), (1, 10), (2, 20)]);
        assert!(cut.truncate_from_end(Offset(20)));
        assert_eq!(cut, cache(&[(0, 0), (1, 10)]));
        assert!(!cut.truncate_from_end(Offset(11)));
    }

    #[test]
    fn a_raised_log_start_keeps_the_epoch_it_lies_in() {
        let mut cut = cache(&[(0, 0), (1, 10), (2, 20)]);
        assert!(cut.truncate_from_start(Offset(15)));
        assert_eq!(cut, cache(&[(1, 15), (2, 20)]));
        assert_eq!(cut.epoch_at(Offset(15)), Some(LeaderEpoch(1)));
        assert_eq!(cut.epoch_at(Offset(14)), None);
    }

    fn runs(runs: &[(i32, i64, i64)]) -> Vec<EpochRun> {
        let run =
            |&(epoch, first, weight)| EpochRun { epoch: LeaderEpoch(epoch), first: Offset(first), weight };
        runs.iter().map(run).collect()
    }

    #[test]
    fn epochs_are_read_from_batches_and_a_wrong_one_is_not_believed() {
        let right = cache(&[(1, 0), (4, 10)]);
        assert_eq!(EpochCache::from_runs(&runs(&[(1, 0, 10), (4, 10, 7)])), right);
        assert_eq!(EpochCache::from_runs(&runs(&[(1, 0, 3), (513, 3, 2), (1, 5, 5), (4, 10, 7)])), right);
        assert_eq!(EpochCache::from_runs(&runs(&[(1, 0, 10), (4, 10, 4), (0, 14, 1), (4, 15, 2)])), right);
        assert_eq!(EpochCache::from_runs(&runs(&[(257, 0, 1), (1, 1, 9)])), cache(&[(1, 1)]));
        assert_eq!(EpochCache::from_runs(&[]), EpochCache::default());
    }

    proptest! {
        #[test]
        fn a_saved_cache_is_read_back_and_stays_ordered(steps in prop::collection::vec((0i32..20, 0i64..50), 0..30)) {
            let mut cache = EpochCache::default();
            for (epoch, start) in steps {
                cache.assign(LeaderEpoch(epoch), Offset(start));
            }
            for pair in cache.entries().windows(2) {
                prop_assert!(pair[0].epoch < pair[1].epoch && pair[0].start < pair[1].start);
            }
            prop_assert_eq!(EpochCache::decode(&cache.encode()), Some(cache));
        }

        #[test]
        fn any_text_is_a_cache_or_refused(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = EpochCache::decode(&text);
        }
    }
}
