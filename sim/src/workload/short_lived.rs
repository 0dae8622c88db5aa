//! Topics that one client has for itself: created, filled, read, deleted, and created again under the same name, when all
//! must be empty. Their records are known by the topic's id, so that those of a former topic show.

use std::collections::BTreeMap;
use std::sync::Arc;

use norn_env::clock::{self, Duration};
use norn_protocol::client::topic_name;
use norn_protocol::compression::Compression;
use norn_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use norn_protocol::messages::create_topics_request::CreatableTopic;
use norn_protocol::messages::delete_topics_request::DeleteTopicState;
use norn_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, ProduceRequest,
};
use norn_protocol::ApiKey;
use uuid::Uuid;

use super::actor::Actor;
use super::admin::TIMEOUT_MS;
use super::errors::{INVALID_PARTITIONS, TOPIC_ALREADY_EXISTS, UNKNOWN_TOPIC_OR_PARTITION};
use super::reading::{latest, read_to, Reading};
use crate::check::{Content, Event, TopicFacts, Tp, Trim};
use crate::client::{
    encode_batch, produce_request, BatchSpec, CallError, Connection, Pending, ProduceAnswer,
};

/// How long a reader of a topic without a promise takes the latest offset for the latest.
const LATEST_HOLDS: Duration = Duration::from_secs(10);

/// The names of a process's topics: another one whenever it is not known what became of the last.
pub struct Names {
    process: u32,
    next: u32,
}

impl Names {
    pub fn new(actor: &Actor) -> Self {
        Self { process: actor.process, next: 0 }
    }

    fn next(&mut self, actor: &Actor) -> Arc<str> {
        self.next += 1;
        let name: Arc<str> = format!("own-{}-{}-{}", actor.cluster.client(), self.process, self.next).into();
        let (sync, append_time) = (actor.plan.default_sync, actor.plan.default_append_time);
        let facts = TopicFacts { sync, trim: Trim::Never, append_time };
        actor.record(Event::Topic { topic: name.clone(), facts });
        name
    }
}

/// The life of a topic of its own, once or twice under one name. Gives up wherever something does not work.
pub async fn live(actor: &mut Actor, names: &mut Names) {
    let name = names.next(actor);
    for again in 0..2 {
        let Some(id) = create(actor, &name).await else { return };
        let tp = Tp { topic: name.clone(), id, partition: 0 };
        actor.cluster.forget(&name);
        let end = latest(actor, &tp).await;
        if end != 0 {
            actor.surprise(format!("the new topic {tp} already has records, up to {end}"));
        }
        if !fill(actor, &tp).await {
            return;
        }
        read_all(actor, &tp).await;
        if actor.cluster.dice().chance(0.4) && !grow(actor, &tp).await {
            return;
        }
        // The last one stays, to be read back in the end.
        if again == 1 || actor.cluster.dice().chance(0.3) {
            return;
        }
        if actor.cluster.dice().chance(0.5) {
            hurry(actor, &tp).await;
        }
        if !delete(actor, &tp).await {
            return;
        }
    }
}

/// Reads up to the latest offset. Where a loss of power may take that away again, it is asked for anew now and then.
async fn read_all(actor: &mut Actor, tp: &Tp) {
    let mut reading = Reading::new(false);
    reading.seek(actor, tp, 0);
    let kept = actor.plan.default_sync;
    loop {
        let ends = BTreeMap::from([((tp.topic.to_string(), tp.partition), latest(actor, tp).await)]);
        let whole = read_to(actor, &mut reading, &ends);
        if kept {
            return whole.await;
        }
        if clock::timeout_at(clock::now() + LATEST_HOLDS, whole).await.is_ok() {
            return;
        }
    }
}

/// Creates a topic of one partition; its id, if it was this request that created it.
async fn create(actor: &mut Actor, name: &Arc<str>) -> Option<Uuid> {
    let connection = actor.cluster.any().await;
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = |_| CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
    // From version 7 on the answer has the id.
    let (response, span) = actor.cluster.call(&connection, 7, request).await.ok()?;
    let [result] = &response.topics[..] else {
        actor.surprise(format!("CreateTopics of {name} was answered for {} topics", response.topics.len()));
        return None;
    };
    match result.error_code {
        0 if !result.topic_id.is_nil() => {
            let (topic, id, at) = (name.clone(), result.topic_id, span.done);
            actor.record(Event::PartitionsAcked { topic, id, count: 1, at });
            Some(id)
        }
        0 | TOPIC_ALREADY_EXISTS => {
            actor.surprise(format!(
                "CreateTopics of {name}, of which there is none, was answered with {result:?}"
            ));
            None
        }
        _ => None,
    }
}

