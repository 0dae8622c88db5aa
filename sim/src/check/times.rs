//! `offset-for-time`: what ListOffsets finds by a time, or as the largest time, and where OffsetForLeaderEpoch says that an
//! epoch ends, agrees with the records that the final reading finds. What has left the log since is no part of that, nor is
//! what may have come after the question.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::CheckContext;
use super::event::{AskedTime, Event, Seen, Span, Tp};
use super::log::{Log, FINAL_READER};

/// What is known of one partition.
#[derive(Default)]
struct Known<'a> {
    /// What the final reading found, in the order of offsets.
    records: Vec<&'a Seen>,
    /// High watermarks by when they were known, each at least the one before.
    reach: Vec<(Duration, i64)>,
}

impl Known<'_> {
    /// The records that were there for someone who asked at `asked`.
    fn by(&self, asked: Duration) -> &[&Seen] {
        let known = self.reach.partition_point(|(done, _)| *done <= asked);
        let end = known.checked_sub(1).map_or(0, |last| self.reach[last].1);
        &self.records[..self.records.partition_point(|seen| seen.offset < end)]
    }

    fn at(&self, offset: i64) -> Option<&Seen> {
        let place = self.records.binary_search_by_key(&offset, |seen| seen.offset).ok()?;
        Some(self.records[place])
    }

    fn below(&self, offset: i64) -> &[&Seen] {
        &self.records[..self.records.partition_point(|seen| seen.offset < offset)]
    }
}

pub fn check(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let known = known(log, ctx);
    let mut found = vec![];
    for event in log.events {
        let (tp, span, asked, problem) = match event {
            Event::TimeFound { tp, asked, found, span } => {
                let Some(known) = known.get(tp) else { continue };
                let what = match asked {
                    AskedTime::Since(time) => format!("the first record since {time}"),
                    AskedTime::Largest => "the record with the largest timestamp".to_owned(),
                };
                let judged = found.is_some() || *asked != AskedTime::Largest || finds_largest(ctx, *span);
                (tp, span, what, judged.then(|| time_problem(known, *asked, *found, *span)).flatten())
            }
            Event::EpochEnd { tp, asked, found, span } => {
                let Some(known) = known.get(tp) else { continue };
                (tp, span, format!("the end of epoch {asked}"), epoch_problem(known, *asked, *found, *span))
            }
            Event::TimeCorrupt { tp, span } if !log.was_deleted(tp) => {
                let problem = "the answer was that the log is corrupt, but no bit of it was flipped";
                (tp, span, "a record by its time".to_owned(), Some(problem.to_owned()))
            }
            _ => continue,
        };
        let Some(problem) = problem.filter(|_| !excused(log, ctx, tp, *span)) else { continue };
        let sent = span.sent.as_secs_f64();
        found.push(format!("{tp}: asked at {sent:.3} s for {asked}: {problem}"));
    }
    found
}

/// Whether the largest must be found. It may be of a record that was not yet durable, and was lost.
fn finds_largest(ctx: &CheckContext, span: Span) -> bool {
    !ctx.lost_between(span.sent, Duration::MAX)
}

/// A flipped bit may hide a batch from whoever looks for it; and what was lost since was not what is there now.
fn excused(log: &Log<'_>, ctx: &CheckContext, tp: &Tp, span: Span) -> bool {
    let flipped = ctx.flips.iter().any(|flip| flip.is_of(tp) && flip.at <= span.done);
    flipped || !log.facts(&tp.topic).sync && ctx.lost_between(span.sent, Duration::MAX)
}

fn known<'a>(log: &Log<'a>, ctx: &CheckContext) -> BTreeMap<&'a Tp, Known<'a>> {
    let read = log.read_back.iter().filter(|(_, read)| read.is_whole);
    let mut known: BTreeMap<&Tp, Known<'a>> = read.map(|(tp, _)| (*tp, Known::default())).collect();
    for event in log.events {
        match event {
            Event::Read { reader, tp, records, .. } if reader.client == FINAL_READER => {
                let Some(of) = known.get_mut(tp) else { continue };
                // What lies below the start was let go while it was read.
                let start = log.read_back.get(tp).map_or(0, |read| read.start);
                of.records.extend(records.iter().filter(|seen| seen.offset >= start));
            }
            Event::Bounds { tp, hw, span, .. } => {
                let lost = !log.facts(&tp.topic).sync && ctx.lost_between(span.sent, Duration::MAX);
                if let Some(of) = known.get_mut(tp).filter(|_| !lost) {
                    of.reach.push((span.done, *hw));
                }
            }
            _ => {}
        }
    }
    for of in known.values_mut() {
        of.records.sort_by_key(|seen| seen.offset);
        of.reach.sort_unstable();
        let mut most = 0;
        of.reach.iter_mut().for_each(|(_, hw)| {
            most = most.max(*hw);
            *hw = most;
        });
    }
    known
}

