//! `offset-commit-durable`: a commit that was acknowledged is not lost, and not replaced by one that was acknowledged
//! earlier. A commit without an answer may be in force or not, at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::context::CheckContext;
use super::event::{Event, Tp};
use super::groups::OFFSETS_TOPIC;
use super::log::Log;

/// What is known of the commits of one group for one partition, all of whose writers' offsets rise.
#[derive(Default)]
struct Slot {
    /// Acknowledged: (when, when it was sent, offset).
    acked: Vec<(Duration, Duration, i64)>,
    sent: BTreeSet<i64>,
    /// Offsets without an answer, which may come into force late.
    open: BTreeMap<u64, i64>,
}

pub fn check(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    let sync = log.facts(OFFSETS_TOPIC).sync;
    let mut slots: BTreeMap<(&str, &Tp), Slot> = BTreeMap::new();
    let mut sent = BTreeMap::new();
    for event in log.events {
        match event {
            Event::CommitSent { commit, group, tp, offset, at, .. } => {
                sent.insert(*commit, (group, tp, *offset, *at));
                let slot = slots.entry((group, tp)).or_default();
                slot.sent.insert(*offset);
                slot.open.insert(*commit, *offset);
            }
            Event::CommitDone { commit, acked, at } => {
                let Some((group, tp, offset, sent)) = sent.remove(commit) else { continue };
                let slot = slots.entry((group, tp)).or_default();
                slot.open.remove(commit);
                if *acked {
                    slot.acked.push((*at, sent, offset));
                }
            }
            Event::Committed { group, tp, offset, span } => {
                let slot = slots.entry((group, tp)).or_default();
                let by_then = slot.acked.iter().filter(|(at, ..)| *at <= span.sent);
                let kept = by_then.filter(|(_, sent, _)| sync || !ctx.lost_between(*sent, span.done));
                let Some((at, _, most)) = kept.max_by_key(|(_, _, offset)| *offset) else { continue };
                let open = slot.open.values().any(|open| open == offset);
                let asked = span.sent.as_secs_f64();
                if offset < most && !open {
                    let at = at.as_secs_f64();
                    found.push(format!(
                        "group {group}, {tp}: commit of {most} was acked at {at:.3} s, but a fetch sent at {asked:.3} s \
                         found {offset}"
                    ));
                } else if *offset >= 0 && !slot.sent.contains(offset) {
                    found.push(format!("group {group}, {tp}: a fetch sent at {asked:.3} s found {offset}, which nobody committed"));
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::event::{TopicFacts, Trim};
    use super::super::testing::*;
    use super::*;

    fn sent(commit: u64, offset: i64, at: u64) -> Event {
        Event::CommitSent { commit, group: "g".into(), tp: tp(), offset, generation: -1, at: secs(at) }
    }

    fn done(commit: u64, acked: bool, at: u64) -> Event {
        Event::CommitDone { commit, acked, at: secs(at) }
    }

    fn fetched(offset: i64, at: u64) -> Event {
        Event::Committed { group: "g".into(), tp: tp(), offset, span: span(at, at + 1) }
    }

    fn verdict(sync: bool, mut events: Vec<Event>, ctx: &CheckContext) -> usize {
        let facts = TopicFacts { sync, trim: Trim::Never };
        events.insert(0, Event::Topic { topic: OFFSETS_TOPIC.into(), facts });
        check(&Log::of(&events), ctx).len()
    }

    fn two_acked() -> Vec<Event> {
        vec![sent(1, 10, 1), sent(2, 11, 1), done(1, true, 2), done(2, true, 2)]
    }

    fn two_acked_then(event: Event) -> Vec<Event> {
        two_acked().into_iter().chain([event]).collect()
    }

    #[test]
    fn the_last_acknowledged_commit_is_in_force() {
        assert_eq!(verdict(true, two_acked_then(fetched(11, 3)), &ctx()), 0);
        assert_eq!(verdict(true, two_acked_then(fetched(10, 3)), &ctx()), 1);
        assert_eq!(verdict(true, two_acked_then(fetched(-1, 3)), &ctx()), 1);
        assert_eq!(verdict(true, two_acked_then(fetched(12, 3)), &ctx()), 1);
    }

    #[test]
    fn a_commit_without_an_answer_may_be_in_force() {
        let late = vec![sent(1, 10, 1), sent(2, 11, 1), done(2, true, 2), fetched(10, 3)];
        assert_eq!(verdict(true, late, &ctx()), 0);
        let refused =
            vec![sent(1, 10, 1), sent(2, 11, 1), done(1, false, 2), done(2, true, 2), fetched(10, 3)];
        assert_eq!(verdict(true, refused, &ctx()), 1);
    }

    #[test]
    fn the_loss_of_power_excuses_async_only() {
        let power = CheckContext { losses: vec![secs(3)..=secs(3)], ..ctx() };
        assert_eq!(verdict(false, two_acked_then(fetched(-1, 4)), &power), 0);
        assert_eq!(verdict(true, two_acked_then(fetched(-1, 4)), &power), 1);
    }
}
