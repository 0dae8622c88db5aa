//! The last act: a fresh client reads everything that there is, and what every group has committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use norn_protocol::messages::MetadataRequest;
use uuid::Uuid;

use super::actor::Actor;
use super::commits::fetch_committed;
use super::reading::{earliest, latest, read_to, Reading};
use crate::check::{Event, Tp};

/// Reads all topics and all groups.
pub async fn run(actor: &mut Actor) {
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
        let request = |_| MetadataRequest::default().with_topics(None);
        if let Ok((response, _)) = actor.cluster.call(&connection, 10, request).await {
            let users = response.topics.into_iter().filter(|topic| !topic.is_internal);
            let described = users.filter_map(|topic| {
                let partitions = topic.partitions.iter().map(|part| part.partition_index).collect();
                Some((topic.name?.to_string(), (topic.topic_id, partitions)))
            });
            return described.collect();
        }
        actor.cluster.pause().await;
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
    // Retention goes on while we read.
    let start = earliest(actor, tp).await.max(start);
    actor.record(Event::ReadBack { tp: tp.clone(), start, end, at: actor.history().now() });
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
