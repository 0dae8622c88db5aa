//! `liveness`: once the faults have stopped, every operation ends within its bound, every topic is there, and a request
//! on a connection that was opened since is answered before its client gives up.

use std::collections::BTreeMap;

use super::context::CheckContext;
use super::event::Event;
use super::log::Log;

pub fn check(log: &Log<'_>, _: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    let mut began = BTreeMap::new();
    for event in log.events {
        match event {
            Event::OpBegan { op, client, what, at } => {
                began.insert(*op, (client, what, at));
            }
            // Who waited for what is told once, beside all findings.
            Event::OpOverdue { op, at, .. } => {
                let Some((client, what, since)) = began.get(op) else { continue };
                let (since, at) = (since.as_secs_f64(), at.as_secs_f64());
                found.push(format!(
                    "client {client}: {what}: under way since {since:.3} s, not ended at {at:.3} s"
                ));
            }
            Event::TimedOut { client, what, opened, span }
                if log.healed.is_some_and(|healed| *opened >= healed) =>
            {
                let (sent, done) = (span.sent.as_secs_f64(), span.done.as_secs_f64());
                found.push(format!(
                    "client {client}: {what}, sent at {sent:.3} s on a new connection, had no answer at {done:.3} s"
                ));
            }
            Event::TopicMissing { topic, at } => {
                found.push(format!("topic {topic} is not there at {:.3} s", at.as_secs_f64()));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn verdict(events: &[Event]) -> usize {
        check(&Log::of(events), &ctx()).len()
    }

    #[test]
    fn an_operation_past_its_bound_is_found_with_who_waited() {
        let began = Event::OpBegan { op: 1, client: 2, what: "flush".to_owned(), at: secs(1) };
        let overdue =
            Event::OpOverdue { op: 1, at: secs(99), waits: vec!["broker: partition t-0".to_owned()] };
        assert_eq!(verdict(&[began.clone(), Event::OpEnded { op: 1 }]), 0);
        assert_eq!(overdue.waits_when_overdue().unwrap(), ["broker: partition t-0"]);
        let found = check(&Log::of(&[began, overdue]), &ctx());
        assert!(found[0].contains("flush"));
    }

    #[test]
    fn an_answer_may_fail_to_come_only_on_connections_from_before_the_heal() {
        let timed_out =
            |opened| Event::TimedOut { client: 1, what: "Fetch".to_owned(), opened, span: span(60, 90) };
        let healed = Event::Healed { at: secs(50) };
        assert_eq!(verdict(&[healed.clone(), timed_out(secs(40))]), 0);
        assert_eq!(verdict(&[healed, timed_out(secs(55))]), 1);
        assert_eq!(verdict(&[timed_out(secs(55))]), 0);
    }
}
