//! What checkers must know of the world beyond what its clients saw.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use norn_protocol::types::TopicId;

use super::event::{Span, Tp};

/// What was done to the brokers, told by the world. Times are virtual, since the history began ([`super::History::now`]).
#[derive(Clone, Debug, Default)]
pub struct CheckContext {
    /// When written but unsynced bytes may have been lost: power losses, and spans in which writes or syncs were made to
    /// fail. Only promises of topics with `flush.mode=async` end there.
    pub losses: Vec<RangeInclusive<Duration>>,
    /// The batches that were flipped a bit at rest. They excuse what befalls their own offsets, and nothing else.
    pub flips: Vec<Flip>,
    /// When a broker's process ended, on its own or not: the next one trusts no bytes that it has not verified.
    pub restarts: Vec<Duration>,
    /// When faults were under way that may hold an answer up.
    pub troubles: Vec<Trouble>,
    /// Whether the world has one broker only: then high watermarks are compared across clients, not only within each.
    pub single_broker: bool,
}

/// A fault that may hold an answer up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whose answers; everybody's if none.
    pub client: Option<u32>,
    pub span: RangeInclusive<Duration>,
}

/// A batch that was flipped a bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    pub topic: String,
    /// The topic's id as it is displayed: another topic of this name has nothing to do with the flip.
    pub topic_id: String,
    pub partition: i32,
    /// Those of the whole batch: no record of it can be trusted any more.
    pub offsets: RangeInclusive<i64>,
    pub at: Duration,
}

impl Flip {
    /// Whether the batch is one of this partition.
    pub fn is_of(&self, tp: &Tp) -> bool {
        let same_topic = tp.id.is_nil() || TopicId(tp.id).to_string() == self.topic_id;
        *self.topic == *tp.topic && self.partition == tp.partition && same_topic
    }
}

impl CheckContext {
    /// Whether unsynced bytes may have been lost between the two times.
    pub fn lost_between(&self, from: Duration, to: Duration) -> bool {
        self.losses.iter().any(|loss| *loss.start() <= to && *loss.end() >= from)
    }

    /// The flips of the batches with this offset, up to some time.
    fn flips<'a>(&'a self, tp: &'a Tp, offset: i64, by: Duration) -> impl Iterator<Item = &'a Flip> + 'a {
        let here = self.flips.iter().filter(move |flip| flip.at <= by && flip.offsets.contains(&offset));
        here.filter(|flip| flip.is_of(tp))
    }

    /// Whether the batch with this offset was flipped a bit by then.
    pub fn flipped(&self, tp: &Tp, offset: i64, by: Duration) -> bool {
        self.flips(tp, offset, by).next().is_some()
    }

    /// How many of these offsets are in flipped batches.
    pub fn count_flipped(&self, tp: &Tp, offsets: Range<i64>) -> u64 {
        match self.flips.iter().any(|flip| flip.is_of(tp)) {
            true => offsets.filter(|offset| self.flipped(tp, *offset, Duration::MAX)).count() as u64,
            false => 0,
        }
    }

    /// Whether the batch with this offset was flipped a bit while the process ran that answered: what a process wrote or
    /// has verified it serves from the page cache without looking again.
    pub fn flipped_under(&self, tp: &Tp, offset: i64, span: Span) -> bool {
        self.flips(tp, offset, span.done).any(|flip| !self.restarted_between(flip.at, span.sent))
    }

    /// Whether a process of the broker ended between the two times.
    pub fn restarted_between(&self, from: Duration, to: Duration) -> bool {
        self.restarts.iter().any(|restart| (from..=to).contains(restart))
    }
}
