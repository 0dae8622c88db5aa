//! `hw-monotonic`: a partition's high watermark never goes down for a client, nor, where there is one broker, between two
//! clients of which the second asked after the first had its answer; nor is it below what was acknowledged by then. No
//! record comes from above it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::CheckContext;
use super::event::{Event, Span, Tp};
use super::log::Log;

/// Someone saw that the partition reaches to `hw`.
struct Sight {
    client: Option<u32>,
    hw: i64,
    span: Span,
}

pub fn check(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut sights: BTreeMap<&Tp, Vec<Sight>> = BTreeMap::new();
    let mut found = vec![];
    for event in log.events {
        match event {
            Event::Bounds { client, tp, start, hw, span } => {
                if start.is_some_and(|start| start > *hw) {
                    found
                        .push(format!("{tp}: client {client} saw a log start above the high watermark {hw}"));
                }
                sights.entry(tp).or_default().push(Sight { client: Some(*client), hw: *hw, span: *span });
            }
            Event::Read { reader, tp, hw, records, span, .. } => {
                if let Some(above) = records.last().map(|seen| seen.offset).filter(|offset| offset >= hw) {
                    let at = span.done.as_secs_f64();
                    let who = reader.client;
                    found.push(format!(
                        "{tp}: client {who} got offset {above} with high watermark {hw} at {at:.3} s"
                    ));
                }
            }
            Event::Acked { tp, count, base: Some(base), span, .. } => {
                let hw = base + i64::from(*count);
                sights.entry(tp).or_default().push(Sight { client: None, hw, span: *span });
            }
            _ => {}
        }
    }
    for (tp, sights) in sights {
        let sync = log.facts(&tp.topic).sync;
        found.extend(falls(tp, sights, ctx, sync));
    }
    found
}

/// Each sight that is below one which was complete before it was asked for.
fn falls(tp: &Tp, mut sights: Vec<Sight>, ctx: &CheckContext, sync: bool) -> Vec<String> {
    // By the time of asking; before each, all that was answered by then is taken in.
    let mut answered: Vec<(Duration, Option<u32>, i64, Duration)> =
        sights.iter().map(|s| (s.span.done, s.client, s.hw, s.span.sent)).collect();
    answered.sort();
    sights.sort_by_key(|sight| sight.span.sent);
    let mut answered = answered.into_iter().peekable();
    let mut best: BTreeMap<Option<u32>, (i64, Duration, Duration)> = BTreeMap::new();
    let mut found = vec![];
    for sight in &sights {
        while let Some((done, client, hw, sent)) = answered.next_if(|(done, ..)| *done <= sight.span.sent) {
            let to = if ctx.single_broker { None } else { client };
            let most = best.entry(to).or_insert((hw, sent, done));
            let reset = !sync && ctx.lost_between(most.1, done);
            if hw >= most.0 || reset {
                *most = (hw, sent, done);
            }
        }
        // An acknowledgement is no sight of the high watermark, only a bound for later ones.
        let Some(client) = sight.client else { continue };
        let from = if ctx.single_broker { None } else { Some(client) };
        let Some((hw, sent, done)) = best.get(&from) else { continue };
        let lost = !sync && ctx.lost_between(*sent, sight.span.done);
        if sight.hw < *hw && !lost {
            let (asked, known) = (sight.span.sent.as_secs_f64(), done.as_secs_f64());
            found.push(format!(
                "{tp}: client {client} asked at {asked:.3} s and got {}, but {hw} was known at {known:.3} s",
                sight.hw
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::event::Trim;
    use super::super::testing::*;
    use super::*;

    fn verdict(sync: bool, mut events: Vec<Event>, ctx: &CheckContext) -> usize {
        events.insert(0, topic(sync, Trim::Never));
        check(&Log::of(&events), ctx).len()
    }

    #[test]
    fn a_high_watermark_that_falls_is_found() {
        assert_eq!(
            verdict(true, vec![bounds(1, 5, 1, 2), bounds(1, 5, 3, 4), bounds(2, 9, 5, 6)], &ctx()),
            0
        );
        assert_eq!(verdict(true, vec![bounds(1, 5, 1, 2), bounds(1, 4, 3, 4)], &ctx()), 1);
    }

    #[test]
    fn what_is_above_it_is_not_served() {
        let at = |base| vec![read(2, base, &[0, 1])];
        assert_eq!(verdict(true, at(98), &ctx()), 0);
        assert_eq!(verdict(true, at(99), &ctx()), 1);
    }

    #[test]
    fn across_clients_it_may_fall_only_with_several_brokers() {
        let events = || vec![bounds(1, 5, 1, 2), bounds(2, 4, 3, 4)];
        assert_eq!(verdict(true, events(), &ctx()), 1);
        assert_eq!(verdict(true, events(), &CheckContext::default()), 0);
    }

    #[test]
    fn answers_that_overlap_say_nothing() {
        assert_eq!(verdict(true, vec![bounds(1, 5, 1, 4), bounds(2, 4, 3, 5)], &ctx()), 0);
    }

    #[test]
    fn it_covers_what_was_acknowledged() {
        assert_eq!(verdict(true, vec![acked(0, 2, 5), bounds(1, 7, 3, 4)], &ctx()), 0);
        assert_eq!(verdict(true, vec![acked(0, 2, 5), bounds(1, 6, 3, 4)], &ctx()), 1);
    }

    #[test]
    fn what_power_took_is_excused_in_async_only() {
        let power = CheckContext { losses: vec![secs(3)..=secs(3)], ..ctx() };
        let events = || vec![bounds(1, 5, 1, 2), bounds(1, 4, 4, 5), bounds(1, 4, 6, 7)];
        assert_eq!(verdict(false, events(), &power), 0);
        assert_eq!(verdict(true, events(), &power), 2);
    }
}
