//! The last act: a fresh client reads everything that there is, and what every group has committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::actor::Actor;
use super::admin::{describe_configs, list_topics};
use super::commits::fetch_committed;
use super::reading::{earliest, epoch_end, latest, list_offset, read_to, Reading, MAX_TIMESTAMP};
use crate::check::{Event, Seen, Tp};

/// Records of each partition that are looked up by their times and epochs.
const LOOK_UPS: u64 = 4;
const NOTHING_READ: &Vec<Seen> = &vec![];

/// Reads all topics and all groups.
pub async fn run(actor: &mut Actor) {
    settings(actor).await;
    let topics = topics(actor).await;
    let known = known_topics(actor);
    for (topic, facts_known) in known {
        if facts_known && !topics.contains_key(&*topic) {
            let at = actor.history().now();
            actor.record(Event::TopicMissing { topic, at });
        }
    }
    for (name, (id, partitions)) in topics {
        let name: Arc<str> = name.into();
        // Topics that come and go are known by their id.
        let id = if name.starts_with("own-") { id } else { Uuid::nil() };
        for partition in partitions {
            read(actor, &Tp { topic: name.clone(), id, partition }).await;
        }
    }
    actor.record(Event::ReadBackEnded);
    groups(actor).await;
}

/// All topics but internal ones: ids and partitions.
async fn topics(actor: &mut Actor) -> BTreeMap<String, (Uuid, Vec<i32>)> {
    loop {
        let connection = actor.cluster.any().await;
        if let Ok(topics) = list_topics(actor, &connection, 10).await {
            let described =
                topics.into_iter().map(|topic| (topic.name.to_string(), (topic.id, topic.partitions)));
            return described.collect();
        }
        actor.cluster.pause().await;
    }
}

/// Describes the settings of the topics of the plan.
async fn settings(actor: &mut Actor) {
    for topic in actor.plan.clone().topics.iter() {
        loop {
            let connection = actor.cluster.any().await;
            if describe_configs(actor, &connection, &topic.name).await.is_ok() {
                break;
            }
            actor.cluster.pause().await;
        }
    }
}

/// The topics of the plan, and whether they must be there.
fn known_topics(actor: &Actor) -> Vec<(Arc<str>, bool)> {
    actor.plan.topics.iter().map(|topic| (topic.name.as_str().into(), !topic.auto)).collect()
}

/// Reads one partition from its start to its end.
async fn read(actor: &mut Actor, tp: &Tp) {
    let start = earliest(actor, tp).await;
    let end = latest(actor, tp).await;
    let mut reading = Reading::of_all();
    reading.seek(actor, tp, start);
    let ends = BTreeMap::from([((tp.topic.to_string(), tp.partition), end)]);
    read_to(actor, &mut reading, &ends).await;
    look_up(actor, tp).await;
    // Retention goes on while we read.
    let start = earliest(actor, tp).await.max(start);
    actor.record(Event::ReadBack { tp: tp.clone(), start, end, at: actor.history().now() });
}

/// Looks some of the records that were just read up by their times and epochs; what cannot be answered now is left.
async fn look_up(actor: &mut Actor, tp: &Tp) {
    let reader = actor.cluster.client();
    let picked = actor.history().with(|events| {
        // What was read last is this partition, or nothing of it was read.
        let read: Vec<&Seen> = events
            .iter()
            .rev()
            .map_while(|event| match event {
                Event::ReadBack { .. } => None,
                Event::Read { reader: by, tp: of, records, .. } if by.client == reader && of == tp => {
                    Some(records)
                }
                _ => Some(NOTHING_READ),
            })
            .flatten()
            .collect();
        let dice = actor.cluster.dice();
        let count = LOOK_UPS.min(read.len() as u64);
        (0..count).map(|_| read[dice.below(read.len() as u64) as usize].clone()).collect::<Vec<Seen>>()
    });
    if picked.is_empty() {
        return;
    }
    let (connection, _) = actor.cluster.leader(&tp.topic, tp.partition).await;
    for Seen { timestamp, epoch, .. } in picked {
        let time = timestamp + actor.cluster.dice().below(3) as i64 - 1;
        let _ = list_offset(actor, &connection, tp, time).await;
        let _ = epoch_end(actor, &connection, tp, epoch).await;
    }
    let _ = list_offset(actor, &connection, tp, MAX_TIMESTAMP).await;
}

/// Fetches what all groups of the history have committed.
async fn groups(actor: &mut Actor) {
    let committed = actor.history().with(|events| {
        let mut groups: BTreeMap<Arc<str>, BTreeSet<Tp>> = BTreeMap::new();
        for event in events {
            if let Event::CommitSent { group, tp, .. } = event {
                groups.entry(group.clone()).or_default().insert(tp.clone());
            }
        }
        groups
    });
    for (group, partitions) in committed {
        let partitions: Vec<Tp> = partitions.into_iter().collect();
        loop {
            let connection = actor.cluster.coordinator(&group).await;
            if let Ok(Some(_)) = fetch_committed(actor, &connection, &group, &partitions).await {
                break;
            }
            actor.cluster.pause().await;
        }
    }
}
