//! `group-exclusive`: in one generation of a group a partition has one owner, and nobody commits as a member of a
//! generation after a later one has been given out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::CheckContext;
use super::event::Event;
use super::log::Log;

pub fn check(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    let mut owners: BTreeMap<(&str, i32, &str, i32), &str> = BTreeMap::new();
    // When a generation was first known to a member.
    let mut given: BTreeMap<&str, BTreeMap<i32, Duration>> = BTreeMap::new();
    let mut sent = BTreeMap::new();
    // A coordinator that lost its unsynced records counts generations from where they end.
    let forgets = |at: Duration| !log.facts(OFFSETS_TOPIC).sync && ctx.lost_between(at, Duration::MAX);
    for event in log.events {
        match event {
            Event::Assigned { group, generation, member, partitions, at } if !forgets(*at) => {
                given.entry(group).or_default().entry(*generation).or_insert(*at);
                for (topic, partition) in partitions {
                    let owner = owners.entry((group, *generation, topic, *partition)).or_insert(member);
                    if *owner != member {
                        let at = at.as_secs_f64();
                        found.push(format!(
                            "group {group} generation {generation}: {topic}-{partition} has two owners, {owner} and \
                             {member} (at {at:.3} s)"
                        ));
                    }
                }
            }
            Event::CommitSent { commit, group, generation, at, .. } if *generation >= 0 => {
                sent.insert(*commit, (group, *generation, *at));
            }
            Event::CommitDone { commit, acked: true, at } if !forgets(*at) => {
                let Some((group, generation, at)) = sent.get(commit) else { continue };
                let later = given.get(&***group).into_iter().flatten();
                let Some((later, since)) =
                    later.filter(|(later, _)| *later > generation).min_by_key(|(_, at)| **at)
                else {
                    continue;
                };
                if since <= at {
                    let (at, since) = (at.as_secs_f64(), since.as_secs_f64());
                    found.push(format!(
                        "group {group}: a commit of generation {generation}, sent at {at:.3} s, was accepted, but \
                         generation {later} was given out by {since:.3} s"
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

/// The topic that holds groups and their offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

#[cfg(test)]
mod tests {
    use super::super::event::Trim;
    use super::super::testing::*;
    use super::super::{TopicFacts, Tp};
    use super::*;

    fn offsets_topic() -> Event {
        Event::Topic {
            topic: OFFSETS_TOPIC.into(),
            facts: TopicFacts { sync: true, trim: Trim::Never, append_time: false },
        }
    }

    fn assigned(generation: i32, member: &str, partitions: &[i32], at: u64) -> Event {
        let partitions = partitions.iter().map(|p| ("t".to_owned(), *p)).collect();
        Event::Assigned { group: "g".into(), generation, member: member.to_owned(), partitions, at: secs(at) }
    }

    fn commit(commit: u64, generation: i32, at: u64) -> [Event; 2] {
        let tp = Tp::new(&"t".into(), 0);
        [
            Event::CommitSent { commit, group: "g".into(), tp, offset: 1, generation, at: secs(at) },
            Event::CommitDone { commit, acked: true, at: secs(at + 1) },
        ]
    }

    fn verdict(events: impl IntoIterator<Item = Event>) -> usize {
        let events: Vec<_> = [offsets_topic()].into_iter().chain(events).collect();
        check(&Log::of(&events), &ctx()).len()
    }

    #[test]
    fn a_partition_has_one_owner_in_a_generation() {
        assert_eq!(
            verdict([assigned(1, "a", &[0, 1], 1), assigned(1, "b", &[2], 1), assigned(2, "b", &[0], 2)]),
            0
        );
        assert_eq!(verdict([assigned(1, "a", &[0, 1], 1), assigned(1, "b", &[1], 1)]), 1);
    }

    #[test]
    fn a_commit_of_a_past_generation_is_not_accepted() {
        let first = || assigned(1, "a", &[0], 1);
        assert_eq!(verdict([first()].into_iter().chain(commit(7, 1, 2))), 0);
        assert_eq!(verdict([first(), assigned(2, "b", &[0], 5)].into_iter().chain(commit(7, 1, 6))), 1);
        assert_eq!(verdict([first(), assigned(2, "b", &[0], 5)].into_iter().chain(commit(7, 1, 4))), 0);
    }
}
