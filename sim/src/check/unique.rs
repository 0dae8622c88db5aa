//! `offsets-unique`: an offset of a partition names one record, for ever and for each reader; and what is read is what
//! was written, byte for byte. Where unsynced bytes may be lost and their offsets given out again, the leader's epoch
//! tells the two records apart.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::context::CheckContext;
use super::event::{Content, Event, Reader, Tp};
use super::log::Log;

/// Who saw a record at an offset, and when.
#[derive(Clone, Copy)]
enum Who {
    Reader(Reader, Duration),
    Producer(Duration),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reader(Reader { client, pass }, at) => {
                write!(f, "reader {client}/{pass} at {:.3} s", at.as_secs_f64())
            }
            Self::Producer(at) => write!(f, "its producer, acked at {:.3} s", at.as_secs_f64()),
        }
    }
}

/// The records of a partition by offset and epoch, and who saw each first.
type Known = BTreeMap<(i64, i32), (Content, Who)>;

/// Notes what `who` saw at a place; what is wrong with it, if someone saw another record there.
fn see(
    known: &mut Known,
    (tp, offset, epoch): (&Tp, i64, i32),
    content: Content,
    who: Who,
) -> Option<String> {
    let (other, who_other) = known.entry((offset, epoch)).or_insert((content, who));
    (*other != content)
        .then(|| format!("{tp}: offset {offset} is {other} for {who_other}, and {content} for {who}"))
}

pub fn check(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    let mut known: BTreeMap<&Tp, Known> = BTreeMap::new();
    for event in log.events {
        match event {
            Event::Read { reader, tp, records, span, .. } => {
                let may_lose = !log.facts(&tp.topic).sync && ctx.lost_between(span.sent, Duration::MAX);
                let known = known.entry(tp).or_default();
                let who = Who::Reader(*reader, span.done);
                found.extend(records.iter().find_map(|seen| {
                    let epoch = if may_lose { seen.epoch } else { -1 };
                    see(known, (tp, seen.offset, epoch), seen.content, who)
                }));
            }
            Event::Acked { tp, first, count, base: Some(base), span, .. } => {
                if !log.facts(&tp.topic).sync && ctx.lost_between(span.sent, Duration::MAX) {
                    continue;
                }
                let known = known.entry(tp).or_default();
                let who = Who::Producer(span.done);
                found.extend((0..u64::from(*count)).find_map(|i| {
                    let content = Content { counter: first.counter + i, ..*first };
                    see(known, (tp, base + i as i64, -1), content, who)
                }));
            }
            Event::BadBytes { reader, tp, offset, detail, span }
                if !ctx.flipped_under(tp, *offset, *span) =>
            {
                let who = format!("reader {}/{}", reader.client, reader.pass);
                found.push(format!("{tp}: {who} got bytes at offset {offset} that nobody wrote: {detail}"));
            }
            Event::Corrupt { tp, offset, span, .. }
                if !ctx.flipped(tp, *offset, span.done) && !beside_a_flip(log, ctx, tp, span.done) =>
            {
                let at = span.done.as_secs_f64();
                found.push(format!(
                    "{tp}: offset {offset} is called corrupt at {at:.3} s, but no bit of its batch was flipped"
                ));
            }
            _ => {}
        }
    }
    found
}

/// Whether what a loss tore may stand behind a flipped batch, so that the two cannot be told apart. Where what was synced
/// is promised, all that follows a flipped batch is whole.
fn beside_a_flip(log: &Log<'_>, ctx: &CheckContext, tp: &Tp, by: Duration) -> bool {
    let mut flips = ctx.flips.iter().filter(|flip| flip.is_of(tp) && flip.at <= by);
    flips.any(|flip| !log.facts(&tp.topic).sync && ctx.lost_between(flip.at, by))
}

#[cfg(test)]
mod tests {
    use super::super::context::Flip;
    use super::super::event::Trim;
    use super::super::testing::*;
    use super::*;

    fn verdict(events: Vec<Event>, ctx: &CheckContext) -> usize {
        check(&Log::of(&events), ctx).len()
    }

    #[test]
    fn two_readers_of_one_record_agree() {
        let events = vec![topic(true, Trim::Never), acked(0, 2, 5), read(2, 5, &[0, 1]), read(3, 5, &[0, 1])];
        assert_eq!(verdict(events, &ctx()), 0);
    }

    #[test]
    fn two_records_at_one_offset_are_found() {
        assert_eq!(verdict(vec![topic(true, Trim::Never), read(2, 5, &[0]), read(3, 5, &[1])], &ctx()), 1);
        assert_eq!(verdict(vec![topic(true, Trim::Never), acked(0, 1, 5), read(3, 5, &[1])], &ctx()), 1);
        assert_eq!(verdict(vec![topic(true, Trim::Never), acked(0, 1, 5), acked(1, 1, 5)], &ctx()), 1);
    }

    #[test]
    fn offsets_may_be_given_out_again_only_where_bytes_may_be_lost() {
        let power = CheckContext { losses: vec![secs(50)..=secs(50)], ..ctx() };
        let events = |sync| vec![topic(sync, Trim::Never), acked(0, 1, 5), acked(1, 1, 5)];
        assert_eq!(verdict(events(false), &power), 0);
        assert_eq!(verdict(events(true), &power), 1);
        // In one epoch not even there.
        assert_eq!(verdict(vec![topic(false, Trim::Never), read(2, 5, &[0]), read(3, 5, &[1])], &power), 1);
    }

    #[test]
    fn bytes_that_nobody_wrote_and_corruption_that_nobody_caused_are_found() {
        let reader = Reader { client: 1, pass: 0 };
        let bad = Event::BadBytes { reader, tp: tp(), offset: 3, detail: "crc".to_owned(), span: span(8, 9) };
        assert_eq!(verdict(vec![bad.clone()], &ctx()), 1);
        assert_eq!(verdict(vec![bad.clone()], &flipped(2..=3)), 0);
        assert_eq!(verdict(vec![bad.clone()], &flipped(4..=5)), 1);
        let verified_anew = CheckContext { restarts: vec![secs(7)], ..flipped(2..=3) };
        assert_eq!(verdict(vec![bad], &verified_anew), 1);
        assert_eq!(verdict(vec![corrupt(4)], &ctx()), 1);
        assert_eq!(verdict(vec![corrupt(4)], &flipped(4..=5)), 0);
        assert_eq!(verdict(vec![corrupt(4)], &flipped(5..=6)), 1);
        let torn = CheckContext { losses: vec![secs(50)..=secs(50)], ..flipped(3..=3) };
        assert_eq!(verdict(vec![topic(false, Trim::Never), corrupt(4)], &torn), 0);
        assert_eq!(verdict(vec![topic(true, Trim::Never), corrupt(4)], &torn), 1);
        let later = Flip { at: secs(92), ..flipped(4..=5).flips.remove(0) };
        assert_eq!(verdict(vec![corrupt(4)], &CheckContext { flips: vec![later], ..ctx() }), 1);
    }
}
