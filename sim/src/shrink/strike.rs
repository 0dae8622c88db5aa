//! What can be struck from a tape. Whatever is left is as it was: faults keep their times, clients their numbers.

use std::collections::BTreeSet;

use crate::faults::Fault;
use crate::tape::Tape;

/// Virtual time from the last fault to the end of chaos that is tried, in milliseconds.
const CALM_MS: [u64; 4] = [1_000, 3_000, 10_000, 25_000];

/// The parts of a tape that are struck one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Faults,
    Clients,
    Topics,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Faults, Self::Clients, Self::Topics];

    /// How many of them there are.
    pub fn count(self, tape: &Tape) -> usize {
        match self {
            Self::Faults => tape.faults.len(),
            Self::Clients => tape.clients.clients.len(),
            Self::Topics => tape.clients.topics.len(),
        }
    }

    /// The tape with those at these places only.
    pub fn keep(self, tape: &Tape, kept: &[usize]) -> Tape {
        let mut left = tape.clone();
        match self {
            Self::Faults => {
                left.faults = kept.iter().filter_map(|place| tape.faults.get(*place)).cloned().collect();
            }
            Self::Clients => left.clients = tape.clients.with_clients(kept),
            Self::Topics => left.clients = tape.clients.with_topics(kept),
        }
        strike_aimless(&mut left);
        left
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Faults => "faults",
            Self::Clients => "clients",
            Self::Topics => "topics",
        }
    }
}

/// Strikes the faults that nothing is left for.
fn strike_aimless(tape: &mut Tape) {
    let clients: BTreeSet<usize> = tape.clients.clients.iter().map(|client| client.number).collect();
    let topics: BTreeSet<&str> = tape.clients.topics.iter().map(|topic| topic.name.as_str()).collect();
    tape.faults.retain(|timed| {
        let topic = match &timed.fault {
            Fault::LogStall { log, .. } => log.rsplit_once('-').map(|(topic, _)| topic),
            _ => None,
        };
        // Internal topics are not in the plan.
        let topic = topic.filter(|topic| !topic.starts_with("__"));
        timed.fault.client().is_none_or(|client| clients.contains(&client))
            && topic.is_none_or(|topic| topics.contains(topic))
    });
}

/// The tape with less time after the last fault, the shortest first.
pub fn shortened(tape: &Tape) -> Vec<Tape> {
    let last = tape.faults.last().map_or(0, |timed| timed.at_ms);
    let ends = CALM_MS.iter().map(|calm| last + calm).filter(|end| *end < tape.world.phases.chaos_ms);
    let with_end = |end| {
        let mut tape = tape.clone();
        tape.world.phases.chaos_ms = end;
        tape
    };
    ends.map(with_end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_tape_can_be_executed() {
        for seed in 0..100 {
            let tape = Tape::draw(seed);
            for part in Part::ALL {
                let count = part.count(&tape);
                for kept in [vec![], (0..count).step_by(2).collect::<Vec<_>>()] {
                    let left = part.keep(&tape, &kept);
                    assert_eq!(part.count(&left), kept.len());
                    assert_eq!(left.contradictions(), [""; 0], "seed {seed}, {kept:?} of {}", part.name());
                }
            }
            assert!(shortened(&tape).iter().all(|tape| tape.contradictions().is_empty()));
        }
    }

    #[test]
    fn the_faults_that_stay_keep_their_times_and_what_they_do() {
        let tape = Tape::draw(1);
        let left = Part::Faults.keep(&tape, &[1, 3]);
        assert_eq!(left.faults, [tape.faults[1].clone(), tape.faults[3].clone()]);
        assert_eq!(left.clients, tape.clients);
    }
}
