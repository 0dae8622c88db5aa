//! A consumer of given partitions: it reads along, in sessions or not, with small and large appetites, seeks now and
//! then, and asks for offsets. Once the faults have stopped it reads to the end.

use std::collections::BTreeMap;

use norn_env::clock;

use super::actor::Actor;
use super::plan::Role;
use super::reading::{epoch_end, latest, list_offset, read_to, Reading, EARLIEST, LATEST, MAX_TIMESTAMP};
use crate::check::Tp;
use crate::client::{Appetite, CallError, Connection};

/// Epochs that are asked for are below this: about as many as a world has.
const EPOCHS_ASKED: u64 = 8;

/// Reads until the faults have stopped, and then to the end.
pub async fn run(actor: &mut Actor) {
    let Role::Consumer { topics, sessions, .. } = actor.me.role.clone() else { return };
    let partitions = actor.partitions(&topics);
    let mut reading = Reading::new(sessions);
    for tp in &partitions {
        reading.seek(actor, tp, 0);
    }
    while actor.works() {
        for tp in &partitions {
            if actor.cluster.topic(&tp.topic).is_none() {
                actor.cluster.leader(&tp.topic, tp.partition).await;
            }
        }
        let (connection, _) = actor.cluster.leader(&partitions[0].topic, partitions[0].partition).await;
        reading.reconnected();
        if !matches!(read(actor, &connection, &mut reading, &partitions).await, Ok(true)) {
            partitions.iter().for_each(|tp| actor.cluster.forget(&tp.topic));
            actor.cluster.pause().await;
        }
    }
    let _op = actor.begin("read to the end");
    let mut ends = BTreeMap::new();
    for tp in &partitions {
        ends.insert((tp.topic.to_string(), tp.partition), latest(actor, tp).await);
    }
    read_to(actor, &mut reading, &ends).await;
}

/// Reads over one connection, for a while; whether all is well.
async fn read(
    actor: &mut Actor,
    connection: &Connection,
    reading: &mut Reading,
    partitions: &[Tp],
) -> Result<bool, CallError> {
    let Role::Consumer { max_wait_ms, min_bytes, max_bytes, seeks, .. } = actor.me.role else {
        return Ok(true);
    };
    let appetite =
        Appetite { max_wait_ms, min_bytes, max_bytes, partition_max_bytes: max_bytes.min(1 << 20) };
    let polls = actor.cluster.dice().range(5..400);
    for _ in 0..polls {
        if !actor.works() {
            break;
        }
        if reading.poll(actor, connection, appetite).await?.stale {
            return Ok(false);
        }
        let dice = actor.cluster.dice().clone();
        let tp = &partitions[dice.below(partitions.len() as u64) as usize];
        if dice.chance(0.05) {
            ask(actor, connection, tp).await?;
        }
        if seeks && dice.chance(0.03) {
            let start = list_offset(actor, connection, tp, EARLIEST).await?;
            let end = list_offset(actor, connection, tp, LATEST).await?;
            if let (Some(start), Some(end)) = (start, end) {
                // In the middle of a batch, as likely as not.
                let to = dice.range(start as u64..(end as u64).max(start as u64) + 1);
                reading.seek(actor, tp, to as i64);
            }
        }
        actor.think().await;
    }
    if actor.cluster.dice().chance(0.3) {
        actor.cluster.hang_up();
    }
    Ok(true)
}

/// Asks about offsets in one of the ways there are.
async fn ask(actor: &mut Actor, connection: &Connection, tp: &Tp) -> Result<(), CallError> {
    match actor.cluster.dice().below(4) {
        0 => list_offset(actor, connection, tp, LATEST).await.map(drop),
        1 => {
            let age = actor.cluster.dice().range(0..60_000) as i64;
            list_offset(actor, connection, tp, clock::wall_ms() - age).await.map(drop)
        }
        2 => match list_offset(actor, connection, tp, MAX_TIMESTAMP).await {
            Err(CallError::Unsupported) => Ok(()),
            other => other.map(drop),
        },
        _ => {
            let epoch = actor.cluster.dice().below(EPOCHS_ASKED) as i32;
            epoch_end(actor, connection, tp, epoch).await
        }
    }
}
