//! `quiet-timeouts`: a request that meets no fault, nor what follows soon after one, is answered before its client gives up.
//! A fault of one client's links excuses that client only. What is opened once all faults have stopped is `liveness`'s.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::context::{CheckContext, Trouble};
use super::event::{Event, Span};
use super::log::Log;

/// How long a fault may be felt after its end: a process starts, a peer sends again what was lost.
const FELT_FOR: Duration = Duration::from_secs(6);

pub fn check(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    for event in log.events {
        let Event::TimedOut { client, what, opened, span } = event else { continue };
        let healed = log.healed.is_some_and(|healed| *opened >= healed);
        if !healed && !ctx.troubles.iter().any(|trouble| meets(trouble, *client, *span)) {
            let (sent, done) = (span.sent.as_secs_f64(), span.done.as_secs_f64());
            found.push(format!(
                "client {client}: {what}, sent at {sent:.3} s, had no answer at {done:.3} s, and no fault was under way"
            ));
        }
    }
    found
}

fn meets(trouble: &Trouble, client: u32, span: Span) -> bool {
    let felt: RangeInclusive<Duration> = *trouble.span.start()..=*trouble.span.end() + FELT_FOR;
    let overlaps = *felt.start() <= span.done && *felt.end() >= span.sent;
    overlaps && trouble.client.is_none_or(|struck| struck == client)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn verdict(troubles: &[(Option<u32>, u64, u64)], events: &[Event]) -> usize {
        let trouble =
            |(client, from, to): &(_, _, _)| Trouble { client: *client, span: secs(*from)..=secs(*to) };
        let ctx = CheckContext { troubles: troubles.iter().map(trouble).collect(), ..ctx() };
        check(&Log::of(events), &ctx).len()
    }

    fn timed_out() -> Event {
        Event::TimedOut { client: 1, what: "Fetch".to_owned(), opened: secs(10), span: span(20, 30) }
    }

    #[test]
    fn an_answer_may_fail_to_come_where_a_fault_is_under_way() {
        assert_eq!(verdict(&[(None, 25, 26)], &[timed_out()]), 0);
        assert_eq!(verdict(&[(None, 10, 15)], &[timed_out()]), 0);
        assert_eq!(verdict(&[(None, 10, 13)], &[timed_out()]), 1);
        assert_eq!(verdict(&[(None, 31, 40)], &[timed_out()]), 1);
        assert_eq!(verdict(&[], &[timed_out()]), 1);
    }

    #[test]
    fn a_fault_of_one_client_excuses_no_other() {
        assert_eq!(verdict(&[(Some(1), 25, 26)], &[timed_out()]), 0);
        assert_eq!(verdict(&[(Some(2), 25, 26)], &[timed_out()]), 1);
    }

    #[test]
    fn what_began_after_all_faults_is_not_judged_twice() {
        assert_eq!(verdict(&[], &[Event::Healed { at: secs(9) }, timed_out()]), 0);
        assert_eq!(verdict(&[], &[Event::Healed { at: secs(15) }, timed_out()]), 1);
    }
}
