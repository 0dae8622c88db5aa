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
    /// Acknowledged, in this order.
    acked: Vec<Acked>,
    sent: BTreeSet<i64>,
    /// Offsets without an answer, which may come into force late.
    open: BTreeMap<u64, i64>,
}

/// An acknowledged commit.
#[derive(Clone, Copy)]
struct Acked {
    at: Duration,
    sent: Duration,
    offset: i64,
    /// Among those up to this one, which has the largest offset.
    most: usize,
}

impl Slot {
    fn ack(&mut self, at: Duration, sent: Duration, offset: i64) {
        let (here, before) = (self.acked.len(), self.acked.last().map(|last| last.most));
        let most = before.filter(|most| self.acked[*most].offset > offset).unwrap_or(here);
        self.acked.push(Acked { at, sent, offset, most });
    }

    /// The largest offset that was acknowledged by `asked`, `kept` permitting.
    fn most_by(&self, asked: Duration, kept: Option<impl Fn(&Acked) -> bool>) -> Option<Acked> {
        let by_then = &self.acked[..self.acked.partition_point(|acked| acked.at <= asked)];
        match kept {
            None => by_then.last().map(|last| self.acked[last.most]),
            Some(kept) => {
                by_then.iter().filter(|acked| kept(acked)).max_by_key(|acked| acked.offset).copied()
            }
        }
    }
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
                    slot.ack(*at, sent, offset);
                }
            }
            Event::Committed { group, tp, offset, span } => {
                let slot = slots.entry((group, tp)).or_default();
                let kept = |acked: &Acked| !ctx.lost_between(acked.sent, span.done);
                let most = slot.most_by(span.sent, (!sync).then_some(kept));
                let Some(Acked { at, offset: most, .. }) = most else { continue };
                let open = slot.open.values().any(|open| open == offset);
                let asked = span.sent.as_secs_f64();
                if *offset < most && !open {
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
        let facts = TopicFacts { sync, trim: Trim::Never, append_time: false };
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
