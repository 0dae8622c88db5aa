//! A producer without sequences: it sends each batch once, many at a time. What it does not know to be there may be there
//! or not; but on one connection nothing overtakes, so each connection's records are streams of their own.

use std::collections::{BTreeMap, VecDeque};

use norn_env::clock;
use norn_protocol::messages::ProduceRequest;
use norn_protocol::ApiKey;
use uuid::Uuid;

use super::actor::Actor;
use super::errors::passes;
use super::idempotent::{compression, scatter_ms};
use super::plan::Role;
use crate::check::{Content, Event, Tp};
use crate::client::{encode_batch, produce_request, BatchSpec, Connection, Pending, ProduceAnswer};

const TIMEOUT_MS: i32 = 3_000;

/// What was sent to one partition.
struct Sent {
    tp: Tp,
    first: Content,
    count: u32,
}

/// Produces until the faults have stopped.
pub async fn run(actor: &mut Actor) {
    let Role::Plain { topics, .. } = actor.me.role.clone() else { return };
    let partitions = actor.partitions(&topics);
    while actor.works() {
        let tp = &partitions[actor.cluster.dice().below(partitions.len() as u64) as usize];
        let (connection, id) = actor.cluster.leader(&tp.topic, tp.partition).await;
        let of_topic: Vec<Tp> = partitions.iter().filter(|other| other.topic == tp.topic).cloned().collect();
        let topic = tp.topic.to_string();
        if session(actor, &connection, &of_topic, id).await {
            continue;
        }
        actor.cluster.forget(&topic);
        actor.cluster.pause().await;
    }
    // One more, to see that it works again.
    let _op = actor.begin(format!("produce to {}", partitions[0]));
    loop {
        let (connection, id) = actor.cluster.leader(&partitions[0].topic, 0).await;
        if session(actor, &connection, &partitions[..1], id).await {
            return;
        }
        actor.cluster.forget(&partitions[0].topic);
        actor.cluster.pause().await;
    }
}

/// Some dozens of requests over one connection; whether all went well.
async fn session(actor: &mut Actor, connection: &Connection, partitions: &[Tp], id: Uuid) -> bool {
    let Role::Plain { window, acks, records_max, padding_max, .. } = actor.me.role.clone() else {
        return true;
    };
    let floor = if actor.plan.zstd { 7 } else { 3 };
    let Ok(mut version) = actor.cluster.version(connection, ApiKey::Produce as i16, floor) else {
        return false;
    };
    if id.is_nil() {
        version = version.min(12);
    }
    let mut lanes: BTreeMap<i32, (u32, u64)> = BTreeMap::new();
    let mut flight: VecDeque<(Pending<'_, ProduceRequest>, Sent)> = VecDeque::new();
    let mut well = true;
    for round in 0..40 {
        if round > 0 && (!actor.works() || !well) {
            break;
        }
        let dice = actor.cluster.dice().clone();
        let tp = &partitions[dice.below(partitions.len() as u64) as usize];
        let (stream, counter) = *lanes.entry(tp.partition).or_insert_with(|| (actor.new_stream(), 0));
        let count = dice.range(1..records_max + 1) as u32;
        lanes.insert(tp.partition, (stream, counter + u64::from(count)));
        let first = Content { client: actor.cluster.client(), stream, counter };
        let bytes = encode_batch(&BatchSpec {
            first,
            count,
            padding: dice.range(0..padding_max + 1) as usize,
            compression: compression(&dice, actor.plan.zstd),
            producer: None,
            timestamp: clock::wall_ms(),
            scatter_ms: scatter_ms(&dice),
        });
        let at = actor.history().now();
        actor.record(Event::Produced { tp: tp.clone(), first, count, idempotent: false, at });
        let request =
            produce_request(version, acks, TIMEOUT_MS, (&tp.topic, id), vec![(tp.partition, bytes)]);
        if acks == 0 {
            well &= connection.send_unanswered(version, &request).await.is_ok() && connection.is_open();
        } else {
            match connection.send_at(version, &request).await {
                Ok(pending) => flight.push_back((pending, Sent { tp: tp.clone(), first, count })),
                Err(_) => well = false,
            }
        }
        if flight.len() >= window {
            well &= settle(actor, flight.pop_front()).await;
        }
        actor.think().await;
    }
    while !flight.is_empty() {
        well &= settle(actor, flight.pop_front()).await;
    }
    well
}

/// Takes one answer in; whether it is a good one.
async fn settle(actor: &mut Actor, oldest: Option<(Pending<'_, ProduceRequest>, Sent)>) -> bool {
    let Some((pending, Sent { tp, first, count })) = oldest else { return true };
    let Ok((response, span)) = pending.answer(actor.cluster.deadline()).await else { return false };
    match ProduceAnswer::all(&response)[..] {
        [ProduceAnswer { error: 0, base_offset, append_time, .. }] => {
            actor.cluster.worked();
            let (base, append_time) = (Some(base_offset), (append_time >= 0).then_some(append_time));
            actor.record(Event::Acked { tp, first, count, base, append_time, span });
            true
        }
        [ProduceAnswer { error, .. }] if passes(error) => false,
        ref answers => {
            actor.surprise(format!("a produce to {tp} was answered with {answers:?}"));
            false
        }
    }
}