/// What is wrong with what was found by a time.
fn time_problem(
    known: &Known<'_>,
    asked: AskedTime,
    found: Option<(i64, i64)>,
    span: Span,
) -> Option<String> {
    let here = known.by(span.sent);
    let Some((offset, timestamp)) = found else {
        let missed = match asked {
            AskedTime::Since(time) => here.iter().find(|seen| seen.timestamp >= time)?,
            // Kafka finds none while the largest is above the high watermark.
            AskedTime::Largest => here.iter().max_by_key(|seen| seen.timestamp).filter(|largest| {
                !known.records[here.len()..].iter().any(|seen| seen.timestamp > largest.timestamp)
            })?,
        };
        return Some(format!("none was found, but {}", shown(missed)));
    };
    if let Some(seen) = known.at(offset).filter(|seen| seen.timestamp != timestamp) {
        return Some(format!("offset {offset} with timestamp {timestamp} was found, but {}", shown(seen)));
    }
    let better = match asked {
        AskedTime::Since(time) if timestamp < time => return Some(format!("{timestamp} is older")),
        AskedTime::Since(time) => known.below(offset).iter().find(|seen| seen.timestamp >= time),
        AskedTime::Largest => here.iter().find(|seen| seen.timestamp > timestamp),
    };
    let better = better?;
    Some(format!("offset {offset} with timestamp {timestamp} was found, but {}", shown(better)))
}

/// What is wrong with where an epoch was said to end.
fn epoch_problem(known: &Known<'_>, asked: i32, found: Option<(i32, i64)>, span: Span) -> Option<String> {
    let here = known.by(span.sent);
    let Some((epoch, end)) = found else {
        let missed = here.iter().find(|seen| seen.epoch == asked)?;
        return Some(format!("it is not known, but {}", shown(missed)));
    };
    let said = format!("epoch {epoch} ends at {end}");
    if epoch > asked {
        return Some(said);
    }
    let between = here.iter().find(|seen| seen.epoch > epoch && seen.epoch <= asked);
    // Whoever still wrote in this epoch may have gone on after the answer.
    let behind = here.iter().find(|seen| seen.offset >= end && seen.epoch <= epoch);
    // What was above the high watermark then may have been lost since, and its offsets written anew.
    let before = here.iter().find(|seen| seen.offset < end && seen.epoch > epoch);
    let against = between.or(behind).or(before)?;
    Some(format!("{said}, but {}", shown(against)))
}

fn shown(seen: &Seen) -> String {
    let Seen { offset, epoch, timestamp, .. } = seen;
    format!("offset {offset} has timestamp {timestamp} and epoch {epoch}")
}

#[cfg(test)]
mod tests {
    use super::super::event::{Reader, Trim};
    use super::super::testing::*;
    use super::*;

    /// Offsets 5 to 8, in two epochs, of which 7 is the youngest. All are known at second 10.
    fn world() -> Vec<Event> {
        let place = |(offset, epoch, timestamp)| Seen { epoch, timestamp, ..seen(offset, offset as u64) };
        let records = [(5, 1, 100), (6, 1, 90), (7, 3, 300), (8, 3, 200)].map(place).to_vec();
        let reader = Reader { client: FINAL_READER, pass: 0 };
        vec![
            topic(true, Trim::Never),
            bounds(1, 9, 9, 10),
            Event::Read { reader, tp: tp(), position: 5, hw: 9, records, span: span(90, 91) },
            read_back(5, 9),
        ]
    }

    fn verdict_in(events: Vec<Event>, event: Event, ctx: &CheckContext) -> usize {
        check(&Log::of(&[events, vec![event]].concat()), ctx).len()
    }

