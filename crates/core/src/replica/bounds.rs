//! What may be read of a partition, decided on the bounds that its task publishes.

use norn_protocol::types::{LeaderEpoch, Offset};
use norn_protocol::ErrorCode;

/// The offsets that bound a partition. `start <= high_watermark <= end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The first offset that is kept.
    pub start: Offset,
    /// Records below it are committed.
    pub high_watermark: Offset,
    /// The offset of the next record.
    pub end: Offset,
}

/// Where a Fetch stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchAt {
    /// Records can be read from its offset on.
    Readable,
    /// Nothing yet. Also between the high watermark and the end: after a failover the new leader's
    /// high watermark may be behind what consumers have seen, and an error would reset them.
    Waits,
    /// OFFSET_OUT_OF_RANGE.
    OutOfRange,
}

impl Bounds {
    /// Where a consumer's Fetch at `offset` stands.
    pub fn fetch_at(&self, offset: Offset) -> FetchAt {
        if offset < self.start || offset > self.end {
            FetchAt::OutOfRange
        } else if offset < self.high_watermark {
            FetchAt::Readable
        } else {
            FetchAt::Waits
        }
    }

    /// The latest offset, as ListOffsets gives it (KIP-207): not known until the high watermark has
    /// reached the start of the leader's epoch, since before it may lie behind an earlier answer.
    pub fn latest(&self, epoch_start: Offset) -> Result<Offset, ErrorCode> {
        if self.high_watermark >= epoch_start {
            Ok(self.high_watermark)
        } else {
            Err(ErrorCode::OffsetNotAvailable)
        }
    }

    /// The log start that DeleteRecords up to `before` leads to; -1 stands for the high watermark.
    pub fn delete_before(&self, before: Offset) -> Result<Offset, ErrorCode> {
        match before {
            Offset::NONE => Ok(self.high_watermark),
            _ if before < Offset::ZERO || before > self.high_watermark => Err(ErrorCode::OffsetOutOfRange),
            _ => Ok(before.max(self.start)),
        }
    }
}

/// Whether a request that goes by `claimed` may be served by a leader in `current` (KIP-320).
pub fn check_epoch(current: LeaderEpoch, claimed: LeaderEpoch) -> Result<(), ErrorCode> {
    if claimed == LeaderEpoch::NONE || claimed == current {
        Ok(())
    } else if claimed < current {
        Err(ErrorCode::FencedLeaderEpoch)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}

/// How far a replica lags behind, as DescribeLogDirs gives it: the records below the high watermark that it does not
/// have; -1 while its log is not online (Kafka: `ReplicaManager.getLogEndOffsetLag`).
pub fn offset_lag(online: bool, high_watermark: Offset, end: Offset) -> i64 {
    match online {
        true => high_watermark.0.saturating_sub(end.0).max(0),
        false => -1,
    }
}

/// Whether a Fetch that meets this error when it arrives is answered at once, though other partitions of it could wait for
/// records: the client must act on it (look up offsets, another leader) and then asks for something else.
///
/// Kafka's `ReplicaManager.fetchMessages` takes every error of a read so. Corrupt records, a failed disk and an epoch that is
/// not known yet stay as they are whatever the client does, so here they wait with the others: the client would repeat its
/// request as fast as it can.
pub fn fetch_answers_at_once(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::OffsetOutOfRange | ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { start: Offset(10), high_watermark: Offset(20), end: Offset(30) };

    #[test]
    fn a_fetch_above_the_high_watermark_waits() {
        let at = |offset| BOUNDS.fetch_at(Offset(offset));
        assert_eq!(at(9), FetchAt::OutOfRange);
        assert_eq!(at(10), FetchAt::Readable);
        assert_eq!(at(19), FetchAt::Readable);
        assert_eq!(at(20), FetchAt::Waits);
        assert_eq!(at(30), FetchAt::Waits);
        assert_eq!(at(31), FetchAt::OutOfRange);
    }

    #[test]
    fn the_latest_offset_is_not_known_below_the_start_of_the_epoch() {
        assert_eq!(BOUNDS.latest(Offset(20)), Ok(Offset(20)));
        assert_eq!(BOUNDS.latest(Offset(21)), Err(ErrorCode::OffsetNotAvailable));
    }

    #[test]
    fn only_committed_records_are_deleted() {
        let delete = |offset| BOUNDS.delete_before(Offset(offset));
        assert_eq!(delete(-1), Ok(Offset(20)));
        assert_eq!(delete(5), Ok(Offset(10)));
        assert_eq!(delete(15), Ok(Offset(15)));
        assert_eq!(delete(21), Err(ErrorCode::OffsetOutOfRange));
        assert_eq!(delete(-2), Err(ErrorCode::OffsetOutOfRange));
    }

    #[test]
    fn a_replica_lags_by_what_it_lacks_below_the_high_watermark() {
        assert_eq!(offset_lag(true, Offset(20), Offset(30)), 0);
        assert_eq!(offset_lag(true, Offset(20), Offset(15)), 5);
        assert_eq!(offset_lag(false, Offset(20), Offset(30)), -1);
    }

    #[test]
    fn another_epoch_is_fenced_or_unknown() {
        let check = |claimed| check_epoch(LeaderEpoch(5), LeaderEpoch(claimed));
        assert_eq!(check(-1), Ok(()));
        assert_eq!(check(5), Ok(()));
        assert_eq!(check(4), Err(ErrorCode::FencedLeaderEpoch));
        assert_eq!(check(6), Err(ErrorCode::UnknownLeaderEpoch));
    }
}
