//! Which of the errors that a broker logs a fault explains: a bad disk those of its time, a flipped bit those that name its
//! log.

use std::time::Duration;

use super::logs::Logged;
use crate::faults::director::Harm;

/// What a bad disk left behind is found by the process that takes over.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);

/// The first error that no fault explains.
pub fn unexplained<'a>(errors: &'a [Logged], harm: &Harm) -> Option<&'a Logged> {
    errors.iter().find(|error| !of_a_bad_disk(error, harm) && !of_a_flip(error, harm))
}

fn of_a_bad_disk(error: &Logged, harm: &Harm) -> bool {
    harm.troubles.iter().any(|trouble| {
        let bad = matches!(trouble.fault.kind(), "disk-error" | "disk-full");
        bad && trouble.meets(error.at.saturating_sub(TAKEN_OVER_WITHIN), error.at)
    })
}

fn of_a_flip(error: &Logged, harm: &Harm) -> bool {
    let mut flips = harm.corrupted.iter().filter(|flip| flip.at <= error.at);
    flips.any(|flip| names(&error.line, &flip.topic, flip.partition))
}

/// Whether a line names a partition: by its directory, or by its topic and its number.
fn names(line: &str, topic: &str, partition: i32) -> bool {
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_digit());
    let has = |text: &str| line.match_indices(text).any(|(at, _)| ends(&line[at + text.len()..]));
    let by_parts = line.contains(&format!("topic=\"{topic}\"")) && has(&format!("partition={partition}"));
    has(&format!("{topic}-{partition}")) || by_parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::director::Trouble;
    use crate::faults::flip::Corrupted;
    use crate::faults::{DiskVerb, Fault};

    fn error(at_s: u64, line: &str) -> [Logged; 1] {
        [Logged { at: Duration::from_secs(at_s), line: line.to_owned() }]
    }

    #[test]
    fn a_bad_disk_explains_what_is_logged_in_its_time() {
        let fault = Fault::DiskError { broker: 0, op: DiskVerb::Sync, count: 1, for_ms: 5_000, stays_ms: 0 };
        let span = Duration::from_secs(10)..=Duration::from_secs(15);
        let harm = Harm { troubles: vec![Trouble { fault, span }], ..Harm::default() };
        let explained = |at_s| unexplained(&error(at_s, "log is offline"), &harm).is_none();
        assert_eq!([9, 10, 25, 26].map(explained), [false, true, true, false]);
        assert!(unexplained(&error(12, ""), &Harm::default()).is_some());
    }

    #[test]
    fn a_flipped_bit_explains_what_names_its_log() {
        let flip = Corrupted {
            at: Duration::from_secs(10),
            topic: "t0".to_owned(),
            topic_id: String::new(),
            partition: 1,
            first_offset: 0,
            last_offset: 3,
            path: "/data/0/t0-1/00.log".to_owned(),
            position: 7,
        };
        let harm = Harm { corrupted: vec![flip], ..Harm::default() };
        let explained = |at_s, line| unexplained(&error(at_s, line), &harm).is_none();
        assert!(explained(11, "corrupt records in /data/0/t0-1/00.log"));
        assert!(explained(11, " topic=\"t0\" partition=1 offset=3"));
        assert!(!explained(9, "corrupt records in /data/0/t0-1/00.log"));
        assert!(!explained(11, "corrupt records in /data/0/t0-11/00.log"));
        assert!(!explained(11, " topic=\"t0\" partition=2 offset=1"));
        assert!(!explained(11, "the metadata cannot be read"));
    }
}