    fn at(sent: u64, asked: AskedTime, found: Option<(i64, i64)>) -> usize {
        let span = span(sent, sent + 1);
        verdict_in(world(), Event::TimeFound { tp: tp(), asked, found, span }, &ctx())
    }

    fn since(time: i64, found: Option<(i64, i64)>) -> usize {
        at(20, AskedTime::Since(time), found)
    }

    #[test]
    fn the_first_record_that_is_not_older_is_right() {
        assert_eq!((since(95, Some((5, 100))), since(101, Some((7, 300))), since(301, None)), (0, 0, 0));
        assert_eq!(since(95, Some((7, 300))), 1);
        assert_eq!(since(101, Some((5, 100))), 1);
        assert_eq!(since(101, Some((7, 299))), 1);
        assert_eq!(since(300, None), 1);
        // What has left the log since may have been the first.
        assert_eq!(since(95, Some((4, 99))), 0);
    }

    #[test]
    fn what_may_have_come_after_the_question_is_no_part_of_it() {
        assert_eq!(at(8, AskedTime::Since(300), None), 0);
        assert_eq!(at(8, AskedTime::Largest, Some((5, 100))), 0);
        assert_eq!(at(20, AskedTime::Largest, Some((5, 100))), 1);
    }

    #[test]
    fn the_largest_time_is_the_largest() {
        assert_eq!(at(20, AskedTime::Largest, Some((7, 300))), 0);
        assert_eq!(at(20, AskedTime::Largest, Some((8, 200))), 1);
        assert_eq!(at(20, AskedTime::Largest, None), 1);
        // 7 may have been there already, and not yet been visible.
        assert_eq!(at(8, AskedTime::Largest, None), 0);
    }

    #[test]
    fn the_largest_may_have_been_lost_before_it_was_visible() {
        let none = Event::TimeFound { tp: tp(), asked: AskedTime::Largest, found: None, span: span(20, 21) };
        let mut trimmed = world();
        trimmed[0] = topic(true, Trim::Records);
        assert_eq!(verdict_in(trimmed, none.clone(), &ctx()), 1);
        let power = CheckContext { losses: vec![secs(50)..=secs(50)], ..ctx() };
        assert_eq!((verdict_in(world(), none.clone(), &power), verdict_in(world(), none, &ctx())), (0, 1));
    }

    fn end(asked: i32, found: Option<(i32, i64)>) -> usize {
        verdict_in(world(), Event::EpochEnd { tp: tp(), asked, found, span: span(20, 21) }, &ctx())
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        assert_eq!((end(1, Some((1, 7))), end(2, Some((1, 7))), end(3, Some((3, 9)))), (0, 0, 0));
        assert_eq!((end(0, Some((0, 5))), end(9, None), end(0, None)), (0, 0, 0));
        assert_eq!((end(1, Some((1, 6))), end(1, Some((1, 8))), end(3, Some((1, 7)))), (1, 1, 1));
        assert_eq!((end(1, None), end(1, Some((3, 9))), end(3, Some((3, 8)))), (1, 1, 1));
    }

    #[test]
    fn a_flip_excuses_its_own_log_only_and_a_loss_what_promised_nothing() {
        let wrong = || Event::TimeFound {
            tp: tp(),
            asked: AskedTime::Largest,
            found: Some((8, 200)),
            span: span(20, 21),
        };
        assert_eq!(verdict_in(world(), wrong(), &flipped(7..=7)), 0);
        let mut elsewhere = flipped(7..=7);
        elsewhere.flips[0].partition = 1;
        assert_eq!(verdict_in(world(), wrong(), &elsewhere), 1);
        let corrupt = || Event::TimeCorrupt { tp: tp(), span: span(20, 21) };
        assert_eq!(verdict_in(world(), corrupt(), &ctx()), 1);
        assert_eq!(verdict_in(world(), corrupt(), &flipped(7..=7)), 0);
        let power = CheckContext { losses: vec![secs(50)..=secs(50)], ..ctx() };
        assert_eq!(verdict_in(world(), wrong(), &power), 1);
        let mut unsynced = world();
        unsynced[0] = topic(false, Trim::Never);
        assert_eq!(verdict_in(unsynced, wrong(), &power), 0);
    }
}
