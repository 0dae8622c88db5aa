//! `group-progress`: once the faults have stopped, each partition that a group shares gets an owner whose commits reach the
//! end that the partition had then: within a session, in which a member may be found dead, rebalances, and some slack.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::CheckContext;
use super::event::{Event, Tp};
use super::log::Log;

/// What a group may take beside a session: members that leave when they are done, one after the other, and the rest of
/// what there is to read.
const SLACK: Duration = Duration::from_secs(45);

/// When a group was known to have come how far.
type Sights<'a> = BTreeMap<(&'a str, &'a Tp), Vec<(Duration, i64)>>;

/// A group's newest generation, and the member that owns each partition in it.
type Owners<'a> = (i32, BTreeMap<(&'a str, i32), &'a str>);

pub fn check(log: &Log<'_>, _: &CheckContext) -> Vec<String> {
    let mut sights: Sights<'_> = BTreeMap::new();
    // The latest assignments: generation, and its owners by partition.
    let mut owners: BTreeMap<&str, Owners<'_>> = BTreeMap::new();
    for event in log.events {
        match event {
            Event::Committed { group, tp, offset, span } => {
                sights.entry((group, tp)).or_default().push((span.done, *offset));
            }
            Event::Assigned { group, generation, member, partitions, .. } => {
                let (latest, of) = owners.entry(group).or_default();
                if latest != generation {
                    (*latest, *of) = (*generation, BTreeMap::new());
                }
                of.extend(
                    partitions.iter().map(|(topic, partition)| ((topic.as_str(), *partition), &**member)),
                );
            }
            _ => {}
        }
    }
    let mut found = vec![];
    for event in log.events {
        let Event::GroupGoal { group, ends, session, at } = event else { continue };
        let bound = *at + *session + SLACK;
        for (tp, end) in ends {
            let seen = sights.get(&(&**group, tp)).map(Vec::as_slice).unwrap_or_default();
            if seen.iter().any(|(when, offset)| offset >= end && *when <= bound) {
                continue;
            }
            let last = seen.iter().rfind(|(when, _)| *when <= bound);
            let owner = owners
                .get(&**group)
                .and_then(|(generation, of)| Some((generation, *of.get(&(&*tp.topic, tp.partition))?)));
            let owner = match owner {
                Some((generation, owner)) => format!("its owner in generation {generation} is {owner}"),
                None => "it has no owner".to_owned(),
            };
            let (at, bound) = (at.as_secs_f64(), bound.as_secs_f64());
            let had = last.map_or("nothing".to_owned(), |(when, offset)| {
                format!("{offset} at {:.3} s", when.as_secs_f64())
            });
            found.push(format!(
                "group {group}: {tp} ended at {end} at {at:.3} s, but the commits had not come there by {bound:.3} s \
                 (seen: {had}); {owner}"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn goal() -> Event {
        Event::GroupGoal { group: "g".into(), ends: vec![(tp(), 9)], session: secs(5), at: secs(100) }
    }

    fn committed(offset: i64, at: u64) -> Event {
        Event::Committed { group: "g".into(), tp: tp(), offset, span: span(at - 1, at) }
    }

    fn found(events: &[Event]) -> Vec<String> {
        check(&Log::of(events), &ctx())
    }

    #[test]
    fn commits_reach_the_end_in_time() {
        assert!(found(&[goal(), committed(3, 101), committed(9, 150)]).is_empty());
        assert_eq!(found(&[goal(), committed(9, 151)]).len(), 1);
        assert_eq!(found(&[goal(), committed(8, 101)]).len(), 1);
        assert_eq!(found(&[goal()]).len(), 1);
    }

    #[test]
    fn who_owns_the_partition_is_told() {
        let assigned = |generation, partitions: &[i32]| Event::Assigned {
            group: "g".into(),
            generation,
            member: "m".to_owned(),
            partitions: partitions.iter().map(|partition| ("t".to_owned(), *partition)).collect(),
            at: secs(90),
        };
        let owned = found(&[assigned(1, &[1]), assigned(2, &[0]), goal()]);
        assert!(owned[0].contains("its owner in generation 2 is m"));
        let orphaned = found(&[assigned(1, &[0]), assigned(2, &[1]), goal()]);
        assert!(orphaned[0].contains("no owner"));
    }
}
