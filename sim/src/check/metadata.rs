//! `metadata`: a topic whose creation was acknowledged is listed, by its id and with as many partitions as it was given; one
//! whose deletion was acknowledged is gone, with its files. Restarts change nothing about it.

use std::collections::BTreeMap;
use std::time::Duration;

use norn_protocol::types::TopicId;
use uuid::Uuid;

use super::context::CheckContext;
use super::event::{Event, ListedTopic, Span};
use super::log::Log;

/// What is known of a topic.
#[derive(Default)]
struct Topic {
    /// When its creation was acknowledged.
    created: Option<Duration>,
    /// Acknowledged numbers of partitions, and when.
    counts: Vec<(Duration, i32)>,
    /// The largest number that anybody asked for.
    asked: i32,
    deletion_asked: bool,
    deleted: Option<Duration>,
}

/// Files that are due to be removed are gone this long after that.
pub const DELETED_FILES_LINGER: Duration = Duration::from_secs(10);

pub fn check(log: &Log<'_>, ctx: &CheckContext) -> Vec<String> {
    let mut found = vec![];
    let mut topics: BTreeMap<(&str, Uuid), Topic> = BTreeMap::new();
    // What a listing may show was asked for before its answer came, and so stands before it.
    for event in log.events {
        match event {
            Event::PartitionsAsked { topic, id, count } => {
                let of = topics.entry((topic, *id)).or_default();
                of.asked = of.asked.max(*count);
            }
            Event::PartitionsAcked { topic, id, count, at } => {
                let of = topics.entry((topic, *id)).or_default();
                of.created.get_or_insert(*at);
                of.asked = of.asked.max(*count);
                of.counts.push((*at, *count));
            }
            Event::DeleteTopicAsked { topic, id } => {
                topics.entry((topic, *id)).or_default().deletion_asked = true;
            }
            Event::DeleteTopicAcked { topic, id, at } => {
                topics.entry((topic, *id)).or_default().deleted = Some(*at);
            }
            Event::Listed { topics: listed, span } => {
                let problems =
                    topics.iter().filter_map(|((name, id), of)| problem(name, *id, of, listed, *span));
                let sent = span.sent.as_secs_f64();
                found
                    .extend(problems.map(|problem| format!("listed as asked for at {sent:.3} s: {problem}")));
            }
            Event::OnDisk { logs, removed_after, at } => {
                for ((name, id), of) in &topics {
                    // A process that has just started looks at its directories anew.
                    let last = of.deleted.into_iter().chain(ctx.restarts.iter().copied()).max();
                    let Some((since, last)) = of.deleted.zip(last) else { continue };
                    let left = logs.iter().find(|(_, of)| *of == TopicId(*id).to_string());
                    let due = last + *removed_after + DELETED_FILES_LINGER < *at;
                    if let Some((path, _)) = left.filter(|_| due && !id.is_nil()) {
                        let (since, at) = (since.as_secs_f64(), at.as_secs_f64());
                        found.push(format!(
                            "{name}[{id}] was deleted at {since:.3} s, but {path} is there at {at:.3} s"
                        ));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// What is wrong with how a topic is listed, or not.
fn problem(name: &str, id: Uuid, of: &Topic, listed: &[ListedTopic], span: Span) -> Option<String> {
    // Old versions tell no ids.
    let same =
        |other: &&ListedTopic| *other.name == *name && (id.is_nil() || other.id.is_nil() || other.id == id);
    let here = listed.iter().find(same);
    if let Some(at) = of.deleted.filter(|at| *at <= span.sent) {
        here.filter(|here| here.id == id && !id.is_nil())?;
        return Some(format!("{name}[{id}], which was deleted at {:.3} s, is there", at.as_secs_f64()));
    }
    let at = of.created.filter(|at| *at <= span.sent && !of.deletion_asked)?;
    let Some(here) = here else {
        return Some(format!("{name}[{id}], which was created at {:.3} s, is not there", at.as_secs_f64()));
    };
    let least = of.counts.iter().filter(|(at, _)| *at <= span.sent).map(|(_, count)| *count).max()?;
    let mut partitions = here.partitions.clone();
    partitions.sort_unstable();
    let count = partitions.len() as i32;
    let whole = partitions.into_iter().eq(0..count);
    let fits = whole && (least..=of.asked).contains(&count);
    (!fits).then(|| {
        format!(
            "{name}[{id}] has the partitions {:?}, but was given {least} to {}",
            here.partitions, of.asked
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn created(count: i32, at: u64) -> Event {
        Event::PartitionsAcked { topic: "t".into(), id: ID, count, at: secs(at) }
    }

    fn listed(id: Uuid, partitions: &[i32], at: u64) -> Event {
        let topic = ListedTopic { name: "t".into(), id, partitions: partitions.to_vec() };
        Event::Listed { topics: vec![topic], span: span(at, at + 1) }
    }

    fn nothing(at: u64) -> Event {
        Event::Listed { topics: vec![], span: span(at, at + 1) }
    }

    fn deleted(at: u64) -> [Event; 2] {
        let asked = Event::DeleteTopicAsked { topic: "t".into(), id: ID };
        [asked, Event::DeleteTopicAcked { topic: "t".into(), id: ID, at: secs(at) }]
    }

    fn verdict_in(events: &[Event], ctx: &CheckContext) -> usize {
        check(&Log::of(events), ctx).len()
    }

    fn verdict(events: &[Event]) -> usize {
        verdict_in(events, &ctx())
    }

    #[test]
    fn a_topic_is_listed_with_its_partitions() {
        assert_eq!(verdict(&[created(2, 1), listed(ID, &[0, 1], 2)]), 0);
        assert_eq!(verdict(&[created(2, 1), listed(ID, &[1, 0], 2)]), 0);
        assert_eq!(verdict(&[created(2, 1), listed(ID, &[0], 2)]), 1);
        assert_eq!(verdict(&[created(2, 1), listed(ID, &[0, 1, 2], 2)]), 1);
        assert_eq!(verdict(&[created(2, 1), listed(ID, &[0, 2], 2)]), 1);
        assert_eq!(verdict(&[created(2, 1), listed(Uuid::nil(), &[0, 1], 2)]), 0);
        assert_eq!(verdict(&[created(2, 1), listed(Uuid::from_u128(8), &[0, 1], 2)]), 1);
        assert_eq!(verdict(&[created(2, 1), nothing(2)]), 1);
        assert_eq!(verdict(&[created(2, 3), nothing(2)]), 0);
    }

    #[test]
    fn partitions_that_were_asked_for_may_be_there_and_acknowledged_ones_must() {
        let asked = Event::PartitionsAsked { topic: "t".into(), id: ID, count: 3 };
        let grown = |end: &[Event]| verdict(&[&[created(2, 1), asked.clone()], end].concat());
        assert_eq!((grown(&[listed(ID, &[0, 1], 4)]), grown(&[listed(ID, &[0, 1, 2], 4)])), (0, 0));
        assert_eq!(grown(&[created(3, 3), listed(ID, &[0, 1], 4)]), 1);
    }

    #[test]
    fn a_deleted_topic_is_gone_and_another_of_its_name_is_not() {
        let then = |event: Event| verdict(&[&[created(2, 1)], &deleted(3)[..], &[event]].concat());
        assert_eq!((then(nothing(4)), then(listed(Uuid::from_u128(8), &[0], 4))), (0, 0));
        assert_eq!(then(listed(ID, &[0, 1], 4)), 1);
        // Not yet acknowledged.
        assert_eq!((then(nothing(2)), then(listed(ID, &[0, 1], 2))), (0, 0));
    }

    #[test]
    fn its_files_are_gone_once_they_are_due() {
        let on_disk = |id, at| {
            let logs = vec![("/data/0/t-0".to_owned(), TopicId(id).to_string())];
            Event::OnDisk { logs, removed_after: secs(5), at: secs(at) }
        };
        let then = |event: Event| [&[created(2, 1)], &deleted(3)[..], &[event]].concat();
        assert_eq!(verdict(&then(on_disk(ID, 18))), 0);
        assert_eq!(verdict(&then(on_disk(ID, 19))), 1);
        assert_eq!(verdict(&then(on_disk(Uuid::from_u128(8), 99))), 0);
        let restarted = CheckContext { restarts: vec![secs(10)], ..ctx() };
        assert_eq!(verdict_in(&then(on_disk(ID, 19)), &restarted), 0);
    }
}
