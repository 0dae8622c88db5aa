//! A client that asks for much and reads a byte of it in a second, on one connection after another. It costs the broker
//! what the sockets hold, and nobody else anything.

use std::collections::BTreeMap;

use norn_env::clock::Duration;
use norn_protocol::ApiKey;

use super::actor::Actor;
use super::plan::Role;
use crate::check::Tp;
use crate::client::{Appetite, Connection, Fetcher};

/// As much as a broker gives.
const APPETITE: Appetite =
    Appetite { max_wait_ms: 500, min_bytes: 1, max_bytes: 50 << 20, partition_max_bytes: 50 << 20 };

/// Asks until the faults have stopped.
pub async fn run(actor: &mut Actor) {
    let Role::Dribbler { topic } = actor.me.role else { return };
    let partitions = actor.partitions(&[topic]);
    while actor.works() {
        let (connection, _) = actor.cluster.leader(&partitions[0].topic, partitions[0].partition).await;
        ask(actor, &connection, &partitions).await;
        actor.cluster.hang_up();
        actor.cluster.pause().await;
    }
}

/// Sends some fetches, whose answers nobody has the patience for.
async fn ask(actor: &mut Actor, connection: &Connection, partitions: &[Tp]) {
    let floor = actor.fetch_floor();
    let Ok(version) = actor.cluster.version(connection, ApiKey::Fetch as i16, floor) else { return };
    let mut fetcher = Fetcher::new(version, false);
    let mut want = BTreeMap::new();
    for tp in partitions {
        let Some(topic) = actor.cluster.topic(&tp.topic) else { return };
        want.insert((tp.topic.to_string(), tp.partition), (topic.id, 0));
    }
    connection.dribble();
    for _ in 0..actor.cluster.dice().range(1..5) {
        let request = fetcher.request(&want, APPETITE);
        if connection.send_at(version, &request).await.is_err() {
            return;
        }
    }
    let patience = actor.cluster.dice().range(1_000..20_000);
    actor.rest(Duration::from_millis(patience)).await;
}
