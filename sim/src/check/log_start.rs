//! `log-start`: where a partition starts is never told to be further back than someone knew already, who had asked for it,
//! or had records deleted up to there, before; and no record below comes any more. Restarts change nothing about it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::CheckContext;
use super::event::{Event, Span, Tp};
use super::log::Log;

/// What someone saw of the start of a partition.
struct Sight {
    span: Span,
    offset: i64,
    what: &'static str,
}

pub fn check(log: &Log<'_>, _: &CheckContext) -> Vec<String> {
    let mut told: BTreeMap<&Tp, Vec<(Duration, i64)>> = BTreeMap::new();
    let mut sights: BTreeMap<&Tp, Vec<Sight>> = BTreeMap::new();
    for event in log.events {
        let (tp, span, offset, what) = match event {
            Event::Start { tp, start, span } | Event::Bounds { tp, start: Some(start), span, .. } => {
                told.entry(tp).or_default().push((span.done, *start));
                (tp, span, *start, "the log start")
            }
            Event::Read { tp, records, span, .. } => {
                let Some(first) = records.first() else { continue };
                (tp, span, first.offset, "a record at")
            }
            _ => continue,
        };
        sights.entry(tp).or_default().push(Sight { span: *span, offset, what });
    }
    told.into_iter().flat_map(|(tp, told)| falls(tp, told, sights.remove(tp).unwrap_or_default())).collect()
}

/// Each sight below a start that was told before it was asked for.
fn falls(tp: &Tp, mut told: Vec<(Duration, i64)>, mut sights: Vec<Sight>) -> Vec<String> {
    told.sort_unstable();
    sights.sort_by_key(|sight| sight.span.sent);
    let mut told = told.into_iter().peekable();
    let mut most: Option<(Duration, i64)> = None;
    let mut found = vec![];
    for Sight { span, offset, what } in sights {
        while let Some((done, start)) = told.next_if(|(done, _)| *done <= span.sent) {
            if most.is_none_or(|(_, before)| start > before) {
                most = Some((done, start));
            }
        }
        if let Some((done, start)) = most.filter(|(_, start)| offset < *start) {
            let (sent, done) = (span.sent.as_secs_f64(), done.as_secs_f64());
            found.push(format!(
                "{tp}: {what} {offset} came, asked for at {sent:.3} s, but the log start {start} was told at {done:.3} s"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::event::Reader;
    use super::super::testing::*;
    use super::*;

    fn start(start: i64, sent: u64, done: u64) -> Event {
        Event::Start { tp: tp(), start, span: span(sent, done) }
    }

    fn with_a_fetch(start: i64, sent: u64, done: u64) -> Event {
        Event::Bounds { client: 1, tp: tp(), start: Some(start), hw: 100, span: span(sent, done) }
    }

    fn read_from(offset: i64, sent: u64, done: u64) -> Event {
        let (reader, records) = (Reader { client: 2, pass: 0 }, vec![seen(offset, 0)]);
        Event::Read { reader, tp: tp(), position: offset, hw: 100, records, span: span(sent, done) }
    }

    fn verdict(events: &[Event]) -> usize {
        check(&Log::of(events), &ctx()).len()
    }

    #[test]
    fn a_start_that_rises_is_fine_and_one_that_falls_is_found() {
        assert_eq!(verdict(&[start(3, 1, 2), start(3, 3, 4), with_a_fetch(9, 5, 6)]), 0);
        assert_eq!(verdict(&[start(3, 1, 2), start(2, 3, 4)]), 1);
        assert_eq!(verdict(&[with_a_fetch(3, 1, 2), with_a_fetch(2, 3, 4)]), 1);
    }

    #[test]
    fn a_record_below_the_start_is_found() {
        assert_eq!(verdict(&[start(3, 1, 2), read_from(3, 3, 4)]), 0);
        assert_eq!(verdict(&[start(3, 1, 2), read_from(2, 3, 4)]), 1);
    }

    #[test]
    fn answers_that_overlap_say_nothing() {
        assert_eq!(verdict(&[start(3, 1, 4), start(2, 3, 5), read_from(0, 2, 6)]), 0);
    }

    #[test]
    fn another_topic_of_the_name_starts_anew() {
        let mut other = start(0, 5, 6);
        if let Event::Start { tp, .. } = &mut other {
            tp.id = uuid::Uuid::from_u128(1);
        }
        assert_eq!(verdict(&[start(3, 1, 2), other]), 0);
    }
}
