//! What checkers must know of the world beyond what its clients saw.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What was done to the brokers, told by the world. Times are virtual, since the history began ([`super::History::now`]).
#[derive(Clone, Debug, Default)]
pub struct CheckContext {
    /// When written but unsynced bytes may have been lost: power losses, and spans in which writes or syncs were made to
    /// fail. Only promises of topics with `flush.mode=async` end there.
    pub losses: Vec<RangeInclusive<Duration>>,
    /// The bits that were flipped at rest.
    pub flips: Vec<Flip>,
    /// When a broker's process ended, on its own or not: the next one trusts no bytes that it has not verified.
    pub restarts: Vec<Duration>,
    /// Whether the world has one broker only: then high watermarks are compared across clients, not only within each.
    pub single_broker: bool,
}

/// A bit that was flipped in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The file, with its partition's directory (`…/topic-0/….log`).
    pub path: String,
    /// When.
    pub at: Duration,
}

impl CheckContext {
    /// Whether unsynced bytes may have been lost between the two times.
    pub fn lost_between(&self, from: Duration, to: Duration) -> bool {
        self.losses.iter().any(|loss| *loss.start() <= to && *loss.end() >= from)
    }

    /// Whether a bit of this partition's files was flipped.
    pub fn flipped(&self, topic: &str, partition: i32) -> bool {
        let directory = format!("{topic}-{partition}");
        self.flips.iter().any(|flip| flip.path.split('/').any(|part| part == directory))
    }

    /// Whether a bit of this partition's files was flipped while the process ran that answered: what a process wrote or
    /// has verified it serves from the page cache without looking again.
    pub fn flipped_under(&self, topic: &str, partition: i32, sent: Duration, done: Duration) -> bool {
        let directory = format!("{topic}-{partition}");
        let here = self.flips.iter().filter(|flip| flip.path.split('/').any(|part| part == directory));
        let verified_since = |at: Duration| self.restarts.iter().any(|restart| (at..=sent).contains(restart));
        here.filter(|flip| flip.at <= done).any(|flip| !verified_since(flip.at))
    }

    /// Whether a bit of any file below a topic's directories was flipped.
    pub fn flipped_topic(&self, topic: &str) -> bool {
        let of_topic = |part: &str| part.rsplit_once('-').is_some_and(|(name, _)| name == topic);
        self.flips.iter().any(|flip| flip.path.split('/').any(of_topic))
    }
}