/// Some batches; whether all were acknowledged.
async fn fill(actor: &mut Actor, tp: &Tp) -> bool {
    let (connection, id) = actor.cluster.leader(&tp.topic, tp.partition).await;
    if id != tp.id && !id.is_nil() {
        actor.surprise(format!("the metadata knows {tp} by the id {id}"));
        return false;
    }
    let stream = actor.new_stream();
    let mut counter = 0;
    for _ in 0..actor.cluster.dice().range(1..6) {
        let count = actor.cluster.dice().range(1..10) as u32;
        let first = Content { client: actor.cluster.client(), stream, counter };
        counter += u64::from(count);
        let Ok(pending) = send(actor, &connection, tp, first, count).await else { return false };
        let Ok((response, span)) = pending.answer(actor.cluster.deadline()).await else { return false };
        match ProduceAnswer::all(&response)[..] {
            [ProduceAnswer { error: 0, base_offset, append_time, .. }] => {
                let (tp, base, append_time) =
                    (tp.clone(), Some(base_offset), (append_time >= 0).then_some(append_time));
                actor.record(Event::Acked { tp, first, count, base, append_time, span });
            }
            _ => return false,
        }
    }
    true
}

/// Some batches that nobody waits for, so that the topic's deletion meets writes and syncs that are under way.
async fn hurry(actor: &mut Actor, tp: &Tp) {
    let (connection, _) = actor.cluster.leader(&tp.topic, tp.partition).await;
    let stream = actor.new_stream();
    for counter in 0..actor.cluster.dice().range(1..20) {
        let first = Content { client: actor.cluster.client(), stream, counter };
        let Ok(_pending) = send(actor, &connection, tp, first, 1).await else { return };
    }
}

async fn send<'a>(
    actor: &Actor,
    connection: &'a Connection,
    tp: &Tp,
    first: Content,
    count: u32,
) -> Result<Pending<'a, ProduceRequest>, CallError> {
    let version = actor.cluster.version(connection, ApiKey::Produce as i16, 3)?;
    let compression = Compression::None;
    let timestamp = clock::wall_ms();
    let spec = BatchSpec { first, count, padding: 30, compression, producer: None, timestamp, scatter_ms: 0 };
    let parts = vec![(tp.partition, encode_batch(&spec))];
    let request = produce_request(version, -1, TIMEOUT_MS, (&tp.topic, tp.id), parts);
    connection.send_at(version, &request).await
}

/// Gives the topic more partitions, which must be new, and fills the last of them; whether all was acknowledged.
async fn grow(actor: &mut Actor, tp: &Tp) -> bool {
    let total = actor.cluster.dice().range(2..5) as i32;
    let connection = actor.cluster.any().await;
    let topic = CreatePartitionsTopic::default().with_name(topic_name(&tp.topic)).with_count(total);
    let request = CreatePartitionsRequest::default().with_timeout_ms(TIMEOUT_MS);
    let request = request.with_topics(vec![topic.with_assignments(None)]);
    actor.record(Event::PartitionsAsked { topic: tp.topic.clone(), id: tp.id, count: total });
    let Ok((response, span)) = actor.cluster.call(&connection, 0, |_| request).await else { return false };
    match response.results.first().map(|result| result.error_code) {
        Some(0) => {
            let (topic, id, at) = (tp.topic.clone(), tp.id, span.done);
            actor.record(Event::PartitionsAcked { topic, id, count: total, at });
        }
        None | Some(UNKNOWN_TOPIC_OR_PARTITION | INVALID_PARTITIONS) => {
            actor.surprise(format!("CreatePartitions of {tp}, of which there was one, got {response:?}"));
            return false;
        }
        _ => return false,
    }
    let last = Tp { partition: total - 1, ..tp.clone() };
    actor.cluster.forget(&tp.topic);
    let end = latest(actor, &last).await;
    if end != 0 {
        actor.surprise(format!("the new partition {last} already has records, up to {end}"));
    }
    fill(actor, &last).await
}

/// Deletes the topic; whether it is known to be gone.
async fn delete(actor: &mut Actor, tp: &Tp) -> bool {
    let connection = actor.cluster.any().await;
    actor.record(Event::DeleteTopicAsked { topic: tp.topic.clone(), id: tp.id });
    let request = |version: i16| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
        match version {
            6.. => {
                request.with_topics(vec![DeleteTopicState::default().with_name(None).with_topic_id(tp.id)])
            }
            _ => request.with_topic_names(vec![topic_name(&tp.topic)]),
        }
    };
    let Ok((response, span)) = actor.cluster.call(&connection, 1, request).await else { return false };
    match response.responses.first().map(|result| result.error_code) {
        Some(0) => {
            actor.record(Event::DeleteTopicAcked { topic: tp.topic.clone(), id: tp.id, at: span.done });
            true
        }
        Some(UNKNOWN_TOPIC_OR_PARTITION) => {
            actor.surprise(format!("{tp}, which nobody deleted, is not there to be deleted"));
            false
        }
        _ => false,
    }
}
